//! Finishing: the one write that makes a run count, many in one commit, each fenced by its attempt.

use uuid::Uuid;

use crate::db::{Db, measured};
use crate::domain::deployment::DeploymentStatus;
use crate::domain::job::JobState;
use crate::error::{Code, Result};
use crate::ids::{AppId, Attempt, DeploymentId, JobId};

/// Longest reason the record keeps, in characters.
pub const REASON_MAX: usize = 4000;

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Finish {
    pub job: JobId,
    pub attempt: Attempt,
    /// One of the ends.
    pub state: JobState,
    /// Where the job's deployment ends, if it has one.
    pub deployment: Option<DeploymentStatus>,
    pub code: Option<Code>,
    pub reason: Option<String>,
}

/// A finish that counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    pub job: JobId,
    pub app: Option<AppId>,
    pub deployment: Option<DeploymentId>,
}

/// Finishes all jobs whose attempt is still the present one. A job missing from the answer is another's now:
/// whoever asked is a zombie and must touch nothing.
pub async fn job_finish(db: &Db, finishes: &[Finish]) -> Result<Vec<Finished>> {
    let ids: Vec<Uuid> = finishes.iter().map(|finish| finish.job.as_uuid()).collect();
    let attempts: Vec<i32> = finishes.iter().map(|finish| finish.attempt.0).collect();
    let states: Vec<&str> = finishes.iter().map(|finish| finish.state.as_str()).collect();
    let statuses: Vec<Option<String>> =
        finishes.iter().map(|finish| finish.deployment.map(|status| status.to_string())).collect();
    let codes: Vec<Option<String>> =
        finishes.iter().map(|finish| finish.code.map(|code| code.to_string())).collect();
    let reasons: Vec<Option<String>> =
        finishes.iter().map(|finish| finish.reason.as_ref().map(|text| storable(text))).collect();
    let rows = measured!(db, JobFinish, |conn| {
        sqlx::query!(
        r#"WITH done AS (
               UPDATE jobs j SET state = w.state, code = w.code, reason = w.reason, finished_at = now()
               FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::text[])
                    AS w (id, attempt, state, status, code, reason)
               WHERE j.id = w.id AND j.attempt = w.attempt AND j.state = 'running'
               RETURNING j.id, j.app_id, j.deployment_id, w.status, w.code, w.reason
           ), ended AS (
               UPDATE deployments d
               SET code = done.code, reason = done.reason, finished_at = now(),
                   -- Whoever was stopped on the way back did not get there: that is a failure, not a cancel.
                   status = CASE WHEN deployment_may_become(d.status, done.status) THEN done.status ELSE 'FAILED' END
               FROM done WHERE d.id = done.deployment_id AND done.status IS NOT NULL
           )
           SELECT id AS "id: JobId", app_id AS "app: AppId", deployment_id AS "deployment: DeploymentId" FROM done"#,
        &ids,
        &attempts,
        &states as &[&str],
        &statuses as &[Option<String>],
        &codes as &[Option<String>],
        &reasons as &[Option<String>],
    )
    .fetch_all(conn)
    })?;
    Ok(rows
        .into_iter()
        .map(|row| Finished { job: row.id, app: row.app, deployment: row.deployment })
        .collect())
}

/// Postgres stores no NUL, and the column has a limit; the reason of a failure must not be why it cannot be stored.
pub(in crate::db) fn storable(text: &str) -> String {
    text.chars().filter(|&c| c != '\0').take(REASON_MAX).collect()
}
