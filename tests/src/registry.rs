//! A registry of the v2 protocol that asks for a password: Debian's `docker-registry`.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::Proc;
use crate::{free_port, wait_for};

const READY: Duration = Duration::from_secs(20);
const PROGRAM: &str = "/usr/bin/docker-registry";
const USER: &str = "tester";
const PASSWORD: &str = "correct horse";
/// `htpasswd -nbB -C 4 tester 'correct horse'`.
const HTPASSWD: &str = "tester:$2b$04$DxUKerAYht..kmRca8H6ROmzU287O8QEmBdzBk43jWBE8ANDEzBR.\n";

/// Serves until dropped.
pub struct Registry {
    // Before the directory: nobody may write there when it is removed.
    _server: Proc,
    host: String,
    _directory: TempDir,
}

impl Registry {
    /// # Panics
    /// When `docker-registry` is not installed, or does not come up.
    pub async fn start() -> Self {
        assert!(Path::new(PROGRAM).exists(), "{PROGRAM} is missing: install docker-registry");
        let directory =
            tempfile::Builder::new().prefix("registry-").tempdir().expect("a temporary directory");
        let host = format!("127.0.0.1:{}", free_port());
        let root = directory.path();
        let at = root.display();
        std::fs::write(root.join("htpasswd"), HTPASSWD).expect("a file of ours");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {at}/store}}}}\n\
             http: {{addr: '{host}', secret: test}}\nauth: {{htpasswd: {{realm: test, path: {at}/htpasswd}}}}\n"
        );
        let file = root.join("config.yml");
        std::fs::write(&file, config).expect("a file of ours");
        let server = Proc::builder("docker-registry", PROGRAM).arg("serve").arg(&file).start();
        wait_for("the registry answers", READY, async || {
            tokio::net::TcpStream::connect(&host).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
        Self { _server: server, host, _directory: directory }
    }

    /// `127.0.0.1:<port>`, which every engine on this machine may reach without TLS.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    #[must_use]
    pub fn user(&self) -> &'static str {
        USER
    }

    #[must_use]
    pub fn password(&self) -> &'static str {
        PASSWORD
    }
}
