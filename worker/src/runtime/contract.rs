//! What a roll-out may ask of a target, whatever kind of target it is.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use deploymind_shared::clock::Timestamp;
use deploymind_shared::domain::release::ReleaseSpec;
use deploymind_shared::domain::slot::{HealthCheck, Routes, SlotSettings};
use deploymind_shared::error::{Code, Error};
use deploymind_shared::ids::{AppId, DeploymentId, Epoch, ReleaseId, TargetName};
use deploymind_shared::retry::Stop;
use futures::stream::BoxStream;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// How many of a slot's own last lines are kept when it failed.
pub const LAST_LINES: usize = 200;

/// Carried by every call that acts. A target refuses an epoch that is lower than the highest it has seen, with
/// `EpochRefused`, and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    pub target: TargetName,
    pub epoch: Epoch,
}

/// An app as targets know it: the id tells it from others of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppRef {
    pub id: AppId,
    pub name: String,
}

/// The running or stopped copies of one release on one target. Its name holds the epoch it was launched in, so no two
/// launches share one: `dm-shop-41`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SlotName(pub String);

impl SlotName {
    /// `prefix` is `dm`, or the fleet's name where it is another than `deploymind`.
    pub fn new(prefix: &str, app: &AppRef, epoch: Epoch) -> Self {
        Self(format!("{prefix}-{}-{epoch}", app.name))
    }

    /// The name of one copy; the first has the slot's own.
    pub fn copy(&self, index: u16) -> String {
        if index == 0 { self.0.clone() } else { format!("{}-{}", self.0, index + 1) }
    }
}

impl std::fmt::Display for SlotName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everything that is needed to run a release somewhere.
#[derive(Debug, Clone)]
pub struct Launch {
    pub app: AppRef,
    pub slot: SlotName,
    pub release: ReleaseId,
    pub deployment: DeploymentId,
    pub spec: ReleaseSpec,
    pub variables: Vec<(String, SecretString)>,
    /// Whether the app may mount paths of the host.
    pub host_mounts: bool,
}

/// What is on a target of one app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scene {
    /// Oldest epoch first.
    pub slots: Vec<Slot>,
    /// `None`: users are not routed anywhere.
    pub route: Option<Standing>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub name: SlotName,
    pub release: ReleaseId,
    pub deployment: DeploymentId,
    pub epoch: Epoch,
    pub copies: Vec<Copy>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    pub name: String,
    pub running: bool,
    /// How often the engine started it again by itself.
    pub restarts: u32,
    pub address: Option<SocketAddr>,
}

/// Where users are sent now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub epoch: Epoch,
    pub old: Option<SlotName>,
    pub new: Option<SlotName>,
    pub weight: u8,
}

/// Where users are to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub app: AppRef,
    pub routes: Routes,
    /// Gets what `new` does not. Also what cannot be delivered to `new` goes here, for as long as it is named.
    pub old: Option<SlotName>,
    pub new: Option<SlotName>,
    /// The share of the requests for `new`, in percent.
    pub weight: u8,
    /// A visitor stays with the release that answered first.
    pub sticky: bool,
    /// `X-DeployMind-Slot: new|old` chooses, at any weight.
    pub header: bool,
}

/// What one look at a slot's health found; all of its copies must be good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    Good {
        /// Of all copies together: one that dies and is started again looks healthy in between.
        restarts: u32,
    },
    Bad(Finding),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub code: FindingCode,
    /// For the person who deployed.
    pub sentence: String,
    /// Asking again will not help: the program has ended for good.
    pub last: bool,
}

deploymind_shared::domain::text_enum! {
    /// Why a slot is not healthy.
    FindingCode {
        /// There is no such slot, or it is stopped.
        Absent = "absent",
        Exited = "exited",
        OutOfMemory = "out_of_memory",
        PortClosed = "port_closed",
        /// Another status than expected, or no HTTP at all.
        WrongAnswer = "wrong_answer",
        NoAnswer = "no_answer",
    }
}

impl FindingCode {
    pub const fn code(self) -> Code {
        match self {
            FindingCode::Absent | FindingCode::Exited => Code::SlotExited,
            FindingCode::OutOfMemory => Code::SlotMemory,
            FindingCode::PortClosed => Code::PortClosed,
            FindingCode::WrongAnswer => Code::HealthStatus,
            FindingCode::NoAnswer => Code::HealthTimeout,
        }
    }
}

/// What is kept of a slot that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remains {
    /// How it ended, if it did: `exit code 1`, `killed for want of memory`.
    pub ended: Option<String>,
    /// At most [`LAST_LINES`] lines of its own log, oldest first, as it wrote them.
    pub log: Vec<String>,
}

