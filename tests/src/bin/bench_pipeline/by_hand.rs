//! What somebody would type: fetch the commit, build its Dockerfile. With the classic builder, which is what a worker uses
//! where BuildKit cannot be capped.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Seconds.
pub fn commit_to_image(url: &str, commit: &str, tag: &str) -> f64 {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let begun = Instant::now();
    let path = folder.path();
    run(path, "git", &["init", "--quiet"]);
    run(path, "git", &["fetch", "--quiet", "--depth=1", url, commit]);
    run(path, "git", &["checkout", "--quiet", "FETCH_HEAD"]);
    run(path, "docker", &["build", "--tag", tag, "."]);
    begun.elapsed().as_secs_f64()
}

fn run(folder: &Path, program: &str, args: &[&str]) {
    let output = Command::new(program)
        .args(args)
        .current_dir(folder)
        .env("DOCKER_BUILDKIT", "0")
        .stdin(Stdio::null())
        .output()
        .expect("the program is installed");
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}
