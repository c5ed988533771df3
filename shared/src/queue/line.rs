//! The line: joining it, leaving it, and how long it is.

use super::{Queue, script};
use crate::db::jobs::Placement;
use crate::error::Result;
use crate::ids::{EnvironmentName, JobId, TargetName};

pub(super) fn lines(targets: &[TargetName]) -> String {
    targets.iter().map(TargetName::as_str).collect::<Vec<_>>().join("\n")
}

/// Jobs per script call: long enough to be worth the round trip, short enough not to keep others waiting.
pub(super) const BATCH: usize = 500;

/// Puts jobs in line, in order. One that is known already stays where it is. Answers how many joined.
pub async fn enqueue(queue: &Queue, jobs: &[Placement]) -> Result<usize> {
    let mut joined = 0;
    for batch in jobs.chunks(BATCH) {
        let answer: Vec<u8> = queue
            .run(&script::ENQUEUE, |call| {
                for job in batch {
                    call.arg(job.job.to_string())
                        .arg(job.environment.as_str())
                        .arg(job.priority.as_i16())
                        .arg(lines(&job.targets))
                        .arg(job.delay.as_millis() as u64);
                }
            })
            .await?;
        joined += answer.iter().filter(|&&one| one == 1).count();
    }
    Ok(joined)
}

/// Takes jobs that ended in the record out of wherever they wait.
pub async fn withdraw(queue: &Queue, jobs: &[JobId]) -> Result<()> {
    for batch in jobs.chunks(BATCH) {
        let _: u8 = queue
            .run(&script::WITHDRAW, |call| {
                for job in batch {
                    call.arg(job.to_string());
                }
            })
            .await?;
    }
    Ok(())
}

/// How much waits where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Depth {
    /// Normal and high, in the order asked.
    pub queues: Vec<(u64, u64)>,
    pub parked: u64,
    pub delayed: u64,
    pub quarantined: u64,
}

pub async fn depth(queue: &Queue, environments: &[EnvironmentName]) -> Result<Depth> {
    let answer: Vec<u64> = queue
        .run(&script::DEPTH, |call| {
            for environment in environments {
                call.arg(environment.as_str());
            }
        })
        .await?;
    let at = |index: usize| answer.get(index).copied().unwrap_or_default();
    let rest = environments.len() * 2;
    Ok(Depth {
        queues: (0..environments.len()).map(|i| (at(2 * i), at(2 * i + 1))).collect(),
        parked: at(rest),
        delayed: at(rest + 1),
        quarantined: at(rest + 2),
    })
}

/// Moves delayed jobs whose time has come into their queues, at most `limit`; answers how many.
pub async fn promote(queue: &Queue, limit: usize) -> Result<usize> {
    queue
        .run(&script::PROMOTE, |call| {
            call.arg(limit);
        })
        .await
}
