//! The record against Redis: what waits in the record and is not in line is put in line (its gateway died between commit
//! and push, or Redis was wiped); what is in line and has ended is taken out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use deploymind_shared::db::jobs::{Placement, job_ended, job_queued};
use deploymind_shared::error::Result;
use deploymind_shared::fleet::Fleet;
use deploymind_shared::ids::JobId;
use deploymind_shared::queue::{line, recovery};

use crate::driver::Task;

const BATCH: usize = 1_000;
/// Whoever has just committed a job is pushing it; give it this long.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Reconcile {
    /// Where the sweep over all placed jobs goes on. Losing it costs a round.
    cursor: AtomicU64,
}

#[async_trait]
impl Task for Reconcile {
    fn name(&self) -> &'static str {
        "reconcile"
    }

    async fn run(&self, fleet: &Fleet) -> Result<serde_json::Value> {
        let (checked, pushed) = push_missing(fleet).await?;
        let withdrawn = self.withdraw_ended(fleet).await?;
        if pushed > 0 || withdrawn > 0 {
            tracing::info!(checked, pushed, withdrawn, "redis did not agree with the record");
        }
        Ok(serde_json::json!({ "checked": checked, "pushed": pushed, "withdrawn": withdrawn }))
    }
}

/// All queued jobs, oldest first, so that a wiped Redis gets its lines back in order.
async fn push_missing(fleet: &Fleet) -> Result<(usize, usize)> {
    let (mut checked, mut pushed) = (0, 0);
    let mut after = None;
    loop {
        let queued = job_queued(&fleet.db, after, GRACE, BATCH as i64).await?;
        let Some(last) = queued.last() else { break };
        after = Some(last.job);
        checked += queued.len();
        let ids: Vec<JobId> = queued.iter().map(|placement| placement.job).collect();
        let known = recovery::known(&fleet.queue, &ids).await?;
        let full = queued.len() == BATCH;
        let missing: Vec<Placement> = queued
            .into_iter()
            .zip(known)
            .filter(|(_, known)| !known)
            .map(|(placement, _)| placement)
            .collect();
        pushed += line::enqueue(&fleet.queue, &missing).await?;
        if !full {
            break;
        }
    }
    Ok((checked, pushed))
}

impl Reconcile {
    async fn withdraw_ended(&self, fleet: &Fleet) -> Result<usize> {
        let (next, placed) =
            recovery::sweep(&fleet.queue, self.cursor.load(Ordering::Relaxed), BATCH).await?;
        self.cursor.store(next, Ordering::Relaxed);
        if placed.is_empty() {
            return Ok(0);
        }
        let ended = job_ended(&fleet.db, &placed).await?;
        line::withdraw(&fleet.queue, &ended).await?;
        Ok(ended.len())
    }
}
