//! Deletes what is older than the operator wants to keep.

use std::time::Duration;

use async_trait::async_trait;
use deploymind_shared::db::retention::{retain_deployments, retain_jobs, retain_logs, retain_workers};
use deploymind_shared::error::Result;
use deploymind_shared::fleet::Fleet;

use crate::driver::Task;

/// Statements per table and run. A large backlog takes several runs instead of one long one.
const ROUNDS: usize = 50;

pub(crate) struct Retain {
    pub(crate) keep_finished: Duration,
    pub(crate) keep_logs: Duration,
}

macro_rules! all_of {
    ($retain:ident, $fleet:expr, $age:expr) => {{
        let mut deleted = 0;
        for _ in 0..ROUNDS {
            let some = $retain(&$fleet.db, $age).await?;
            deleted += some;
            if some == 0 {
                break;
            }
        }
        deleted
    }};
}

#[async_trait]
impl Task for Retain {
    fn name(&self) -> &'static str {
        "retain"
    }

    async fn run(&self, fleet: &Fleet) -> Result<serde_json::Value> {
        Ok(serde_json::json!({
            "logs": all_of!(retain_logs, fleet, self.keep_logs),
            "deployments": all_of!(retain_deployments, fleet, self.keep_finished),
            "jobs": all_of!(retain_jobs, fleet, self.keep_finished),
            "workers": all_of!(retain_workers, fleet, self.keep_finished),
        }))
    }
}
