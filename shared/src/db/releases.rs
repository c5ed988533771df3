//! Releases: written once, never changed (the database refuses), rolled out as often as needed.

use super::{Db, claim_lost, measured};
use crate::error::Result;
use crate::ids::{AppId, Attempt, DeploymentId, JobId, ReleaseId};

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
