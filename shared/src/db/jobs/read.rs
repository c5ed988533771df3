//! Reading jobs: for people who ask, and for the reconcilers that put them back in line.

use std::time::Duration;

use uuid::Uuid;

use super::parse_targets;
use crate::clock::Timestamp;
use crate::db::{Db, measured, word};
use crate::domain::job::{CancelReason, JobState, Priority};
use crate::error::Result;
use crate::ids::{AppId, Attempt, DeploymentId, EnvironmentName, JobId, TargetName, WorkerId};

/// A job as the record has it.
#[derive(Debug, Clone)]
pub struct Job {
    pub id: JobId,
    pub kind: String,
    pub environment: EnvironmentName,
    pub priority: Priority,
    pub state: JobState,
    pub targets: Vec<TargetName>,
    pub app: Option<AppId>,
    pub deployment: Option<DeploymentId>,
    pub attempt: Attempt,
    pub tries: i32,
    pub recoveries: i32,
    pub worker: Option<WorkerId>,
    pub cancel_requested: Option<CancelReason>,
    pub code: Option<String>,
    pub reason: Option<String>,
    pub run_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub queued_at: Timestamp,
    pub claimed_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

pub async fn job_get(db: &Db, job: JobId) -> Result<Option<Job>> {
    let row = measured!(db, JobGet, |conn| {
        sqlx::query!(
        r#"SELECT id AS "id: JobId", kind, environment, priority, state, targets, app_id AS "app: AppId",
                  deployment_id AS "deployment: DeploymentId", attempt AS "attempt: Attempt", tries, recoveries,
                  worker_id AS "worker: WorkerId", cancel_requested, code, reason, run_at, created_at, queued_at,
                  claimed_at, finished_at
           FROM jobs WHERE id = $1"#,
        job.as_uuid()
    )
    .fetch_optional(conn)
    })?;
    row.map(|row| {
        Ok(Job {
            id: row.id,
            kind: row.kind,
            environment: EnvironmentName::parse(&row.environment)?,
            priority: Priority::from_i16(row.priority),
            state: word(row.state)?,
            targets: parse_targets(&row.targets)?,
            app: row.app,
            deployment: row.deployment,
            attempt: row.attempt,
            tries: row.tries,
            recoveries: row.recoveries,
            worker: row.worker,
            cancel_requested: row.cancel_requested.map(word).transpose()?,
            code: row.code,
            reason: row.reason,
            run_at: row.run_at,
            created_at: row.created_at,
            queued_at: row.queued_at,
            claimed_at: row.claimed_at,
            finished_at: row.finished_at,
        })
    })
    .transpose()
}

/// What Redis needs to know to put a job in line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    pub job: JobId,
    pub environment: EnvironmentName,
    pub priority: Priority,
    /// Whose locks it takes when it is taken.
    pub targets: Vec<TargetName>,
    /// How long until it may run.
    pub delay: Duration,
}

macro_rules! placements {
    ($rows:expr) => {
        $rows
            .into_iter()
            .map(|row| {
                Ok(Placement {
                    job: row.job,
                    environment: EnvironmentName::parse(&row.environment)?,
                    priority: Priority::from_i16(row.priority),
                    targets: parse_targets(&row.targets)?,
                    delay: Duration::try_from_secs_f64(row.delay).unwrap_or_default(),
                })
            })
            .collect()
    };
}

/// Queued jobs that should be known to Redis, in order of id after `after`. One that waits for its app's running job
/// is not among them: it joins the line when that one ends. Jobs queued within `grace` are left to whoever is pushing
/// them just now.
pub async fn job_queued(
    db: &Db,
    after: Option<JobId>,
    grace: Duration,
    limit: i64,
) -> Result<Vec<Placement>> {
    let after = after.map_or(Uuid::nil(), JobId::as_uuid);
    let rows = measured!(db, JobQueued, |conn| sqlx::query!(
        r#"SELECT id AS "job: JobId", environment, priority, targets,
                  greatest(0, coalesce(extract(epoch FROM run_at - now()), 0))::float8 AS "delay!"
           FROM jobs j
           WHERE state = 'queued' AND id > $1 AND queued_at <= now() - make_interval(secs => $2)
             AND (app_id IS NULL OR started_at IS NOT NULL OR NOT EXISTS (
                     SELECT 1 FROM jobs other WHERE other.app_id = j.app_id AND other.app_id IS NOT NULL
                     AND other.finished_at IS NULL AND (other.started_at IS NOT NULL OR other.id < j.id)))
           ORDER BY id LIMIT $3"#,
        after,
        grace.as_secs_f64(),
        limit,
    )
    .fetch_all(conn))?;
    placements!(rows)
}

