//! The scheduler: keeps the promises when something dies. Several may run; one leads and works.
//!
//! It touches Postgres and Redis, nothing else. Each of its tasks takes no input, may be repeated, works in bounded
//! batches, and shows its last result at `/status`.

mod driver;
mod leader;
mod tasks;

use std::time::Duration;

use deploymind_shared::admin::Readiness;
use deploymind_shared::config::{QueueConfig, SchedulerConfig};
use deploymind_shared::fleet::Fleet;
use deploymind_shared::lifecycle::{ExitPolicy, Lifecycle};

pub use driver::Board;

/// How long a reconciler may take to come to the end of its batch at shutdown.
pub const GRACE: Duration = Duration::from_secs(10);

/// Starts the scheduler; it ends with `lifecycle`. The board shows what each task did last.
pub fn start(
    fleet: &Fleet,
    config: &SchedulerConfig,
    queue_config: &QueueConfig,
    lifecycle: &Lifecycle,
    readiness: &Readiness,
) -> Board {
    let leadership = leader::start(fleet, config.leader_ttl, lifecycle, readiness);
    let board = Board::new(leadership.clone());
    for (task, period) in tasks::all(config, queue_config) {
        let work = driver::drive(
            task,
            period,
            fleet.clone(),
            leadership.clone(),
            board.clone(),
            lifecycle.token().clone(),
        );
        lifecycle.spawn("reconciler", ExitPolicy::FailProcess, work);
    }
    board
}
