//! Small trees, one for each thing that detection knows.

mod choices;
mod compiled;
mod hostile;
mod languages;
mod size;

use std::fs;

use tempfile::TempDir;

use super::*;

/// A tree of (path, content).
fn tree(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, content) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(path, content).expect("a file");
    }
    folder
}

fn detected(files: &[(&str, &str)]) -> Detection {
    detect(tree(files).path(), &DetectSettings::default()).expect("detected")
}

fn refused(files: &[(&str, &str)]) -> Error {
    detect(tree(files).path(), &DetectSettings::default()).expect_err("refused")
}

fn with(files: &[(&str, &str)], settings: DetectSettings) -> Result<Detection, Error> {
    detect(tree(files).path(), &settings)
}
