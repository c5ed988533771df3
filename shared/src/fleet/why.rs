//! Why a job is where it is: one answer, from the record and the queue.

use std::fmt;
use std::time::Duration;

use super::{Fleet, unknown};
use crate::clock::{Timestamp, age};
use crate::db::jobs::{self, Job};
use crate::db::{targets, workers};
use crate::domain::job::JobState;
use crate::error::Result;
use crate::ids::{EnvironmentName, JobId, TargetName, WorkerId};
use crate::queue::why::{Place, Spot, place};

/// What a job waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// For a worker of its environment. `ahead` is how many are taken before it; `None`: more than 10,000.
    Worker { environment: EnvironmentName, ahead: Option<u64>, workers: usize },
    /// For a target that another job holds.
    Target { target: TargetName, holder: Option<JobId>, held_for: Option<Duration>, ahead: Option<u64> },
    /// For another deployment of its app.
    App { behind: JobId },
    /// For its time: a retry, or a wish to run later.
    Until { at: Timestamp },
    /// For the scheduler to put it (back) in line: it is in the record and not in Redis.
    Scheduler,
}

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    Waiting { what: Waiting, since: Duration },
    Running { worker: Option<WorkerId>, since: Duration, stopping: bool },
    Ended { state: JobState, reason: Option<String> },
}

impl Fleet {
    pub async fn why(&self, job: JobId) -> Result<Why> {
        let record = jobs::job_get(&self.db, job).await?.ok_or_else(|| unknown(job))?;
        let now = self.db.now().await?;
        Ok(match record.state {
            JobState::Running => Why::Running {
                worker: record.worker,
                since: age(now, record.claimed_at.unwrap_or(now)),
                stopping: record.cancel_requested.is_some(),
            },
            JobState::Queued => {
                let what = self.waits_for(&record, now).await?;
                Why::Waiting { what, since: age(now, record.queued_at) }
            }
            state => Why::Ended { state, reason: record.reason },
        })
    }

    async fn waits_for(&self, job: &Job, now: Timestamp) -> Result<Waiting> {
        let Some(place) = place(&self.queue, job.id).await? else {
            if let Some(app) = job.app
                && let Some(behind) = jobs::job_waits_for(&self.db, app, job.id).await?
            {
                return Ok(Waiting::App { behind });
            }
            return Ok(Waiting::Scheduler);
        };
        match &place.spot {
            Spot::Delayed => Ok(Waiting::Until { at: job.run_at.unwrap_or(now) }),
            Spot::Parked(target) => self.target(TargetName::parse(target)?, &place, now).await,
            // In a worker's hands already, about to be claimed: nobody is ahead of it any more.
            Spot::Queued | Spot::Processing(_) => Ok(Waiting::Worker {
                environment: job.environment.clone(),
                ahead: if place.spot == Spot::Queued { place.ahead } else { Some(0) },
                workers: self.workers_for(&job.environment).await?,
            }),
        }
    }

    async fn target(&self, target: TargetName, place: &Place, now: Timestamp) -> Result<Waiting> {
        let holder = place.locks.iter().find(|lock| lock.target == target).and_then(|lock| lock.holder);
        let claimed = targets::target_get(&self.db, &target).await?;
        // The record says since when, but only of the job that really claimed it: a hand-over comes before the claim.
        let held_for = claimed
            .filter(|claimed| claimed.claimed_by == holder)
            .and_then(|claimed| Some(age(now, claimed.claimed_at?)));
        Ok(Waiting::Target { target, holder, held_for, ahead: place.ahead })
    }

    async fn workers_for(&self, environment: &EnvironmentName) -> Result<usize> {
        let all = workers::worker_list(&self.db, 1_000).await?;
        let serves = |worker: &&workers::Worker| {
            worker.state == "alive" && worker.environments.iter().any(|name| name == environment.as_str())
        };
        Ok(all.iter().filter(serves).count())
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Waiting { what, since } => write!(f, "waiting {} s: {what}", since.as_secs()),
            Why::Running { worker, since, stopping } => {
                write!(
                    f,
                    "{} {} s",
                    if *stopping { "asked to stop, running" } else { "running" },
                    since.as_secs()
                )?;
                match worker {
                    Some(worker) => write!(f, " on worker {worker}"),
                    None => Ok(()),
                }
            }
            Why::Ended { state, reason } => {
                write!(f, "ended {state}")?;
                reason.as_ref().map_or(Ok(()), |reason| write!(f, ": {reason}"))
            }
        }
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ahead = |ahead: &Option<u64>| match ahead {
            Some(0) => "it is next".to_owned(),
            Some(count) => format!("{count} ahead of it"),
            None => "more than 10000 ahead of it".to_owned(),
        };
        match self {
            Waiting::Worker { environment, workers: 0, .. } => {
                write!(f, "no worker serves {environment}; start one")
            }
            Waiting::Worker { environment, ahead: count, workers } => {
                write!(f, "for one of {workers} workers of {environment}, {}", ahead(count))
            }
            Waiting::Target { target, holder, held_for, ahead: count } => {
                write!(f, "for target {target}")?;
                if let Some(holder) = holder {
                    write!(f, ", held by job {holder}")?;
                }
                if let Some(held) = held_for {
                    write!(f, " for {} s", held.as_secs())?;
                }
                write!(f, ", {}", ahead(count))
            }
            Waiting::App { behind } => write!(f, "for job {behind} of the same app"),
            Waiting::Until { at } => write!(f, "until {}", at.to_rfc3339()),
            Waiting::Scheduler => write!(f, "for the scheduler to put it in line"),
        }
    }
}
