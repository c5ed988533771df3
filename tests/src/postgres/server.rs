//! A Postgres cluster of one test alone.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::{Uid, User};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

use crate::process::{Proc, ProcBuilder};
use crate::{free_port, wait_for};

const READY: Duration = Duration::from_secs(60);

/// One cluster on one port and one directory through all its restarts. fsync stays on: durability is part of what is tested.
pub struct PrivatePostgres {
    // Before the directory: fields are dropped in order, and the server must be gone first.
    server: Proc,
    directory: TempDir,
    port: u16,
}

impl PrivatePostgres {
    /// # Panics
    /// When Postgres is not installed or does not start.
    pub async fn start() -> Self {
        let directory = owned_directory("postgres-");
        run("cp", ["-a", "--reflink=auto"], &[&initialised(), &directory.path().join("data")]);
        let port = free_port();
        let server = spawn(&directory, port);
        let mut postgres = Self { server, directory, port };
        postgres.await_ready().await;
        postgres
    }

    /// The superuser's, on the maintenance database.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A fast shutdown: clients are cut off, the data is written out.
    pub async fn stop(&mut self) {
        self.server.signal(Signal::SIGINT);
        self.server.wait_exit(READY).await;
    }

    /// The postmaster and all its children at once, as when the host loses power to them.
    pub fn kill9(&mut self) {
        self.server.kill9();
    }

    /// The postmaster and all its children.
    pub fn sigstop(&mut self) {
        self.server.sigstop();
    }

    pub fn sigcont(&mut self) {
        self.server.sigcont();
    }

    /// Starts it again with the data it left; a running one is killed first.
    pub async fn restart(&mut self) {
        self.server.kill9();
        self.server = spawn(&self.directory, self.port);
        self.await_ready().await;
    }

    async fn await_ready(&mut self) {
        let url = self.url();
        wait_for("Postgres answers", READY, async || {
            if let Some(exit) = self.server.exit() {
                panic!("Postgres ended with {exit}");
            }
            let connection = PgConnection::connect(&url).await.map_err(|error| error.to_string())?;
            connection.close().await.map_err(|error| error.to_string())
        })
        .await;
    }
}

fn spawn(directory: &TempDir, port: u16) -> Proc {
    let data = directory.path().join("data");
    let port = port.to_string();
    unprivileged("postgres", &binaries().join("postgres"))
        .arg("-D")
        .arg(&data)
        .args(["-p", &port, "-c", "listen_addresses=127.0.0.1"])
        // A socket path has at most 107 bytes, and a temporary directory may be deep: TCP only.
        .args(["-c", "unix_socket_directories="])
        .args(["-c", "max_connections=300", "-c", "shared_buffers=32MB"])
        .directory(&data)
        .start()
}

/// Postgres refuses to run as root; the account its package makes is what it runs as.
fn unprivileged(name: &str, program: &Path) -> ProcBuilder {
    if Uid::effective().is_root() {
        Proc::builder(name, "setpriv")
            .args(["--reuid=postgres", "--regid=postgres", "--init-groups"])
            .arg(program)
    } else {
        Proc::builder(name, program)
    }
}

/// A data directory as initdb leaves it, made once and copied from then on.
fn initialised() -> PathBuf {
    let user = Uid::effective();
    let version =
        binaries().ancestors().nth(1).and_then(Path::file_name).map(|name| name.display().to_string());
    let version = version.unwrap_or_default();
    let template = std::env::temp_dir().join(format!("deploymind-initdb-{version}-{user}"));
    let lock = File::create(template.with_extension("lock")).expect("a lock file in the temporary directory");
    lock.lock().expect("lock a file of our own");
    if !template.exists() {
        let directory = owned_directory("initdb-");
        let data = directory.path().join("data");
        let mut initdb = unprivileged("initdb", &binaries().join("initdb"))
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"])
            .arg("--pgdata")
            .arg(&data)
            .directory(directory.path())
            .start();
        assert!(initdb.wait().success(), "initdb failed:\n{}", initdb.log());
        // One rename, so that a template that exists is a whole one.
        fs::rename(&data, &template).expect("move the fresh cluster into place");
    }
    template
}

/// A directory the server's account can write to.
fn owned_directory(prefix: &str) -> TempDir {
    let directory = tempfile::Builder::new().prefix(prefix).tempdir().expect("a temporary directory");
    if Uid::effective().is_root() {
        let postgres = User::from_name("postgres")
            .expect("the list of accounts")
            .expect("an account `postgres`: run `make test`, it installs Postgres");
        chown(directory.path(), Some(postgres.uid.as_raw()), Some(postgres.gid.as_raw()))
            .expect("chown our directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700))
            .expect("chmod our directory");
    }
    directory
}

/// Debian keeps the server's programs outside PATH, one directory per version; the newest is taken.
fn binaries() -> PathBuf {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            bin.join("initdb").is_file().then_some((version, bin))
        })
        .collect();
    versions.sort();
    let (_, newest) =
        versions.pop().expect("Postgres in /usr/lib/postgresql: run `make test`, it installs it");
    newest
}

fn run<const N: usize>(program: &str, options: [&str; N], paths: &[&Path]) {
    let done = Command::new(program).args(options).args(paths).status();
    assert!(done.is_ok_and(|status| status.success()), "{program} {options:?} {paths:?} failed");
}
