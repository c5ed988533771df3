//! Asking a job to stop: at once when it waits, by request when it runs.

use crate::db::{Db, measured};
use crate::domain::job::{CancelReason, JobState};
use crate::error::{Error, Result};
use crate::ids::{AppId, JobId, WorkerId};

/// What became of the wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It was waiting and has ended. Its app's next job may start now.
    Ended {
        app: Option<AppId>,
    },
    /// It runs; its worker has to be told.
    Asked {
        worker: WorkerId,
    },
    /// It had already ended.
    Late,
    Unknown,
}

/// Ends a waiting job and its deployment, or records the wish on a running one. Asking twice is harmless; the first
/// reason stays.
pub async fn job_cancel(db: &Db, job: JobId, reason: CancelReason) -> Result<Cancelled> {
    measured!(db, JobCancel, |conn| async {
        use sqlx::Connection as _;
        let mut txn = conn.begin().await?;
        let row = sqlx::query!(
            r#"SELECT state, app_id AS "app: AppId", worker_id AS "worker: WorkerId" FROM jobs WHERE id = $1 FOR UPDATE"#,
            job.as_uuid()
        )
        .fetch_optional(&mut *txn)
        .await?;
        let Some(row) = row else { return Ok::<_, Error>(Cancelled::Unknown) };
        let answer = match (super::super::word(row.state)?, row.worker) {
            (JobState::Queued, _) => {
                end_waiting(&mut txn, job, reason).await?;
                Cancelled::Ended { app: row.app }
            }
            (JobState::Running, Some(worker)) => {
                sqlx::query!(
                    "UPDATE jobs SET cancel_requested = coalesce(cancel_requested, $2) WHERE id = $1",
                    job.as_uuid(),
                    reason.as_str(),
                )
                .execute(&mut *txn)
                .await?;
                Cancelled::Asked { worker }
            }
            _ => Cancelled::Late,
        };
        txn.commit().await?;
        Ok(answer)
    })
}

async fn end_waiting(
    conn: &mut sqlx::PgConnection,
    job: JobId,
    reason: CancelReason,
) -> Result<(), sqlx::Error> {
    let (state, status, sentence) = match reason {
        CancelReason::User => ("cancelled", "CANCELLED", "cancelled while it waited"),
        CancelReason::Superseded => ("superseded", "SUPERSEDED", "a newer deployment replaced it"),
    };
    sqlx::query!(
        "WITH ended AS (
             UPDATE jobs SET state = $2, finished_at = now(), cancel_requested = $4, reason = $5
             WHERE id = $1 RETURNING deployment_id
         )
         UPDATE deployments d SET finished_at = now(), reason = $5,
             status = CASE WHEN deployment_may_become(d.status, $3) THEN $3 ELSE 'FAILED' END
         FROM ended WHERE d.id = ended.deployment_id",
        job.as_uuid(),
        state,
        status,
        reason.as_str(),
        sentence,
    )
    .execute(conn)
    .await?;
    Ok(())
}
