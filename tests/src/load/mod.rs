//! The users of an app that is rolled out: a process of its own that asks at a steady rate and overlooks no failure.
//!
//! The program is `load`; this is the harness's end of it, and what it and the sample app have in common.

mod report;
mod share;
pub mod websocket;

use std::time::Duration;

use nix::sys::signal::Signal;
use serde::de::DeserializeOwned;

use crate::process::{Proc, ProcBuilder, workspace_binary};
use crate::wait_for;

pub use report::{Failed, FailureKind, Latency, Moment, Report, Sighting, Version};
pub use share::Share;

/// The name of the header in which the sample app says its release.
pub const VERSION_HEADER: &str = "x-version";
/// What the program writes to stderr when the first request came to an end.
pub const UNDER_WAY: &str = "the load is under way";
const PROGRAM: &str = "load";
const START: Duration = Duration::from_secs(10);

/// FNV-1a: whether a body arrived as it was sent.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// What the users do; [`Load::of`] makes one.
pub struct LoadBuilder {
    url: String,
    host: Option<String>,
    rate: f64,
    connections: usize,
    slow: usize,
    slow_for: Duration,
    posts: f64,
    websockets: usize,
    echo_every: Duration,
    timeout: Duration,
    lasts: Option<Duration>,
}

/// Users at work. Dropped, they are gone at once.
pub struct Load {
    process: Proc,
    /// The longest that a request may still take.
    tail: Duration,
    lasts: Option<Duration>,
}

impl Load {
    /// 200 requests a second over 20 connections; a fifth of them send something. Nothing slow and no WebSocket.
    #[must_use]
    pub fn of(url: &str) -> LoadBuilder {
        LoadBuilder {
            url: url.to_owned(),
            host: None,
            rate: 200.0,
            connections: 20,
            slow: 0,
            slow_for: Duration::from_secs(5),
            posts: 20.0,
            websockets: 0,
            echo_every: Duration::from_millis(500),
            timeout: Duration::from_secs(5),
            lasts: None,
        }
    }

    /// The counts so far.
    pub async fn so_far(&mut self) -> Report {
        let before = self.process.stdout().lines().count();
        self.process.signal(Signal::SIGUSR1);
        wait_for("the load says how it does", START, async || {
            let stdout = self.process.stdout();
            match stdout.lines().nth(before) {
                Some(line) if stdout.ends_with('\n') => Ok(parsed(line)),
                _ => Err(self.process.log()),
            }
        })
        .await
    }

    /// Asks nothing new, waits for what is under way, and says what was seen.
    pub async fn finish(mut self) -> Report {
        self.process.sigterm();
        self.ended().await
    }

    /// Waits until the time that it was to last is over.
    ///
    /// # Panics
    /// When it was to last until it is finished.
    pub async fn over(self) -> Report {
        assert!(self.lasts.is_some(), "this load ends only when it is told");
        self.ended().await
    }

    async fn ended(mut self) -> Report {
        let deadline = self.lasts.unwrap_or_default() + self.tail + START;
        last_line(&mut self.process, deadline).await
    }
}

impl LoadBuilder {
    /// The name that is asked for, when it is not the one of the address.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// Requests per second, however late the answers are.
    #[must_use]
    pub fn rate(mut self, per_second: f64) -> Self {
        self.rate = per_second;
        self
    }

    /// Connections that are kept open and used in turn; more are opened while all of them are busy.
    #[must_use]
    pub fn connections(mut self, count: usize) -> Self {
        self.connections = count;
        self
    }

    /// Beside the rate, this many requests under way at any time that take this long each.
    #[must_use]
    pub fn slow(mut self, count: usize, each: Duration) -> Self {
        (self.slow, self.slow_for) = (count, each);
        self
    }

    /// The share of the requests, in percent, that send a body of up to 64 KiB and check what arrived.
    #[must_use]
    pub fn posts(mut self, percent: f64) -> Self {
        self.posts = percent;
        self
    }

    /// WebSockets that send something each `every` and want it back.
    #[must_use]
    pub fn websockets(mut self, count: usize, every: Duration) -> Self {
        (self.websockets, self.echo_every) = (count, every);
        self
    }

    /// A request without a whole answer by then has failed.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Ends by itself; see [`Load::over`].
    #[must_use]
    pub fn lasts(mut self, duration: Duration) -> Self {
        self.lasts = Some(duration);
        self
    }

    /// Returns when the first request came to an end.
    pub async fn start(self) -> Load {
        let mut process = program(&self.url, self.host.as_deref())
            .args(["--rate", &self.rate.to_string()])
            .args(["--connections", &self.connections.to_string()])
            .args(["--slow", &self.slow.to_string()])
            .args(["--slow-ms", &self.slow_for.as_millis().to_string()])
            .args(["--posts", &self.posts.to_string()])
            .args(["--websockets", &self.websockets.to_string()])
            .args(["--echo-ms", &self.echo_every.as_millis().to_string()])
            .args(["--timeout-ms", &self.timeout.as_millis().to_string()]);
        if let Some(lasts) = self.lasts {
            process = process.args(["--seconds", &lasts.as_secs_f64().to_string()]);
        }
        let process = process.start();
        wait_for("the first request to end", self.timeout + START, async || {
            let log = process.stderr();
            if log.contains(UNDER_WAY) { Ok(()) } else { Err(log) }
        })
        .await;
        Load { process, tail: self.timeout + self.slow_for, lasts: self.lasts }
    }
}

/// Somebody who asks again and again, each time over a new connection, until a release answers.
pub struct Lookout {
    process: Proc,
    within: Duration,
}

impl Lookout {
    /// # Panics
    /// When the program cannot be started.
    #[must_use]
    pub fn start(url: &str, host: Option<&str>, version: &str, every: Duration, within: Duration) -> Self {
        let process = program(url, host)
            .args(["--until-version", version])
            .args(["--every-ms", &every.as_millis().to_string()])
            .args(["--seconds", &within.as_secs_f64().to_string()])
            .start();
        Self { process, within }
    }

    pub async fn sighting(mut self) -> Sighting {
        last_line(&mut self.process, self.within + START).await
    }
}

/// How long a request takes, one after another over one connection; a tenth more goes first, unmeasured.
pub async fn latency(url: &str, host: Option<&str>, requests: u64, deadline: Duration) -> Latency {
    let mut process = program(url, host).args(["--latency", &requests.to_string()]).start();
    last_line(&mut process, deadline).await
}

fn program(url: &str, host: Option<&str>) -> ProcBuilder {
    let process = Proc::builder(PROGRAM, workspace_binary(PROGRAM)).args(["--url", url]);
    match host {
        Some(host) => process.args(["--host", host]),
        None => process,
    }
}

async fn last_line<T: DeserializeOwned>(process: &mut Proc, deadline: Duration) -> T {
    let exit = process.wait_exit(deadline).await;
    assert!(exit.success(), "{PROGRAM}: {exit}\n{}", process.log());
    parsed(process.stdout().lines().last().unwrap_or_default())
}

fn parsed<T: DeserializeOwned>(line: &str) -> T {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{PROGRAM} printed {line:?}: {error}"))
}
