//! Deleting what is old, in bounded batches. Only ended things are ever deleted.

use std::time::Duration;

use super::{Db, measured};
use crate::error::Result;

/// Rows deleted per statement: long enough to be worth a commit, short enough not to hold locks for long.
const BATCH: i64 = 1_000;

// `= ANY (ARRAY(…))` and the order make Postgres look up both the old ones and what it deletes by index, whatever it
// believes about their number.
macro_rules! retain {
    ($db:expr, $operation:ident, $age:expr, $sql:literal) => {{
        let deleted =
            measured!($db, $operation, |conn| sqlx::query!($sql, $age.as_secs_f64(), BATCH).execute(conn))?;
        Ok(deleted.rows_affected())
    }};
}

/// Ended jobs of no deployment. Those of deployments go with them.
pub async fn retain_jobs(db: &Db, age: Duration) -> Result<u64> {
    retain!(
        db,
        RetainJobs,
        age,
        "DELETE FROM jobs WHERE id = ANY (ARRAY(
             SELECT id FROM jobs WHERE finished_at < now() - make_interval(secs => $1)
             AND state <> 'quarantined' AND deployment_id IS NULL ORDER BY finished_at LIMIT $2))"
    )
}

/// Ended deployments with their jobs, steps, events and logs; never one that made a release (the app may go back to it), one
/// that users still reach, one whose roll-out has not come to its end, or one whose job lies in quarantine for a person to
/// look at.
pub async fn retain_deployments(db: &Db, age: Duration) -> Result<u64> {
    retain!(
        db,
        RetainDeployments,
        age,
        "DELETE FROM deployments WHERE id = ANY (ARRAY(
             SELECT d.id FROM deployments d WHERE d.finished_at < now() - make_interval(secs => $1)
             AND NOT EXISTS (SELECT 1 FROM releases r WHERE r.deployment_id = d.id)
             AND NOT EXISTS (SELECT 1 FROM serving s WHERE s.deployment_id = d.id)
             AND NOT EXISTS (SELECT 1 FROM rollouts o WHERE o.deployment_id = d.id AND o.outcome IS NULL)
             AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.deployment_id = d.id AND j.state = 'quarantined')
             ORDER BY d.finished_at LIMIT $2))"
    )
}

/// Logs of ended deployments that are themselves kept.
pub async fn retain_logs(db: &Db, age: Duration) -> Result<u64> {
    retain!(
        db,
        RetainLogs,
        age,
        "DELETE FROM deployment_logs WHERE ctid = ANY (ARRAY(
             SELECT l.ctid FROM deployments d JOIN deployment_logs l ON l.deployment_id = d.id
             WHERE d.finished_at < now() - make_interval(secs => $1) ORDER BY d.finished_at LIMIT $2))"
    )
}

/// Workers that ended long ago. Younger rows stay: an abandoned pop may still feed their lists.
pub async fn retain_workers(db: &Db, age: Duration) -> Result<u64> {
    retain!(
        db,
        RetainWorkers,
        age,
        "DELETE FROM workers WHERE id IN (
             SELECT id FROM workers WHERE state <> 'alive'
             AND ended_at < now() - make_interval(secs => greatest($1::float8, 172800)) LIMIT $2)"
    )
}
