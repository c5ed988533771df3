//! Workers that fell silent give their jobs back: the record first, then Redis.

use std::time::Duration;

use async_trait::async_trait;
use deploymind_shared::db::jobs::{Placement, Reaped, job_get, job_placements, job_reap};
use deploymind_shared::db::workers::{worker_bury, worker_silent};
use deploymind_shared::domain::job::{JobState, SUSPECT_RECOVERIES};
use deploymind_shared::error::{Code, Result};
use deploymind_shared::fleet::Fleet;
use deploymind_shared::ids::{JobId, WorkerId};
use deploymind_shared::queue::hands;
use deploymind_shared::queue::recovery::{self, Salvage};
use deploymind_shared::telemetry::metrics::JobOutcome;

use crate::driver::Task;

/// Workers looked at per run.
const WORKERS: i64 = 500;
/// Jobs per statement.
const JOBS: i64 = 500;

pub(crate) struct Reap {
    pub(crate) worker_ttl: Duration,
}

#[async_trait]
impl Task for Reap {
    fn name(&self) -> &'static str {
        "reap"
    }

    async fn run(&self, fleet: &Fleet) -> Result<serde_json::Value> {
        let silent = worker_silent(&fleet.db, self.worker_ttl, WORKERS).await?;
        // Both stores must agree that it is gone: after an outage of one, the other still knows better.
        let alive = recovery::alive(&fleet.queue, &silent).await?;
        let (mut recovered, mut strays) = (0, 0);
        for (worker, alive) in silent.into_iter().zip(alive) {
            if alive || !worker_bury(&fleet.db, worker, self.worker_ttl).await? {
                continue;
            }
            fail::fail_point!("scheduler.buried");
            recovered += recover(fleet, worker).await?;
            strays += clear_list(fleet, worker).await?;
        }
        Ok(serde_json::json!({ "recovered": recovered, "strays": strays }))
    }
}

/// Jobs that the record says the worker was running.
async fn recover(fleet: &Fleet, worker: WorkerId) -> Result<usize> {
    let mut total = 0;
    loop {
        let mut reaped = job_reap(&fleet.db, worker, JOBS).await?;
        if reaped.is_empty() {
            return Ok(total);
        }
        // They go back to the front of their lines in this order.
        reaped.sort_by_key(|job| job.job);
        total += reaped.len();
        tracing::warn!(worker.id = %worker, jobs = reaped.len(), "took jobs from a worker that is gone");
        note(fleet, &reaped);
        fail::fail_point!("scheduler.reaped_in_record");
        let salvage: Vec<Salvage> = reaped
            .iter()
            .map(|job| match job.state {
                JobState::Queued if job.recoveries >= SUSPECT_RECOVERIES => {
                    Salvage::Suspect(job.placement.clone())
                }
                JobState::Queued => Salvage::Requeue(job.placement.clone()),
                _ => Salvage::Drop(job.placement.clone()),
            })
            .collect();
        recovery::reap(&fleet.queue, worker, &salvage).await?;
        let ended: Vec<_> =
            reaped.iter().filter(|job| job.state != JobState::Queued).filter_map(|job| job.app).collect();
        fleet.advance_apps(&ended).await?;
    }
}

fn note(fleet: &Fleet, reaped: &[Reaped]) {
    for job in reaped {
        match job.state {
            JobState::Queued => fleet.metrics.jobs.recovered(1),
            JobState::Quarantined => {
                tracing::error!(
                    code = %Code::Quarantined,
                    job.id = %job.job,
                    "job quarantined: its workers keep dying with it");
                fleet.metrics.jobs.finished(&job.kind, JobOutcome::Quarantined);
            }
            _ => {}
        }
    }
}

/// What lies in the worker's list besides: taken and never claimed, or finished and not yet cleared.
async fn clear_list(fleet: &Fleet, worker: WorkerId) -> Result<usize> {
    let elements = recovery::processing(&fleet.queue, worker).await?;
    if elements.is_empty() {
        return Ok(0);
    }
    let jobs: Vec<JobId> = elements.iter().filter_map(|element| hands::decode(element)).collect();
    let queued = job_placements(&fleet.db, &jobs).await?;
    let mut salvage: Vec<Salvage> = queued.iter().cloned().map(Salvage::Requeue).collect();
    let mut unknown = Vec::new();
    let mut debris = Vec::new();
    for element in &elements {
        match hands::decode(element) {
            None => debris.push(element.clone()),
            Some(job) if queued.iter().any(|placement| placement.job == job) => {}
            Some(job) => match job_get(&fleet.db, job).await? {
                Some(record) => salvage.push(Salvage::Drop(Placement {
                    job,
                    environment: record.environment,
                    priority: record.priority,
                    targets: record.targets,
                    delay: Duration::ZERO,
                })),
                None => unknown.push(element.clone()),
            },
        }
    }
    recovery::reap(&fleet.queue, worker, &salvage).await?;
    recovery::discard(&fleet.queue, worker, &unknown).await?;
    if !debris.is_empty() {
        fleet.metrics.jobs.undecodable(debris.len() as u64);
        hands::quarantine(&fleet.queue, worker, &debris).await?;
    }
    Ok(elements.len())
}
