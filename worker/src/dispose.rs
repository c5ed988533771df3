//! What becomes of a run: judged once, here, and written down.

use deploymind_shared::db::jobs::{ClaimedJob, Finish, Job, Requeue, job_get};
use deploymind_shared::db::targets::target_get;
use deploymind_shared::domain::deployment::DeploymentStatus;
use deploymind_shared::domain::job::{CancelReason, JobState};
use deploymind_shared::error::{Code, Result};
use deploymind_shared::ids::{Attempt, JobId};
use deploymind_shared::queue::hands::{Fate, InHand};
use deploymind_shared::retry::{JOB_BACKOFF, Stop};
use deploymind_shared::telemetry::metrics::JobOutcome;
use std::time::Duration;

use crate::lease::{Lease, StopReason};
use crate::registry::{Done, Entry};
use crate::runner::{End, Worker};

/// What to write.
enum Verdict {
    Finish {
        state: JobState,
        deployment: Option<DeploymentStatus>,
        code: Option<Code>,
        reason: Option<String>,
    },
    Requeue(Requeue, Fate),
    /// It was another's before it ended, or has been put away already.
    Nothing,
    /// The record refused us: it knows why.
    Ask,
}

fn failed(code: Code, reason: impl Into<String>) -> Verdict {
    Verdict::Finish {
        state: JobState::Failed,
        deployment: Some(ended_by(code)),
        code: Some(code),
        reason: Some(reason.into()),
    }
}

/// The status a deployment ends in when its job failed for this reason.
const fn ended_by(code: Code) -> DeploymentStatus {
    match code {
        Code::SecurityGate
        | Code::ScannerMissing
        | Code::ScannerDatabase
        | Code::ScannerFailed
        | Code::ScannerDeadline
        | Code::ScanPolicyInvalid => DeploymentStatus::SecurityFailed,
        _ => DeploymentStatus::Failed,
    }
}

fn stopped(reason: CancelReason) -> Verdict {
    let (state, deployment, sentence) = match reason {
        CancelReason::User => (JobState::Cancelled, DeploymentStatus::Cancelled, "cancelled while it ran"),
        CancelReason::Superseded => {
            (JobState::Superseded, DeploymentStatus::Superseded, "a newer deployment replaced it")
        }
    };
    Verdict::Finish { state, deployment: Some(deployment), code: None, reason: Some(sentence.to_owned()) }
}

/// How a job reads that came to its end by itself, by where it left its deployment.
const fn reached(deployment: Option<DeploymentStatus>) -> JobState {
    match deployment {
        Some(DeploymentStatus::Cancelled) => JobState::Cancelled,
        Some(DeploymentStatus::RolledBack | DeploymentStatus::Failed) => JobState::Failed,
        _ => JobState::Succeeded,
    }
}

/// Pure: how an end reads, given what the job was told and how often it may try.
fn judge(end: End, told: Option<StopReason>, tries: i32, max_tries: i32) -> Verdict {
    match (end, told) {
        // It got there, whatever it was told meanwhile.
        (End::Returned(Ok(Done { deployment, why })), _) => {
            let (code, reason) = why.unzip();
            Verdict::Finish { state: reached(deployment), deployment, code, reason }
        }
        (End::Returned(Err(Stop::Parked)), _) | (_, Some(StopReason::ClaimLost)) => Verdict::Nothing,
        (End::Panicked(text), _) => failed(Code::JobPanicked, format!("the job's code panicked: {text}")),
        (End::Returned(Err(Stop::Terminal(error))), _) => failed(error.code(), error.sentence()),
        (_, Some(StopReason::User)) => stopped(CancelReason::User),
        (_, Some(StopReason::Superseded)) => stopped(CancelReason::Superseded),
        (_, Some(StopReason::Deadline)) => {
            failed(Code::DeadlineExceeded, "the job ran longer than its kind may and was stopped")
        }
        (_, Some(StopReason::Leaving | StopReason::LockLost)) => {
            Verdict::Requeue(Requeue::HandBack { after: Duration::ZERO }, Fate::Front)
        }
        (End::Returned(Err(Stop::ClaimLost)), None) => Verdict::Ask,
        (End::Returned(Err(Stop::Retryable { after, error })), None) if tries + 1 < max_tries => {
            let after = after.unwrap_or_else(|| JOB_BACKOFF.jittered(tries.unsigned_abs()));
            Verdict::Requeue(Requeue::Retry { after, reason: error.to_string() }, Fate::After(after))
        }
        (End::Returned(Err(Stop::Retryable { error, .. })), None) => {
            failed(Code::TriesExhausted, format!("gave up after {} tries; last: {error}", tries + 1))
        }
        (End::Returned(Err(Stop::Cancelled)) | End::Abandoned, None) => {
            failed(Code::JobFailed, "the job stopped although nobody asked it to")
        }
    }
}

