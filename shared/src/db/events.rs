//! Events of a deployment: numbered by their one writer, the holder of the claim, and never changed.

use super::{Db, claim_lost, measured};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::ids::{Attempt, DeploymentId, JobId};

#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// 1, 2, 3 … within a deployment.
    pub seq: i64,
    pub at: Timestamp,
    pub kind: String,
    pub body: serde_json::Value,
}

/// Appends the next event, fenced by the attempt, and says which number it got. The lock on the job's row makes
/// writers take turns, so numbers have no gaps.
pub async fn event_append(
    db: &Db,
    job: JobId,
    attempt: Attempt,
    kind: &str,
    body: &serde_json::Value,
) -> Result<Event> {
    measured!(db, EventAppend, |conn| async {
        use sqlx::Connection as _;
        let mut txn = conn.begin().await?;
        let deployment = sqlx::query_scalar!(
            r#"SELECT deployment_id AS "deployment!: DeploymentId" FROM jobs
               WHERE id = $1 AND attempt = $2 AND state = 'running' AND deployment_id IS NOT NULL FOR UPDATE"#,
            job.as_uuid(),
            attempt.0,
        )
        .fetch_optional(&mut *txn)
        .await?
        .ok_or_else(claim_lost)?;
        let row = sqlx::query!(
            r#"INSERT INTO events (deployment_id, seq, kind, body)
               SELECT $1, coalesce(max(seq), 0) + 1, $2, $3 FROM events WHERE deployment_id = $1
               RETURNING seq, at"#,
            deployment.as_uuid(),
            kind,
            body,
        )
        .fetch_one(&mut *txn)
        .await?;
        txn.commit().await?;
        Ok::<_, Error>(Event { seq: row.seq, at: row.at, kind: kind.to_owned(), body: body.clone() })
    })
}

/// Up to `limit` events after number `after`, in order.
pub async fn event_list(db: &Db, deployment: DeploymentId, after: i64, limit: i64) -> Result<Vec<Event>> {
    measured!(db, EventList, |conn| sqlx::query_as!(
        Event,
        "SELECT seq, at, kind, body FROM events WHERE deployment_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
        deployment.as_uuid(),
        after,
        limit,
    )
    .fetch_all(conn))
}
