//! Variables of apps; those of releases are with [`super::releases`]. Values are sealed before they come here; nothing here can open them.

use super::{Db, measured, word};
use crate::domain::app::VariableScope;
use crate::error::{Code, Error, Result};
use crate::ids::AppId;
use crate::secret::Sealed;

#[derive(Debug, Clone)]
pub struct Variable {
    pub name: String,
    pub scope: VariableScope,
    /// Whether the value is hidden from people and from logs.
    pub secret: bool,
    pub sealed: Sealed,
}

/// Sets variables of an app, all or none; those not named stay.
pub async fn variable_put(db: &Db, app: AppId, variables: &[Variable]) -> Result<()> {
    let names: Vec<&str> = variables.iter().map(|one| one.name.as_str()).collect();
    let scopes: Vec<&str> = variables.iter().map(|one| one.scope.as_str()).collect();
    let secret: Vec<bool> = variables.iter().map(|one| one.secret).collect();
    let keys: Vec<&str> = variables.iter().map(|one| one.sealed.key_id.as_str()).collect();
    let values: Vec<&[u8]> = variables.iter().map(|one| one.sealed.bytes.as_slice()).collect();
    measured!(db, VariablePut, |conn| sqlx::query!(
        "INSERT INTO app_variables (app_id, name, scope, secret, key_id, sealed)
         SELECT $1, w.name, w.scope, w.secret, w.key_id, w.sealed
         FROM unnest($2::text[], $3::text[], $4::boolean[], $5::text[], $6::bytea[]) AS w (name, scope, secret, key_id, sealed)
         ON CONFLICT (app_id, name) DO UPDATE
         SET scope = EXCLUDED.scope, secret = EXCLUDED.secret, key_id = EXCLUDED.key_id, sealed = EXCLUDED.sealed,
             updated_at = now()",
        app.as_uuid(),
        &names as &[&str],
        &scopes as &[&str],
        &secret,
        &keys as &[&str],
        &values as &[&[u8]],
    )
    .execute(conn))
    .map_err(|error| match super::violated(&error) {
        Some("app_variables_app_id_fkey") => Error::new(Code::AppUnknown, format!("there is no app {app}")),
        Some("app_variables_name_shape" | "app_variables_sealed_size") => Error::new(
            Code::VariableInvalid,
            "a variable's name is a letter or underscore, then letters, digits and underscores, and its value has at \
             most 64 KiB",
        ),
        _ => error,
    })?;
    Ok(())
}

/// Whether there was one of that name.
pub async fn variable_delete(db: &Db, app: AppId, name: &str) -> Result<bool> {
    let gone = measured!(db, VariableDelete, |conn| sqlx::query!(
        "DELETE FROM app_variables WHERE app_id = $1 AND name = $2",
        app.as_uuid(),
        name
    )
    .execute(conn))?;
    Ok(gone.rows_affected() == 1)
}

/// All variables of an app, in order of name.
pub async fn variable_list(db: &Db, app: AppId) -> Result<Vec<Variable>> {
    let rows = measured!(db, VariableList, |conn| sqlx::query!(
        "SELECT name, scope, secret, key_id, sealed FROM app_variables WHERE app_id = $1 ORDER BY name",
        app.as_uuid()
    )
    .fetch_all(conn))?;
    rows.into_iter()
        .map(|row| {
            Ok(Variable {
                name: row.name,
                scope: word(row.scope)?,
                secret: row.secret,
                sealed: Sealed { key_id: word(row.key_id)?, bytes: row.sealed },
            })
        })
        .collect()
}
