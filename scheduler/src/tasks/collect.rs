//! Docker hosts are cleaned up now and then: a worker is sent to each to which something was rolled out.

use std::time::Duration;

use async_trait::async_trait;
use deploymind_shared::db::targets::target_uncollected;
use deploymind_shared::error::Result;
use deploymind_shared::fleet::Fleet;

use crate::driver::Task;

/// Hosts per run. Those of a larger fleet take several.
const BATCH: i64 = 1_000;

pub(crate) struct Collect {
    pub(crate) every: Duration,
}

#[async_trait]
impl Task for Collect {
    fn name(&self) -> &'static str {
        "collect"
    }

    async fn run(&self, fleet: &Fleet) -> Result<serde_json::Value> {
        // A new leader begins at once, so a host that was seen to lately is left out. Half, because a run is never on time.
        let targets = target_uncollected(&fleet.db, self.every / 2, BATCH).await?;
        for (target, environment) in &targets {
            fleet.collect_from(environment.clone(), target, false).await?;
        }
        Ok(serde_json::json!({ "sent": targets.len() }))
    }
}
