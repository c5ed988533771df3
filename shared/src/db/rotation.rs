//! What of the record is sealed, with which key, and its replacement by the same value under another key.

use uuid::Uuid;

use super::{Db, measured, word};
use crate::error::Result;
use crate::ids::{AppId, TargetName};
use crate::secret::{Associated, Sealed};

/// Where a sealed value lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealedTable {
    AppVariables,
    ReleaseVariables,
    Credentials,
    Targets,
}

impl SealedTable {
    pub const ALL: [SealedTable; 4] = [
        SealedTable::AppVariables,
        SealedTable::ReleaseVariables,
        SealedTable::Credentials,
        SealedTable::Targets,
    ];

    /// As people call what is in it.
    pub const fn as_str(self) -> &'static str {
        match self {
            SealedTable::AppVariables => "variables of apps",
            SealedTable::ReleaseVariables => "variables of releases",
            SealedTable::Credentials => "credentials",
            SealedTable::Targets => "connections of targets",
        }
    }
}

/// One sealed value and what it is bound to.
#[derive(Debug, Clone)]
pub struct SealedRow {
    /// Of the app, the release or the credential; nil for a target.
    row: Uuid,
    /// Of a variable or a target; empty for a credential.
    name: String,
    of: Owner,
    pub sealed: Sealed,
}

#[derive(Debug, Clone)]
enum Owner {
    App(AppId),
    Credential,
    Target(TargetName),
}

impl SealedRow {
    pub fn associated(&self) -> Associated {
        match &self.of {
            Owner::App(app) => Associated::variable(*app, &self.name),
            Owner::Credential => Associated::credential(self.row),
            Owner::Target(name) => Associated::target(name),
        }
    }

    /// For a person who looks for a value that does not open.
    pub fn place(&self) -> String {
        match &self.of {
            Owner::App(app) => format!("{} of app {app}", self.name),
            Owner::Credential => format!("credential {}", self.row),
            Owner::Target(name) => format!("connection of {name}"),
        }
    }
}

/// Up to `limit` values that are not sealed with `key`, after `after` in a stable order.
pub async fn sealed_list(
    db: &Db,
    table: SealedTable,
    key: &str,
    after: Option<&SealedRow>,
    limit: i64,
) -> Result<Vec<SealedRow>> {
    let (row, name) = after.map_or((Uuid::nil(), ""), |after| (after.row, after.name.as_str()));
    match table {
        SealedTable::AppVariables => {
            let rows = measured!(db, SealedList, |conn| sqlx::query!(
                r#"SELECT app_id AS "app: AppId", name, key_id, sealed FROM app_variables
                   WHERE key_id <> $1 AND (app_id, name) > ($2, $3) ORDER BY app_id, name LIMIT $4"#,
                key,
                row,
                name,
                limit,
            )
            .fetch_all(conn))?;
            rows.into_iter()
                .map(|row| {
                    Ok(SealedRow {
                        row: row.app.as_uuid(),
                        name: row.name,
                        of: Owner::App(row.app),
                        sealed: Sealed { key_id: word(row.key_id)?, bytes: row.sealed },
                    })
                })
                .collect()
        }
        SealedTable::ReleaseVariables => {
            let rows = measured!(db, SealedList, |conn| {
                sqlx::query!(
                r#"SELECT v.release_id, r.app_id AS "app: AppId", v.name, v.key_id, v.sealed
                   FROM release_variables v JOIN releases r ON r.id = v.release_id
                   WHERE v.key_id <> $1 AND (v.release_id, v.name) > ($2, $3) ORDER BY v.release_id, v.name LIMIT $4"#,
                key,
                row,
                name,
                limit,
            )
            .fetch_all(conn)
            })?;
            rows.into_iter()
                .map(|row| {
                    Ok(SealedRow {
                        row: row.release_id,
                        name: row.name,
                        of: Owner::App(row.app),
                        sealed: Sealed { key_id: word(row.key_id)?, bytes: row.sealed },
                    })
                })
                .collect()
        }
        SealedTable::Credentials => {
            let rows = measured!(db, SealedList, |conn| {
                sqlx::query!(
                "SELECT id, key_id, sealed FROM credentials WHERE key_id <> $1 AND id > $2 ORDER BY id LIMIT $3",
                key,
                row,
                limit,
            )
            .fetch_all(conn)
            })?;
            rows.into_iter()
                .map(|row| {
                    Ok(SealedRow {
                        row: row.id,
                        name: String::new(),
                        of: Owner::Credential,
                        sealed: Sealed { key_id: word(row.key_id)?, bytes: row.sealed },
                    })
                })
                .collect()
        }
        SealedTable::Targets => {
            let rows = measured!(db, SealedList, |conn| {
                sqlx::query!(
                    r#"SELECT name, key_id AS "key_id!", sealed AS "sealed!" FROM targets
                   WHERE sealed IS NOT NULL AND key_id <> $1 AND name > $2 ORDER BY name LIMIT $3"#,
                    key,
                    name,
                    limit,
                )
                .fetch_all(conn)
            })?;
            rows.into_iter()
                .map(|row| {
                    Ok(SealedRow {
                        row: Uuid::nil(),
                        of: Owner::Target(TargetName::parse(&row.name)?),
                        name: row.name,
                        sealed: Sealed { key_id: word(row.key_id)?, bytes: row.sealed },
                    })
                })
                .collect()
        }
    }
}

/// Puts `new` in the place of the value that was read. `false`: somebody changed it meanwhile, and theirs stays.
pub async fn sealed_replace(db: &Db, table: SealedTable, old: &SealedRow, new: &Sealed) -> Result<bool> {
    let (key, bytes, was) = (new.key_id.as_str(), &new.bytes, &old.sealed.bytes);
    let done = match table {
        SealedTable::AppVariables => measured!(db, SealedReplace, |conn| {
            sqlx::query!(
            "UPDATE app_variables SET key_id = $1, sealed = $2 WHERE app_id = $3 AND name = $4 AND sealed = $5",
            key,
            bytes,
            old.row,
            old.name,
            was,
        )
        .execute(conn)
        })?,
        SealedTable::ReleaseVariables => measured!(db, SealedReplace, |conn| {
            sqlx::query!(
            "UPDATE release_variables SET key_id = $1, sealed = $2 WHERE release_id = $3 AND name = $4 AND sealed = $5",
            key,
            bytes,
            old.row,
            old.name,
            was,
        )
        .execute(conn)
        })?,
        SealedTable::Credentials => measured!(db, SealedReplace, |conn| sqlx::query!(
            "UPDATE credentials SET key_id = $1, sealed = $2 WHERE id = $3 AND sealed = $4",
            key,
            bytes,
            old.row,
            was,
        )
        .execute(conn))?,
        SealedTable::Targets => measured!(db, SealedReplace, |conn| sqlx::query!(
            "UPDATE targets SET key_id = $1, sealed = $2 WHERE name = $3 AND sealed = $4",
            key,
            bytes,
            old.name,
            was,
        )
        .execute(conn))?,
    };
    Ok(done.rows_affected() == 1)
}
