//! The orderly end: no new jobs, time for the running ones, the rest goes back in line.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deploymind_shared::db::workers::worker_stop;

use crate::lease::StopReason;
use crate::runner::Worker;

/// After the last job was told to stop: time to write down how each ended.
pub(crate) const LAST_WRITES: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// Waits for the process to be told to stop, then for the jobs.
pub(crate) async fn drain(worker: Arc<Worker>, grace: Duration) {
    worker.lifecycle.token().cancelled().await;
    tracing::info!(jobs = worker.hands.len(), grace_ms = grace.as_millis() as u64, "draining");
    wait_empty(&worker, grace).await;
    for lease in worker.hands.all() {
        lease.stop(StopReason::Leaving);
    }
    wait_empty(&worker, worker.queue_config.cancel_grace + LAST_WRITES).await;
    if worker.hands.len() > 0 {
        tracing::warn!(jobs = worker.hands.len(), "leaving jobs behind; the scheduler recovers them");
        return;
    }
    // Said only when nothing is left: a worker that stopped in order is not searched for lost jobs as eagerly.
    if let Err(error) = worker_stop(&worker.fleet.db, worker.id).await {
        tracing::warn!(error = error.chain(), "the record was not told that this worker left");
    }
}

async fn wait_empty(worker: &Worker, within: Duration) {
    let started = Instant::now();
    while worker.hands.len() > 0 && started.elapsed() < within {
        tokio::time::sleep(POLL).await;
    }
}
