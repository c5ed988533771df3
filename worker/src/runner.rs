//! From a taken element to its last write: claim, lock, run, dispose.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use deploymind_shared::config::QueueConfig;
use deploymind_shared::db::jobs::{Claim, ClaimedJob, Requeue, Unclaimed, job_requeue};
use deploymind_shared::error::{Code, Error, Result};
use deploymind_shared::fleet::Fleet;
use deploymind_shared::ids::{Attempt, EnvironmentName, JobId, TargetName, WorkerId};
use deploymind_shared::lifecycle::Lifecycle;
use deploymind_shared::queue::hands::{self, Fate};
use deploymind_shared::retry::{STORE_BACKOFF, Stop};
use deploymind_shared::telemetry::propagation;
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument as _;

use crate::claimer::Claimer;
use crate::context::JobContext;
use crate::finisher::Finisher;
use crate::lease::{Grip, Hands, Lease};
use crate::registry::Registry;

/// How long a job whose kind this worker does not know waits before another worker may try. Long enough that a fleet
/// in the middle of an upgrade does not spin on it.
const UNKNOWN_KIND_DELAY: Duration = Duration::from_secs(5);

/// Everything a job's task needs.
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) environments: Vec<EnvironmentName>,
    pub(crate) fleet: Fleet,
    pub(crate) queue_config: QueueConfig,
    pub(crate) registry: Registry,
    pub(crate) hands: Hands,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) claimer: Claimer,
    pub(crate) finisher: Finisher,
    /// Kinds already complained about: once each is enough.
    pub(crate) unknown_kinds: Mutex<Vec<String>>,
}

impl Worker {
    /// Starts the task of a job that is in this worker's list. It holds the permit until the job has left.
    pub(crate) fn start(
        self: &Arc<Self>,
        job: JobId,
        environment: &EnvironmentName,
        locked: Vec<TargetName>,
        permit: OwnedSemaphorePermit,
    ) {
        let Some(grip) = self.hands.hold(job, environment, locked.clone()) else { return };
        let worker = Arc::clone(self);
        self.lifecycle.spawn_scoped("job", async move {
            worker.take_up(&grip, locked).await;
            drop(grip);
            drop(permit);
        });
    }

    async fn take_up(self: &Arc<Self>, grip: &Grip, locked: Vec<TargetName>) {
        fail::fail_point!("worker.taken");
        match self.claim(&grip.lease, locked).await {
            Ok(Some(job)) => self.run(grip, Arc::new(job)).await,
            Ok(None) => {}
            Err(error) => tracing::warn!(
                job.id = %grip.lease.job,
                error = error.chain(),
                "could not take this job up; it stays in line"
            ),
        }
    }

    /// `Ok(None)`: it is not ours to run, and has been put where it belongs.
    async fn claim(&self, lease: &Lease, locked: Vec<TargetName>) -> Result<Option<ClaimedJob>> {
        let wish = Claim { job: lease.job, locked };
        let mut failures = 0;
        let answer = loop {
            match self.claimer.claim(wish.clone()).await {
                Ok(answer) => break answer,
                Err(error) if error.is_transient() && !self.lifecycle.token().is_cancelled() => {
                    tokio::time::sleep(STORE_BACKOFF.jittered(failures)).await;
                    failures += 1;
                }
                Err(error) => {
                    self.leave(lease, Fate::Front).await?;
                    return Err(error);
                }
            }
        };
        fail::fail_point!("worker.claimed");
        match answer {
            Ok(job) => {
                lease.claimed(&job.environment, job.priority, job.attempt, &job.epochs);
                if job.targets.iter().all(|target| job.epochs.contains_key(target)) {
                    return Ok(Some(job));
                }
                // The queue did not know of its targets: it lost them, or they were recorded since.
                let claimed = job.clone();
                match self.lock_after_claim(lease, job).await {
                    Err(error) if !error.is_transient() && error.code() != Code::ClaimLost => {
                        self.refuse(lease, &claimed, &error).await;
                        Ok(None)
                    }
                    result => result,
                }
            }
            Err(Unclaimed::Mine(attempt)) => {
                // A claim whose answer was lost. Giving it back costs nothing and keeps one way of starting.
                let back = Requeue::HandBack { after: Duration::ZERO };
                if job_requeue(&self.fleet.db, lease.job, attempt, &back).await? {
                    self.leave(lease, Fate::Front).await?;
                }
                Ok(None)
            }
            Err(Unclaimed::AppBusy(app)) => {
                self.leave(lease, Fate::Gone).await?;
                // The app's job may have ended between the claim and now; then nobody else would put this one in line.
                self.fleet.advance_apps(&[app]).await?;
                Ok(None)
            }
            Err(Unclaimed::Pointless) => {
                self.leave(lease, Fate::Gone).await?;
                Ok(None)
            }
        }
    }

