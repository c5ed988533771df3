//! What travels in the queue: a kind and ids, nothing else. The record holds the rest.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::text_enum;
use crate::ids::{DeploymentId, TargetName};

text_enum! {
    /// Where a job stands in the record.
    JobState {
        /// Waiting: in a queue, parked behind a target, delayed, or for its app's running job.
        Queued = "queued",
        /// A worker has claimed it.
        Running = "running",
        Succeeded = "succeeded",
        Failed = "failed",
        Cancelled = "cancelled",
        Superseded = "superseded",
        /// Its worker died with it too often. A person can retry it.
        Quarantined = "quarantined",
    }
}

impl JobState {
    pub const fn is_terminal(self) -> bool {
        !matches!(self, JobState::Queued | JobState::Running)
    }
}

text_enum! {
    /// Who asked a running job to stop.
    CancelReason {
        User = "user",
        Superseded = "superseded",
    }
}

/// Two classes; first in, first out within each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Priority {
    Normal,
    /// Taken before anything normal: what a person waits for.
    High,
}

impl Priority {
    pub const fn as_i16(self) -> i16 {
        match self {
            Priority::Normal => 0,
            Priority::High => 1,
        }
    }

    pub const fn from_i16(number: i16) -> Self {
        if number > 0 { Priority::High } else { Priority::Normal }
    }
}

/// When a job takes the locks of its targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locking {
    /// Before it starts: it acts on the target at once.
    AtClaim,
    /// When it asks, at a checkpoint; what comes before runs beside other jobs for the same target.
    WhenAsked,
}

/// How often a job whose worker died is given to another one before it is quarantined.
pub const MAX_RECOVERIES: i32 = 3;

/// From this many recoveries on it is a suspect: two of them are never in one worker's hands, or a job that kills its
/// workers would take its neighbours into quarantine. One recovery is no suspicion; machines fail.
pub const SUSPECT_RECOVERIES: i32 = 2;

/// Longest kind name, in bytes.
pub const KIND_MAX: usize = 40;
/// Largest payload, in bytes of JSON. A payload is ids; anything near this is a mistake.
pub const PAYLOAD_MAX: usize = 8 * 1024;
/// Most targets one job may name.
pub const TARGETS_MAX: usize = 64;

/// A kind of job: the payload's shape plus what the fleet must know about it.
pub trait JobKind: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// On the wire and in the record: `[a-z][a-z0-9_-]*`, at most [`KIND_MAX`] bytes.
    const KIND: &'static str;
    const LOCKING: Locking;
    /// How often it may run when it stops with a retryable error.
    const MAX_TRIES: i32;
    /// How long one run may take. Too low kills honest work; too high lets a hung run keep its target locked.
    const DEADLINE: Duration;
}

/// How long a run may take that holds a roll-out: one may stand paused for a day
/// ([`RolloutSettings::pause_max_s`](super::rollout::RolloutSettings)), and everything around the pause has its own, shorter
/// limits. Lower, and a run that only waits for a person would be ended for it; a run that hangs is found out by the deadlines
/// of its steps long before.
const ROLLOUT_DEADLINE: Duration = Duration::from_secs(26 * 60 * 60);

/// Bring an app to a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deploy {
    pub deployment_id: DeploymentId,
}

impl JobKind for Deploy {
    const KIND: &'static str = "deploy";
    const LOCKING: Locking = Locking::WhenAsked;
    const MAX_TRIES: i32 = 5;
    const DEADLINE: Duration = ROLLOUT_DEADLINE;
}

/// Roll out an earlier release. No build, so it locks at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    pub deployment_id: DeploymentId,
}

impl JobKind for Rollback {
    const KIND: &'static str = "rollback";
    const LOCKING: Locking = Locking::AtClaim;
    const MAX_TRIES: i32 = 5;
    const DEADLINE: Duration = ROLLOUT_DEADLINE;
}

/// Bring a roll-out that its deployment left half way to an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settle {
    pub deployment_id: DeploymentId,
}

impl JobKind for Settle {
    const KIND: &'static str = "settle";
    const LOCKING: Locking = Locking::AtClaim;
    /// Users may be reaching two releases at once until it ends: a target that cannot be reached is tried for long.
    const MAX_TRIES: i32 = 20;
    const DEADLINE: Duration = Duration::from_secs(30 * 60);
}

/// Remove from a target what no app needs any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collect {
    pub target: TargetName,
    /// Say what would go, and why, and leave it.
    pub dry_run: bool,
}

impl JobKind for Collect {
    const KIND: &'static str = "collect";
    const LOCKING: Locking = Locking::AtClaim;
    const MAX_TRIES: i32 = 3;
    const DEADLINE: Duration = Duration::from_secs(30 * 60);
}

/// Does nothing, all the way through: an operator's proof that an environment's workers take, claim and finish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {}

impl JobKind for Probe {
    const KIND: &'static str = "probe";
    const LOCKING: Locking = Locking::AtClaim;
    const MAX_TRIES: i32 = 3;
    const DEADLINE: Duration = Duration::from_secs(60);
}

/// Every kind the product ships, for checks that must hold for each.
pub const KINDS: &[&str] = &[Deploy::KIND, Rollback::KIND, Settle::KIND, Collect::KIND, Probe::KIND];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_on_the_wire_stay_as_they_are() {
        let deployment_id: DeploymentId = "0197c0de-0000-7000-8000-000000000001".parse().expect("id");
        let json = |value: serde_json::Result<String>| value.expect("serializes");
        let ids = r#"{"deployment_id":"0197c0de-0000-7000-8000-000000000001"}"#;
        assert_eq!(json(serde_json::to_string(&Deploy { deployment_id })), ids);
        assert_eq!(json(serde_json::to_string(&Rollback { deployment_id })), ids);
        assert_eq!(json(serde_json::to_string(&Settle { deployment_id })), ids);
        let target = TargetName::parse("docker://local").expect("name");
        let collect = Collect { target, dry_run: true };
        assert_eq!(json(serde_json::to_string(&collect)), r#"{"target":"docker://local","dry_run":true}"#);
        assert_eq!(json(serde_json::to_string(&Probe {})), "{}");
        assert!(serde_json::from_str::<Deploy>(r#"{"deployment_id":"x"}"#).is_err());
        assert!(serde_json::from_str::<Probe>(r#"{"extra":1}"#).is_err());
    }

    #[test]
    fn kinds_are_well_formed_and_distinct() {
        for (i, kind) in KINDS.iter().enumerate() {
            assert!(kind.len() <= KIND_MAX && kind.starts_with(|c: char| c.is_ascii_lowercase()));
            assert!(!KINDS[..i].contains(kind));
        }
    }
}
