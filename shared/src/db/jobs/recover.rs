//! Jobs whose worker died, and jobs that killed too many.

use super::{parse_targets, read::Placement};
use crate::db::{Db, measured, word};
use crate::domain::job::{JobState, MAX_RECOVERIES, Priority};
use crate::error::{Code, Error, Result};
use crate::ids::{AppId, DeploymentId, EnvironmentName, JobId, TargetName, WorkerId};

/// A job taken from a dead worker, and what became of it.
#[derive(Debug, Clone)]
pub struct Reaped {
    pub job: JobId,
    pub kind: String,
    pub app: Option<AppId>,
    pub targets: Vec<TargetName>,
    /// Queued again, or ended: quarantined, or stopped as somebody had already asked.
    pub state: JobState,
    pub recoveries: i32,
    pub placement: Placement,
}

/// Takes up to `limit` running jobs from a worker that is declared dead. State in the record comes first; the
/// caller then repairs Redis.
pub async fn job_reap(db: &Db, worker: WorkerId, limit: i64) -> Result<Vec<Reaped>> {
    let rows = measured!(db, JobReap, |conn| {
        sqlx::query!(
        r#"WITH lost AS (
               SELECT j.id FROM jobs j JOIN workers w ON w.id = j.worker_id
               WHERE j.worker_id = $1 AND j.state = 'running' AND j.finished_at IS NULL AND w.state <> 'alive' LIMIT $2 FOR UPDATE OF j
           ), taken AS (
               UPDATE jobs j
               SET state = CASE WHEN j.cancel_requested = 'user' THEN 'cancelled'
                                WHEN j.cancel_requested = 'superseded' THEN 'superseded'
                                WHEN j.recoveries >= $3 THEN 'quarantined' ELSE 'queued' END,
                   finished_at = CASE WHEN j.cancel_requested IS NOT NULL OR j.recoveries >= $3 THEN now() END,
                   code = CASE WHEN j.cancel_requested IS NULL AND j.recoveries >= $3 THEN $4 END,
                   reason = CASE WHEN j.cancel_requested = 'user' THEN 'cancelled while it ran'
                                 WHEN j.cancel_requested = 'superseded' THEN 'a newer deployment replaced it'
                                 WHEN j.recoveries >= $3
                                 THEN 'its worker died with it ' || (j.recoveries + 1) || ' times' END,
                   recoveries = j.recoveries + CASE WHEN j.recoveries >= $3 THEN 0 ELSE 1 END,
                   queued_at = now(), worker_id = CASE WHEN j.recoveries >= $3 THEN j.worker_id END
               FROM lost WHERE j.id = lost.id RETURNING j.*
           ), waiting AS (
               -- Until a worker goes on with it, it waits in line, and says so. One that had begun to move traffic
               -- keeps saying that.
               UPDATE deployments d SET status = 'QUEUED' FROM taken t
               WHERE d.id = t.deployment_id AND t.state = 'queued'
                 AND d.status IN ('CLONING', 'SECURITY_SCANNING', 'BUILDING')
           ), ended AS (
               UPDATE deployments d
               SET finished_at = now(), code = t.code, reason = t.reason,
                   status = CASE WHEN t.state = 'cancelled' AND deployment_may_become(d.status, 'CANCELLED') THEN 'CANCELLED'
                                 WHEN t.state = 'superseded' AND deployment_may_become(d.status, 'SUPERSEDED')
                                 THEN 'SUPERSEDED' ELSE 'FAILED' END
               FROM taken t WHERE d.id = t.deployment_id AND t.state <> 'queued'
           )
           SELECT id AS "job: JobId", kind, app_id AS "app: AppId", targets, state, recoveries, environment,
                  priority
           FROM taken"#,
        worker.as_uuid(),
        limit,
        MAX_RECOVERIES,
        Code::Quarantined.as_str(),
    )
    .fetch_all(conn)
    })?;
    rows.into_iter()
        .map(|row| {
            let targets = parse_targets(&row.targets)?;
            Ok(Reaped {
                job: row.job,
                kind: row.kind,
                app: row.app,
                state: word(row.state)?,
                recoveries: row.recoveries,
                placement: Placement {
                    job: row.job,
                    environment: EnvironmentName::parse(&row.environment)?,
                    priority: Priority::from_i16(row.priority),
                    targets: targets.clone(),
                    delay: std::time::Duration::ZERO,
                },
                targets,
            })
        })
        .collect()
}

/// Takes a job out of quarantine by a person's wish. It waits again with fresh counts; one of a deployment, which has
/// ended for good, becomes plainly failed and answers `None`.
pub async fn job_quarantine_release(db: &Db, job: JobId) -> Result<Option<Placement>> {
    let row = measured!(db, JobRelease, |conn| sqlx::query!(
        r#"UPDATE jobs
           SET state = CASE WHEN deployment_id IS NULL THEN 'queued' ELSE 'failed' END,
               finished_at = CASE WHEN deployment_id IS NULL THEN NULL ELSE finished_at END,
               started_at = NULL, worker_id = NULL, recoveries = 0, tries = 0, queued_at = now(),
               code = CASE WHEN deployment_id IS NOT NULL THEN code END
           WHERE id = $1 AND state = 'quarantined'
           RETURNING deployment_id AS "deployment: DeploymentId", environment, priority, targets"#,
        job.as_uuid()
    )
    .fetch_optional(conn))?
    .ok_or_else(|| Error::new(Code::JobNotQuarantined, format!("job {job} is not in quarantine")))?;
    if row.deployment.is_some() {
        return Ok(None);
    }
    Ok(Some(Placement {
        job,
        environment: EnvironmentName::parse(&row.environment)?,
        priority: Priority::from_i16(row.priority),
        targets: parse_targets(&row.targets)?,
        delay: std::time::Duration::ZERO,
    }))
}