/// For each of these apps the job that may be put in line now: the oldest waiting one, if none has begun.
pub async fn job_next_for_apps(db: &Db, apps: &[AppId]) -> Result<Vec<Placement>> {
    let ids: Vec<Uuid> = apps.iter().map(|app| app.as_uuid()).collect();
    let rows = measured!(db, JobNext, |conn| sqlx::query!(
        r#"SELECT DISTINCT ON (app_id) id AS "job: JobId", environment, priority, targets,
                  greatest(0, coalesce(extract(epoch FROM run_at - now()), 0))::float8 AS "delay!"
           FROM jobs j
           WHERE app_id = ANY ($1) AND finished_at IS NULL AND state = 'queued'
             AND NOT EXISTS (
                 SELECT 1 FROM jobs other WHERE other.app_id = j.app_id AND other.id <> j.id
                 AND other.started_at IS NOT NULL AND other.finished_at IS NULL)
           ORDER BY app_id, id"#,
        &ids
    )
    .fetch_all(conn))?;
    placements!(rows)
}

/// The queued ones among `jobs`, as they have to be placed. The others are not waiting for anything.
pub async fn job_placements(db: &Db, jobs: &[JobId]) -> Result<Vec<Placement>> {
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.as_uuid()).collect();
    let rows = measured!(db, JobPlaced, |conn| sqlx::query!(
        r#"SELECT id AS "job: JobId", environment, priority, targets,
                  greatest(0, coalesce(extract(epoch FROM run_at - now()), 0))::float8 AS "delay!"
           FROM jobs WHERE id = ANY ($1) AND state = 'queued' ORDER BY id"#,
        &ids
    )
    .fetch_all(conn))?;
    placements!(rows)
}

/// The unfinished job of the same app that a waiting one is behind.
pub async fn job_waits_for(db: &Db, app: AppId, job: JobId) -> Result<Option<JobId>> {
    measured!(db, JobNext, |conn| sqlx::query_scalar!(
        r#"SELECT id AS "id: JobId" FROM jobs
           WHERE app_id = $1 AND id <> $2 AND finished_at IS NULL AND (started_at IS NOT NULL OR id < $2)
           ORDER BY started_at NULLS LAST, id LIMIT 1"#,
        app.as_uuid(),
        job.as_uuid(),
    )
    .fetch_optional(conn))
}

/// Jobs in quarantine, oldest first.
pub async fn job_quarantined(db: &Db, after: Option<JobId>, limit: i64) -> Result<Vec<JobId>> {
    let after = after.map_or(Uuid::nil(), JobId::as_uuid);
    measured!(db, JobQuarantined, |conn| sqlx::query_scalar!(
        r#"SELECT id AS "id: JobId" FROM jobs WHERE state = 'quarantined' AND id > $1 ORDER BY id LIMIT $2"#,
        after,
        limit
    )
    .fetch_all(conn))
}

/// Those of `jobs` that have ended, or that the record does not know.
pub async fn job_ended(db: &Db, jobs: &[JobId]) -> Result<Vec<JobId>> {
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.as_uuid()).collect();
    measured!(db, JobPlaced, |conn| sqlx::query_scalar!(
        r#"SELECT w.id AS "id!: JobId" FROM unnest($1::uuid[]) AS w (id)
           WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = w.id AND j.finished_at IS NULL)"#,
        &ids
    )
    .fetch_all(conn))
}

/// How many jobs are in quarantine.
pub async fn job_quarantined_count(db: &Db) -> Result<i64> {
    measured!(db, JobQuarantined, |conn| sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM jobs WHERE state = 'quarantined'"#
    )
    .fetch_one(conn))
}
