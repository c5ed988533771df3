mod failures;
mod parser;
mod policy;
mod properties;
mod real;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use deploymind_shared::clock::{Clock, Timestamp};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{Detail, Finding, Scanner, Severity};
use crate::log::{Line, Lines};

fn now() -> Timestamp {
    Clock::system().now()
}

fn vulnerability(id: &str, severity: Severity, package: &str, fixed: Option<&str>) -> Finding {
    Finding {
        id: id.into(),
        severity,
        title: "a hole".into(),
        target: "requirements.txt".into(),
        url: None,
        detail: Detail::Vulnerability {
            package: package.into(),
            installed: "2.0.0".into(),
            fixed: fixed.map(Into::into),
        },
    }
}

fn secret(rule: &str, file: &str) -> Finding {
    Finding {
        id: rule.into(),
        severity: Severity::Critical,
        title: "a key".into(),
        target: file.into(),
        url: None,
        detail: Detail::Secret { category: "AWS".into(), line: 3 },
    }
}

fn scanner(program: PathBuf, cache_dir: PathBuf, scratch: &Path) -> Scanner {
    Scanner {
        program,
        cache_dir,
        scratch: scratch.into(),
        deadline: Duration::from_secs(60),
        max_database_age: Duration::from_secs(7 * 24 * 3600),
        update: false,
        update_env: Vec::new(),
    }
}

/// Room enough that nothing in a test waits for it to be read.
fn mouth() -> (Lines, mpsc::Receiver<Line>) {
    Lines::channel(4096)
}

fn said(mut lines: mpsc::Receiver<Line>) -> String {
    let mut text = String::new();
    while let Ok(line) = lines.try_recv() {
        text.push_str(&line.text);
        text.push('\n');
    }
    text
}

/// An executable script. Written by another process: while this one had it open for writing, a child forked by
/// another test could keep it busy.
fn script(folder: &Path, body: &str) -> PathBuf {
    let path = folder.join("scanner");
    let mut install = Command::new("install")
        .args(["-m", "755", "/dev/stdin"])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("install");
    install
        .stdin
        .take()
        .expect("piped")
        .write_all(format!("#!/bin/sh\n{body}\n").as_bytes())
        .expect("script");
    assert!(install.wait().expect("install").success());
    path
}

/// A cache folder whose database looks whole, for scanners that do not read it.
fn cache(made: Timestamp) -> TempDir {
    let folder = TempDir::new().expect("folder");
    let db = folder.path().join("db");
    std::fs::create_dir(&db).expect("db");
    let next = made + Duration::from_secs(24 * 3600);
    let metadata = json!({ "Version": 2, "UpdatedAt": made, "NextUpdate": next, "DownloadedAt": made });
    std::fs::write(db.join("metadata.json"), metadata.to_string()).expect("metadata");
    let mut page = vec![0u8; 4096];
    page[16..20].copy_from_slice(&0xED0C_DAEDu32.to_le_bytes());
    page[24..28].copy_from_slice(&4096u32.to_le_bytes());
    page[56..64].copy_from_slice(&1u64.to_le_bytes());
    std::fs::write(db.join("trivy.db"), page).expect("database");
    folder
}
