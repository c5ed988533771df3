//! Takes jobs of one environment: a place first, then a job.
//!
//! # Guarantees
//! A permit is held before anything is moved into this worker's list. A blocked pop is never dropped; it is woken.
//!
//! # Caveats
//! While it waits for work, each environment keeps one place of the worker for itself, so that a busy environment
//! cannot starve another; that is why concurrency may not be smaller than the number of environments.

use std::sync::Arc;

use deploymind_shared::error::{Code, Result};
use deploymind_shared::ids::EnvironmentName;
use deploymind_shared::queue::hands::{self, Taken};
use deploymind_shared::queue::{PopConnection, Queue};
use deploymind_shared::retry::STORE_BACKOFF;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::readiness::Pulse;
use crate::runner::Worker;

/// Jobs per take: as many as there are places, up to this.
const MOST: u32 = 64;

pub(crate) struct Taker {
    pub(crate) worker: Arc<Worker>,
    pub(crate) environment: EnvironmentName,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) pulse: Pulse,
}

impl Taker {
    pub(crate) async fn run(self) {
        let stop = self.worker.lifecycle.token().clone();
        let mut connection = None;
        let mut failures = 0;
        while !stop.is_cancelled() {
            self.pulse.rest();
            let place = tokio::select! {
                place = Arc::clone(&self.places).acquire_owned() => place,
                () = stop.cancelled() => break,
            };
            let Ok(place) = place else { break };
            self.pulse.begin();
            match self.turn(&mut connection, place).await {
                Ok(()) => {
                    self.pulse.succeed();
                    failures = 0;
                }
                Err(error) => {
                    self.pulse.fail();
                    connection = None;
                    tracing::warn!(environment = %self.environment, error = error.chain(), "cannot take jobs; trying on");
                    // Cut short by a shutdown, which the loop's condition sees.
                    tokio::time::timeout(STORE_BACKOFF.jittered(failures), stop.cancelled()).await.ok();
                    failures += 1;
                }
            }
        }
    }

    /// Takes what is there; if nothing is, blocks until something is or the block time has passed.
    async fn turn(&self, connection: &mut Option<PopConnection>, place: OwnedSemaphorePermit) -> Result<()> {
        let places = self.more(place);
        let Some(place) = self.take(places, &[]).await? else { return Ok(()) };
        let Some(element) = self.pop(connection).await? else { return Ok(()) };
        fail::fail_point!("worker.popped");
        let places = self.more(place);
        self.take(places, &[element]).await.map(drop)
    }

    fn more(&self, mut place: OwnedSemaphorePermit) -> OwnedSemaphorePermit {
        let free = u32::try_from(self.places.available_permits()).unwrap_or(MOST).min(MOST - 1);
        // Another taker may have been quicker; then one place is what we have.
        if let Ok(more) = Arc::clone(&self.places).try_acquire_many_owned(free) {
            place.merge(more);
        }
        place
    }

    /// Starts what it gets. Gives a place back when it got nothing.
    async fn take(
        &self,
        mut places: OwnedSemaphorePermit,
        moved: &[Vec<u8>],
    ) -> Result<Option<OwnedSemaphorePermit>> {
        let Worker { fleet, id, queue_config, .. } = &*self.worker;
        let count = places.num_permits();
        let taken =
            hands::take(&fleet.queue, *id, &self.environment, count, queue_config.lock_ttl, moved).await?;
        if taken.is_empty() {
            return Ok(places.split(1));
        }
        start_all(&self.worker, &self.environment, taken, &mut places).await?;
        Ok(None)
    }

    async fn pop(&self, connection: &mut Option<PopConnection>) -> Result<Option<Vec<u8>>> {
        let Worker { fleet, id, queue_config, lifecycle, .. } = &*self.worker;
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(PopConnection::open(&fleet.queue).await?),
        };
        let unblock = connection.unblock();
        let pop = connection.pop(&self.environment, *id, queue_config.block);
        tokio::pin!(pop);
        tokio::select! {
            popped = &mut pop => popped,
            () = lifecycle.token().cancelled() => {
                wake(&fleet.queue, unblock).await;
                pop.await
            }
        }
    }
}

async fn wake(queue: &Queue, unblock: deploymind_shared::queue::Unblock) {
    if let Err(error) = queue.unblock(unblock).await {
        tracing::debug!(error = error.chain(), "the blocked pop could not be woken; it ends by itself");
    }
}

/// Starts a task for each taken job; what is no job goes to quarantine.
pub(crate) async fn start_all(
    worker: &Arc<Worker>,
    environment: &EnvironmentName,
    taken: Vec<Taken>,
    places: &mut OwnedSemaphorePermit,
) -> Result<()> {
    let mut undecodable = Vec::new();
    for element in taken {
        match element {
            Taken::Job { job, locked } => {
                // `take` answers at most as many as it was asked for; without a place the job waits in our list for
                // the next check of it.
                if let Some(place) = places.split(1) {
                    worker.start(job, environment, locked, place);
                }
            }
            Taken::Undecodable(element) => undecodable.push(element),
        }
    }
    if !undecodable.is_empty() {
        worker.fleet.metrics.jobs.undecodable(undecodable.len() as u64);
        let kept = hands::quarantine(&worker.fleet.queue, worker.id, &undecodable).await?;
        tracing::error!(
            code = %Code::Undecodable,
            %environment,
            elements = undecodable.len(),
            quarantined = kept,
            "elements of the queue are no job ids; put aside with their raw bytes"
        );
    }
    Ok(())
}
