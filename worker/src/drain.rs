//! The orderly end: no new jobs, time for the running ones, the rest goes back in line.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deploymind_shared::db::workers::worker_stop;
use tokio::task::JoinHandle;

use crate::lease::StopReason;
use crate::runner::Worker;

/// After the last job was told to stop: time to write down how each ended.
pub(crate) const LAST_WRITES: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// Waits for the process to be told to stop, then for the jobs.
pub(crate) async fn drain(worker: Arc<Worker>, takers: Vec<JoinHandle<()>>, grace: Duration) {
    worker.lifecycle.token().cancelled().await;
    tracing::info!(jobs = worker.hands.len(), grace_ms = grace.as_millis() as u64, "draining");
    // A taker in the middle of its turn has jobs that are not in hand yet.
    let idle = || worker.hands.len() == 0 && takers.iter().all(JoinHandle::is_finished);
    wait_until(idle, grace).await;
    let stopped = || {
        worker.hands.all().iter().for_each(|lease| lease.stop(StopReason::Leaving));
        idle()
    };
    if !wait_until(stopped, worker.queue_config.cancel_grace + LAST_WRITES).await {
        tracing::warn!(jobs = worker.hands.len(), "leaving jobs behind; the scheduler recovers them");
        return;
    }
    // Said only when nothing is left: a worker that stopped in order is not searched for lost jobs as eagerly.
    if let Err(error) = worker_stop(&worker.fleet.db, worker.id).await {
        tracing::warn!(error = error.chain(), "the record was not told that this worker left");
    }
}

/// Whether it became true in time.
async fn wait_until(mut condition: impl FnMut() -> bool, within: Duration) -> bool {
    let started = Instant::now();
    while !condition() {
        if started.elapsed() >= within {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
    true
}
