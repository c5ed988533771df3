//! Roll-outs: how far each has come, what people ask of it, and how it ended.
//!
//! Whoever writes names its job and attempt. Two kinds of jobs may: the deployment's own, and a `settle` job of it, which
//! brings to an end what the deployment left half way.

mod finish;
mod serving;

use super::{Db, claim_lost, measured, word};
use crate::clock::Timestamp;
use crate::domain::rollout::{RolloutCommand, RolloutOutcome, StrategyKind};
use crate::error::{Code, Error, Result};
use crate::ids::{AppId, Attempt, DeploymentId, EnvironmentName, JobId, ReleaseId, TargetName, UserId};

pub use finish::{RolloutEnd, rollout_finish};
pub use serving::{Served, Serving, serving_list, serving_on};

#[derive(Debug, Clone)]
pub struct NewRollout {
    pub deployment: DeploymentId,
    pub app: AppId,
    pub release: ReleaseId,
    /// What serves now and is gone back to when it fails.
    pub previous: Option<ReleaseId>,
    pub strategy: StrategyKind,
    /// For each target, the names of both sides.
    pub slots: serde_json::Value,
    pub state: serde_json::Value,
}

#[derive(Debug, Clone)]
pub struct Rollout {
    pub deployment: DeploymentId,
    pub app: AppId,
    pub release: ReleaseId,
    pub previous: Option<ReleaseId>,
    pub strategy: StrategyKind,
    pub slots: serde_json::Value,
    pub state: serde_json::Value,
    /// How often it was saved.
    pub seq: i64,
    /// `None` while it is in progress.
    pub outcome: Option<RolloutOutcome>,
    pub reason: Option<String>,
    pub started_at: Timestamp,
    pub updated_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

/// Begins the roll-out of a deployment, fenced by the attempt; one that was begun before stays as it is and is answered.
pub async fn rollout_open(db: &Db, job: JobId, attempt: Attempt, new: &NewRollout) -> Result<Rollout> {
    measured!(db, RolloutOpen, |conn| {
        sqlx::query!(
        r#"WITH mine AS (
               SELECT 1 FROM jobs WHERE id = $1 AND attempt = $2 AND state = 'running' AND deployment_id = $3 FOR UPDATE
           ), made AS (
               INSERT INTO rollouts (deployment_id, app_id, release_id, previous_release_id, strategy, slots, state)
               SELECT $3, $4, $5, $6, $7, $8, $9 FROM mine ON CONFLICT (deployment_id) DO NOTHING
           )
           SELECT 1 AS "mine!" FROM mine"#,
        job.as_uuid(),
        attempt.0,
        new.deployment.as_uuid(),
        new.app.as_uuid(),
        new.release.as_uuid(),
        new.previous.map(ReleaseId::as_uuid),
        new.strategy.as_str(),
        new.slots,
        new.state,
    )
    .fetch_optional(conn)
    })?
    .ok_or_else(claim_lost)?;
    rollout_get(db, new.deployment).await?.ok_or_else(claim_lost)
}

/// Writes down how far it has come, fenced by the attempt; answers how often that was done.
pub async fn rollout_save(
    db: &Db,
    job: JobId,
    attempt: Attempt,
    deployment: DeploymentId,
    slots: &serde_json::Value,
    state: &serde_json::Value,
) -> Result<i64> {
    let saved = measured!(db, RolloutSave, |conn| {
        sqlx::query_scalar!(
        r#"WITH mine AS (
               SELECT 1 FROM jobs WHERE id = $1 AND attempt = $2 AND state = 'running'
               AND (deployment_id = $3 OR kind = 'settle' AND payload ->> 'deployment_id' = $3::text) FOR UPDATE
           ), saved AS (
               UPDATE rollouts SET slots = $4, state = $5, seq = seq + 1, updated_at = now()
               FROM mine WHERE deployment_id = $3 AND outcome IS NULL RETURNING seq
           )
           SELECT (SELECT seq FROM saved) AS "seq?" FROM mine"#,
        job.as_uuid(),
        attempt.0,
        deployment.as_uuid(),
        slots,
        state,
    )
    .fetch_optional(conn)
    })?;
    saved.ok_or_else(claim_lost)?.ok_or_else(|| {
        Error::new(Code::StatusTransition, format!("deployment {deployment} has no roll-out in progress"))
    })
}