impl Worker {
    pub(crate) async fn dispose(&self, lease: &Lease, job: &ClaimedJob, entry: &Entry, end: End) {
        if let End::Returned(Err(Stop::Terminal(error) | Stop::Retryable { error, .. })) = &end {
            tracing::warn!(error = error.chain(), "job stopped with an error");
        }
        let verdict = judge(end, lease.reason(), job.tries, entry.max_tries);
        let outcome = self.carry_out(lease, job, verdict).await;
        if let Some(outcome) = outcome {
            self.fleet.metrics.jobs.finished(entry.kind, outcome);
        }
    }

    /// Ends a job that was claimed and cannot be run.
    pub(crate) async fn refuse(
        &self,
        lease: &Lease,
        job: &ClaimedJob,
        error: &deploymind_shared::error::Error,
    ) {
        self.carry_out(lease, job, failed(error.code(), error.sentence())).await;
    }

    /// Ends a job that the record says is ours, nothing runs and somebody asked to stop.
    pub(crate) async fn end_unheld(&self, job: JobId, attempt: Attempt, reason: CancelReason) -> Result<()> {
        let Some(record) = job_get(&self.fleet.db, job).await? else { return Ok(()) };
        if let Verdict::Finish { state, deployment, code, reason } = stopped(reason) {
            let deployment = record.deployment.and(deployment);
            let finish = Finish { job, attempt, state, deployment, code, reason };
            let Job { environment, priority, targets, .. } = record;
            self.finisher.finish(finish, InHand { job, environment, priority, targets }).await?;
        }
        Ok(())
    }

    /// The record refused a write of this run: puts the job where the record says.
    pub(crate) async fn carry_out_refused(&self, lease: &Lease, job: &ClaimedJob) -> Option<JobOutcome> {
        let verdict = self.ask(lease, job).await;
        Box::pin(self.carry_out(lease, job, verdict)).await
    }

    async fn carry_out(&self, lease: &Lease, job: &ClaimedJob, verdict: Verdict) -> Option<JobOutcome> {
        match verdict {
            Verdict::Nothing if lease.reason() == Some(StopReason::ClaimLost) => {
                self.fleet.metrics.jobs.lease_lost();
                Some(JobOutcome::Lost)
            }
            Verdict::Nothing => None,
            Verdict::Ask => self.carry_out_refused(lease, job).await,
            Verdict::Requeue(requeue, fate) => {
                if lease.reason() == Some(StopReason::LockLost) {
                    self.fleet.metrics.jobs.lease_lost();
                }
                if self.requeue(lease, job.attempt, &requeue, fate).await {
                    return Some(JobOutcome::Retried);
                }
                // Refused: somebody asked it to stop in the last moment, or it is another's.
                self.carry_out_refused(lease, job).await
            }
            Verdict::Finish { state, deployment, code, reason } => {
                if job.deployment.is_some() && !deployment.is_some_and(DeploymentStatus::is_terminal) {
                    let verdict =
                        failed(Code::JobFailed, "the job ended without saying how its deployment did");
                    return Box::pin(self.carry_out(lease, job, verdict)).await;
                }
                let deployment = job.deployment.and(deployment);
                lease.leave();
                let finish = Finish { job: job.id, attempt: job.attempt, state, deployment, code, reason };
                let written = self.persist(|| self.finisher.finish(finish.clone(), lease.in_hand())).await;
                Some(match (written, state) {
                    (Some(true), JobState::Succeeded) => JobOutcome::Done,
                    (Some(true), JobState::Cancelled) => JobOutcome::Cancelled,
                    (Some(true), JobState::Superseded) => JobOutcome::Superseded,
                    (Some(true), _) => JobOutcome::Failed,
                    (Some(false) | None, _) => {
                        tracing::warn!(job.id = %job.id, "finished too late: the job is another's");
                        self.fleet.metrics.jobs.lease_lost();
                        JobOutcome::Lost
                    }
                })
            }
        }
    }

