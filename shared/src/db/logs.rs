//! Deployment logs: numbered lines, appended in batches by the holder of the claim, never changed.

use super::{Db, claim_lost, measured};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::{Attempt, DeploymentId, JobId};

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LogLine {
    /// 1, 2, 3 … within a deployment.
    pub seq: i64,
    pub at: Timestamp,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    pub line: String,
}

/// Appends lines, fenced by the attempt. Lines that are there already are left as they are, so a batch whose answer
/// was lost can be repeated.
pub async fn log_append(db: &Db, job: JobId, attempt: Attempt, lines: &[LogLine]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let seqs: Vec<i64> = lines.iter().map(|line| line.seq).collect();
    let times: Vec<Timestamp> = lines.iter().map(|line| line.at).collect();
    let levels: Vec<&str> = lines.iter().map(|line| line.level.as_str()).collect();
    let texts: Vec<String> = lines.iter().map(|line| line.line.replace('\0', "\u{fffd}")).collect();
    let held = measured!(db, LogAppend, |conn| {
        sqlx::query_scalar!(
        r#"WITH mine AS (
               SELECT deployment_id FROM jobs
               WHERE id = $1 AND attempt = $2 AND state = 'running' AND deployment_id IS NOT NULL FOR SHARE
           ), written AS (
               INSERT INTO deployment_logs (deployment_id, seq, at, level, line)
               SELECT mine.deployment_id, w.seq, w.at, w.level, w.line
               FROM mine, unnest($3::bigint[], $4::timestamptz[], $5::text[], $6::text[]) AS w (seq, at, level, line)
               ON CONFLICT DO NOTHING
           )
           SELECT count(*) AS "held!" FROM mine"#,
        job.as_uuid(),
        attempt.0,
        &seqs,
        &times,
        &levels as &[&str],
        &texts,
    )
    .fetch_one(conn)
    })?;
    if held == 1 { Ok(()) } else { Err(claim_lost()) }
}

/// The number of the last line of a deployment; 0 when it has none.
pub async fn log_last(db: &Db, deployment: DeploymentId) -> Result<i64> {
    measured!(db, LogLast, |conn| sqlx::query_scalar!(
        r#"SELECT coalesce(max(seq), 0) AS "last!" FROM deployment_logs WHERE deployment_id = $1"#,
        deployment.as_uuid()
    )
    .fetch_one(conn))
}

/// Up to `limit` lines after number `after`, in order.
pub async fn log_list(db: &Db, deployment: DeploymentId, after: i64, limit: i64) -> Result<Vec<LogLine>> {
    measured!(db, LogList, |conn| {
        sqlx::query_as!(
        LogLine,
        "SELECT seq, at, level, line FROM deployment_logs WHERE deployment_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
        deployment.as_uuid(),
        after,
        limit,
    )
    .fetch_all(conn)
    })
}
