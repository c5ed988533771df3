//! What a run leaves behind for the checker.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

pub type Job = Uuid;
pub type Target = String;
pub type Epoch = i64;

/// Something one attempt did, as its sink answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The order in which Postgres saw it; a `bigserial`.
    pub at: i64,
    pub job: Job,
    pub attempt: i32,
    pub worker: String,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Started,
    EffectAccepted(Effect),
    EffectRefused(Effect),
    FinishAccepted {
        outcome: String,
    },
    FinishRefused,
    /// Each target with the epoch this attempt took on it.
    Locked(BTreeMap<Target, Epoch>),
    Unlocked(BTreeSet<Target>),
}

/// A change of the outside world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Within a job; one that is accepted twice under one name was done twice.
    pub name: String,
    /// What it changed and the epoch it carried; `None` for one that concerns no target.
    pub fence: Option<(Target, Epoch)>,
}

impl Effect {
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), fence: None }
    }

    #[must_use]
    pub fn on(name: &str, target: &str, epoch: Epoch) -> Self {
        Self { name: name.to_owned(), fence: Some((target.to_owned(), epoch)) }
    }
}

/// A whole run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Jobs whose caller was told they were accepted: each must finish.
    pub accepted: BTreeSet<Job>,
    /// Jobs whose caller got no answer (it timed out, the gateway died): each may finish.
    pub uncertain: BTreeSet<Job>,
    /// In any order.
    pub events: Vec<Event>,
    /// Whether a later attempt may do again what an earlier one did. Off, every effect must be accepted at most once per job.
    pub retries_may_repeat_effects: bool,
}

impl History {
    #[must_use]
    pub fn new(accepted: impl IntoIterator<Item = Job>, events: Vec<Event>) -> Self {
        Self { accepted: accepted.into_iter().collect(), events, ..Self::default() }
    }
}