pub async fn rollout_get(db: &Db, deployment: DeploymentId) -> Result<Option<Rollout>> {
    let row = measured!(db, RolloutGet, |conn| {
        sqlx::query!(
        r#"SELECT deployment_id AS "deployment: DeploymentId", app_id AS "app: AppId", release_id AS "release: ReleaseId",
                  previous_release_id AS "previous: ReleaseId", strategy, slots, state, seq, outcome, reason, started_at,
                  updated_at, finished_at
           FROM rollouts WHERE deployment_id = $1"#,
        deployment.as_uuid()
    )
    .fetch_optional(conn)
    })?;
    row.map(|row| {
        Ok(Rollout {
            deployment: row.deployment,
            app: row.app,
            release: row.release,
            previous: row.previous,
            strategy: word(row.strategy)?,
            slots: row.slots,
            state: row.state,
            seq: row.seq,
            outcome: row.outcome.map(word).transpose()?,
            reason: row.reason,
            started_at: row.started_at,
            updated_at: row.updated_at,
            finished_at: row.finished_at,
        })
    })
    .transpose()
}

/// Records a wish of a person. `false`: no roll-out is in progress, and nothing was recorded.
pub async fn rollout_command_add(
    db: &Db,
    deployment: DeploymentId,
    command: RolloutCommand,
    by: Option<UserId>,
) -> Result<bool> {
    let added = measured!(db, RolloutCommand, |conn| sqlx::query!(
        "INSERT INTO rollout_commands (deployment_id, command, requested_by)
         SELECT deployment_id, $2, $3 FROM rollouts WHERE deployment_id = $1 AND outcome IS NULL",
        deployment.as_uuid(),
        command.as_str(),
        by.map(UserId::as_uuid),
    )
    .execute(conn))?;
    Ok(added.rows_affected() == 1)
}

/// What was asked after the command `after` (0: from the beginning), oldest first.
pub async fn rollout_commands(
    db: &Db,
    deployment: DeploymentId,
    after: i64,
) -> Result<Vec<(i64, RolloutCommand, Option<UserId>)>> {
    let rows = measured!(db, RolloutCommands, |conn| {
        sqlx::query!(
            r#"SELECT id, command, requested_by AS "by: UserId" FROM rollout_commands
           WHERE deployment_id = $1 AND id > $2 ORDER BY id LIMIT 1000"#,
            deployment.as_uuid(),
            after,
        )
        .fetch_all(conn)
    })?;
    rows.into_iter().map(|row| Ok((row.id, word(row.command)?, row.by))).collect()
}

/// A roll-out that its deployment left half way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adrift {
    pub deployment: DeploymentId,
    pub app: AppId,
    pub environment: EnvironmentName,
    /// Those its deployment had locked.
    pub targets: Vec<TargetName>,
}

/// Unfinished roll-outs of ended deployments that nobody sees to: no `settle` job is under way, none lies in quarantine for
/// a person to look at, and none has just ended without success.
pub async fn rollouts_adrift(db: &Db, limit: i64) -> Result<Vec<Adrift>> {
    let rows = measured!(db, RolloutAdrift, |conn| {
        sqlx::query!(
        r#"SELECT r.deployment_id AS "deployment: DeploymentId", r.app_id AS "app: AppId", d.environment,
                  coalesce(
                      (SELECT nullif(j.targets, '{}') FROM jobs j WHERE j.deployment_id = r.deployment_id),
                      ARRAY(SELECT t.target FROM app_targets t WHERE t.app_id = r.app_id ORDER BY t.target)
                  ) AS "targets!"
           FROM rollouts r JOIN deployments d ON d.id = r.deployment_id
           WHERE r.outcome IS NULL AND d.finished_at IS NOT NULL
             AND NOT EXISTS (
                 SELECT 1 FROM jobs s WHERE s.kind = 'settle' AND s.payload ->> 'deployment_id' = r.deployment_id::text
                 AND (s.finished_at IS NULL OR s.state = 'quarantined' OR s.finished_at > now() - interval '1 minute'))
           ORDER BY r.deployment_id LIMIT $1"#,
        limit
    )
    .fetch_all(conn)
    })?;
    rows.into_iter()
        .map(|row| {
            Ok(Adrift {
                deployment: row.deployment,
                app: row.app,
                environment: EnvironmentName::parse(&row.environment)?,
                targets: row.targets.iter().map(|name| TargetName::parse(name)).collect::<Result<_>>()?,
            })
        })
        .collect()
}
