//! What the app knows while it runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::settings::Settings;

const REACH: Duration = Duration::from_secs(1);

pub struct App {
    pub settings: Settings,
    pub since: Instant,
    hits: AtomicU64,
    /// Connections, and the WebSockets that were made of some.
    pub tasks: TaskTracker,
    pub leaving: CancellationToken,
}

impl App {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            since: Instant::now(),
            hits: AtomicU64::new(0),
            tasks: TaskTracker::new(),
            leaving: CancellationToken::new(),
        }
    }

    /// Counts a user's request; its number, the first is 1.
    pub fn hit(&self) -> u64 {
        self.hits.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Why the request with this number is to be answered 500.
    pub async fn trouble(&self, number: u64) -> Option<String> {
        if self.settings.errors.takes(number) {
            return Some("as it was told".to_owned());
        }
        let dependency = self.settings.dependency.as_ref()?;
        match timeout(REACH, reach(dependency)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("{dependency}: {error}")),
            Err(_) => Some(format!("{dependency}: no connection within {REACH:?}")),
        }
    }
}

async fn reach(dependency: &url::Url) -> std::io::Result<()> {
    let host = dependency.host_str().unwrap_or_default();
    let port = dependency.port_or_known_default().unwrap_or_default();
    TcpStream::connect((host.trim_matches(['[', ']']), port)).await.map(drop)
}