/// Requests that users made of each slot since the present route was set. Health checks are not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    pub slots: BTreeMap<SlotName, Tally>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub requests: u64,
    /// Answered with 5xx, or not at all.
    pub errors: u64,
    /// Answers by how long they took: bucket `b` holds those of at most 2^(b/4) ms and more than 2^((b-1)/4) ms.
    pub latency: BTreeMap<i16, u64>,
}

impl Tally {
    /// An upper bound of the quantile `q` in ms, at most 19 % above it. `None` without requests.
    pub fn latency_ms(&self, q: f64) -> Option<f64> {
        let all: u64 = self.latency.values().sum();
        let mut seen = 0;
        for (bucket, count) in &self.latency {
            seen += count;
            if seen as f64 >= q * all as f64 {
                return Some(2f64.powf(f64::from(*bucket) / 4.0));
            }
        }
        None
    }

    pub fn add(&mut self, other: &Tally) {
        self.requests += other.requests;
        self.errors += other.errors;
        for (bucket, count) in &other.latency {
            *self.latency.entry(*bucket).or_default() += count;
        }
    }
}

/// How much of a target's count of requests was read. The first reading begins at the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor(pub String);

/// A line of a slot's own log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotLine {
    pub copy: String,
    pub stderr: bool,
    pub line: String,
}

/// What one copy uses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Usage {
    pub copy: String,
    pub at: Timestamp,
    /// 100 is one core.
    pub cpu_percent: f64,
    pub memory_bytes: u64,
    pub memory_limit_bytes: Option<u64>,
    pub network_received_bytes: u64,
    pub network_sent_bytes: u64,
    pub disk_read_bytes: u64,
    pub disk_written_bytes: u64,
}

/// One target.
///
/// # Guarantees an implementation gives
/// It does what it is told and decides nothing. Every acting call may be repeated, also by another worker after a crash at any
/// point of it, and then ends in the same state; a call that is dropped half way leaves nothing that a repetition does not
/// mend. It touches only what carries this fleet's labels.
///
/// # Errors
/// `Retryable` when the target cannot be reached; `EpochRefused` from acting calls; other codes as named.
#[async_trait]
pub trait Runtime: Send + Sync {
    async fn inspect(&self, app: &AppRef) -> Result<Scene, Stop>;

    /// What stands in the way of serving this app here, as sentences: a port in use, a name taken. Reads only.
    async fn obstacles(&self, app: &AppRef, run: &SlotSettings) -> Result<Vec<Error>, Stop>;

    /// Sees to it that the image of a release is on the target. Needs no fence: images are what their digest says.
    /// `ImageMissing`, `ImagePlatform`, `DiskFull`, and those of registries.
    async fn provide(&self, launch: &Launch) -> Result<(), Stop>;

    /// Creates what is missing of a slot and starts what does not run. Does not wait for health.
    /// `SlotRefused`, `NameTaken`, `HostMountRefused`, `NetworkUnusable`, `DiskFull`.
    async fn launch(&self, fence: &Fence, launch: &Launch) -> Result<(), Stop>;

    /// Looks once, from where the edge stands.
    async fn probe(&self, slot: &SlotName, port: u16, check: &HealthCheck) -> Result<Health, Stop>;

    async fn remains(&self, slot: &SlotName) -> Result<Remains, Stop>;

    /// Sends users where `route` says; returns when every new request goes there. With neither side named, nobody is
    /// routed. `EdgePortTaken`, `RouteTaken`, `EdgeConfig`, `EdgeUnavailable`: then traffic is where it was.
    async fn route(&self, fence: &Fence, route: &Route, port: u16) -> Result<(), Stop>;

    /// Waits until nothing that was accepted under an earlier route is under way; `false` if `most` was not enough.
    async fn drained(&self, most: Duration) -> Result<bool, Stop>;

    /// What came since `from`, of the present route.
    async fn traffic(&self, app: &AppRef, from: &Cursor) -> Result<(Traffic, Cursor), Stop>;

    /// Ends the programs of a slot with its own signal and grace; it can be launched again.
    async fn stop(&self, fence: &Fence, slot: &SlotName) -> Result<(), Stop>;

    /// Ends it and takes it away. Named volumes stay.
    async fn retire(&self, fence: &Fence, slot: &SlotName) -> Result<(), Stop>;

    /// Lines from the last `tail` on, then live, until it is dropped or every copy has ended.
    async fn logs(
        &self,
        slot: &SlotName,
        tail: usize,
    ) -> Result<BoxStream<'static, Result<SlotLine, Stop>>, Stop>;

    /// About once a second for each running copy, until it is dropped.
    async fn usage(&self, slot: &SlotName) -> Result<BoxStream<'static, Result<Usage, Stop>>, Stop>;
}
