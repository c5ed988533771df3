//! Worker processes: who is there, who was declared dead.

use std::time::Duration;

use super::{Db, measured};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::{EnvironmentName, WorkerId};

#[derive(Debug, Clone)]
pub struct NewWorker {
    pub id: WorkerId,
    pub environments: Vec<EnvironmentName>,
    pub concurrency: i32,
    pub hostname: String,
    pub version: String,
}

/// Registers a worker. It must be known before it takes anything, or nobody would look for its jobs.
pub async fn worker_register(db: &Db, new: &NewWorker) -> Result<()> {
    let environments: Vec<String> = new.environments.iter().map(ToString::to_string).collect();
    measured!(db, WorkerRegister, |conn| sqlx::query!(
        "INSERT INTO workers (id, environments, concurrency, hostname, version)
         VALUES ($1, $2, $3, left($4, 255), left($5, 64)) ON CONFLICT (id) DO NOTHING",
        new.id.as_uuid(),
        &environments,
        new.concurrency,
        new.hostname,
        new.version,
    )
    .execute(conn))?;
    Ok(())
}

/// Says that the worker lives. `false`: it had been declared dead, so its jobs are others' now; it is alive again
/// from here on. One that said it stopped stays stopped.
pub async fn worker_beat(db: &Db, id: WorkerId) -> Result<bool> {
    let was = measured!(db, WorkerBeat, |conn| {
        sqlx::query_scalar!(
            r#"WITH before AS (SELECT state FROM workers WHERE id = $1 FOR UPDATE)
           UPDATE workers w SET last_seen = now(),
               state = CASE before.state WHEN 'dead' THEN 'alive' ELSE before.state END,
               ended_at = CASE before.state WHEN 'dead' THEN NULL ELSE ended_at END
           FROM before WHERE w.id = $1
           RETURNING before.state AS "was!""#,
            id.as_uuid()
        )
        .fetch_optional(conn)
    })?;
    Ok(was.is_some_and(|was| was != "dead"))
}

/// The worker left in good order and holds nothing.
pub async fn worker_stop(db: &Db, id: WorkerId) -> Result<()> {
    measured!(db, WorkerStop, |conn| sqlx::query!(
        "UPDATE workers SET state = 'stopped', ended_at = now() WHERE id = $1",
        id.as_uuid()
    )
    .execute(conn))?;
    Ok(())
}

/// Workers whose processing lists deserve a look: silent for `silence`, or already ended (an abandoned pop can
/// still move a job into the list of one that is gone). Oldest silence first.
pub async fn worker_silent(db: &Db, silence: Duration, limit: i64) -> Result<Vec<WorkerId>> {
    measured!(db, WorkerSilent, |conn| sqlx::query_scalar!(
        r#"SELECT id AS "id: WorkerId" FROM workers
           WHERE (state = 'alive' AND last_seen < now() - make_interval(secs => $1))
              OR (state <> 'alive' AND ended_at > now() - interval '1 day')
           ORDER BY state, last_seen LIMIT $2"#,
        silence.as_secs_f64(),
        limit,
    )
    .fetch_all(conn))
}

/// Declares a silent worker dead. `true` also for one that ended before: its list still deserves the look.
pub async fn worker_bury(db: &Db, id: WorkerId, silence: Duration) -> Result<bool> {
    let row = measured!(db, WorkerBury, |conn| {
        sqlx::query_scalar!(
        r#"WITH buried AS (
               UPDATE workers SET state = 'dead', ended_at = now()
               WHERE id = $1 AND state = 'alive' AND last_seen < now() - make_interval(secs => $2) RETURNING id
           )
           SELECT id AS "id!: WorkerId" FROM buried
           UNION ALL SELECT id FROM workers WHERE id = $1 AND state <> 'alive'"#,
        id.as_uuid(),
        silence.as_secs_f64(),
    )
    .fetch_optional(conn)
    })?;
    Ok(row.is_some())
}

#[derive(Debug, Clone, serde::Serialize)]
pub struct Worker {
    pub id: WorkerId,
    pub environments: Vec<String>,
    pub concurrency: i32,
    pub hostname: String,
    pub version: String,
    pub state: String,
    pub started_at: Timestamp,
    pub last_seen: Timestamp,
    pub running: i64,
}

/// Workers alive or recently ended, newest first.
pub async fn worker_list(db: &Db, limit: i64) -> Result<Vec<Worker>> {
    measured!(db, WorkerList, |conn| {
        sqlx::query_as!(
        Worker,
        r#"SELECT id AS "id: WorkerId", environments, concurrency, hostname, version, state, started_at, last_seen,
                  (SELECT count(*) FROM jobs WHERE worker_id = w.id AND state = 'running' AND finished_at IS NULL) AS "running!"
           FROM workers w ORDER BY id DESC LIMIT $1"#,
        limit
    )
    .fetch_all(conn)
    })
}
