//! Who did what. Append-only; the database refuses a change.

use super::{Db, measured};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::UserId;

#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    pub at: Timestamp,
    pub actor: Option<UserId>,
    pub action: String,
    pub resource: String,
    pub detail: serde_json::Value,
}

/// `action` is `noun.verb` (`job.cancel`), `resource` names the thing by kind and id. `actor` is `None` for the
/// fleet itself. No secret may be in `detail`.
pub async fn audit_append(
    db: &Db,
    actor: Option<UserId>,
    action: &str,
    resource: &str,
    detail: &serde_json::Value,
) -> Result<()> {
    measured!(db, AuditAppend, |conn| sqlx::query!(
        "INSERT INTO audit_log (actor_id, action, resource, detail) VALUES ($1, $2, $3, $4)",
        actor.map(UserId::as_uuid),
        action,
        resource,
        detail,
    )
    .execute(conn))?;
    Ok(())
}

/// The latest entries about one resource, newest first.
pub async fn audit_list(db: &Db, resource: &str, limit: i64) -> Result<Vec<AuditEntry>> {
    measured!(db, AuditList, |conn| sqlx::query_as!(
        AuditEntry,
        r#"SELECT at, actor_id AS "actor: UserId", action, resource, detail FROM audit_log
           WHERE resource = $1 ORDER BY id DESC LIMIT $2"#,
        resource,
        limit,
    )
    .fetch_all(conn))
}
