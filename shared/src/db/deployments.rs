//! Deployments: accepted together with their job in one transaction, moved on only by the holder of the claim.

use super::jobs::{Job, job_get};
use super::pins::{acted_in_txn, push_admit_in_txn};
use super::{Db, claim_lost, measured, word};
use crate::clock::Timestamp;
use crate::domain::deployment::DeploymentStatus;
use crate::domain::job::{CancelReason, JobState, Locking, Priority};
use crate::domain::overlap::{self, Unfinished};
use crate::error::{Code, Error, Result};
use crate::ids::{AppId, Attempt, DeploymentId, EnvironmentName, JobId, ReleaseId, UserId, WorkerId};
use crate::telemetry::TraceContext;

crate::domain::text_enum! {
    /// What started a deployment.
    Trigger {
        Manual = "manual",
        Push = "push",
        Rollback = "rollback",
        Retry = "retry",
    }
}

#[derive(Debug, Clone)]
pub struct NewDeployment {
    pub app: AppId,
    pub trigger: Trigger,
    pub requested_by: Option<UserId>,
    /// 40 or 64 lower-case hex digits; `None` until the branch is resolved.
    pub commit: Option<String>,
    /// Of a way back: what is to be rolled out again.
    pub release: Option<ReleaseId>,
    pub kind: &'static str,
    pub locking: Locking,
    pub priority: Priority,
    pub trace: Option<TraceContext>,
}

/// An accepted deployment, and what its arrival did to others.
#[derive(Debug, Clone)]
pub struct Created {
    pub deployment: DeploymentId,
    pub job: JobId,
    /// Waiting jobs that ended because of it; Redis should forget them.
    pub superseded: Vec<JobId>,
    /// A running job that was asked to stop; its worker should be told.
    pub stopping: Option<(JobId, WorkerId)>,
}

/// Accepts a deployment: supersedes what the app's overlap policy says, and records deployment and job together. A push is
/// refused where it would bring back what was just rolled back.
pub async fn deployment_create(db: &Db, new: &NewDeployment) -> Result<Created> {
    measured!(db, DeploymentCreate, |conn| async {
        use sqlx::Connection as _;
        let mut txn = conn.begin().await?;
        // The app's row makes concurrent pushes of one app take turns. Not `FOR UPDATE`: that would also stop a worker that
        // has locked its job and writes a row which names the app, while this waits for that job.
        let app = sqlx::query!(
            "SELECT a.environment, e.overlap_policy FROM apps a JOIN environments e ON e.name = a.environment
             WHERE a.id = $1 FOR NO KEY UPDATE OF a",
            new.app.as_uuid()
        )
        .fetch_optional(&mut *txn)
        .await?
        .ok_or_else(|| Error::new(Code::AppUnknown, format!("there is no app {}", new.app)))?;
        match new.trigger {
            Trigger::Push => push_admit_in_txn(&mut txn, new.app, new.commit.as_deref()).await?,
            Trigger::Manual => acted_in_txn(&mut txn, new.app).await?,
            Trigger::Rollback | Trigger::Retry => {}
        }
        // Made while it is this one's turn: ids sort in the order in which an app's deployments were accepted.
        let (deployment, job) = (DeploymentId::generate(), JobId::generate());
        let others = unfinished_in_txn(&mut txn, new.app).await?;
        let overrides = overrides_in_txn(&mut txn, new.app).await?;
        let rollback = new.trigger == Trigger::Rollback;
        let decision = overlap::admit(word(app.overlap_policy)?, rollback, overrides, &others);
        let superseded = supersede_in_txn(&mut txn, deployment, &decision.supersede).await?;
        let stopping = match decision.cancel {
            Some(running) => stop_in_txn(&mut txn, deployment, running).await?,
            None => None,
        };
        sqlx::query!(
            "INSERT INTO deployments (id, app_id, environment, requested_by, trigger, commit_sha, release_id, status)
             VALUES ($1, $2, $3, $4, $5, $6, $7, 'QUEUED')",
            deployment.as_uuid(),
            new.app.as_uuid(),
            app.environment,
            new.requested_by.map(UserId::as_uuid),
            new.trigger.as_str(),
            new.commit,
            new.release.map(ReleaseId::as_uuid),
        )
        .execute(&mut *txn)
        .await?;
        sqlx::query!(
            "INSERT INTO jobs (id, kind, environment, priority, payload, app_id, deployment_id, trace_context, targets)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, CASE WHEN $9 THEN ARRAY(
                 SELECT target FROM app_targets WHERE app_id = $6 ORDER BY target) ELSE '{}' END)",
            job.as_uuid(),
            new.kind,
            app.environment,
            new.priority.as_i16(),
            serde_json::json!({ "deployment_id": deployment }),
            new.app.as_uuid(),
            deployment.as_uuid(),
            new.trace.as_ref().map(ToString::to_string),
            new.locking == Locking::AtClaim,
        )
        .execute(&mut *txn)
        .await?;
        txn.commit().await?;
        Ok::<_, Error>(Created { deployment, job, superseded, stopping })
    })
}

