//! What a handler may know and do about its own job.

use std::sync::Arc;
use std::time::Instant;

use deploymind_shared::db::jobs::{ClaimedJob, Requeue, job_get, job_requeue};
use deploymind_shared::db::targets::target_claim;
use deploymind_shared::db::{Db, deployments};
use deploymind_shared::domain::deployment::DeploymentStatus;
use deploymind_shared::domain::job::JobState;
use deploymind_shared::error::{Code, Error};
use deploymind_shared::events::{self, EventKind};
use deploymind_shared::ids::{Attempt, Epoch, JobId, TargetName};
use deploymind_shared::queue::hands;
use deploymind_shared::retry::Stop;
use tokio_util::sync::CancellationToken;

use crate::lease::{Lease, StopReason};
use crate::runner::Worker;

/// One run of one job. Cheap to clone.
#[derive(Clone)]
pub struct JobContext {
    worker: Arc<Worker>,
    lease: Arc<Lease>,
    job: Arc<ClaimedJob>,
}

impl JobContext {
    pub(crate) fn new(worker: Arc<Worker>, lease: Arc<Lease>, job: Arc<ClaimedJob>) -> Self {
        Self { worker, lease, job }
    }

    pub fn job(&self) -> &ClaimedJob {
        &self.job
    }

    pub fn id(&self) -> JobId {
        self.job.id
    }

    /// The fence of this run: every write to the record names it.
    pub fn attempt(&self) -> Attempt {
        self.job.attempt
    }

    pub fn db(&self) -> &Db {
        &self.worker.fleet.db
    }

    pub fn worker(&self) -> deploymind_shared::ids::WorkerId {
        self.worker.id
    }

    /// Fires when the job is to stop.
    pub fn stopping(&self) -> &CancellationToken {
        self.lease.token()
    }

    /// To be asked before each effect and each blocking call.
    pub fn check(&self) -> Result<(), Stop> {
        if self.lease.token().is_cancelled() { Err(Stop::Cancelled) } else { Ok(()) }
    }

    /// Whether it was told to stop for ever, and not only here: what it has made so far is of no use to anybody.
    pub fn stops_for_good(&self) -> bool {
        matches!(self.lease.reason(), Some(StopReason::User | StopReason::Superseded | StopReason::Deadline))
    }

    /// Asks the record whether this run still holds the claim: before something is taken away that a successor may be
    /// using, where no write of the record would tell.
    pub async fn still_ours(&self) -> Result<(), Stop> {
        match job_get(self.db(), self.id()).await? {
            Some(now) if now.state == JobState::Running && now.attempt == self.attempt() => Ok(()),
            _ => Err(Stop::ClaimLost),
        }
    }

    /// The fence of a target: every effect on it carries this number. `None`: its lock is not held.
    pub fn epoch(&self, target: &TargetName) -> Option<Epoch> {
        self.lease.epoch(target)
    }

    /// Moves this job's deployment on. Refused when the claim was lost or somebody asked the job to stop.
    pub async fn advance(&self, to: DeploymentStatus) -> Result<(), Stop> {
        self.check()?;
        Ok(deployments::deployment_advance(self.db(), self.id(), self.attempt(), to).await?)
    }

    /// Says that this job's deployment goes back to what served before: also, and above all, when it was asked to stop.
    pub async fn turn_back(&self) -> Result<(), Stop> {
        let to = DeploymentStatus::RollingBack;
        Ok(deployments::deployment_advance(self.db(), self.id(), self.attempt(), to).await?)
    }

    /// Tells whoever listens what happens to this job's deployment. Nothing, for a job without one.
    pub async fn tell(&self, kind: EventKind, body: &serde_json::Value) -> Result<(), Stop> {
        if let Some(deployment) = self.job.deployment {
            events::tell(&self.worker.fleet, self.id(), self.attempt(), deployment, kind, body).await?;
        }
        Ok(())
    }

    /// Takes the locks of `targets` beside those held already: all or none. When one is held by another job, this one
    /// leaves its worker and is parked; the handler passes [`Stop::Parked`] on and is run again, from its checkpoint,
    /// when the targets are its own.
    pub async fn lock(&self, targets: &[TargetName]) -> Result<(), Stop> {
        self.check()?;
        let mut wanted = self.lease.targets();
        wanted.extend(targets.iter().cloned());
        wanted.sort();
        wanted.dedup();
        if wanted.iter().all(|target| self.lease.epoch(target).is_some()) {
            return Ok(());
        }
        let asked = Instant::now();
        let Worker { fleet, id, queue_config, .. } = &*self.worker;
        if hands::lock(&fleet.queue, *id, self.id(), &wanted, queue_config.lock_ttl).await? {
            self.lease.locking(&wanted);
            fail::fail_point!("worker.locked");
            let epochs = target_claim(&fleet.db, self.id(), self.attempt(), &wanted).await?;
            self.lease.locked(epochs);
            fleet.metrics.jobs.locked(asked.elapsed());
            return self.check();
        }
        let parked = Requeue::Park { targets: wanted.clone() };
        if !job_requeue(&fleet.db, self.id(), self.attempt(), &parked).await? {
            return Err(self.refused());
        }
        fail::fail_point!("worker.parked_in_record");
        self.lease.leave();
        // From here on the record says queued: whatever fails now, the reconcilers put it back in line.
        let in_hand = hands::InHand { targets: wanted, ..self.lease.in_hand() };
        if let Err(error) = hands::park(&fleet.queue, *id, &in_hand).await {
            tracing::warn!(job.id = %self.id(), error = error.chain(), "parked in the record only");
        }
        Err(Stop::Parked)
    }

    /// The record refused to give the job back: it is another's, or it was asked to stop.
    fn refused(&self) -> Stop {
        if self.lease.token().is_cancelled() {
            Stop::Cancelled
        } else {
            Stop::from(Error::new(
                Code::ClaimLost,
                "another worker holds this job now, or it was asked to stop",
            ))
        }
    }
}
