//! What is not ours: an image that this machine cannot run, a container that has a name.

use std::path::Path;
use std::process::Command;

use deploymind_tests::delivery::docker;
use deploymind_tests::sample;
use serde_json::json;

const IMAGE: &str = "deploymind-test/arm64:1";

/// An image of another processor's, made without a program of that processor. It stays for the next test.
pub fn image() -> &'static str {
    if !docker(&["image", "ls", "--quiet", IMAGE]).trim().is_empty() {
        return IMAGE;
    }
    let folder = tempfile::Builder::new().prefix("arm-").tempdir().expect("a temporary directory");
    let at = folder.path();
    std::fs::write(at.join("program"), "nothing that runs\n").expect("a file of ours");
    run(at, "tar", &["-cf", "layer.tar", "program"]);
    let sum = run(at, "sha256sum", &["layer.tar"]);
    let sum = sum.split_whitespace().next().expect("a sum");
    let config = json!({
        "architecture": "arm64",
        "os": "linux",
        "config": { "Cmd": ["/program"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{sum}")] },
    });
    let manifest = json!([{ "Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"] }]);
    std::fs::write(at.join("config.json"), config.to_string()).expect("a file of ours");
    std::fs::write(at.join("manifest.json"), manifest.to_string()).expect("a file of ours");
    run(at, "tar", &["-cf", "image.tar", "manifest.json", "config.json", "layer.tar"]);
    docker(&["load", "--quiet", "--input", &at.join("image.tar").display().to_string()]);
    IMAGE
}

fn run(folder: &Path, program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).current_dir(folder).output().expect("a usual program");
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Somebody else's, removed with this.
pub struct Container(String);

impl Container {
    pub fn create(name: &str) -> Self {
        let command = ["sh", "-c", "sleep 600"];
        let started = docker(&[&["run", "--detach", "--name", name, sample::base()], &command[..]].concat());
        Self(started.trim().to_owned())
    }

    /// All that the engine says of it.
    pub fn state(&self) -> String {
        docker(&["inspect", &self.0])
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Also while a failed test unwinds.
        drop(Command::new("docker").args(["rm", "--force", &self.0]).output());
    }
}