async fn unfinished_in_txn(txn: &mut sqlx::PgConnection, app: AppId) -> Result<Vec<Unfinished>> {
    let rows = sqlx::query!(
        r#"SELECT j.id AS "job: JobId", j.started_at, j.cancel_requested, d.trigger, d.status
           FROM jobs j JOIN deployments d ON d.id = j.deployment_id
           WHERE j.app_id = $1 AND j.finished_at IS NULL ORDER BY j.id FOR UPDATE OF j, d"#,
        app.as_uuid()
    )
    .fetch_all(&mut *txn)
    .await?;
    rows.into_iter()
        // One that is already on its way out needs no second push.
        .filter(|row| row.cancel_requested.is_none())
        .map(|row| {
            Ok(Unfinished {
                job: row.job,
                started: row.started_at.is_some(),
                rollback: row.trigger == Trigger::Rollback.as_str(),
                status: word(row.status)?,
            })
        })
        .collect()
}

/// How many begun deployments were superseded, or are about to be, since one was last let through.
async fn overrides_in_txn(txn: &mut sqlx::PgConnection, app: AppId) -> Result<i32> {
    Ok(sqlx::query_scalar!(
        r#"SELECT count(*)::integer AS "count!" FROM jobs
           WHERE app_id = $1 AND started_at IS NOT NULL AND cancel_requested = 'superseded'
             AND coalesce(finished_at, 'infinity') > coalesce((
                 SELECT max(finished_at) FROM jobs
                 WHERE app_id = $1 AND started_at IS NOT NULL AND finished_at IS NOT NULL AND state <> 'superseded'
             ), '-infinity')"#,
        app.as_uuid()
    )
    .fetch_one(&mut *txn)
    .await?)
}

async fn supersede_in_txn(
    txn: &mut sqlx::PgConnection,
    by: DeploymentId,
    jobs: &[JobId],
) -> Result<Vec<JobId>, sqlx::Error> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<uuid::Uuid> = jobs.iter().map(|job| job.as_uuid()).collect();
    sqlx::query_scalar!(
        r#"WITH ended AS (
               UPDATE jobs SET state = 'superseded', finished_at = now()
               WHERE id = ANY ($1) AND state = 'queued' AND started_at IS NULL RETURNING id, deployment_id
           ), shown AS (
               UPDATE deployments d
               SET status = 'SUPERSEDED', superseded_by = $2, finished_at = now(), reason = 'a newer deployment replaced it'
               FROM ended WHERE d.id = ended.deployment_id
           )
           SELECT id AS "id: JobId" FROM ended"#,
        &ids,
        by.as_uuid(),
    )
    .fetch_all(txn)
    .await
}

async fn stop_in_txn(
    txn: &mut sqlx::PgConnection,
    by: DeploymentId,
    job: JobId,
) -> Result<Option<(JobId, WorkerId)>, sqlx::Error> {
    let worker = sqlx::query_scalar!(
        r#"WITH stopped AS (
               UPDATE jobs SET cancel_requested = $2 WHERE id = $1 AND state = 'running' RETURNING worker_id, deployment_id
           ), shown AS (
               UPDATE deployments d SET superseded_by = $3 FROM stopped WHERE d.id = stopped.deployment_id
           )
           SELECT worker_id AS "worker: WorkerId" FROM stopped"#,
        job.as_uuid(),
        CancelReason::Superseded.as_str(),
        by.as_uuid(),
    )
    .fetch_optional(txn)
    .await?;
    Ok(worker.flatten().map(|worker| (job, worker)))
}

/// Moves the deployment of a running job on, fenced by the attempt. Refused once somebody asked the job to stop, so
/// that "stop before traffic moves" cannot come too late; the way back is open all the same.
pub async fn deployment_advance(db: &Db, job: JobId, attempt: Attempt, to: DeploymentStatus) -> Result<()> {
    let moved = measured!(db, DeploymentAdvance, |conn| sqlx::query!(
        "WITH mine AS (
             SELECT deployment_id FROM jobs
             WHERE id = $1 AND attempt = $2 AND state = 'running'
             AND (cancel_requested IS NULL OR $3 IN ('ROLLING_BACK', 'ROLLED_BACK')) FOR UPDATE
         )
         UPDATE deployments d SET status = $3, started_at = coalesce(d.started_at, now())
         FROM mine WHERE d.id = mine.deployment_id",
        job.as_uuid(),
        attempt.0,
        to.as_str(),
    )
    .execute(conn))
    .map_err(|error| match super::violated(&error) {
        Some("deployments_status_transition") => {
            Error::new(Code::StatusTransition, format!("this deployment cannot become {to} now"))
                .because(error)
        }
        _ => error,
    })?;
    if moved.rows_affected() == 1 {
        Ok(())
    } else {
        Err(Error::new(Code::ClaimLost, "another worker holds this job now, or it was asked to stop"))
    }
}

