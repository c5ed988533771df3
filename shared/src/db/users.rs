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

/// The advisory lock on which creations take turns.
const TURN: i64 = 0x7573_6572;

/// Creates a user. The first user of an installation becomes its admin, and nobody else, however many come at once.
pub async fn user_create(db: &Db, login: &str, github_id: Option<i64>) -> Result<User> {
    let id = UserId::generate();
    let role = measured!(db, UserCreate, |conn| async {
        use sqlx::Connection as _;
        let mut txn = conn.begin().await?;
        sqlx::query!("SELECT pg_advisory_xact_lock($1)", TURN).execute(&mut *txn).await?;
        let role = sqlx::query_scalar!(
            "INSERT INTO users (id, login, github_id, role)
             SELECT $1, $2, $3, CASE WHEN EXISTS (SELECT 1 FROM users) THEN 'member' ELSE 'admin' END
             RETURNING role",
            id.as_uuid(),
            login,
            github_id,
        )
        .fetch_one(&mut *txn)
        .await?;
        txn.commit().await?;
        Ok::<_, sqlx::Error>(role)
    })?;
    Ok(User { id, login: login.to_owned(), admin: role == "admin" })
}

pub async fn user_get(db: &Db, id: UserId) -> Result<Option<User>> {
    let row = measured!(db, UserGet, |conn| sqlx::query!(
        r#"SELECT id AS "id: UserId", login, role FROM users WHERE id = $1"#,
        id.as_uuid()
    )
    .fetch_optional(conn))?;
    Ok(row.map(|row| User { id: row.id, login: row.login, admin: row.role == "admin" }))
}
