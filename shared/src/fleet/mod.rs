//! The record and the queue together, in the right order: record first, then Redis. What is lost in between is put
//! back by the scheduler; what is done twice is harmless.

mod cancel;
mod deploy;
mod rollback;
mod rotation;
mod submit;
mod upkeep;
mod why;

pub use cancel::Cancel;
pub use rotation::{Rotation, rotate};
pub use submit::{JobRequest, Submitter};
pub use why::{Waiting, Why};

use crate::db::Db;
use crate::db::jobs;
use crate::domain::job::JobState;
use crate::error::{Code, Error, Result};
use crate::ids::{AppId, JobId};
use crate::queue::{Queue, line};
use crate::telemetry::Metrics;

/// One fleet: its record, its queue, and what is measured about both.
#[derive(Clone)]
pub struct Fleet {
    pub db: Db,
    pub queue: Queue,
    pub metrics: Metrics,
}

impl Fleet {
    /// Puts the next job of each app in line, if none of its jobs has begun. Called after every commit that may have
    /// changed the answer; whoever commits last sees the other's rows, so nobody is forgotten.
    pub async fn advance_apps(&self, apps: &[AppId]) -> Result<()> {
        if apps.is_empty() {
            return Ok(());
        }
        let next = jobs::job_next_for_apps(&self.db, apps).await?;
        line::enqueue(&self.queue, &next).await?;
        Ok(())
    }

    /// Gives a quarantined job another chance, by a person's wish, with fresh counts. A deployment's job becomes a new
    /// deployment. Answers the job that runs now.
    pub async fn quarantine_retry(&self, job: JobId) -> Result<JobId> {
        let record = jobs::job_get(&self.db, job).await?.ok_or_else(|| unknown(job))?;
        if record.state != JobState::Quarantined {
            return Err(Error::new(Code::JobNotQuarantined, format!("job {job} is not in quarantine")));
        }
        // The new deployment first: if the second step is lost, the old job merely stays in the list.
        let successor = match record.deployment {
            Some(deployment) => self.deployment_retry(deployment).await?.job,
            None => job,
        };
        if let Some(placement) = jobs::job_quarantine_release(&self.db, job).await? {
            pushed_later("retry", line::enqueue(&self.queue, &[placement]).await.map(drop));
        }
        Ok(successor)
    }
}

/// Logs a push to Redis that failed after its commit. The caller has its answer already: the record holds the job and
/// the scheduler pushes it.
fn pushed_later(what: &'static str, result: Result<()>) {
    if let Err(error) = result {
        tracing::warn!(what, error = error.chain(), "not pushed to redis now; the scheduler will");
    }
}

fn unknown(job: JobId) -> Error {
    Error::new(Code::JobUnknown, format!("there is no job {job}"))
}
