//! What users reach, on each target, as the last finished roll-out left it.

use sqlx::PgConnection;

use crate::clock::Timestamp;
use crate::db::{Db, measured};
use crate::error::Result;
use crate::ids::{AppId, DeploymentId, Epoch, ReleaseId, TargetName};

/// What a roll-out says that users reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    pub target: TargetName,
    pub release: ReleaseId,
    /// Of the roll-out that brought it there.
    pub deployment: DeploymentId,
    pub slot: String,
    /// In which users were sent there.
    pub epoch: Epoch,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serving {
    pub app: AppId,
    pub target: TargetName,
    pub release: ReleaseId,
    pub deployment: DeploymentId,
    pub slot: String,
    pub epoch: Epoch,
    /// When this slot took over.
    pub since: Timestamp,
}

/// A lower epoch than the one written down changes nothing.
pub(super) async fn serving_put_in_txn(
    txn: &mut PgConnection,
    app: AppId,
    served: &[Served],
    unserved: &[TargetName],
) -> Result<()> {
    let targets: Vec<&str> = served.iter().map(|one| one.target.as_str()).collect();
    let releases: Vec<uuid::Uuid> = served.iter().map(|one| one.release.as_uuid()).collect();
    let deployments: Vec<uuid::Uuid> = served.iter().map(|one| one.deployment.as_uuid()).collect();
    let slots: Vec<&str> = served.iter().map(|one| one.slot.as_str()).collect();
    let epochs: Vec<i64> = served.iter().map(|one| one.epoch.0).collect();
    let gone: Vec<&str> = unserved.iter().map(TargetName::as_str).collect();
    sqlx::query!(
        "DELETE FROM serving WHERE app_id = $1 AND target = ANY ($2)",
        app.as_uuid(),
        &gone as &[&str]
    )
    .execute(&mut *txn)
    .await?;
    sqlx::query!(
        "INSERT INTO serving (app_id, target, release_id, deployment_id, slot, epoch)
         SELECT $1, w.target, w.release_id, w.deployment_id, w.slot, w.epoch
         FROM unnest($2::text[], $3::uuid[], $4::uuid[], $5::text[], $6::bigint[])
              AS w (target, release_id, deployment_id, slot, epoch)
         ON CONFLICT (app_id, target) DO UPDATE
         SET release_id = EXCLUDED.release_id, deployment_id = EXCLUDED.deployment_id, slot = EXCLUDED.slot,
             epoch = EXCLUDED.epoch,
             since = CASE WHEN serving.slot = EXCLUDED.slot AND serving.release_id = EXCLUDED.release_id
                          THEN serving.since ELSE EXCLUDED.since END
         WHERE serving.epoch <= EXCLUDED.epoch",
        app.as_uuid(),
        &targets as &[&str],
        &releases,
        &deployments,
        &slots as &[&str],
        &epochs,
    )
    .execute(&mut *txn)
    .await?;
    Ok(())
}

/// What users reach of an app, in order of target.
pub async fn serving_list(db: &Db, app: AppId) -> Result<Vec<Serving>> {
    measured!(db, ServingList, |conn| {
        sqlx::query_as!(
        Serving,
        r#"SELECT app_id AS "app: AppId", target AS "target: TargetName", release_id AS "release: ReleaseId",
                  deployment_id AS "deployment: DeploymentId", slot, epoch AS "epoch: Epoch", since
           FROM serving WHERE app_id = $1 ORDER BY target"#,
        app.as_uuid()
    )
    .fetch_all(conn)
    })
}

/// What users reach on a target, of all apps.
pub async fn serving_on(db: &Db, target: &TargetName) -> Result<Vec<Serving>> {
    measured!(db, ServingList, |conn| {
        sqlx::query_as!(
        Serving,
        r#"SELECT app_id AS "app: AppId", target AS "target: TargetName", release_id AS "release: ReleaseId",
                  deployment_id AS "deployment: DeploymentId", slot, epoch AS "epoch: Epoch", since
           FROM serving WHERE target = $1 ORDER BY app_id"#,
        target.as_str()
    )
    .fetch_all(conn)
    })
}
