//! Credentials for git and registries. What is secret of them is sealed before it comes here.

use super::{Db, measured, word};
use crate::domain::app::{CredentialKind, CredentialUse};
use crate::error::{Code, Error, Result};
use crate::ids::{AppId, CredentialId, UserId};
use crate::secret::Sealed;

#[derive(Debug, Clone)]
pub struct Credential {
    /// Associated data of the sealed value, so it is chosen before the value is sealed.
    pub id: CredentialId,
    pub owner: UserId,
    /// `None`: for every app of the owner.
    pub app: Option<AppId>,
    pub kind: CredentialKind,
    /// Host and, where it is not the scheme's own, `:port`. The value is sent nowhere else.
    pub host: String,
    pub username: Option<String>,
    pub sealed: Sealed,
}

/// Keeps a credential; one for the same owner, app, kind and host is replaced.
pub async fn credential_put(db: &Db, new: &Credential) -> Result<()> {
    measured!(db, CredentialPut, |conn| sqlx::query!(
        "INSERT INTO credentials (id, owner_id, app_id, kind, host, username, key_id, sealed)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (owner_id, kind, host, coalesce(app_id, owner_id)) DO UPDATE
         SET id = EXCLUDED.id, username = EXCLUDED.username, key_id = EXCLUDED.key_id, sealed = EXCLUDED.sealed,
             updated_at = now()",
        new.id.as_uuid(),
        new.owner.as_uuid(),
        new.app.map(AppId::as_uuid),
        new.kind.as_str(),
        new.host,
        new.username,
        new.sealed.key_id.as_str(),
        new.sealed.bytes,
    )
    .execute(conn))
    .map_err(|error| match super::violated(&error) {
        Some("credentials_app_id_fkey") => Error::new(Code::AppUnknown, "there is no such app"),
        Some("credentials_host_shape" | "credentials_username_length" | "credentials_sealed_size") => {
            Error::new(
                Code::FieldTooLong,
                "a credential's host is a lower-case host name with an optional :port, its user name has at most 255 \
                 characters and its value 64 KiB",
            )
        }
        _ => error,
    })?;
    Ok(())
}

/// What an app may use at `host`: its own credential before one of its owner's.
pub async fn credential_find(
    db: &Db,
    app: AppId,
    purpose: CredentialUse,
    host: &str,
) -> Result<Option<Credential>> {
    let kind = match purpose {
        CredentialUse::GitHttp => CredentialKind::GitToken,
        CredentialUse::GitSsh => CredentialKind::DeployKey,
        CredentialUse::Registry => CredentialKind::Registry,
    };
    let row = measured!(db, CredentialFind, |conn| {
        sqlx::query!(
        r#"SELECT c.id AS "id: CredentialId", c.owner_id AS "owner: UserId", c.app_id AS "app: AppId", c.kind, c.host,
                  c.username, c.key_id, c.sealed
           FROM apps a JOIN credentials c ON c.owner_id = a.owner_id AND (c.app_id IS NULL OR c.app_id = a.id)
           WHERE a.id = $1 AND c.host = $2 AND c.kind = $3
           ORDER BY c.app_id IS NULL LIMIT 1"#,
        app.as_uuid(),
        host,
        kind.as_str(),
    )
    .fetch_optional(conn)
    })?;
    row.map(|row| {
        Ok(Credential {
            id: row.id,
            owner: row.owner,
            app: row.app,
            kind: word(row.kind)?,
            host: row.host,
            username: row.username,
            sealed: Sealed { key_id: word(row.key_id)?, bytes: row.sealed },
        })
    })
    .transpose()
}

/// Whether `owner` had it.
pub async fn credential_delete(db: &Db, owner: UserId, id: CredentialId) -> Result<bool> {
    let gone = measured!(db, CredentialDelete, |conn| sqlx::query!(
        "DELETE FROM credentials WHERE id = $1 AND owner_id = $2",
        id.as_uuid(),
        owner.as_uuid()
    )
    .execute(conn))?;
    Ok(gone.rows_affected() == 1)
}
