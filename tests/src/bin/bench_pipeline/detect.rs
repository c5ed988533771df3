//! Detection in a repository of 50,000 files, against a plain walk of the same tree.

use std::fs;
use std::path::Path;
use std::time::Instant;

use deploymind_worker::detect::{DetectSettings, detect};
use serde_json::json;
use tempfile::TempDir;

const FILES: usize = 50_000;
const ROUNDS: usize = 7;
const TARGET_MS: f64 = 100.0;

pub fn measure() {
    let folder = large();
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let files = walk(folder.path());
        floor.push(begun.elapsed().as_secs_f64() * 1e3);
        assert!(files >= FILES, "{files} files");
        let begun = Instant::now();
        let found = detect(folder.path(), &DetectSettings::default()).expect("detected");
        ours.push(begun.elapsed().as_secs_f64() * 1e3);
        assert_eq!(found.entry_point.as_deref(), Some("zebra.wsgi_entry:application"));
    }
    let more = json!({ "target": TARGET_MS });
    crate::figure("detect_50k_ms", crate::median(ours), "ms", Some(crate::median(floor)), &more);
}

/// How many files there are.
fn walk(folder: &Path) -> usize {
    let mut files = 0;
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_dir() {
            files += walk(&entry.path());
        } else {
            files += 1;
        }
    }
    files
}

/// 50,000 files, and what a real repository has besides: folders of others, a folder of many files, deep ones. The sources
/// say late in the walk which program is to be started.
fn large() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(path, text).expect("a file");
    };
    write("requirements.txt", "flask\ngunicorn\n");
    write("package.json", r#"{"devDependencies":{"vite":"5"},"scripts":{"build":"vite build"}}"#);
    write("zebra/wsgi_entry.py", "from flask import Flask\napplication = Flask(__name__)\n");
    let mut left = FILES;
    let mut fill = |path: String, count: usize, ending: &str| {
        for index in 0..count.min(left) {
            write(&format!("{path}/f{index}.{ending}"), "x = 1\n");
        }
        left -= count.min(left);
    };
    fill("assets".to_owned(), 10_000, "png");
    for index in 0..100 {
        fill(format!("node_modules/p{index}"), 150, "js");
    }
    for index in 0..250 {
        fill(format!("lib/p{index}/a/b"), 100, "py");
    }
    folder
}