/// What a deployment turned out to be of.
#[derive(Debug, Clone)]
pub struct Described {
    /// 40 or 64 lower-case hex digits.
    pub commit: String,
    pub branch: Option<String>,
    pub message: String,
    pub author: String,
}

/// Writes down what was checked out, fenced by the attempt.
pub async fn deployment_describe(db: &Db, job: JobId, attempt: Attempt, what: &Described) -> Result<()> {
    let plain = |text: &str, most: usize| -> String { text.replace('\0', " ").chars().take(most).collect() };
    let written = measured!(db, DeploymentDescribe, |conn| sqlx::query!(
        "WITH mine AS (
             SELECT deployment_id FROM jobs WHERE id = $1 AND attempt = $2 AND state = 'running' FOR UPDATE
         )
         UPDATE deployments d SET commit_sha = $3, branch = $4, commit_message = $5, commit_author = $6
         FROM mine WHERE d.id = mine.deployment_id",
        job.as_uuid(),
        attempt.0,
        what.commit,
        what.branch,
        plain(&what.message, 1000),
        plain(&what.author, 255),
    )
    .execute(conn))?;
    if written.rows_affected() == 1 { Ok(()) } else { Err(claim_lost()) }
}

/// What became of a deployment, for whoever looks after what it left on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    pub deployment: DeploymentId,
    pub ended: bool,
    /// Whether it made a release itself.
    pub released: bool,
    /// The id of its release's image.
    pub image: Option<String>,
}

/// The fates of those of `ids` that the record knows.
pub async fn deployment_fates(db: &Db, ids: &[DeploymentId]) -> Result<Vec<Fate>> {
    let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
    measured!(db, DeploymentFates, |conn| sqlx::query_as!(
        Fate,
        r#"SELECT d.id AS "deployment!: DeploymentId", d.finished_at IS NOT NULL AS "ended!",
                  r.id IS NOT NULL AS "released!", r.spec #>> '{image,id}' AS "image?"
           FROM deployments d LEFT JOIN releases r ON r.deployment_id = d.id WHERE d.id = ANY ($1)"#,
        &ids
    )
    .fetch_all(conn))
}

#[derive(Debug, Clone)]
pub struct Deployment {
    pub id: DeploymentId,
    pub app: AppId,
    pub environment: EnvironmentName,
    pub trigger: Trigger,
    pub commit: Option<String>,
    pub branch: Option<String>,
    pub commit_message: Option<String>,
    pub commit_author: Option<String>,
    pub release: Option<ReleaseId>,
    pub status: DeploymentStatus,
    pub code: Option<String>,
    pub reason: Option<String>,
    pub superseded_by: Option<DeploymentId>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

/// For processes that act for the fleet. The gateway loads through its own scoped queries.
pub async fn deployment_get(db: &Db, id: DeploymentId) -> Result<Option<Deployment>> {
    let row = measured!(db, DeploymentGet, |conn| {
        sqlx::query!(
        r#"SELECT id AS "id: DeploymentId", app_id AS "app: AppId", environment, trigger, commit_sha, status, code, reason,
                  superseded_by AS "superseded_by: DeploymentId", created_at, started_at, finished_at, branch,
                  commit_message, commit_author, release_id AS "release: ReleaseId"
           FROM deployments WHERE id = $1"#,
        id.as_uuid()
    )
    .fetch_optional(conn)
    })?;
    row.map(|row| {
        Ok(Deployment {
            id: row.id,
            app: row.app,
            environment: EnvironmentName::parse(&row.environment)?,
            trigger: word(row.trigger)?,
            commit: row.commit_sha,
            branch: row.branch,
            commit_message: row.commit_message,
            commit_author: row.commit_author,
            release: row.release,
            status: word(row.status)?,
            code: row.code,
            reason: row.reason,
            superseded_by: row.superseded_by,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
        })
    })
    .transpose()
}

/// The job that carries a deployment, if the record still has it.
pub async fn deployment_job(db: &Db, id: DeploymentId) -> Result<Option<Job>> {
    let job = measured!(db, DeploymentGet, |conn| sqlx::query_scalar!(
        r#"SELECT id AS "id: JobId" FROM jobs WHERE deployment_id = $1"#,
        id.as_uuid()
    )
    .fetch_optional(conn))?;
    match job {
        Some(job) => job_get(db, job).await,
        None => Ok(None),
    }
}

impl Deployment {
    /// Whether the record contradicts itself: an ended job must have ended its deployment.
    pub fn agrees_with(&self, job: JobState) -> bool {
        self.status.is_terminal() == job.is_terminal()
    }
}
