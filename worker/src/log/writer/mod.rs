//! The one writer of a deployment's log.
//!
//! # Guarantees
//! Lines are numbered without gaps from the last in the record, and are in the record before they are published. A line
//! is in no two batches, and a batch is written before the next begins, so a crash leaves a log that ends early but misses
//! nothing in between. What is held in memory is a few batches, whatever the steps say and whatever the stores do: while
//! Postgres is away the steps wait.
//!
//! # Assumptions
//! The claim is this worker's. When it is not, the record refuses the batch and the writer ends, dropping what it holds.
//!
//! # Caveats
//! Publishing is at most once. A listener sees a gap in the numbers and reads the record.

mod batch;
mod flush;
mod prepare;
mod store;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use deploymind_shared::error::Error;
use deploymind_shared::fleet::Fleet;
use deploymind_shared::ids::{Attempt, DeploymentId, JobId};
use deploymind_shared::retry::Stop;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::limit::Limits;
use super::lines::Line;
use super::redact::Redactor;
pub use flush::Flusher;
use flush::Wish;

/// Lines between the steps and their writer; more only lets steps run further ahead.
pub const ROOM: usize = 1024;

/// Whose log it is, and by what right it is written.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub job: JobId,
    pub attempt: Attempt,
    pub deployment: DeploymentId,
}

/// What became of a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// In the record, our own included.
    pub lines: u64,
    pub bytes: u64,
    pub dropped: u64,
    pub dropped_bytes: u64,
    /// The number of the last line.
    pub last: i64,
}

pub struct Writer {
    fleet: Fleet,
    place: Place,
    redactor: Arc<Redactor>,
    limits: Limits,
    last: i64,
    lines: mpsc::Receiver<Line>,
    wishes: mpsc::Receiver<Wish>,
    /// Why it ended before its time, for those who wait for a flush.
    ended: Arc<OnceLock<Error>>,
}

impl Writer {
    /// `last` is the number of the last line in the record, 0 for a new deployment.
    pub fn new(
        fleet: &Fleet,
        place: Place,
        redactor: Arc<Redactor>,
        limits: Limits,
        last: i64,
        lines: mpsc::Receiver<Line>,
    ) -> (Self, Flusher) {
        let (sender, wishes) = mpsc::channel(16);
        let ended = Arc::new(OnceLock::new());
        let flusher = Flusher::new(sender, Arc::clone(&ended));
        (Self { fleet: fleet.clone(), place, redactor, limits, last, lines, wishes, ended }, flusher)
    }

    /// Writes until every [`super::Lines`] is dropped, then what is left. A store that is away is waited for without end while
    /// steps run; once they are gone, or `hurry` fires, for as long as `patience`.
    pub async fn run(self, hurry: &CancellationToken, patience: Duration) -> Result<Totals, Stop> {
        let Self { fleet, place, redactor, limits, last, lines, wishes, ended } = self;
        // One batch being made, one waiting, one being written, one being published.
        let (made, mut to_store) = mpsc::channel(1);
        let (stored, to_publish) = mpsc::channel(1);
        let hurry = hurry.child_token();
        let prepare = prepare::Prepare::new(&redactor, limits, last).run(lines, wishes, made, &hurry);
        let store = async {
            let written = store::store(&fleet, place, &mut to_store, stored, &hurry, patience).await;
            // Before the batches fall, and with them the wishes of those who then ask why.
            if let Err(error) = &written {
                ended.get_or_init(|| error.again());
            }
            drop(to_store);
            written
        };
        let publish = store::publish(&fleet, place.deployment, to_publish);
        // Boxed: the three together are larger than a future should be on the stack.
        let (totals, written, ()) = Box::pin(async { tokio::join!(prepare, store, publish) }).await;
        written?;
        Ok(totals)
    }
}
