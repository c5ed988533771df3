//! How full the queue is, as the scheduler last counted it.

use prometheus::{IntGauge, IntGaugeVec};

use super::Register;
use crate::ids::EnvironmentName;

/// Which of an environment's two lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListKind {
    Normal,
    High,
}

impl ListKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

#[derive(Debug)]
pub struct QueueMetrics {
    depth: IntGaugeVec,
    parked: IntGauge,
    delayed: IntGauge,
    quarantined: IntGauge,
}

impl QueueMetrics {
    pub(super) fn new(register: &Register) -> prometheus::Result<Self> {
        Ok(Self {
            depth: register.gauges("queue_depth", "Jobs that wait to be taken.", &["environment", "list"])?,
            parked: register.gauge("parked", "Jobs that wait for a target somebody else holds.")?,
            delayed: register.gauge("delayed", "Jobs that wait for their time.")?,
            quarantined: register.gauge(
                "quarantined",
                "Jobs that kept losing their worker, and elements that are no jobs, set aside for a person.",
            )?,
        })
    }

    pub fn set_depth(&self, environment: &EnvironmentName, list: ListKind, jobs: usize) {
        self.depth.with_label_values(&[environment.as_str(), list.as_str()]).set(count(jobs));
    }

    /// Forgets an environment that is gone; its last depth would otherwise be reported for ever.
    pub fn forget_environment(&self, environment: &EnvironmentName) {
        for list in [ListKind::Normal, ListKind::High] {
            // An error means it was never set, which is as forgotten as can be.
            self.depth.remove_label_values(&[environment.as_str(), list.as_str()]).ok();
        }
    }

    pub fn set_parked(&self, jobs: usize) {
        self.parked.set(count(jobs));
    }

    pub fn set_delayed(&self, jobs: usize) {
        self.delayed.set(count(jobs));
    }

    pub fn set_quarantined(&self, jobs: usize) {
        self.quarantined.set(count(jobs));
    }
}

fn count(jobs: usize) -> i64 {
    i64::try_from(jobs).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn depths_are_told_apart_and_forgotten() {
        let metrics = Metrics::new(&[]);
        let production = EnvironmentName::parse("production").expect("valid");
        metrics.queue.set_depth(&production, ListKind::High, 7);
        metrics.queue.set_parked(3);
        let text = metrics.encode();
        assert!(text.contains(r#"deploymind_queue_depth{environment="production",list="high"} 7"#), "{text}");
        assert!(text.contains("deploymind_parked 3"), "{text}");
        metrics.queue.forget_environment(&production);
        assert!(!metrics.encode().contains("production"));
    }
}
