//! The reconcilers, one a file.

mod collect;
mod measure;
mod promote;
mod reap;
mod reconcile;
mod retain;
mod settle;
mod unpark;

use std::time::Duration;

use deploymind_shared::config::{QueueConfig, SchedulerConfig};

use crate::driver::Task;

/// How often the gauges are set. Scrapes are rarely more frequent.
const MEASURE: Duration = Duration::from_secs(2);

/// Every task with its period.
pub(crate) fn all(config: &SchedulerConfig, queue: &QueueConfig) -> Vec<(Box<dyn Task>, Duration)> {
    vec![
        (Box::new(reconcile::Reconcile::default()), config.reconcile),
        (Box::new(reap::Reap { worker_ttl: queue.worker_ttl }), config.reap),
        (Box::new(promote::Promote), config.promote),
        (Box::new(unpark::Unpark), config.unpark),
        (Box::new(settle::Settle), config.settle),
        (Box::new(collect::Collect { every: config.collect }), config.collect),
        (
            Box::new(retain::Retain { keep_finished: config.keep_finished, keep_logs: config.keep_logs }),
            config.retain,
        ),
        (Box::new(measure::Measure::default()), MEASURE),
    ]
}
