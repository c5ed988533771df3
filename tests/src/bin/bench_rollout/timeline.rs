//! When a deployment came how far, by the record.

use deploymind_shared::ids::DeploymentId;
use sqlx::PgPool;

/// In seconds since 1970.
pub struct Timeline {
    pub claimed: f64,
    /// Absent for a way back, which has none of its own.
    pub released: Option<f64>,
    pub launching: f64,
    pub healthy: f64,
    /// The new release had all requests.
    pub routed: f64,
}

impl Timeline {
    /// # Panics
    /// When the deployment did not come so far.
    pub async fn of(pool: &PgPool, deployment: DeploymentId) -> Self {
        let moments: Vec<(String, Option<f64>)> = sqlx::query_as(
            "SELECT 'claimed', extract(epoch FROM claimed_at)::float8 FROM jobs WHERE deployment_id = $1
             UNION ALL SELECT 'released', extract(epoch FROM created_at)::float8 FROM releases WHERE deployment_id = $1
             UNION ALL SELECT body ->> 'news', extract(epoch FROM min(at))::float8 FROM events
                 WHERE deployment_id = $1 AND (body ->> 'news' <> 'routed' OR body ->> 'weight' = '100')
                 GROUP BY body ->> 'news'",
        )
        .bind(deployment.as_uuid())
        .fetch_all(pool)
        .await
        .expect("postgres answers");
        let find = |name: &str| moments.iter().find(|(found, _)| found == name).and_then(|(_, at)| *at);
        let at =
            |name: &str| find(name).unwrap_or_else(|| panic!("{deployment} was never {name}: {moments:?}"));
        Self {
            claimed: at("claimed"),
            released: find("released"),
            launching: at("launching"),
            healthy: at("healthy"),
            routed: at("routed"),
        }
    }
}
