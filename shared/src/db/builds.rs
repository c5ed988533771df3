//! How images came to be: one row a deployment, written by the holder of its claim.

use super::{Db, claim_lost, measured};
use crate::error::Result;
use crate::ids::{Attempt, DeploymentId, JobId};

#[derive(Debug, Clone, PartialEq)]
pub struct Build {
    /// `buildkit` or `classic`.
    pub builder: String,
    /// `sha256:` and 64 hex digits: the image's configuration, the same on every engine.
    pub image_id: String,
    /// What a registry knows it by.
    pub digest: Option<String>,
    pub size_bytes: i64,
    pub layers: i32,
    pub duration_ms: i64,
    pub detection: serde_json::Value,
    /// The file it was built from.
    pub dockerfile: String,
    pub lint: serde_json::Value,
    pub warnings: serde_json::Value,
}

/// Keeps what a build made, fenced by the attempt; a repeated step replaces what it wrote before.
pub async fn build_write(db: &Db, job: JobId, attempt: Attempt, build: &Build) -> Result<()> {
    let written = measured!(db, BuildWrite, |conn| {
        sqlx::query!(
        "WITH mine AS (
             SELECT deployment_id FROM jobs
             WHERE id = $1 AND attempt = $2 AND state = 'running' AND deployment_id IS NOT NULL FOR UPDATE
         )
         INSERT INTO builds (deployment_id, builder, image_id, digest, size_bytes, layers, duration_ms, detection,
                             dockerfile, lint, warnings)
         SELECT deployment_id, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 FROM mine
         ON CONFLICT (deployment_id) DO UPDATE
         SET builder = EXCLUDED.builder, image_id = EXCLUDED.image_id, digest = EXCLUDED.digest,
             size_bytes = EXCLUDED.size_bytes, layers = EXCLUDED.layers, duration_ms = EXCLUDED.duration_ms,
             detection = EXCLUDED.detection, dockerfile = EXCLUDED.dockerfile, lint = EXCLUDED.lint,
             warnings = EXCLUDED.warnings, created_at = now()",
        job.as_uuid(),
        attempt.0,
        build.builder,
        build.image_id,
        build.digest,
        build.size_bytes,
        build.layers,
        build.duration_ms,
        build.detection,
        build.dockerfile,
        build.lint,
        build.warnings,
    )
    .execute(conn)
    })?;
    if written.rows_affected() == 1 { Ok(()) } else { Err(claim_lost()) }
}

pub async fn build_get(db: &Db, deployment: DeploymentId) -> Result<Option<Build>> {
    measured!(db, BuildGet, |conn| {
        sqlx::query_as!(
        Build,
        "SELECT builder, image_id, digest, size_bytes, layers, duration_ms, detection, dockerfile, lint, warnings
         FROM builds WHERE deployment_id = $1",
        deployment.as_uuid()
    )
    .fetch_optional(conn)
    })
}
