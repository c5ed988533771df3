//! People and machine accounts.

use super::{Db, measured};
use crate::error::Result;
use crate::ids::UserId;

#[derive(Debug, Clone)]
pub struct User {
    pub id: UserId,
    pub login: String,
    pub admin: bool,
}

/// Creates a user. The first user of an installation becomes its admin.
pub async fn user_create(db: &Db, login: &str, github_id: Option<i64>) -> Result<User> {
    let id = UserId::generate();
    let row = measured!(db, UserCreate, |conn| sqlx::query!(
        "INSERT INTO users (id, login, github_id, role)
         SELECT $1, $2, $3, CASE WHEN EXISTS (SELECT 1 FROM users) THEN 'member' ELSE 'admin' END
         RETURNING role",
        id.as_uuid(),
        login,
        github_id,
    )
    .fetch_one(conn))?;
    Ok(User { id, login: login.to_owned(), admin: row.role == "admin" })
}

pub async fn user_get(db: &Db, id: UserId) -> Result<Option<User>> {
    let row = measured!(db, UserGet, |conn| sqlx::query!(
        r#"SELECT id AS "id: UserId", login, role FROM users WHERE id = $1"#,
        id.as_uuid()
    )
    .fetch_optional(conn))?;
    Ok(row.map(|row| User { id: row.id, login: row.login, admin: row.role == "admin" }))
}
