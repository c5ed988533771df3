//! What housekeeping must know of the record before it takes anything from a host.

use super::{Db, measured};
use crate::error::Result;
use crate::ids::{AppId, ReleaseId};

/// A release with everything its image is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryRelease {
    pub release: ReleaseId,
    pub app: AppId,
    /// Of the registry, or the engine's own id where it was not pushed.
    pub digest: String,
    pub image_id: Option<String>,
    /// Users reach it somewhere.
    pub serving: bool,
    /// A deployment of it, or a roll-out from or to it, is not over.
    pub busy: bool,
    /// Its place among those of its app that users have reached, 0 the newest; `None`: none has.
    pub rank: Option<i64>,
}

/// Every app there is.
pub async fn inventory_apps(db: &Db) -> Result<Vec<AppId>> {
    measured!(db, InventoryApps, |conn| {
        sqlx::query_scalar!(r#"SELECT id AS "id: AppId" FROM apps ORDER BY id"#).fetch_all(conn)
    })
}

/// All releases of these apps, oldest first.
pub async fn inventory_releases(db: &Db, apps: &[AppId]) -> Result<Vec<InventoryRelease>> {
    let apps: Vec<uuid::Uuid> = apps.iter().map(|id| id.as_uuid()).collect();
    measured!(db, InventoryReleases, |conn| {
        sqlx::query_as!(
        InventoryRelease,
        r#"WITH reached AS (
               SELECT r.id, row_number() OVER (PARTITION BY r.app_id ORDER BY r.id DESC) - 1 AS rank FROM releases r
               WHERE r.app_id = ANY ($1)
               AND EXISTS (SELECT 1 FROM deployments d WHERE d.release_id = r.id AND d.status = 'DEPLOYED')
           )
           SELECT r.id AS "release: ReleaseId", r.app_id AS "app: AppId", r.image_digest AS digest,
                  r.spec -> 'image' ->> 'id' AS image_id, reached.rank AS "rank?",
                  EXISTS (SELECT 1 FROM serving s WHERE s.release_id = r.id) AS "serving!",
                  EXISTS (SELECT 1 FROM deployments d WHERE d.release_id = r.id AND d.finished_at IS NULL)
                  OR EXISTS (SELECT 1 FROM rollouts o WHERE o.outcome IS NULL
                             AND (o.release_id = r.id OR o.previous_release_id = r.id)) AS "busy!"
           FROM releases r LEFT JOIN reached ON reached.id = r.id WHERE r.app_id = ANY ($1) ORDER BY r.id"#,
        &apps
    )
    .fetch_all(conn)
    })
}
