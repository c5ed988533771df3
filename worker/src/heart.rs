//! What keeps a worker's claims alive, and what tells it that one is gone.
//!
//! Two beats, one to each store, so that the loss of one does not stop the other. Each works only on jobs whose tasks
//! are still there ([`crate::lease::Hands`]): a heart that beat for dead jobs would keep their targets locked for ever.
//!
//! # Guarantees
//! A job whose lock could not be renewed within one heartbeat period is stopped, long before the lock expires. A job
//! that the record says is another's, or was asked to stop, is stopped within one period.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deploymind_shared::db::jobs::{Requeue, job_held, job_placements, job_requeue};
use deploymind_shared::db::workers::worker_beat;
use deploymind_shared::domain::job::CancelReason;
use deploymind_shared::error::Result;
use deploymind_shared::ids::{Attempt, JobId, TargetName};
use deploymind_shared::queue::control::{Ear, Message, tell};
use deploymind_shared::queue::recovery::{self, Salvage};
use deploymind_shared::queue::{hands, line};
use deploymind_shared::retry::STORE_BACKOFF;
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::lease::{Lease, StopReason};
use crate::readiness::Pulse;
use crate::runner::Worker;
use crate::taker::start_all;

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Renews the locks and the heartbeat in Redis until `stop`.
pub(crate) async fn renew_locks(worker: Arc<Worker>, pulse: Pulse, stop: CancellationToken) {
    let mut ticks = every(worker.queue_config.heartbeat);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        pulse.begin();
        let holding: Vec<(JobId, TargetName)> = worker
            .hands
            .all()
            .iter()
            .flat_map(|lease| lease.targets().into_iter().map(|target| (lease.job, target)))
            .collect();
        match renew_within(&worker, &holding).await {
            Ok(lost) => {
                pulse.succeed();
                for job in lost {
                    stop_job(&worker, job, StopReason::LockLost);
                }
            }
            Err(error) => {
                pulse.fail();
                tracing::warn!(
                    error = error.chain(),
                    locks = holding.len(),
                    "locks could not be renewed; stopping the jobs that hold them"
                );
                for (job, _) in holding {
                    stop_job(&worker, job, StopReason::LockLost);
                }
            }
        }
        // Proves to ourselves that we would hear a cancel.
        if let Err(error) = tell(&worker.fleet.queue, worker.id, Message::Echo).await {
            tracing::debug!(error = error.chain(), "no echo sent");
        }
    }
}

/// One renewal, repeated on errors until the next one would be due.
async fn renew_within(worker: &Worker, holding: &[(JobId, TargetName)]) -> Result<Vec<JobId>> {
    let started = Instant::now();
    let mut failures = 0;
    loop {
        let config = &worker.queue_config;
        match hands::renew(&worker.fleet.queue, worker.id, config.worker_ttl, config.lock_ttl, holding).await
        {
            Err(error) if error.is_transient() && started.elapsed() < config.heartbeat => {
                tracing::debug!(error = error.chain(), "renewal failed, trying again");
                tokio::time::sleep(STORE_BACKOFF.jittered(failures)).await;
                failures += 1;
            }
            result => return result,
        }
    }
}

fn stop_job(worker: &Worker, job: JobId, reason: StopReason) {
    if let Some(lease) = worker.hands.get(job) {
        lease.stop(reason);
    }
}

/// Says in the record that we live, and reads there what became of our jobs, until `stop`.
pub(crate) async fn watch_record(worker: Arc<Worker>, pulse: Pulse, stop: CancellationToken) {
    let mut ticks = every(worker.queue_config.heartbeat);
    let mut unheld = HashMap::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        pulse.begin();
        match look(&worker, &mut unheld).await {
            Ok(()) => pulse.succeed(),
            Err(error) => {
                pulse.fail();
                tracing::warn!(error = error.chain(), "the record cannot be read or written");
            }
        }
    }
}

