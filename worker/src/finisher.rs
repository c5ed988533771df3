//! The last write of each run. Many share one commit; each is fenced by its own attempt.
//!
//! # Guarantees
//! The record comes first. Only a run whose attempt was still the present one touches Redis afterwards; a zombie
//! touches nothing.

use deploymind_shared::batch::Batcher;
use deploymind_shared::db::jobs::{Finish, Finished, job_finish};
use deploymind_shared::error::Result;
use deploymind_shared::fleet::Fleet;
use deploymind_shared::ids::WorkerId;
use deploymind_shared::lifecycle::Lifecycle;
use deploymind_shared::queue::hands::{self, Fate, InHand};

/// Runs in one commit at most.
const BATCH: usize = 256;
/// Commits under way at once: while one waits for the disk, the next is prepared.
const LANES: usize = 2;

#[derive(Clone)]
pub(crate) struct Finisher(Batcher<(Finish, InHand), Result<bool>>);

impl Finisher {
    pub(crate) fn start(lifecycle: &Lifecycle, fleet: &Fleet, worker: WorkerId) -> Self {
        let fleet = fleet.clone();
        Self(Batcher::start(lifecycle, "finish jobs", LANES, BATCH, move |batch| {
            let fleet = fleet.clone();
            async move { finish(&fleet, worker, batch).await }
        }))
    }

    /// `Ok(false)`: the run was another's by then, and nothing was written.
    pub(crate) async fn finish(&self, finish: Finish, in_hand: InHand) -> Result<bool> {
        self.0.submit((finish, in_hand)).await?
    }
}

async fn finish(fleet: &Fleet, worker: WorkerId, batch: Vec<(Finish, InHand)>) -> Vec<Result<bool>> {
    let (finishes, in_hands): (Vec<Finish>, Vec<InHand>) = batch.into_iter().unzip();
    let answers = record(fleet, &finishes).await;
    fail::fail_point!("worker.finished_in_record");
    let mut leaving = Vec::new();
    let mut apps = Vec::new();
    for (answer, in_hand) in answers.iter().zip(in_hands) {
        if let Ok(Some(finished)) = answer {
            leaving.push((in_hand, Fate::Gone));
            apps.extend(finished.app);
        }
    }
    // What fails here stays in our list and comes back to us as a stray, whose claim then finds it finished.
    let cleanup = async {
        hands::finish(&fleet.queue, worker, &leaving).await?;
        fleet.advance_apps(&apps).await
    };
    if let Err(error) = cleanup.await {
        tracing::warn!(
            error = error.chain(),
            "finished in the record, not yet in redis; the next check of the list will"
        );
    }
    fail::fail_point!("worker.finished");
    answers.into_iter().map(|answer| answer.map(|finished| finished.is_some())).collect()
}

async fn record(fleet: &Fleet, finishes: &[Finish]) -> Vec<Result<Option<Finished>>> {
    match job_finish(&fleet.db, finishes).await {
        Ok(finished) => finishes
            .iter()
            .map(|finish| Ok(finished.iter().find(|done| done.job == finish.job).copied()))
            .collect(),
        // One row the record refuses must not keep the others from ending.
        Err(error) if finishes.len() > 1 && !error.is_transient() => {
            let mut answers = Vec::with_capacity(finishes.len());
            for finish in finishes {
                let alone = job_finish(&fleet.db, std::slice::from_ref(finish)).await;
                answers.push(alone.map(|finished| finished.first().copied()));
            }
            answers
        }
        Err(error) => finishes.iter().map(|_| Err(error.again())).collect(),
    }
}
