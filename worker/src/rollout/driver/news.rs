//! What a roll-out says while it happens: the pipeline makes events and log lines of it.

use deploymind_shared::ids::TargetName;
use serde::Serialize;

use crate::rollout::contract::{Ending, Side, Why};
use crate::runtime::{Finding, SlotName};

/// Told at least once each: a successor may say again what was said before a crash.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "news", rename_all = "snake_case")]
pub enum News {
    /// A worker goes on where another one ended.
    TakenOver,
    Launching {
        side: Side,
        slots: Vec<(TargetName, SlotName)>,
    },
    Healthy {
        side: Side,
        targets: Vec<TargetName>,
    },
    Unhealthy {
        side: Side,
        target: TargetName,
        slot: SlotName,
        finding: Finding,
        /// How it ended, if it did.
        ended: Option<String>,
        /// Its own last lines, oldest first.
        log: Vec<String>,
    },
    Routed {
        weight: u8,
        targets: Vec<TargetName>,
    },
    /// A canary's share is being counted. `stage` counts from 1.
    Stage {
        stage: usize,
        of: usize,
        weight: u8,
    },
    /// What the numbers of a stage said. `None`: they could not be read.
    Verdict {
        stage: usize,
        passed: bool,
        sentence: String,
        new: Option<Count>,
        old: Option<Count>,
    },
    Held {
        reason: String,
    },
    Resumed,
    TurningBack {
        why: Why,
    },
    /// `cut`: requests were still under way when the time for them was over.
    Drained {
        targets: Vec<TargetName>,
        cut: bool,
    },
    Retired {
        side: Side,
        targets: Vec<TargetName>,
        kept: bool,
    },
    /// Something could not be done that the roll-out does not turn back for: it does already, or users are where they are
    /// to be.
    Failed {
        code: String,
        sentence: String,
    },
    /// A route was not what it should be at the end and was set once more.
    Corrected {
        target: TargetName,
    },
    NeitherHealthy,
    Ended {
        ending: Ending,
    },
}

/// Requests of a side in a window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Count {
    pub requests: u64,
    pub errors: u64,
    pub p95_ms: Option<f64>,
}

impl From<&crate::runtime::Tally> for Count {
    fn from(tally: &crate::runtime::Tally) -> Self {
        Self { requests: tally.requests, errors: tally.errors, p95_ms: tally.latency_ms(0.95) }
    }
}
