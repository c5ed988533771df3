//! Environments: one queue each, with its own policies.

use super::{Db, measured, word};
use crate::domain::overlap::OverlapPolicy;
use crate::error::Result;
use crate::ids::EnvironmentName;

/// Creates the environment, or changes its policy if it exists.
pub async fn environment_put(db: &Db, name: &EnvironmentName, overlap: OverlapPolicy) -> Result<()> {
    measured!(db, EnvironmentCreate, |conn| sqlx::query!(
        "INSERT INTO environments (name, overlap_policy) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET overlap_policy = EXCLUDED.overlap_policy",
        name.as_str(),
        overlap.as_str(),
    )
    .execute(conn))?;
    Ok(())
}

/// All of them, in order of name.
pub async fn environment_list(db: &Db) -> Result<Vec<EnvironmentName>> {
    let names = measured!(db, EnvironmentList, |conn| sqlx::query_scalar!(
        "SELECT name FROM environments ORDER BY name"
    )
    .fetch_all(conn))?;
    names.iter().map(|name| EnvironmentName::parse(name)).collect()
}

pub async fn environment_policy(db: &Db, name: &EnvironmentName) -> Result<Option<OverlapPolicy>> {
    let policy = measured!(db, EnvironmentPolicy, |conn| sqlx::query_scalar!(
        "SELECT overlap_policy FROM environments WHERE name = $1",
        name.as_str()
    )
    .fetch_optional(conn))?;
    policy.map(word).transpose()
}