    /// Whether a target of this run has been claimed by another since.
    async fn fenced(&self, lease: &Lease) -> bool {
        for (target, epoch) in lease.epochs() {
            let now = self.persist(|| target_get(&self.fleet.db, &target)).await.flatten();
            if now.is_some_and(|now| now.epoch != epoch) {
                return true;
            }
        }
        false
    }

    /// Reads in the record why a write was refused.
    async fn ask(&self, lease: &Lease, job: &ClaimedJob) -> Verdict {
        let record = self.persist(|| job_get(&self.fleet.db, job.id)).await.flatten();
        match record {
            Some(now) if now.state == JobState::Running && now.attempt == job.attempt => match now
                .cancel_requested
            {
                Some(reason) => stopped(reason),
                // Redis forgot a lock and another job took it before the next renewal could tell: the fence held, and
                // this job is as good as one whose lock was lost.
                None if self.fenced(lease).await => {
                    lease.stop(StopReason::LockLost);
                    Verdict::Requeue(Requeue::HandBack { after: Duration::ZERO }, Fate::Front)
                }
                None => {
                    failed(Code::StoreUnexpected, "the record refused a write of this job without a reason")
                }
            },
            _ => {
                lease.stop(StopReason::ClaimLost);
                Verdict::Nothing
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use deploymind_shared::error::Error;

    use super::*;

    fn retryable() -> End {
        let error = Error::new(Code::RedisUnavailable, "gone");
        End::Returned(Err(Stop::Retryable { after: None, error }))
    }

    #[test]
    fn a_finished_job_stays_finished_whatever_it_was_told() {
        for told in [None, Some(StopReason::User), Some(StopReason::Leaving), Some(StopReason::ClaimLost)] {
            let verdict = judge(End::Returned(Ok(Done::default())), told, 0, 1);
            assert!(matches!(verdict, Verdict::Finish { state: JobState::Succeeded, .. }));
        }
    }

    #[test]
    fn tries_run_out() {
        assert!(matches!(
            judge(retryable(), None, 0, 2),
            Verdict::Requeue(Requeue::Retry { .. }, Fate::After(_))
        ));
        let verdict = judge(retryable(), None, 1, 2);
        assert!(matches!(verdict, Verdict::Finish { code: Some(Code::TriesExhausted), .. }));
    }

    #[test]
    fn what_it_was_told_explains_how_it_stopped() {
        let state = |told| match judge(End::Abandoned, Some(told), 0, 5) {
            Verdict::Finish { state, .. } => Some(state),
            _ => None,
        };
        assert_eq!(state(StopReason::User), Some(JobState::Cancelled));
        assert_eq!(state(StopReason::Superseded), Some(JobState::Superseded));
        assert_eq!(state(StopReason::Deadline), Some(JobState::Failed));
        assert!(matches!(
            judge(End::Abandoned, Some(StopReason::Leaving), 0, 5),
            Verdict::Requeue(_, Fate::Front)
        ));
        assert!(matches!(
            judge(retryable(), Some(StopReason::LockLost), 4, 5),
            Verdict::Requeue(_, Fate::Front)
        ));
        assert!(matches!(judge(retryable(), Some(StopReason::ClaimLost), 0, 5), Verdict::Nothing));
    }
}
