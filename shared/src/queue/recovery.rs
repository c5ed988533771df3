//! Repairing Redis from the record: after dead workers, expired locks and wiped memory. For the scheduler.

use super::line::lines;
use super::{Queue, script};
use crate::db::jobs::Placement;
use crate::error::Result;
use crate::ids::{JobId, WorkerId};

/// Whether each worker's heartbeat is there.
pub async fn alive(queue: &Queue, workers: &[WorkerId]) -> Result<Vec<bool>> {
    // A pipeline without commands is an error, not an empty answer.
    if workers.is_empty() {
        return Ok(Vec::new());
    }
    let mut command = redis::pipe();
    for worker in workers {
        command.cmd("EXISTS").arg(queue.keys().worker(*worker));
    }
    queue.pipeline(&command).await
}

/// Up to 1,000 raw elements of a worker's list.
pub async fn processing(queue: &Queue, worker: WorkerId) -> Result<Vec<Vec<u8>>> {
    queue.command(redis::cmd("LRANGE").arg(queue.keys().processing(worker)).arg(0).arg(999)).await
}

/// Whether a job goes back in line after its worker died, or has ended.
#[derive(Debug, Clone)]
pub enum Salvage {
    Requeue(Placement),
    /// The same, and it may be what killed its workers: no worker takes two of these at a time.
    Suspect(Placement),
    Drop(Placement),
}

/// Takes jobs out of a dead worker's list and lets its locks go. Answers what is left in the list.
pub async fn reap(queue: &Queue, worker: WorkerId, jobs: &[Salvage]) -> Result<Vec<Vec<u8>>> {
    queue
        .run(&script::REAP, |call| {
            call.arg(worker.to_string());
            for job in jobs {
                let (fate, placement) = match job {
                    Salvage::Requeue(placement) => ("front", placement),
                    Salvage::Suspect(placement) => ("suspect", placement),
                    Salvage::Drop(placement) => ("gone", placement),
                };
                call.arg(placement.job.to_string())
                    .arg(fate)
                    .arg(placement.environment.as_str())
                    .arg(placement.priority.as_i16())
                    .arg(lines(&placement.targets));
            }
        })
        .await
}

/// Removes raw elements that mean nothing any more from a dead worker's list.
pub async fn discard(queue: &Queue, worker: WorkerId, elements: &[Vec<u8>]) -> Result<()> {
    if elements.is_empty() {
        return Ok(());
    }
    let mut command = redis::pipe();
    for element in elements {
        command.cmd("LREM").arg(queue.keys().processing(worker)).arg(1).arg(element.as_slice()).ignore();
    }
    queue.pipeline(&command).await
}

/// Hands on targets that nobody holds although jobs are parked behind them; answers how many.
pub async fn unpark(queue: &Queue) -> Result<usize> {
    queue.run(&script::UNPARK, |_| {}).await
}

/// Which of these queued jobs Redis has where it says it has them; what it only believes is forgotten.
pub async fn known(queue: &Queue, jobs: &[JobId]) -> Result<Vec<bool>> {
    queue
        .run(&script::KNOWN, |call| {
            for job in jobs {
                call.arg(job.to_string());
            }
        })
        .await
}

/// A part of all placed jobs; start and end at cursor 0.
pub async fn sweep(queue: &Queue, cursor: u64, count: usize) -> Result<(u64, Vec<JobId>)> {
    let (next, jobs): (String, Vec<String>) = queue
        .run(&script::SWEEP, |call| {
            call.arg(cursor).arg(count);
        })
        .await?;
    Ok((next.parse().unwrap_or(0), jobs.iter().filter_map(|job| job.parse().ok()).collect()))
}
