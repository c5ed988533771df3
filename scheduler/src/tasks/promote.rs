//! Delayed jobs whose time has come join their queues.

use async_trait::async_trait;
use deploymind_shared::error::Result;
use deploymind_shared::fleet::Fleet;
use deploymind_shared::queue::line::promote;

use crate::driver::Task;

/// Per script call. One call may not keep Redis from others for long.
const BATCH: usize = 500;
/// Calls per run; what is left waits for the next run, a moment later.
const CALLS: usize = 20;

pub(crate) struct Promote;

#[async_trait]
impl Task for Promote {
    fn name(&self) -> &'static str {
        "promote"
    }

    async fn run(&self, fleet: &Fleet) -> Result<serde_json::Value> {
        let mut promoted = 0;
        for _ in 0..CALLS {
            let some = promote(&fleet.queue, BATCH).await?;
            promoted += some;
            if some < BATCH {
                break;
            }
        }
        Ok(serde_json::json!({ "promoted": promoted }))
    }
}
