//! A git server over smart HTTP, with the real `git http-backend`, whose repositories a test fills and whose answers it may spoil.

mod repository;
mod server;
pub mod ssh;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use repository::{Entry, Repository};

/// What goes wrong with every answer until it is taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status, without a body.
    Status(u16),
    /// The request is read and never answered.
    Hang,
    /// References are told; the pack never begins.
    HangPack,
    /// 100 bytes at a time, with this pause between them.
    Drip(Duration),
    /// 301 to the same path on another server, `scheme://host:port`.
    Redirect(String),
}

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub path: String,
    pub query: String,
    pub authorization: Option<String>,
}

#[derive(Default)]
struct Settings {
    fault: Option<Fault>,
    /// The whole `Authorization` header that is asked for.
    demand: Option<String>,
    /// Protocol 0, in which a server gives tips of branches alone.
    tips_only: bool,
    seen: Vec<Seen>,
}

type Shared = Arc<Mutex<Settings>>;

fn lock(settings: &Shared) -> std::sync::MutexGuard<'_, Settings> {
    settings.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves until dropped.
pub struct GitServer {
    // Before the directory: no backend may run in it when it is removed.
    _task: JoinSet<()>,
    settings: Shared,
    address: SocketAddr,
    directory: TempDir,
}

impl GitServer {
    /// # Panics
    /// When no loopback port can be had.
    pub async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("git-").tempdir().expect("a temporary directory");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let settings = Shared::default();
        let mut task = JoinSet::new();
        task.spawn(server::serve(listener, directory.path().to_owned(), Arc::clone(&settings)));
        Self { _task: task, settings, address, directory }
    }

    /// A new, empty, bare repository.
    #[must_use]
    pub fn repository(&self, name: &str) -> Repository {
        Repository::create(&self.directory.path().join(name))
    }

    /// `http://127.0.0.1:<port>/<name>`.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// From now on every request needs this token as the password of Basic authentication, under this user name.
    pub fn demand_basic(&self, user: &str, token: &str) {
        let credential = base64(format!("{user}:{token}").as_bytes());
        lock(&self.settings).demand = Some(format!("Basic {credential}"));
    }

    pub fn demand_bearer(&self, token: &str) {
        lock(&self.settings).demand = Some(format!("Bearer {token}"));
    }

    pub fn fault(&self, fault: Option<Fault>) {
        lock(&self.settings).fault = fault;
    }

    /// Refuses commits that no branch points at, as older servers do.
    pub fn tips_only(&self) {
        lock(&self.settings).tips_only = true;
    }

    /// All requests so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.settings).seen.clone()
    }
}

/// git for the harness's own use: nothing of the machine's configuration, and nobody's name.
fn git(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(directory);
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(name);
    }
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("HOME", directory)
        .env("LC_ALL", "C");
    command
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or_default());
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let six = usize::try_from(bits >> (18 - 6 * place) & 63).expect("six bits");
            out.push(if place > chunk.len() { '=' } else { char::from(ALPHABET[six]) });
        }
    }
    out
}
