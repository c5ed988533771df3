//! What the checker found.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use super::{Epoch, Job, Target};

/// Numbers named `at`, `first` and `finish` are the order numbers of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Accepted, and no finish was ever accepted.
    Lost {
        job: Job,
    },
    /// An effect or a finish of a job nobody was promised.
    Unexpected {
        job: Job,
        at: i64,
    },
    DuplicateFinish {
        job: Job,
        first: i64,
        at: i64,
    },
    /// An effect or a finish accepted from an attempt older than one already accepted.
    Stale {
        job: Job,
        attempt: i32,
        accepted: i32,
        at: i64,
    },
    RepeatedEffect {
        job: Job,
        effect: String,
        first: i64,
        at: i64,
    },
    EffectAfterFinish {
        job: Job,
        finish: i64,
        at: i64,
    },
    /// An effect on a target accepted with a lower epoch than one before it.
    EpochWentBack {
        target: Target,
        before: Epoch,
        after: Epoch,
        at: i64,
    },
    /// One epoch of one target given to two attempts: the fence cannot tell them apart.
    EpochReused {
        target: Target,
        epoch: Epoch,
        at: i64,
    },
    /// `second` locked the target while `first` held it.
    Overlap {
        target: Target,
        first: Job,
        second: Job,
        at: i64,
    },
}

impl Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { job } => write!(f, "lost: {job} was accepted and never finished"),
            Self::Unexpected { job, at } => {
                write!(f, "unexpected: {job} was never accepted, yet acted at {at}")
            }
            Self::DuplicateFinish { job, first, at } => {
                write!(f, "finished twice: {job} at {first} and {at}")
            }
            Self::Stale { job, attempt, accepted, at } => {
                write!(f, "stale: {job} attempt {attempt} was accepted at {at}, after attempt {accepted}")
            }
            Self::RepeatedEffect { job, effect, first, at } => {
                write!(f, "effect twice: {effect} of {job} at {first} and {at}")
            }
            Self::EffectAfterFinish { job, finish, at } => {
                write!(f, "effect after the end: {job} finished at {finish} and acted at {at}")
            }
            Self::EpochWentBack { target, before, after, at } => {
                write!(f, "epoch went back: {target} took epoch {after} at {at}, after {before}")
            }
            Self::EpochReused { target, epoch, at } => {
                write!(f, "epoch used twice: {target} gave epoch {epoch} again at {at}")
            }
            Self::Overlap { target, first, second, at } => {
                write!(f, "two owners: {second} locked {target} at {at} while {first} held it")
            }
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub accepted: usize,
    pub finished: usize,
    /// Finished by another attempt than the first: the work of a dead or fenced worker taken up again.
    pub recovered: usize,
    /// Late writes the fences stopped.
    pub refused_effects: usize,
    pub refused_finishes: usize,
    pub outcomes: BTreeMap<String, usize>,
    pub violations: Vec<Violation>,
}

impl Verdict {
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// # Panics
    /// When there is a violation, and when no job was accepted: an empty history proves nothing.
    pub fn assert_clean(&self) {
        assert!(self.accepted > 0, "the history holds no accepted job, so it proves nothing");
        assert!(self.is_clean(), "{self}");
    }
}

/// How many violations the summary spells out.
const SHOWN: usize = 20;

impl Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "accepted {}, finished {} {:?}, recovered {}, refused {} effects and {} finishes, violations {}",
            self.accepted,
            self.finished,
            self.outcomes,
            self.recovered,
            self.refused_effects,
            self.refused_finishes,
            self.violations.len()
        )?;
        for violation in self.violations.iter().take(SHOWN) {
            write!(f, "\n  {violation}")?;
        }
        if self.violations.len() > SHOWN {
            write!(f, "\n  and {} more", self.violations.len() - SHOWN)?;
        }
        Ok(())
    }
}
