//! The words between the machine that decides and the driver that does.

use std::time::Duration;

use deploymind_shared::domain::rollout::{RolloutCommand, RolloutOutcome, RolloutSettings};
use serde::{Deserialize, Serialize};

use crate::runtime::{Finding, Traffic};

/// What a roll-out is given to decide about. Targets are numbers here: `0..targets`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub settings: RolloutSettings,
    pub targets: usize,
    /// Whether something serves already that can be gone back to, on each target.
    pub has_old: bool,
    /// Two copies of the app must not run at once: the old one is stopped before the new one starts.
    pub may_overlap: bool,
    /// A way back that a person asked for: straight to 100 %, without stages.
    pub direct: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    Old,
    New,
}

/// What is to be done next. Each may be done again after a crash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Action {
    /// Start a side's slots on these targets. `Observation::Done`, `Failed`.
    Launch {
        side: Side,
        targets: Vec<usize>,
    },
    /// Ask until all of them are healthy, or it is known that they will not be. `Healthy`, `Unhealthy`.
    AwaitHealthy {
        side: Side,
        targets: Vec<usize>,
    },
    /// Ask both sides once, before the way back. `Looked`.
    Look,
    /// Give the new side this share of the requests on these targets. `Done`, `Failed`.
    Route {
        weight: u8,
        targets: Vec<usize>,
    },
    /// Count requests of both sides and keep asking for the new side's health. The driver reports often (`Sample`); the
    /// machine says when it is enough.
    Observe {
        stage: usize,
    },
    /// Keep asking for the new side's health. The driver reports often (`Sample`).
    Watch,
    /// Wait until the edge has let go of what it accepted under earlier routes. `Done`.
    Drain,
    /// End a side's slots on these targets; `keep`: so that they can be launched again. `Done`, `Failed`.
    Retire {
        side: Side,
        targets: Vec<usize>,
        keep: bool,
    },
    /// Wait for a person, and keep asking for the new side's health. The driver reports often (`Sample`).
    Hold {
        reason: String,
    },
    End(Ending),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    pub outcome: RolloutOutcome,
    /// Why it did not end as it was meant to.
    pub why: Option<Why>,
}

/// Why a roll-out turned back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Why {
    /// Something could not be done on a target.
    Refused {
        code: String,
        sentence: String,
    },
    /// The new side did not become healthy, or was no longer.
    Unhealthy {
        finding: Finding,
        after_traffic: bool,
    },
    /// The canary was judged.
    Verdict {
        sentence: String,
    },
    /// Too little to judge by.
    Insufficient {
        sentence: String,
    },
    Aborted,
    Cancelled,
    /// It stood paused for longer than it may.
    PauseTooLong,
}

/// What the driver saw.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// The action in hand is done.
    Done,
    Healthy,
    Unhealthy(Finding),
    /// Which sides pass their health check now.
    Looked {
        old: bool,
        new: bool,
    },
    /// The action could not be done and will not be.
    Failed {
        code: String,
        sentence: String,
    },
    Sample(Sample),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Since the action in hand was begun, or was last begun again.
    pub elapsed: Duration,
    /// Since the present route was set, or since a hold that came with enough requests to judge by. `None`: it could not be read.
    pub new: Option<crate::runtime::Tally>,
    pub old: Option<crate::runtime::Tally>,
    /// The new side's health now, where it was asked.
    pub unhealthy: Option<Finding>,
}

/// What a person, or the job's own stop, asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    Pause,
    Resume,
    Promote,
    Abort,
    /// The deployment is to end.
    Cancel,
}

impl From<RolloutCommand> for Ask {
    fn from(command: RolloutCommand) -> Self {
        match command {
            RolloutCommand::Pause => Ask::Pause,
            RolloutCommand::Resume => Ask::Resume,
            RolloutCommand::Promote => Ask::Promote,
            RolloutCommand::Abort => Ask::Abort,
        }
    }
}

/// The requests of a window by side; which slot was which.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sides {
    pub new: crate::runtime::Tally,
    pub old: crate::runtime::Tally,
}

impl Sides {
    pub fn of(traffic: &Traffic, new: &[crate::runtime::SlotName]) -> Self {
        let mut sides = Self::default();
        for (slot, tally) in &traffic.slots {
            if new.contains(slot) { sides.new.add(tally) } else { sides.old.add(tally) }
        }
        sides
    }
}
