//! The journal of a deployment's steps: written before and after each, fenced by the attempt.

use super::{Db, claim_lost, measured, word};
use crate::error::Result;
use crate::ids::{Attempt, DeploymentId, Epoch, JobId};

crate::domain::text_enum! {
    StepState {
        Started = "started",
        Done = "done",
        Failed = "failed",
        Undone = "undone",
    }
}

#[derive(Debug, Clone)]
pub struct Step {
    pub step: String,
    pub state: StepState,
    pub attempt: Attempt,
    pub epoch: Option<Epoch>,
    pub output: Option<serde_json::Value>,
}

/// Writes where a step stands. Starting a step again forgets its old output.
pub async fn step_write(db: &Db, job: JobId, attempt: Attempt, step: &Step) -> Result<()> {
    let written = measured!(db, StepWrite, |conn| {
        sqlx::query!(
        "WITH mine AS (
             SELECT deployment_id FROM jobs
             WHERE id = $1 AND attempt = $2 AND state = 'running' AND deployment_id IS NOT NULL FOR UPDATE
         )
         INSERT INTO deployment_steps (deployment_id, step, state, attempt, epoch, output, finished_at)
         SELECT deployment_id, $3, $4, $2, $5, $6, CASE WHEN $4 <> 'started' THEN now() END FROM mine
         ON CONFLICT (deployment_id, step) DO UPDATE
         SET state = EXCLUDED.state, attempt = EXCLUDED.attempt, epoch = EXCLUDED.epoch, output = EXCLUDED.output,
             started_at = CASE WHEN EXCLUDED.state = 'started' THEN now() ELSE deployment_steps.started_at END,
             finished_at = EXCLUDED.finished_at
         WHERE deployment_steps.attempt <= EXCLUDED.attempt",
        job.as_uuid(),
        attempt.0,
        step.step,
        step.state.as_str(),
        step.epoch.map(|epoch| epoch.0),
        step.output,
    )
    .execute(conn)
    })?;
    if written.rows_affected() == 1 { Ok(()) } else { Err(claim_lost()) }
}

/// All steps of a deployment, in the order they were first begun.
pub async fn step_list(db: &Db, deployment: DeploymentId) -> Result<Vec<Step>> {
    let rows = measured!(db, StepList, |conn| {
        sqlx::query!(
        r#"SELECT step, state, attempt AS "attempt: Attempt", epoch AS "epoch: Epoch", output FROM deployment_steps
           WHERE deployment_id = $1 ORDER BY started_at, step"#,
        deployment.as_uuid()
    )
    .fetch_all(conn)
    })?;
    rows.into_iter()
        .map(|row| {
            Ok(Step {
                step: row.step,
                state: word(row.state)?,
                attempt: row.attempt,
                epoch: row.epoch,
                output: row.output,
            })
        })
        .collect()
}
