//! Releases: written once, never changed (the database refuses), rolled out as often as needed.

use super::{Db, claim_lost, measured, word};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::{AppId, Attempt, DeploymentId, JobId, ReleaseId};
use crate::secret::Sealed;

#[derive(Debug, Clone)]
pub struct NewRelease {
    pub app: AppId,
    pub deployment: DeploymentId,
    /// `sha256:` and 64 hex digits.
    pub image_digest: String,
    pub spec: serde_json::Value,
}

#[derive(Debug, Clone)]
pub struct Release {
    pub id: ReleaseId,
    pub app: AppId,
    pub deployment: DeploymentId,
    pub image_digest: String,
    pub spec: serde_json::Value,
}

/// Records what a deployment built, fenced by the attempt, together with the app's variables as they are now. A repeated
/// step gets the release it made before.
pub async fn release_create(db: &Db, job: JobId, attempt: Attempt, new: &NewRelease) -> Result<ReleaseId> {
    let id = measured!(db, ReleaseCreate, |conn| {
        sqlx::query_scalar!(
        r#"WITH mine AS (
               SELECT 1 FROM jobs WHERE id = $1 AND attempt = $2 AND state = 'running' AND deployment_id = $5 FOR UPDATE
           ), made AS (
               INSERT INTO releases (id, app_id, deployment_id, image_digest, spec)
               SELECT $3, $4, $5, $6, $7 FROM mine ON CONFLICT (deployment_id) DO NOTHING RETURNING id
           ), kept AS (
               -- Sealed with the app and the name, which stay the same: the values need not be opened to be copied.
               INSERT INTO release_variables (release_id, name, secret, key_id, sealed)
               SELECT made.id, v.name, v.secret, v.key_id, v.sealed FROM made, app_variables v
               WHERE v.app_id = $4 AND v.scope IN ('run', 'both')
           ), linked AS (
               UPDATE deployments SET release_id = (SELECT id FROM made) WHERE id = $5 AND EXISTS (SELECT 1 FROM made)
           )
           SELECT id AS "id!: ReleaseId" FROM made
           UNION ALL SELECT r.id FROM releases r, mine WHERE r.deployment_id = $5"#,
        job.as_uuid(),
        attempt.0,
        ReleaseId::generate().as_uuid(),
        new.app.as_uuid(),
        new.deployment.as_uuid(),
        new.image_digest,
        new.spec,
    )
    .fetch_optional(conn)
    })?;
    id.ok_or_else(claim_lost)
}

pub async fn release_get(db: &Db, id: ReleaseId) -> Result<Option<Release>> {
    let row = measured!(db, ReleaseGet, |conn| {
        sqlx::query!(
        r#"SELECT id AS "id: ReleaseId", app_id AS "app: AppId", deployment_id AS "deployment: DeploymentId",
                  image_digest, spec FROM releases WHERE id = $1"#,
        id.as_uuid()
    )
    .fetch_optional(conn)
    })?;
    Ok(row.map(|row| Release {
        id: row.id,
        app: row.app,
        deployment: row.deployment,
        image_digest: row.image_digest,
        spec: row.spec,
    }))
}

/// A variable as a release keeps it.
#[derive(Debug, Clone)]
pub struct ReleaseVariable {
    pub name: String,
    pub secret: bool,
    pub sealed: Sealed,
}

/// The variables a release was made with, in order of name.
pub async fn release_variables(db: &Db, release: ReleaseId) -> Result<Vec<ReleaseVariable>> {
    let rows = measured!(db, ReleaseVariables, |conn| sqlx::query!(
        "SELECT name, secret, key_id, sealed FROM release_variables WHERE release_id = $1 ORDER BY name",
        release.as_uuid()
    )
    .fetch_all(conn))?;
    rows.into_iter()
        .map(|row| {
            Ok(ReleaseVariable {
                name: row.name,
                secret: row.secret,
                sealed: Sealed { key_id: word(row.key_id)?, bytes: row.sealed },
            })
        })
        .collect()
}

/// A release that users have reached.
#[derive(Debug, Clone)]
pub struct DeployedRelease {
    pub release: Release,
    /// When it, or a way back to it, last took over.
    pub deployed_at: Timestamp,
}

/// Releases that users have reached, newest first: what can be gone back to. One whose own deployment failed or was rolled
/// back is not among them, unless somebody went back to it later.
pub async fn releases_deployed(db: &Db, app: AppId, limit: i64) -> Result<Vec<DeployedRelease>> {
    let rows = measured!(db, ReleaseDeployed, |conn| {
        sqlx::query!(
        r#"SELECT r.id AS "id: ReleaseId", r.app_id AS "app: AppId", r.deployment_id AS "deployment: DeploymentId",
                  r.image_digest, r.spec, d.at AS "at!"
           FROM releases r, LATERAL (
               SELECT max(d.finished_at) AS at FROM deployments d WHERE d.release_id = r.id AND d.status = 'DEPLOYED'
           ) d
           WHERE r.app_id = $1 AND d.at IS NOT NULL ORDER BY r.id DESC LIMIT $2"#,
        app.as_uuid(),
        limit,
    )
    .fetch_all(conn)
    })?;
    Ok(rows
        .into_iter()
        .map(|row| DeployedRelease {
            release: Release {
                id: row.id,
                app: row.app,
                deployment: row.deployment,
                image_digest: row.image_digest,
                spec: row.spec,
            },
            deployed_at: row.at,
        })
        .collect())
}

/// The newest release that users have reached, is older than what they reach now on any target, and is of no bad commit.
pub async fn release_before(db: &Db, app: AppId) -> Result<Option<ReleaseId>> {
    measured!(db, ReleaseBefore, |conn| {
        sqlx::query_scalar!(
        r#"SELECT r.id AS "id: ReleaseId" FROM releases r
           WHERE r.app_id = $1
             AND NOT EXISTS (SELECT 1 FROM serving s WHERE s.app_id = $1 AND s.release_id <= r.id)
             AND EXISTS (SELECT 1 FROM deployments d WHERE d.release_id = r.id AND d.status = 'DEPLOYED')
             AND NOT EXISTS (SELECT 1 FROM bad_commits b WHERE b.app_id = $1 AND b.commit_sha = r.spec ->> 'commit')
           ORDER BY r.id DESC LIMIT 1"#,
        app.as_uuid()
    )
    .fetch_optional(conn)
    })
}

/// Whether users reach this release on every target of its app.
pub async fn release_serves(db: &Db, release: ReleaseId) -> Result<bool> {
    measured!(db, ReleaseServes, |conn| sqlx::query_scalar!(
        r#"SELECT count(*) > 0 AND bool_and(s.release_id IS NOT NULL) AS "everywhere!"
           FROM releases r JOIN app_targets t ON t.app_id = r.app_id
           LEFT JOIN serving s ON s.app_id = r.app_id AND s.target = t.target AND s.release_id = r.id
           WHERE r.id = $1"#,
        release.as_uuid()
    )
    .fetch_one(conn))
}