async fn look(worker: &Worker, unheld: &mut HashMap<JobId, Attempt>) -> Result<()> {
    if !worker_beat(&worker.fleet.db, worker.id).await? {
        tracing::warn!(worker.id = %worker.id, "this worker had been declared dead; its jobs are others' now");
    }
    // Before the query: what we claimed before it must be in its answer.
    let mine: Vec<(Arc<Lease>, Attempt)> = worker
        .hands
        .all()
        .into_iter()
        // One on its way out is the record's business already.
        .filter(|lease| !lease.is_leaving())
        .filter_map(|lease| lease.attempt().map(|attempt| (lease, attempt)))
        .collect();
    let held = job_held(&worker.fleet.db, worker.id).await?;
    for (lease, attempt) in mine {
        match held.get(&lease.job) {
            Some((now, asked)) if *now == attempt => {
                if let Some(reason) = asked {
                    lease.stop(match reason {
                        CancelReason::User => StopReason::User,
                        CancelReason::Superseded => StopReason::Superseded,
                    });
                }
            }
            // Ended or given back by itself since.
            _ if lease.is_leaving() => {}
            _ => lease.stop(StopReason::ClaimLost),
        }
    }
    give_back_unheld(worker, held, unheld).await
}

/// A claim whose answer was lost leaves a job that the record says is ours and nobody runs. Seen twice in a row, it
/// goes back in line, or ends if somebody asked for that.
async fn give_back_unheld(
    worker: &Worker,
    held: HashMap<JobId, (Attempt, Option<CancelReason>)>,
    unheld: &mut HashMap<JobId, Attempt>,
) -> Result<()> {
    let mut still = HashMap::new();
    for (job, (attempt, asked)) in held {
        if worker.hands.get(job).is_some() {
            continue;
        }
        if unheld.get(&job) != Some(&attempt) {
            still.insert(job, attempt);
            continue;
        }
        if let Some(reason) = asked {
            // The record gives back no job that somebody asked to stop, and nothing runs it that could hear the wish.
            worker.end_unheld(job, attempt, reason).await?;
            continue;
        }
        tracing::warn!(job.id = %job, "the record says this job is ours but nothing runs it; giving it back");
        let back = Requeue::HandBack { after: Duration::ZERO };
        if job_requeue(&worker.fleet.db, job, attempt, &back).await? {
            let placements = job_placements(&worker.fleet.db, &[job]).await?;
            line::enqueue(&worker.fleet.queue, &placements).await?;
        } else {
            still.insert(job, attempt);
        }
    }
    *unheld = still;
    Ok(())
}

/// Compares our list in Redis with what we hold, until `stop`: takes up what an abandoned pop left there, puts back
/// what Redis forgot.
pub(crate) async fn check_list(worker: Arc<Worker>, places: Arc<Semaphore>, stop: CancellationToken) {
    let mut ticks = every(worker.queue_config.reconcile);
    let mut crowded = Vec::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        if let Err(error) = compare(&worker, &places, &mut crowded).await {
            tracing::warn!(error = error.chain(), "our list in redis cannot be compared");
        }
    }
}

