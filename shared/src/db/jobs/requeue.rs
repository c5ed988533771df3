//! Giving a job back to the line without ending it: a retry, a hand-back at shutdown, a wait for a target.

use std::time::Duration;

use super::finish::storable;
use crate::db::{Db, measured};
use crate::error::Result;
use crate::ids::{Attempt, JobId, TargetName};

/// Why a claimed job goes back.
#[derive(Debug, Clone)]
pub enum Requeue {
    /// It failed in a way that may pass; the try counts.
    Retry { after: Duration, reason: String },
    /// This worker is leaving, or does not know the kind. Not the job's fault; nothing counts.
    HandBack { after: Duration },
    /// It waits for these targets and locks them when it is claimed again.
    Park { targets: Vec<TargetName> },
}

/// Sets the job back to queued if the attempt is still the present one, and says whether it was.
///
/// A job somebody asked to stop is never given back: it answers `false`, and the caller ends it instead.
pub async fn job_requeue(db: &Db, job: JobId, attempt: Attempt, requeue: &Requeue) -> Result<bool> {
    let (after, tried, reason, targets) = match requeue {
        Requeue::Retry { after, reason } => (*after, 1, Some(storable(reason)), None),
        Requeue::HandBack { after } => (*after, 0, None, None),
        Requeue::Park { targets } => {
            (Duration::ZERO, 0, None, Some(targets.iter().map(ToString::to_string).collect::<Vec<_>>()))
        }
    };
    let row = measured!(db, JobRequeue, |conn| sqlx::query_scalar!(
        r#"WITH back AS (
           UPDATE jobs
           SET state = 'queued', queued_at = now(), tries = tries + $4, reason = coalesce($5, reason),
               targets = coalesce($6, targets), worker_id = NULL,
               run_at = CASE WHEN $3::float8 > 0 THEN now() + make_interval(secs => $3) END
           WHERE id = $1 AND attempt = $2 AND state = 'running' AND cancel_requested IS NULL
           RETURNING id, deployment_id
           ), waiting AS (
               -- It waits again, and says so. One that had begun to move traffic keeps saying that.
               UPDATE deployments d SET status = 'QUEUED' FROM back
               WHERE d.id = back.deployment_id AND d.status IN ('CLONING', 'SECURITY_SCANNING', 'BUILDING')
           )
           SELECT id AS "id: JobId" FROM back"#,
        job.as_uuid(),
        attempt.0,
        after.as_secs_f64(),
        tried,
        reason,
        targets.as_deref(),
    )
    .fetch_optional(conn))?;
    Ok(row.is_some())
}
