//! Images of the sample app, whose behaviour is in their environment: see the program's `settings.rs` for the names.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use sha1_smol::Sha1;

use crate::delivery::docker;
use crate::git::Entry;
use crate::process::workspace_binary;

const PROGRAM: &str = "sample-app";
/// Of the C library that the program was linked with.
const SYSTEM: &str = "debian:bookworm-slim";
const PREFIX: &str = "deploymind-test";

/// The image with the program, made once for each build of it; its name.
///
/// # Panics
/// When the program is not built or there is no Docker engine.
#[must_use]
pub fn base() -> &'static str {
    static BASE: OnceLock<String> = OnceLock::new();
    BASE.get_or_init(|| {
        let folder = tempfile::Builder::new().prefix("sample-").tempdir().expect("a temporary directory");
        let program = folder.path().join(PROGRAM);
        std::fs::copy(workspace_binary(PROGRAM), &program).expect("copy the program");
        // Only smaller without its symbols: what is left out matters to nobody.
        let stripped = Command::new("strip").arg(&program).status();
        if !stripped.is_ok_and(|status| status.success()) {
            eprintln!("strip failed: the image of the sample app is larger than it needs to be");
        }
        let content = std::fs::read(&program).expect("the copy");
        let dockerfile = format!("FROM {SYSTEM}\nCOPY {PROGRAM} /usr/local/bin/{PROGRAM}\n");
        built(folder.path(), "sample", &dockerfile, &[dockerfile.as_bytes(), &content])
    })
}

/// An image of the app with this behaviour, for tests that need no pipeline; its name. It stays for the next test.
#[must_use]
pub fn image(name: &str, env: &[(&str, &str)]) -> String {
    let folder = tempfile::Builder::new().prefix("sample-").tempdir().expect("a temporary directory");
    let dockerfile = dockerfile(env);
    built(folder.path(), name, &dockerfile, &[dockerfile.as_bytes()])
}

/// The files of a repository that is this app: one step to build, next to nothing to send.
#[must_use]
pub fn files(env: &[(&str, &str)]) -> Vec<Entry> {
    vec![Entry::file("Dockerfile", dockerfile(env))]
}

fn dockerfile(env: &[(&str, &str)]) -> String {
    let mut text = format!("FROM {}\n", base());
    for (name, value) in env {
        assert!(!value.contains(['\n', '\r']), "{name} does not fit in a line");
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$");
        text += &format!("ENV {name}=\"{value}\"\n");
    }
    let port = env.iter().find(|(name, _)| *name == "PORT").map_or("8080", |(_, port)| port);
    text + &format!("EXPOSE {port}\nUSER nobody\nCMD [\"{PROGRAM}\"]\n")
}

fn built(folder: &Path, name: &str, dockerfile: &str, content: &[&[u8]]) -> String {
    let mut hash = Sha1::new();
    content.iter().for_each(|part| hash.update(part));
    let hash = hash.digest().to_string();
    let image = format!("{PREFIX}/{name}:{}", &hash[..16]);
    if docker(&["image", "ls", "--quiet", &image]).trim().is_empty() {
        std::fs::write(folder.join("Dockerfile"), dockerfile).expect("a file of ours");
        docker(&["build", "--quiet", "--tag", &image, &folder.display().to_string()]);
    }
    image
}
