//! One worker's hold on one job, and all of them together.
//!
//! # Guarantees
//! A job is in [`Hands`] from before its claim until its last write, so whatever the record or Redis says is this
//! worker's and is not in there was lost on the way.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use deploymind_shared::domain::job::Priority;
use deploymind_shared::ids::{Attempt, EnvironmentName, Epoch, JobId, TargetName};
use deploymind_shared::queue::hands::InHand;
use tokio_util::sync::CancellationToken;

/// Why a running job is to stop. The first reason stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopReason {
    User,
    Superseded,
    /// It ran longer than its kind may.
    Deadline,
    /// A lock could not be renewed: the target may be another's. The job goes back in line.
    LockLost,
    /// This process is leaving. The job goes back in line.
    Leaving,
    /// The record says it is another's. Nothing may be touched.
    ClaimLost,
}

/// A worker's hold on a job.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) job: JobId,
    token: CancellationToken,
    reason: OnceLock<StopReason>,
    /// Its way out of Redis has begun.
    leaving: AtomicBool,
    state: Mutex<Held>,
}

#[derive(Debug, Clone)]
struct Held {
    environment: EnvironmentName,
    priority: Priority,
    /// Set once claimed.
    attempt: Option<Attempt>,
    /// Targets whose locks it holds, with the epochs its claims made.
    locked: HashMap<TargetName, Option<Epoch>>,
}

impl Lease {
    fn new(job: JobId, environment: &EnvironmentName, locked: Vec<TargetName>) -> Self {
        Self {
            job,
            token: CancellationToken::new(),
            reason: OnceLock::new(),
            leaving: AtomicBool::new(false),
            state: Mutex::new(Held {
                environment: environment.clone(),
                priority: Priority::Normal,
                attempt: None,
                locked: locked.into_iter().map(|target| (target, None)).collect(),
            }),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Nothing panics while holding it, and a half-changed map cannot be seen: each change is one statement.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn stop(&self, reason: StopReason) {
        if self.reason.set(reason).is_ok() {
            tracing::info!(job.id = %self.job, reason = ?reason, "asking job to stop");
        }
        self.token.cancel();
    }

    pub(crate) fn reason(&self) -> Option<StopReason> {
        self.reason.get().copied()
    }

    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    pub(crate) fn claimed(
        &self,
        environment: &EnvironmentName,
        priority: Priority,
        attempt: Attempt,
        epochs: &HashMap<TargetName, Epoch>,
    ) {
        let mut held = self.held();
        held.environment = environment.clone();
        held.priority = priority;
        held.attempt = Some(attempt);
        for (target, epoch) in epochs {
            held.locked.insert(target.clone(), Some(*epoch));
        }
    }

    /// Replaces what is locked.
    pub(crate) fn locked(&self, epochs: impl IntoIterator<Item = (TargetName, Epoch)>) {
        self.held().locked = epochs.into_iter().map(|(target, epoch)| (target, Some(epoch))).collect();
    }

    /// Counts a lock as held before its epoch is known, so that it is renewed and released.
    pub(crate) fn locking(&self, targets: &[TargetName]) {
        let mut held = self.held();
        for target in targets {
            held.locked.entry(target.clone()).or_insert(None);
        }
    }

    pub(crate) fn attempt(&self) -> Option<Attempt> {
        self.held().attempt
    }

    pub(crate) fn epoch(&self, target: &TargetName) -> Option<Epoch> {
        self.held().locked.get(target).copied().flatten()
    }

    /// The targets whose epochs are known, with them.
    pub(crate) fn epochs(&self) -> Vec<(TargetName, Epoch)> {
        let held = self.held();
        held.locked.iter().filter_map(|(target, epoch)| Some((target.clone(), (*epoch)?))).collect()
    }

    pub(crate) fn targets(&self) -> Vec<TargetName> {
        let mut targets: Vec<TargetName> = self.held().locked.keys().cloned().collect();
        targets.sort();
        targets
    }

    pub(crate) fn in_hand(&self) -> InHand {
        let targets = self.targets();
        let held = self.held();
        InHand { job: self.job, environment: held.environment.clone(), priority: held.priority, targets }
    }
}

/// Every job this worker holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hands(Arc<Mutex<HashMap<JobId, Arc<Lease>>>>);

impl Hands {
    fn map(&self) -> MutexGuard<'_, HashMap<JobId, Arc<Lease>>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// `None` when the job is held already: two paths can find the same element of the list, one of them is enough.
    pub(crate) fn hold(
        &self,
        job: JobId,
        environment: &EnvironmentName,
        locked: Vec<TargetName>,
    ) -> Option<Grip> {
        match self.map().entry(job) {
            std::collections::hash_map::Entry::Occupied(_) => None,
            std::collections::hash_map::Entry::Vacant(free) => {
                let lease = Arc::new(Lease::new(job, environment, locked));
                free.insert(Arc::clone(&lease));
                Some(Grip { hands: self.clone(), lease })
            }
        }
    }

    pub(crate) fn get(&self, job: JobId) -> Option<Arc<Lease>> {
        self.map().get(&job).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Lease>> {
        self.map().values().cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.map().len()
    }
}

/// Keeps a job in [`Hands`] until dropped, however its task ends.
pub(crate) struct Grip {
    hands: Hands,
    pub(crate) lease: Arc<Lease>,
}

impl Drop for Grip {
    fn drop(&mut self) {
        self.hands.map().remove(&self.lease.job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_held_once_and_let_go_with_its_grip() {
        let hands = Hands::default();
        let environment = EnvironmentName::parse("production").expect("name");
        let job = JobId::generate();
        let grip = hands.hold(job, &environment, Vec::new()).expect("free");
        assert!(hands.hold(job, &environment, Vec::new()).is_none());
        grip.lease.stop(StopReason::User);
        grip.lease.stop(StopReason::Leaving);
        assert_eq!(grip.lease.reason(), Some(StopReason::User));
        drop(grip);
        assert!(hands.get(job).is_none() && hands.len() == 0);
    }
}
