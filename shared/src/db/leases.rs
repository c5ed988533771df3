//! Named leases: one holder at a time, by the database's clock. A holder that stops renewing loses it, whether its
//! process died, froze or was cut off.

use std::time::Duration;

use uuid::Uuid;

use super::{Db, measured};
use crate::error::Result;

/// Takes or renews the lease. `Some(term)` means held for `ttl` from when the call was *begun*; the term grows with
/// each new holder.
pub async fn lease_take(db: &Db, name: &str, holder: Uuid, ttl: Duration) -> Result<Option<i64>> {
    measured!(db, LeaseTake, |conn| sqlx::query_scalar!(
        "INSERT INTO leases AS l (name, holder, expires_at) VALUES ($1, $2, now() + make_interval(secs => $3))
         ON CONFLICT (name) DO UPDATE
         SET holder = EXCLUDED.holder, expires_at = EXCLUDED.expires_at,
             term = l.term + CASE WHEN l.holder = EXCLUDED.holder THEN 0 ELSE 1 END
         WHERE l.holder = EXCLUDED.holder OR l.expires_at < now()
         RETURNING term",
        name,
        holder,
        ttl.as_secs_f64(),
    )
    .fetch_optional(conn))
}

/// Gives the lease up, so that another need not wait for it to expire.
pub async fn lease_release(db: &Db, name: &str, holder: Uuid) -> Result<()> {
    measured!(db, LeaseRelease, |conn| sqlx::query!(
        "UPDATE leases SET expires_at = '-infinity' WHERE name = $1 AND holder = $2",
        name,
        holder
    )
    .execute(conn))?;
    Ok(())
}