/// `crowded`: strays that found no place the last time.
async fn compare(worker: &Arc<Worker>, places: &Arc<Semaphore>, crowded: &mut Vec<Vec<u8>>) -> Result<()> {
    let before = std::mem::take(crowded);
    let held: Vec<JobId> = worker.hands.all().iter().map(|lease| lease.job).collect();
    let hands::Difference { mut strays, missing } =
        hands::compare(&worker.fleet.queue, worker.id, &held).await?;
    // Still held, and not on its way out: what has just ended must not be put back.
    let forgotten: Vec<hands::InHand> = missing
        .into_iter()
        .filter_map(|job| worker.hands.get(job))
        .filter(|lease| !lease.is_leaving())
        .map(|lease| lease.in_hand())
        .collect();
    if !forgotten.is_empty() {
        tracing::info!(jobs = forgotten.len(), "redis forgot jobs that run here; putting them back");
        hands::restore(&worker.fleet.queue, worker.id, &forgotten).await?;
    }
    // Taken since we looked at what we hold.
    strays.retain(|element| hands::decode(element).is_none_or(|job| worker.hands.get(job).is_none()));
    if strays.is_empty() || worker.lifecycle.token().is_cancelled() {
        return Ok(());
    }
    let free = places.available_permits().min(strays.len());
    let wanted = u32::try_from(free).unwrap_or(u32::MAX);
    let Ok(mut permits) = Arc::clone(places).try_acquire_many_owned(wanted) else { return Ok(()) };
    // Only one that was there the last time too: what has just been taken is here for a moment before it is held.
    let (again, new) = strays.split_off(free).into_iter().partition(|element| before.contains(element));
    *crowded = new;
    give_back(worker, again).await?;
    if strays.is_empty() {
        return Ok(());
    }
    tracing::info!(jobs = strays.len(), "taking up jobs that were moved to this worker without reaching it");
    let Some(environment) = worker.environments.first() else { return Ok(()) };
    let ttl = worker.queue_config.lock_ttl;
    let taken = hands::take(&worker.fleet.queue, worker.id, environment, 0, ttl, &strays).await?;
    start_all(worker, environment, taken, &mut permits).await
}

/// Strays that find no place here go back to the front of their line: a worker that is always busy never has one, and
/// another may be idle. Those that are no waiting jobs stay; they harm nobody.
async fn give_back(worker: &Worker, strays: Vec<Vec<u8>>) -> Result<()> {
    let jobs: Vec<JobId> = strays.iter().filter_map(|element| hands::decode(element)).collect();
    if jobs.is_empty() {
        return Ok(());
    }
    let waiting = job_placements(&worker.fleet.db, &jobs).await?;
    tracing::info!(jobs = waiting.len(), "giving back jobs that were moved to this worker while it is busy");
    let back: Vec<Salvage> = waiting.into_iter().map(Salvage::Requeue).collect();
    recovery::reap(&worker.fleet.queue, worker.id, &back).await.map(drop)
}

/// Listens for cancels, until `stop`. A subscription that went deaf is replaced; meanwhile [`watch_record`] finds the
/// same wishes.
pub(crate) async fn listen(worker: Arc<Worker>, stop: CancellationToken) {
    let patience = worker.queue_config.heartbeat * 3;
    let mut failures = 0;
    while !stop.is_cancelled() {
        match Ear::open(&worker.fleet.queue, worker.id).await {
            Ok(mut ear) => {
                failures = 0;
                loop {
                    let message = tokio::select! {
                        message = tokio::time::timeout(patience, ear.next()) => message,
                        () = stop.cancelled() => return,
                    };
                    match message {
                        Ok(Some(Message::Cancel(job))) => cancel(&worker, job).await,
                        Ok(Some(Message::Echo)) => {}
                        Ok(None) | Err(_) => break,
                    }
                }
            }
            Err(error) => {
                tracing::debug!(error = error.chain(), "cannot listen for cancels");
                failures += 1;
            }
        }
        tokio::time::timeout(STORE_BACKOFF.jittered(failures), stop.cancelled()).await.ok();
    }
}

/// Pub/sub is not trusted with more than a hint: the record says whether somebody asked.
async fn cancel(worker: &Worker, job: JobId) {
    let Some(lease) = worker.hands.get(job) else { return };
    match job_held(&worker.fleet.db, worker.id).await {
        Ok(held) => match held.get(&job) {
            Some((_, Some(CancelReason::User))) => lease.stop(StopReason::User),
            Some((_, Some(CancelReason::Superseded))) => lease.stop(StopReason::Superseded),
            _ => {}
        },
        Err(error) => {
            tracing::debug!(error = error.chain(), "told of a cancel; the next heartbeat will read it")
        }
    }
}
