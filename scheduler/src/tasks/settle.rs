//! Roll-outs that their deployments left half way: the worker died for good, or was stopped where it could not go back. A
//! worker is sent to bring each to an end.

use async_trait::async_trait;
use deploymind_shared::db::rollouts::rollouts_adrift;
use deploymind_shared::error::Result;
use deploymind_shared::fleet::Fleet;

use crate::driver::Task;

/// Sent out per run; what is left waits for the next run, a moment later.
const BATCH: i64 = 100;

pub(crate) struct Settle;

#[async_trait]
impl Task for Settle {
    fn name(&self) -> &'static str {
        "settle"
    }

    async fn run(&self, fleet: &Fleet) -> Result<serde_json::Value> {
        let adrift = rollouts_adrift(&fleet.db, BATCH).await?;
        for rollout in &adrift {
            let job = fleet.settle(rollout).await?;
            tracing::warn!(
                deployment.id = %rollout.deployment,
                job.id = %job,
                "a deployment ended in the middle of its roll-out; a worker is sent to settle it"
            );
        }
        Ok(serde_json::json!({ "sent": adrift.len() }))
    }
}
