//! Runs the tasks, by period and when leadership begins, and remembers what each did last.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use deploymind_shared::error::Result;
use deploymind_shared::fleet::Fleet;
use deploymind_shared::telemetry::metrics::RunResult;
use serde::Serialize;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::leader::Leadership;

/// A reconciler. It looks at what is and moves it towards what should be; what it did is its answer.
#[async_trait]
pub(crate) trait Task: Send + Sync {
    fn name(&self) -> &'static str;

    /// Called when another scheduler leads: forget what only the leader may claim to know.
    fn resign(&self, _: &Fleet) {}

    /// One bounded pass. The answer is shown to operators.
    async fn run(&self, fleet: &Fleet) -> Result<serde_json::Value>;
}

/// What a task did last.
#[derive(Debug, Clone, Default, Serialize)]
struct Line {
    runs: u64,
    failures: u64,
    last_run_at: Option<DateTime<Utc>>,
    last_duration_ms: u64,
    last_result: Option<serde_json::Value>,
    last_error: Option<String>,
}

/// The last results of all tasks, for the admin endpoint.
#[derive(Clone)]
pub struct Board {
    lines: Arc<Mutex<BTreeMap<&'static str, Line>>>,
    leadership: Leadership,
}

impl Board {
    pub(crate) fn new(leadership: Leadership) -> Self {
        Self { lines: Arc::default(), leadership }
    }

    fn note(&self, task: &'static str, took: Duration, result: &Result<serde_json::Value>) {
        let mut lines = self.lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let line = lines.entry(task).or_default();
        line.runs += 1;
        line.last_run_at = Some(Utc::now());
        line.last_duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        match result {
            Ok(answer) => {
                line.last_result = Some(answer.clone());
                line.last_error = None;
            }
            Err(error) => {
                line.failures += 1;
                line.last_error = Some(error.to_string());
            }
        }
    }

    /// `{"leader": bool, "term": number or null, "tasks": {name: {…}}}`.
    pub fn status(&self) -> serde_json::Value {
        let lines = self.lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let term = self.leadership.term();
        serde_json::json!({ "leader": term.is_some(), "term": term, "tasks": lines })
    }
}

pub(crate) async fn drive(
    task: Box<dyn Task>,
    period: Duration,
    fleet: Fleet,
    leadership: Leadership,
    board: Board,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = leadership.gained() => {}
            () = stop.cancelled() => return,
        }
        if leadership.term().is_none() {
            task.resign(&fleet);
            fleet.metrics.reconcilers.ran(task.name(), RunResult::NotLeader, Duration::ZERO);
            continue;
        }
        let started = Instant::now();
        let result = task.run(&fleet).await;
        let took = started.elapsed();
        let counted = if result.is_ok() { RunResult::Ok } else { RunResult::Failed };
        fleet.metrics.reconcilers.ran(task.name(), counted, took);
        if let Err(error) = &result {
            tracing::warn!(
                task.name = task.name(),
                error = error.chain(),
                "reconciler failed; its next run tries again"
            );
        }
        board.note(task.name(), took, &result);
    }
}
