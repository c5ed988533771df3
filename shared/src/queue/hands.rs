//! What a worker does with the jobs in its hands: take, lock, renew, park, finish.

use std::time::Duration;

use super::line::lines;
use super::{Queue, script};
use crate::domain::job::Priority;
use crate::error::{Code, Error, Result};
use crate::ids::{EnvironmentName, JobId, TargetName, WorkerId};

/// An element that is now in the worker's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// A job id, and the targets whose locks came with it.
    Job { job: JobId, locked: Vec<TargetName> },
    /// Not a job id. It goes to quarantine with its raw bytes.
    Undecodable(Vec<u8>),
}

/// Admits elements that a blocking pop moved, and takes more up to `count` in all. Jobs whose targets are held are
/// parked and not among the answer.
pub async fn take(
    queue: &Queue,
    worker: WorkerId,
    environment: &EnvironmentName,
    count: usize,
    lock_ttl: Duration,
    moved: &[Vec<u8>],
) -> Result<Vec<Taken>> {
    let answer: Vec<(Vec<u8>, String)> = queue
        .run(&script::TAKE, |call| {
            call.arg(worker.to_string())
                .arg(environment.as_str())
                .arg(count)
                .arg(lock_ttl.as_millis() as u64);
            for element in moved {
                call.arg(element.as_slice());
            }
        })
        .await?;
    answer
        .into_iter()
        .map(|(element, locked)| match decode(&element) {
            Some(job) => {
                let locked = locked.lines().map(TargetName::parse).collect::<Result<_>>()?;
                Ok(Taken::Job { job, locked })
            }
            None => Ok(Taken::Undecodable(element)),
        })
        .collect()
}

/// The job that an element of a list names.
pub fn decode(element: &[u8]) -> Option<JobId> {
    // Only the one form we write: another spelling of the same id would be a second name for one job.
    let text = std::str::from_utf8(element).ok()?;
    let job: JobId = text.parse().ok()?;
    (job.to_string() == text).then_some(job)
}

/// Locks targets for a running job, all or none; `targets` is everything it will hold. `false`: one is held.
pub async fn lock(
    queue: &Queue,
    worker: WorkerId,
    job: JobId,
    targets: &[TargetName],
    lock_ttl: Duration,
) -> Result<bool> {
    let locked: u8 = queue
        .run(&script::LOCK, |call| {
            call.arg(worker.to_string())
                .arg(job.to_string())
                .arg(lock_ttl.as_millis() as u64)
                .arg(lines(targets));
        })
        .await?;
    Ok(locked == 1)
}

/// A job in a worker's hands, as the scripts need it.
#[derive(Debug, Clone)]
pub struct InHand {
    pub job: JobId,
    pub environment: EnvironmentName,
    pub priority: Priority,
    /// The targets it holds or waits for.
    pub targets: Vec<TargetName>,
}

/// Lets a job wait for its targets without its worker. The record must already say that it is queued.
pub async fn park(queue: &Queue, worker: WorkerId, job: &InHand) -> Result<()> {
    let _: u8 = queue
        .run(&script::PARK, |call| {
            call.arg(worker.to_string())
                .arg(job.job.to_string())
                .arg(job.environment.as_str())
                .arg(job.priority.as_i16())
                .arg(lines(&job.targets));
        })
        .await?;
    Ok(())
}

/// What becomes of a job that leaves a worker's hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It ended, or waits in the record only.
    Gone,
    /// Back to the front of its line.
    Front,
    /// Back in line after this long.
    After(Duration),
}

/// The way out for jobs in hand: their locks go to whoever is parked next.
pub async fn finish(queue: &Queue, worker: WorkerId, jobs: &[(InHand, Fate)]) -> Result<()> {
    for batch in jobs.chunks(super::line::BATCH) {
        let _: u8 = queue
            .run(&script::FINISH, |call| {
                call.arg(worker.to_string());
                for (job, fate) in batch {
                    call.arg(job.job.to_string());
                    match fate {
                        Fate::Gone => call.arg("gone"),
                        Fate::Front => call.arg("front"),
                        Fate::After(delay) => call.arg(delay.as_millis() as u64),
                    };
                    call.arg(job.environment.as_str()).arg(job.priority.as_i16()).arg(lines(&job.targets));
                }
            })
            .await?;
    }
    Ok(())
}

/// Says that the worker lives and renews the locks of its jobs. Answers the jobs that lost one.
pub async fn renew(
    queue: &Queue,
    worker: WorkerId,
    worker_ttl: Duration,
    lock_ttl: Duration,
    holds: &[(JobId, TargetName)],
) -> Result<Vec<JobId>> {
    let answer: Vec<u8> = queue
        .run(&script::RENEW, |call| {
            call.arg(worker.to_string()).arg(worker_ttl.as_millis() as u64).arg(lock_ttl.as_millis() as u64);
            for (job, target) in holds {
                call.arg(job.to_string()).arg(target.as_str());
            }
        })
        .await?;
    if answer.len() != holds.len() {
        return Err(Error::new(
            Code::StoreUnexpected,
            "Redis answered for another number of locks than asked",
        ));
    }
    Ok(holds.iter().zip(answer).filter(|(_, kept)| *kept == 0).map(|((job, _), _)| *job).collect())
}

/// Where a worker's list and its memory differ.
#[derive(Debug, Default)]
pub struct Difference {
    /// In the list only, as raw elements for [`take`]: an abandoned pop moved them.
    pub strays: Vec<Vec<u8>>,
    /// In memory only: Redis forgot them, or they have just left.
    pub missing: Vec<JobId>,
}

pub async fn compare(queue: &Queue, worker: WorkerId, held: &[JobId]) -> Result<Difference> {
    let (strays, missing): (Vec<Vec<u8>>, Vec<Vec<u8>>) = queue
        .run(&script::OWN, |call| {
            call.arg(worker.to_string());
            for job in held {
                call.arg(job.to_string());
            }
        })
        .await?;
    Ok(Difference { strays, missing: missing.iter().filter_map(|job| decode(job)).collect() })
}

/// Puts jobs that a worker still holds back into its list.
pub async fn restore(queue: &Queue, worker: WorkerId, held: &[InHand]) -> Result<()> {
    let _: u8 = queue
        .run(&script::RESTORE, |call| {
            call.arg(worker.to_string());
            for job in held {
                call.arg(job.job.to_string())
                    .arg(job.environment.as_str())
                    .arg(job.priority.as_i16())
                    .arg(lines(&job.targets));
            }
        })
        .await?;
    Ok(())
}

/// Elements kept in quarantine; older ones are dropped.
const QUARANTINE_MAX: usize = 10_000;

/// Puts elements that are no job ids aside, raw. Answers how many lie there.
pub async fn quarantine(queue: &Queue, worker: WorkerId, elements: &[Vec<u8>]) -> Result<u64> {
    queue
        .run(&script::QUARANTINE, |call| {
            call.arg(worker.to_string()).arg(QUARANTINE_MAX);
            for element in elements {
                call.arg(element.as_slice());
            }
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_spelling_of_an_id_is_a_job() {
        let job = JobId::generate();
        assert_eq!(decode(job.to_string().as_bytes()), Some(job));
        for bad in [
            job.to_string().to_uppercase().into_bytes(),
            job.as_uuid().simple().to_string().into_bytes(),
            b"".to_vec(),
            vec![0xff, 0xfe],
            vec![b'a'; 100_000],
        ] {
            assert_eq!(decode(&bad), None);
        }
    }
}
