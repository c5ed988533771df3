//! What of the record is sealed, with which key, and its replacement by the same value under another key.

use uuid::Uuid;

use super::{Db, measured, word};
use crate::error::Result;
use crate::ids::AppId;
use crate::secret::{Associated, Sealed};

/// Where a sealed value lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealedTable {
    AppVariables,
    ReleaseVariables,
    Credentials,
}

impl SealedTable {
    pub const ALL: [SealedTable; 3] =
        [SealedTable::AppVariables, SealedTable::ReleaseVariables, SealedTable::Credentials];

    /// As people call what is in it.
    pub const fn as_str(self) -> &'static str {
        match self {
            SealedTable::AppVariables => "variables of apps",
            SealedTable::ReleaseVariables => "variables of releases",
            SealedTable::Credentials => "credentials",
        }
    }
}

/// One sealed value and what it is bound to.
#[derive(Debug, Clone)]
pub struct SealedRow {
    /// Of the app, the release or the credential.
    row: Uuid,
    /// Of a variable; empty for a credential.
    name: String,
    /// Of the app, for a variable.
    app: Option<AppId>,
    pub sealed: Sealed,
}

impl SealedRow {
    pub fn associated(&self) -> Associated {
        match self.app {
            Some(app) => Associated::variable(app, &self.name),
            None => Associated::credential(self.row),
        }
    }

    /// For a person who looks for a value that does not open.
    pub fn place(&self) -> String {
        match self.app {
            Some(app) => format!("{} of app {app}", self.name),
            None => format!("credential {}", self.row),
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
                        app: Some(row.app),
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
                        app: Some(row.app),
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
                        app: None,
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
    };
    Ok(done.rows_affected() == 1)
}
