//! Targets that nobody holds although jobs are parked behind them: their lock expired with its worker.

use async_trait::async_trait;
use deploymind_shared::error::Result;
use deploymind_shared::fleet::Fleet;
use deploymind_shared::queue::recovery;

use crate::driver::Task;

pub(crate) struct Unpark;

#[async_trait]
impl Task for Unpark {
    fn name(&self) -> &'static str {
        "unpark"
    }

    async fn run(&self, fleet: &Fleet) -> Result<serde_json::Value> {
        let handed_on = recovery::unpark(&fleet.queue).await?;
        if handed_on > 0 {
            tracing::info!(targets = handed_on, "handed on targets whose locks had expired");
        }
        Ok(serde_json::json!({ "handed_on": handed_on }))
    }
}
