//! How the periodic tasks fare.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec};

use super::Register;

/// How one run of a reconciler ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunResult {
    Ok,
    Failed,
    /// Nothing was done because another process leads.
    NotLeader,
}

impl RunResult {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::NotLeader => "not_leader",
        }
    }
}

const DURATION: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

#[derive(Debug)]
pub struct ReconcilerMetrics {
    runs: IntCounterVec,
    duration: HistogramVec,
}

impl ReconcilerMetrics {
    pub(super) fn new(register: &Register) -> prometheus::Result<Self> {
        Ok(Self {
            runs: register.counters(
                "reconciler_runs_total",
                "Runs of periodic tasks.",
                &["task", "result"],
            )?,
            duration: register.histograms(
                "reconciler_duration_seconds",
                "How long a run of a periodic task took.",
                DURATION,
                &["task"],
            )?,
        })
    }

    /// `task` is a literal: the tasks are a list in the source.
    pub fn ran(&self, task: &'static str, result: RunResult, took: Duration) {
        self.runs.with_label_values(&[task, result.as_str()]).inc();
        self.duration.with_label_values(&[task]).observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn runs_are_counted_by_result() {
        let metrics = Metrics::new(&[]);
        metrics.reconcilers.ran("reap", RunResult::Ok, Duration::from_secs(1));
        metrics.reconcilers.ran("reap", RunResult::Failed, Duration::from_secs(1));
        let text = metrics.encode();
        assert!(
            text.contains(r#"deploymind_reconciler_runs_total{result="failed",task="reap"} 1"#),
            "{text}"
        );
        assert!(text.contains(r#"deploymind_reconciler_duration_seconds_count{task="reap"} 2"#), "{text}");
    }
}
