//! Claiming: the moment a job becomes one worker's, and the fence that comes with it.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use super::{join, parse_targets};
use crate::db::{Db, measured, word};
use crate::domain::job::{CancelReason, JobState, Priority};
use crate::error::Result;
use crate::ids::{AppId, Attempt, DeploymentId, EnvironmentName, Epoch, JobId, TargetName, WorkerId};
use crate::telemetry::TraceContext;

/// A wish for one job. Only the epochs of targets whose locks the worker holds may rise: a claim without the lock would
/// fence out the real holder.
#[derive(Debug, Clone)]
pub struct Claim {
    pub job: JobId,
    pub locked: Vec<TargetName>,
}

/// A job that is ours, with everything the work may need to know.
#[derive(Debug, Clone)]
pub struct ClaimedJob {
    pub id: JobId,
    pub kind: String,
    pub environment: EnvironmentName,
    pub priority: Priority,
    pub payload: serde_json::Value,
    pub targets: Vec<TargetName>,
    pub app: Option<AppId>,
    pub deployment: Option<DeploymentId>,
    pub attempt: Attempt,
    pub tries: i32,
    pub recoveries: i32,
    pub trace: Option<TraceContext>,
    /// From the last time it was queued to this claim, by the database's clock.
    pub waited: Duration,
    /// The epochs that this claim made, of the targets whose locks were held.
    pub epochs: HashMap<TargetName, Epoch>,
}

/// Claims what can be claimed, in one commit. A job missing from the answer was not claimable:
/// [`job_unclaimed`] says why.
pub async fn job_claim(db: &Db, worker: WorkerId, claims: &[Claim]) -> Result<Vec<ClaimedJob>> {
    let ids: Vec<Uuid> = claims.iter().map(|claim| claim.job.as_uuid()).collect();
    let locked: Vec<String> = claims.iter().map(|claim| join(&claim.locked)).collect();
    let rows = measured!(db, JobClaim, |conn| sqlx::query!(
        r#"WITH claimed AS (
               UPDATE jobs j
               SET state = 'running', attempt = j.attempt + 1, worker_id = $3, claimed_at = now(),
                   started_at = coalesce(j.started_at, now()), run_at = NULL
               FROM unnest($1::uuid[], $2::text[]) AS w (id, locked)
               WHERE j.id = w.id AND j.state = 'queued'
                 AND (j.app_id IS NULL OR j.started_at IS NOT NULL OR NOT EXISTS (
                         SELECT 1 FROM jobs other WHERE other.app_id = j.app_id
                         AND other.started_at IS NOT NULL AND other.finished_at IS NULL))
               RETURNING j.*, w.locked
           ), ordered AS (
               SELECT t.name, c.id FROM claimed c
               JOIN targets t ON t.name = ANY (c.targets) AND t.name = ANY (string_to_array(c.locked, E'\n'))
               WHERE c.locked <> '' ORDER BY t.name FOR UPDATE OF t
           ), raised AS (
               UPDATE targets t SET epoch = t.epoch + 1, claimed_by = o.id, claimed_at = now()
               FROM ordered o WHERE t.name = o.name RETURNING o.id, t.name, t.epoch
           )
           SELECT c.id AS "id: JobId", c.kind, c.environment, c.priority, c.payload, c.targets,
                  c.app_id AS "app: AppId", c.deployment_id AS "deployment: DeploymentId",
                  c.attempt AS "attempt: Attempt", c.tries, c.recoveries, c.trace_context,
                  extract(epoch FROM now() - c.queued_at)::float8 AS "waited!",
                  ARRAY(SELECT r.name FROM raised r WHERE r.id = c.id ORDER BY r.name) AS "raised!",
                  ARRAY(SELECT r.epoch FROM raised r WHERE r.id = c.id ORDER BY r.name) AS "epochs!"
           FROM claimed c"#,
        &ids,
        &locked,
        worker.as_uuid(),
    )
    .fetch_all(conn))?;
    rows.into_iter()
        .map(|row| {
            let raised = parse_targets(&row.raised)?;
            Ok(ClaimedJob {
                id: row.id,
                kind: row.kind,
                environment: EnvironmentName::parse(&row.environment)?,
                priority: Priority::from_i16(row.priority),
                payload: row.payload,
                targets: parse_targets(&row.targets)?,
                app: row.app,
                deployment: row.deployment,
                attempt: row.attempt,
                tries: row.tries,
                recoveries: row.recoveries,
                trace: row.trace_context.and_then(|text| TraceContext::parse(&text).ok()),
                waited: Duration::try_from_secs_f64(row.waited).unwrap_or_default(),
                epochs: raised.into_iter().zip(row.epochs.into_iter().map(Epoch)).collect(),
            })
        })
        .collect()
}

/// Why a job could not be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unclaimed {
    /// Ended, claimed by another, or never known: this element of a list is worth nothing.
    Pointless,
    /// This app has a begun job; it is put in line again when that one ends.
    AppBusy(AppId),
    /// It is this worker's already: a claim whose answer was lost had happened after all.
    Mine(Attempt),
}

/// Explains the jobs a claim did not return, in order.
pub async fn job_unclaimed(db: &Db, worker: WorkerId, jobs: &[JobId]) -> Result<Vec<Unclaimed>> {
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.as_uuid()).collect();
    let rows = measured!(db, JobUnclaimed, |conn| {
        sqlx::query!(
        r#"SELECT id AS "id: JobId", app_id AS "app: AppId", attempt AS "attempt: Attempt", state FROM jobs
           WHERE id = ANY ($1) AND ((state = 'queued' AND app_id IS NOT NULL AND started_at IS NULL)
                                 OR (state = 'running' AND worker_id = $2 AND finished_at IS NULL))"#,
        &ids,
        worker.as_uuid(),
    )
    .fetch_all(conn)
    })?;
    Ok(jobs
        .iter()
        .map(|job| match rows.iter().find(|row| row.id == *job) {
            Some(row) if row.state == JobState::Running.as_str() => Unclaimed::Mine(row.attempt),
            Some(row) => row.app.map_or(Unclaimed::Pointless, Unclaimed::AppBusy),
            None => Unclaimed::Pointless,
        })
        .collect())
}

/// The jobs that `worker` holds by the record, and what was asked of them. What is missing here was lost.
pub async fn job_held(db: &Db, worker: WorkerId) -> Result<HashMap<JobId, (Attempt, Option<CancelReason>)>> {
    let rows = measured!(db, JobHeld, |conn| sqlx::query!(
        r#"SELECT id AS "id: JobId", attempt AS "attempt: Attempt", cancel_requested FROM jobs
           WHERE worker_id = $1 AND state = $2 AND finished_at IS NULL"#,
        worker.as_uuid(),
        JobState::Running.as_str(),
    )
    .fetch_all(conn))?;
    rows.into_iter()
        .map(|row| Ok((row.id, (row.attempt, row.cancel_requested.map(word).transpose()?))))
        .collect()
}