    async fn lock_after_claim(&self, lease: &Lease, job: ClaimedJob) -> Result<Option<ClaimedJob>> {
        let Worker { fleet, id, queue_config, .. } = self;
        if hands::lock(&fleet.queue, *id, job.id, &job.targets, queue_config.lock_ttl).await? {
            lease.locking(&job.targets);
            let epochs =
                deploymind_shared::db::targets::target_claim(&fleet.db, job.id, job.attempt, &job.targets)
                    .await?;
            lease.locked(epochs.iter().cloned());
            return Ok(Some(ClaimedJob { epochs: epochs.into_iter().collect(), ..job }));
        }
        let parked = Requeue::Park { targets: job.targets.clone() };
        if job_requeue(&fleet.db, job.id, job.attempt, &parked).await? {
            lease.leave();
            let in_hand = hands::InHand { targets: job.targets, ..lease.in_hand() };
            hands::park(&fleet.queue, *id, &in_hand).await?;
        }
        Ok(None)
    }

    /// Takes the job out of our list; its locks go on to the next.
    pub(crate) async fn leave(&self, lease: &Lease, fate: Fate) -> Result<()> {
        lease.leave();
        hands::finish(&self.fleet.queue, self.id, &[(lease.in_hand(), fate)]).await
    }

    async fn run(self: &Arc<Self>, grip: &Grip, job: Arc<ClaimedJob>) {
        let span = tracing::info_span!(
            "job",
            job.id = %job.id,
            job.kind = job.kind,
            job.attempt = job.attempt.0,
            deployment.id = job.deployment.map(tracing::field::display),
        );
        if let Some(trace) = &job.trace {
            propagation::adopt(&span, trace);
        }
        self.fleet.metrics.jobs.started(&job.environment, job.waited);
        if !job.targets.is_empty() {
            self.fleet.metrics.jobs.locked(job.waited);
        }
        let _running = self.fleet.metrics.jobs.running();
        self.execute(grip, job).instrument(span).await;
    }

    async fn execute(self: &Arc<Self>, grip: &Grip, job: Arc<ClaimedJob>) {
        let lease = &grip.lease;
        let Some(entry) = self.registry.get(&job.kind) else {
            return self.give_back_unknown(lease, &job).await;
        };
        // A job that locks at claim and was asked to stop while it was claimed must not begin.
        let context = JobContext::new(Arc::clone(self), Arc::clone(lease), Arc::clone(&job));
        fail::fail_point!("worker.before_run");
        let end = crate::supervise::supervise(
            entry.run(job.payload.clone(), context),
            lease,
            entry.deadline,
            self.queue_config.cancel_grace,
        )
        .await;
        fail::fail_point!("worker.after_run");
        self.dispose(lease, &job, entry, end).await;
    }

    async fn give_back_unknown(&self, lease: &Lease, job: &ClaimedJob) {
        self.fleet.metrics.jobs.unknown_kind(&job.kind);
        if self.first_complaint(&job.kind) {
            tracing::warn!(
                code = %Code::KindUnknown,
                job.kind = job.kind,
                "no code here for this kind; giving such jobs back (said once)"
            );
        }
        let back = Requeue::HandBack { after: UNKNOWN_KIND_DELAY };
        if !self.requeue(lease, job.attempt, &back, Fate::After(UNKNOWN_KIND_DELAY)).await {
            self.carry_out_refused(lease, job).await;
        }
    }

    fn first_complaint(&self, kind: &str) -> bool {
        let mut known = self.unknown_kinds.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Bounded: kinds come from the record, but a broken client may have written many.
        if known.len() >= 100 || known.iter().any(|seen| seen == kind) {
            return false;
        }
        known.push(kind.to_owned());
        true
    }

    /// Back in line, record first. `false`: the record refused, because the job is another's or was asked to stop.
    pub(crate) async fn requeue(
        &self,
        lease: &Lease,
        attempt: Attempt,
        requeue: &Requeue,
        fate: Fate,
    ) -> bool {
        let back = self.persist(|| job_requeue(&self.fleet.db, lease.job, attempt, requeue)).await;
        if let Some(true) = back {
            fail::fail_point!("worker.requeued_in_record");
            if let Err(error) = self.leave(lease, fate).await {
                tracing::warn!(job.id = %lease.job, error = error.chain(), "requeued in the record only; the scheduler completes it");
            }
        }
        back.unwrap_or(false)
    }

    /// Repeats a write until the record answers. It is never given up while the process lives: the job's end is known
    /// only here. A process that has to go first leaves it to the reaper.
    pub(crate) async fn persist<T, F, Fut>(&self, write: F) -> Option<T>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        let mut failures = 0;
        loop {
            match write().await {
                Ok(value) => return Some(value),
                Err(error) if error.is_transient() => {
                    if failures % 20 == 0 {
                        tracing::warn!(
                            error = error.chain(),
                            failures,
                            "the record cannot be written; trying on"
                        );
                    }
                    tokio::time::sleep(STORE_BACKOFF.jittered(failures)).await;
                    failures += 1;
                }
                Err(error) => {
                    tracing::error!(
                        error = error.chain(),
                        "the record refused a write; the reaper will recover the job"
                    );
                    return None;
                }
            }
        }
    }
}

/// How a run ended, before anybody judged it.
pub(crate) enum End {
    Returned(std::result::Result<crate::registry::Done, Stop>),
    Panicked(String),
    /// Asked to stop, it did not in time, and was dropped.
    Abandoned,
}
