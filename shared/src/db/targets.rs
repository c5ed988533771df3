//! Targets and their epochs: the fence for every effect on them.

use super::{Db, measured};
use crate::clock::Timestamp;
use crate::error::{Code, Error, Result};
use crate::ids::{Attempt, Epoch, JobId, TargetName};

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
