//! Targets and their epochs: the fence for every effect on them.

use std::time::Duration;

use super::{Db, measured, word};
use crate::clock::Timestamp;
use crate::error::{Code, Error, Result};
use crate::ids::{Attempt, EnvironmentName, Epoch, JobId, TargetName};
use crate::secret::Sealed;

#[derive(Debug, Clone)]
pub struct Target {
    pub name: TargetName,
    pub epoch: Epoch,
    pub claimed_by: Option<JobId>,
    pub claimed_at: Option<Timestamp>,
}

/// Creates a target. Creating it again changes nothing, least of all its epoch.
pub async fn target_create(db: &Db, name: &TargetName) -> Result<()> {
    measured!(db, TargetCreate, |conn| sqlx::query!(
        "INSERT INTO targets (name) VALUES ($1) ON CONFLICT (name) DO NOTHING",
        name.as_str()
    )
    .execute(conn))?;
    Ok(())
}

pub async fn target_get(db: &Db, name: &TargetName) -> Result<Option<Target>> {
    let row = measured!(db, TargetGet, |conn| {
        sqlx::query!(
        r#"SELECT epoch AS "epoch: Epoch", claimed_by AS "claimed_by: JobId", claimed_at FROM targets WHERE name = $1"#,
        name.as_str()
    )
    .fetch_optional(conn)
    })?;
    Ok(row.map(|row| Target {
        name: name.clone(),
        epoch: row.epoch,
        claimed_by: row.claimed_by,
        claimed_at: row.claimed_at,
    }))
}

/// Raises the epochs of targets whose locks a *running* job has just taken, fenced by its attempt.
/// The targets become part of the job, so that whoever resumes it locks them at claim.
pub async fn target_claim(
    db: &Db,
    job: JobId,
    attempt: Attempt,
    targets: &[TargetName],
) -> Result<Vec<(TargetName, Epoch)>> {
    let names: Vec<String> = targets.iter().map(ToString::to_string).collect();
    let rows = measured!(db, TargetClaim, |conn| sqlx::query!(
        r#"WITH mine AS (
               UPDATE jobs SET targets = $3
               WHERE id = $1 AND attempt = $2 AND state = 'running' AND cancel_requested IS NULL RETURNING id
           ), ordered AS (
               -- Locked in order of name, so that two claims of overlapping sets cannot deadlock.
               SELECT t.name FROM targets t, mine WHERE t.name = ANY ($3) ORDER BY t.name FOR UPDATE OF t
           )
           UPDATE targets t SET epoch = t.epoch + 1, claimed_by = $1, claimed_at = now()
           FROM ordered WHERE t.name = ordered.name
           RETURNING t.name, t.epoch AS "epoch: Epoch""#,
        job.as_uuid(),
        attempt.0,
        &names,
    )
    .fetch_all(conn))?;
    match rows.len() {
        0 => Err(Error::new(Code::ClaimLost, "another worker holds this job now, or it was asked to stop")),
        found if found < targets.len() => {
            Err(Error::new(Code::TargetUnknown, "one of the targets of this job does not exist any more"))
        }
        _ => rows.into_iter().map(|row| Ok((TargetName::parse(&row.name)?, row.epoch))).collect(),
    }
}

/// How a target is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetConnection {
    /// `None`: the target's name says enough.
    pub address: Option<String>,
    /// TLS bundle or SSH key, bound to the target's name.
    pub sealed: Option<Sealed>,
}

/// Replaces how a target is reached; what is not given is taken away.
pub async fn target_connection_put(
    db: &Db,
    name: &TargetName,
    address: Option<&str>,
    sealed: Option<&Sealed>,
) -> Result<()> {
    let put = measured!(db, TargetConnectionPut, |conn| sqlx::query!(
        "UPDATE targets SET address = $2, key_id = $3, sealed = $4 WHERE name = $1",
        name.as_str(),
        address,
        sealed.map(|sealed| sealed.key_id.as_str()),
        sealed.map(|sealed| sealed.bytes.as_slice()),
    )
    .execute(conn))
    .map_err(|error| match super::violated(&error) {
        Some("targets_address_length" | "targets_sealed_size") => Error::new(
            Code::FieldTooLong,
            "a target's address has 1 to 2048 characters, and what it is reached with at most 64 KiB",
        ),
        _ => error,
    })?;
    if put.rows_affected() == 1 {
        Ok(())
    } else {
        Err(Error::new(Code::TargetUnknown, format!("there is no target {name}; create it first")))
    }
}

/// `None`: there is no such target.
pub async fn target_connection(db: &Db, name: &TargetName) -> Result<Option<TargetConnection>> {
    let row = measured!(db, TargetConnectionGet, |conn| sqlx::query!(
        "SELECT address, key_id, sealed FROM targets WHERE name = $1",
        name.as_str()
    )
    .fetch_optional(conn))?;
    row.map(|row| {
        let sealed = match (row.key_id, row.sealed) {
            (Some(key_id), Some(bytes)) => Some(Sealed { key_id: word(key_id)?, bytes }),
            _ => None,
        };
        Ok(TargetConnection { address: row.address, sealed })
    })
    .transpose()
}

/// Docker hosts to which something was rolled out and that nobody has cleaned up within `every`, each with an environment
/// whose workers may.
pub async fn target_uncollected(
    db: &Db,
    every: Duration,
    limit: i64,
) -> Result<Vec<(TargetName, EnvironmentName)>> {
    let rows = measured!(db, TargetUncollected, |conn| {
        sqlx::query!(
            r#"SELECT t.target, min(a.environment) AS "environment!"
           FROM app_targets t JOIN apps a ON a.id = t.app_id
           WHERE t.target LIKE 'docker://%' AND EXISTS (SELECT 1 FROM rollouts r WHERE r.app_id = a.id)
             AND NOT EXISTS (
                 SELECT 1 FROM jobs j WHERE j.kind = 'collect' AND j.payload ->> 'target' = t.target
                 AND (j.finished_at IS NULL OR j.created_at > now() - make_interval(secs => $1)))
           GROUP BY t.target ORDER BY t.target LIMIT $2"#,
            every.as_secs_f64(),
            limit,
        )
        .fetch_all(conn)
    })?;
    rows.into_iter()
        .map(|row| Ok((TargetName::parse(&row.target)?, EnvironmentName::parse(&row.environment)?)))
        .collect()
}

/// One of the environments whose apps are on a target.
pub async fn target_environment(db: &Db, name: &TargetName) -> Result<Option<EnvironmentName>> {
    let found = measured!(db, TargetEnvironment, |conn| {
        sqlx::query_scalar!(
        r#"SELECT min(a.environment) FROM app_targets t JOIN apps a ON a.id = t.app_id WHERE t.target = $1"#,
        name.as_str()
    )
    .fetch_one(conn)
    })?;
    found.map(|name| EnvironmentName::parse(&name)).transpose()
}
