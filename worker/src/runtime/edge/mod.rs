//! The edge: the nginx in front of the slots of a host, and the only way users reach them. This module owns its
//! configuration, the script that changes it (`dm-edge`), and what its log says about traffic. It does not know how the
//! edge is reached ([`Shell`]) nor how its container is made ([`install`] says what it needs).
//!
//! # Guarantees
//! A change is refused with a lower epoch than the edge has seen; it is whole or not at all, also across a `kill -9`; it
//! loses no request that was accepted before, and after it returned no new request goes where it went before.
//!
//! # Assumptions
//! One edge belongs to one target, and runs in the network namespace of the host.

mod answers;
mod install;
mod render;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use deploymind_shared::domain::slot::{HealthCheck, HealthKind};
use deploymind_shared::ids::AppId;
use deploymind_shared::retry::Stop;

pub use self::answers::{Alive, Answer, Holder};
pub use self::install::{File, Install, STATE_FOLDER, install};
use super::{Cursor, Fence, Route, SlotName, Standing, Traffic};

/// How long a change may take: waiting for another one, closing, loading, and taking it back.
const CHANGE: Duration = Duration::from_secs(90);
const QUESTION: Duration = Duration::from_secs(20);
/// The longest the script waits in one call for the end of old requests, so that a wait that was given up ends soon.
const DRAIN_SLICE: Duration = Duration::from_secs(10);
/// Most addresses asked in one probe: those of the most copies an app may have.
const PROBES_MAX: usize = 64;

/// What a program wrote, and how it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    pub code: i64,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Runs a program where the edge lives: `docker exec`, or a shell over SSM.
///
/// # Errors
/// Only when the program could not be run, or not to its end within `deadline`. How it ended is in the [`Output`].
#[async_trait]
pub trait Shell: Send + Sync {
    async fn run(&self, args: &[String], stdin: &[u8], deadline: Duration) -> Result<Output, Stop>;
}

/// A slot as the edge sees it: where its copies listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    pub slot: SlotName,
    pub addresses: Vec<SocketAddr>,
}

/// What all routes of an edge have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where apps with host names are served. Listened on once there is one.
    pub shared_port: u16,
    /// The largest body of a request. It is read whole before the app sees it, so that a slow sender does not hold the
    /// app; too high and few senders fill the host's disk, too low and uploads are refused with 413.
    pub body_max_mb: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { shared_port: 80, body_max_mb: 1024 }
    }
}

pub struct Edge<S> {
    shell: S,
    settings: Settings,
}

impl<S: Shell> Edge<S> {
    pub fn new(shell: S) -> Self {
        Self::with(shell, Settings::default())
    }

    pub fn with(shell: S, settings: Settings) -> Self {
        Self { shell, settings }
    }

    /// Makes the edge refuse every lower epoch from now on. To be called before anything on the host is touched.
    ///
    /// # Errors
    /// `EpochRefused`: it has seen a higher one, or is the edge of another target.
    pub async fn admit(&self, fence: &Fence) -> Result<(), Stop> {
        self.call(&["admit", fence.target.as_str(), &fence.epoch.to_string()], b"", QUESTION).await.map(drop)
    }

    /// Sends users where `route` says. `old` and `new` are the slots that it names, with their addresses.
    ///
    /// # Errors
    /// `EpochRefused`, `RouteTaken`, `EdgePortTaken`, `EdgeConfig`, `EdgeUnavailable`: traffic is where it was.
    pub async fn route(
        &self,
        fence: &Fence,
        route: &Route,
        old: Option<&Upstream>,
        new: Option<&Upstream>,
    ) -> Result<(), Stop> {
        let (app, epoch) = (route.app.id.to_string(), fence.epoch.to_string());
        let target = fence.target.as_str();
        match render::render(&self.settings, fence.epoch, route, old, new)? {
            Some(file) => self.call(&["put", target, &epoch, &app], file.as_bytes(), CHANGE).await,
            None => self.call(&["drop", target, &epoch, &app], b"", CHANGE).await,
        }
        .map(drop)
    }

    /// Where users of an app are sent; `None` if nowhere.
    pub async fn standing(&self, app: AppId) -> Result<Option<Standing>, Stop> {
        answers::standing(&self.call(&["standing", &app.to_string()], b"", CHANGE).await?)
    }

    /// Waits until nothing that was accepted before the last change is under way; `false` if `most` was not enough.
    pub async fn drained(&self, most: Duration) -> Result<bool, Stop> {
        let start = tokio::time::Instant::now();
        loop {
            let slice = most.saturating_sub(start.elapsed()).min(DRAIN_SLICE);
            let seconds = format!("{:.1}", slice.as_secs_f64());
            if answers::yes(&self.call(&["drained", &seconds], b"", slice + CHANGE).await?)? {
                return Ok(true);
            }
            if start.elapsed() >= most {
                return Ok(false);
            }
        }
    }

    /// Asks each address once, all at the same time; the answers are in the order of the addresses.
    pub async fn probe(&self, addresses: &[SocketAddr], check: &HealthCheck) -> Result<Vec<Answer>, Stop> {
        let kind = match check.kind {
            HealthKind::Http => "http",
            HealthKind::Tcp => "tcp",
        };
        let timeout = Duration::from_millis(check.timeout_ms.into());
        let mut answers = Vec::with_capacity(addresses.len());
        for some in addresses.chunks(PROBES_MAX) {
            let seconds = format!("{:.3}", timeout.as_secs_f64());
            let some: Vec<String> = some.iter().map(SocketAddr::to_string).collect();
            let mut args = vec!["probe", kind, &seconds, &check.path];
            args.extend(some.iter().map(String::as_str));
            let output = self.call(&args, b"", timeout + QUESTION).await?;
            answers.extend(answers::probes(&output, some.len())?);
        }
        Ok(answers)
    }

    /// What came since `from`, of the present route of an app.
    pub async fn traffic(&self, app: AppId, from: &Cursor) -> Result<(Traffic, Cursor), Stop> {
        let from = if from.0.is_empty() { "-" } else { &from.0 };
        answers::traffic(&self.call(&["traffic", &app.to_string(), from], b"", CHANGE).await?)
    }

    /// Who listens on a port of the host.
    pub async fn port_holder(&self, port: u16) -> Result<Holder, Stop> {
        answers::holder(&self.call(&["port", &port.to_string()], b"", QUESTION).await?)
    }

    /// Whether the edge serves.
    ///
    /// # Errors
    /// `EdgeUnavailable` when it does not.
    pub async fn alive(&self) -> Result<Alive, Stop> {
        answers::alive(&self.call(&["alive"], b"", QUESTION).await?)
    }

    async fn call(&self, args: &[&str], stdin: &[u8], deadline: Duration) -> Result<Vec<u8>, Stop> {
        let args: Vec<String> =
            std::iter::once(install::SCRIPT).chain(args.iter().copied()).map(str::to_owned).collect();
        answers::taken(self.shell.run(&args, stdin, deadline).await?)
    }
}
