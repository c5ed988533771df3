//! Queue depths as gauges. The leader alone sets them, so that a sum over schedulers is the truth.

use std::sync::Mutex;

use async_trait::async_trait;
use deploymind_shared::db::environments::environment_list;
use deploymind_shared::db::jobs::job_quarantined_count;
use deploymind_shared::error::Result;
use deploymind_shared::fleet::Fleet;
use deploymind_shared::ids::EnvironmentName;
use deploymind_shared::queue::line::depth;
use deploymind_shared::telemetry::metrics::ListKind;

use crate::driver::Task;

#[derive(Default)]
pub(crate) struct Measure {
    shown: Mutex<Vec<EnvironmentName>>,
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[async_trait]
impl Task for Measure {
    fn name(&self) -> &'static str {
        "measure"
    }

    fn resign(&self, fleet: &Fleet) {
        let gauges = &fleet.metrics.queue;
        for environment in self.shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner).drain(..) {
            gauges.forget_environment(&environment);
        }
        gauges.set_parked(0);
        gauges.set_delayed(0);
        gauges.set_quarantined(0);
    }

    async fn run(&self, fleet: &Fleet) -> Result<serde_json::Value> {
        let environments = environment_list(&fleet.db).await?;
        let depth = depth(&fleet.queue, &environments).await?;
        let gauges = &fleet.metrics.queue;
        let mut waiting = 0;
        for (environment, (normal, high)) in environments.iter().zip(&depth.queues) {
            gauges.set_depth(environment, ListKind::Normal, count(*normal));
            gauges.set_depth(environment, ListKind::High, count(*high));
            waiting += normal + high;
        }
        gauges.set_parked(count(depth.parked));
        gauges.set_delayed(count(depth.delayed));
        let quarantined =
            u64::try_from(job_quarantined_count(&fleet.db).await?).unwrap_or(0) + depth.quarantined;
        gauges.set_quarantined(count(quarantined));
        *self.shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = environments;
        Ok(serde_json::json!({
            "waiting": waiting, "parked": depth.parked, "delayed": depth.delayed, "quarantined": quarantined,
        }))
    }
}
