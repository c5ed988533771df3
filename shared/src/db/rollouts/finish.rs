//! The end of a roll-out and all that follows from it, in one transaction: nobody sees the end without what users reach now.

use sqlx::PgConnection;

use super::serving::{Served, serving_put_in_txn};
use crate::db::jobs::storable;
use crate::db::{Db, claim_lost, measured};
use crate::domain::rollout::RolloutOutcome;
use crate::error::{Code, Error, Result};
use crate::ids::{AppId, Attempt, DeploymentId, JobId, TargetName};

/// Longest reason of a pin, in characters.
pub(in crate::db) const PIN_REASON_MAX: usize = 1000;

/// How a roll-out ended, and what is to be remembered of it.
#[derive(Debug, Clone)]
pub struct RolloutEnd {
    pub outcome: RolloutOutcome,
    /// Why it did not end as it was meant to.
    pub reason: Option<String>,
    pub state: serde_json::Value,
    /// What users reach now. Targets not named stay as they are.
    pub serving: Vec<Served>,
    /// Where users reach nothing of the app any more.
    pub unserved: Vec<TargetName>,
    /// It was an automatic way back: one more in a row.
    pub automatic: bool,
    /// The new release stays: the row of automatic ways back is over.
    pub succeeded: bool,
    /// Why pushes shall not deploy any more until somebody lets them.
    pub pin: Option<String>,
    /// The commit that is not to be pushed again, and why.
    pub bad_commit: Option<(String, String)>,
}

/// Ends the roll-out, fenced by the attempt. Once it has ended, ending it again changes nothing.
pub async fn rollout_finish(
    db: &Db,
    job: JobId,
    attempt: Attempt,
    deployment: DeploymentId,
    end: &RolloutEnd,
) -> Result<()> {
    measured!(db, RolloutFinish, |conn| async {
        use sqlx::Connection as _;
        let mut txn = conn.begin().await?;
        // The app's row before the job's, as where a deployment is accepted: the other order could deadlock with that.
        let app = sqlx::query_scalar!(
            r#"SELECT a.id AS "app: AppId" FROM rollouts r JOIN apps a ON a.id = r.app_id
               WHERE r.deployment_id = $1 FOR NO KEY UPDATE OF a"#,
            deployment.as_uuid()
        )
        .fetch_optional(&mut *txn)
        .await?;
        let mine = sqlx::query_scalar!(
            r#"SELECT 1 AS "mine!" FROM jobs WHERE id = $1 AND attempt = $2 AND state = 'running'
               AND (deployment_id = $3 OR kind = 'settle' AND payload ->> 'deployment_id' = $3::text) FOR UPDATE"#,
            job.as_uuid(),
            attempt.0,
            deployment.as_uuid(),
        )
        .fetch_optional(&mut *txn)
        .await?;
        mine.ok_or_else(claim_lost)?;
        let app = app.ok_or_else(|| {
            Error::new(Code::StoreUnexpected, format!("deployment {deployment} never began its roll-out"))
        })?;
        let ended = sqlx::query!(
            "UPDATE rollouts SET outcome = $2, reason = $3, state = $4, seq = seq + 1, updated_at = now(), finished_at = now()
             WHERE deployment_id = $1 AND outcome IS NULL",
            deployment.as_uuid(),
            end.outcome.as_str(),
            end.reason.as_deref().map(storable),
            end.state,
        )
        .execute(&mut *txn)
        .await?;
        if ended.rows_affected() == 1 {
            serving_put_in_txn(&mut txn, app, &end.serving, &end.unserved).await?;
            remember_in_txn(&mut txn, app, deployment, end).await?;
        }
        txn.commit().await?;
        Ok::<_, Error>(())
    })
}

/// What decides about the app's later pushes.
async fn remember_in_txn(
    txn: &mut PgConnection,
    app: AppId,
    deployment: DeploymentId,
    end: &RolloutEnd,
) -> Result<()> {
    let pin: Option<String> =
        end.pin.as_deref().map(|reason| storable(reason).chars().take(PIN_REASON_MAX).collect());
    sqlx::query!(
        "UPDATE apps SET
             automatic_rollbacks = CASE WHEN $2 THEN automatic_rollbacks + 1 WHEN $3 THEN 0 ELSE automatic_rollbacks END,
             auto_deploy = auto_deploy AND $4::text IS NULL, pinned_reason = coalesce($4, pinned_reason)
         WHERE id = $1",
        app.as_uuid(),
        end.automatic,
        end.succeeded,
        pin,
    )
    .execute(&mut *txn)
    .await?;
    if let Some((commit, reason)) = &end.bad_commit {
        sqlx::query!(
            "INSERT INTO bad_commits (app_id, commit_sha, deployment_id, reason) VALUES ($1, $2, $3, $4)
             ON CONFLICT (app_id, commit_sha) DO UPDATE
             SET deployment_id = EXCLUDED.deployment_id, reason = EXCLUDED.reason, at = now()",
            app.as_uuid(),
            commit,
            deployment.as_uuid(),
            storable(reason),
        )
        .execute(&mut *txn)
        .await?;
    }
    Ok(())
}
