//! What happens to jobs: how long they wait, how they end, how often something had to be repaired.

use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge};

use super::Register;
use super::names::CappedNames;
use crate::ids::EnvironmentName;

/// How one run of a job ended, from the worker's point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobOutcome {
    Done,
    /// Given back to run later.
    Retried,
    Failed,
    Cancelled,
    /// A newer one took its place.
    Superseded,
    /// Set aside after it lost its worker too often.
    Quarantined,
    /// The claim was lost; another worker decides how the job ends.
    Lost,
}

impl JobOutcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retried => "retried",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
            Self::Quarantined => "quarantined",
            Self::Lost => "lost",
        }
    }
}

/// From a blocked worker that wakes at once to a queue that is minutes behind, in seconds.
const START_DELAY: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
];
/// A lock is held for a whole roll-out, so waits reach an hour, in seconds.
const LOCK_WAIT: &[f64] = &[0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 3600.0];

const UNKNOWN: &str = "unknown";

#[derive(Debug)]
pub struct JobMetrics {
    known_kinds: Vec<&'static str>,
    finished: IntCounterVec,
    running: IntGauge,
    start_delay: HistogramVec,
    lock_wait: Histogram,
    recoveries: IntCounter,
    lease_losses: IntCounter,
    undecodable: IntCounter,
    unknown_kind: IntCounterVec,
    unknown_names: CappedNames,
}

impl JobMetrics {
    pub(super) fn new(register: &Register, known_kinds: &[&'static str]) -> prometheus::Result<Self> {
        Ok(Self {
            known_kinds: known_kinds.to_vec(),
            finished: register.counters(
                "jobs_finished_total",
                "Runs of jobs that ended.",
                &["kind", "outcome"],
            )?,
            running: register.gauge("jobs_running", "Jobs that run in this process now.")?,
            start_delay: register.histograms(
                "job_start_delay_seconds",
                "From enqueue to start.",
                START_DELAY,
                &["environment"],
            )?,
            lock_wait: register.histogram(
                "lock_wait_seconds",
                "From asking for targets to holding them.",
                LOCK_WAIT,
            )?,
            recoveries: register.counter("recoveries_total", "Jobs taken back from a dead worker.")?,
            lease_losses: register.counter("lease_losses_total", "Running jobs that lost their lease.")?,
            undecodable: register.counter("undecodable_total", "Queue elements that are not a job id.")?,
            unknown_kind: register.counters(
                "unknown_kind_total",
                "Jobs of a kind no worker here knows; the first 16 names are kept.",
                &["kind"],
            )?,
            unknown_names: CappedNames::default(),
        })
    }

    pub fn finished(&self, kind: &str, outcome: JobOutcome) {
        self.finished.with_label_values(&[self.kind(kind), outcome.as_str()]).inc();
    }

    /// Counts a job as running until the guard is dropped, however the job ends.
    pub fn running(&self) -> RunningJob {
        self.running.inc();
        RunningJob(self.running.clone())
    }

    /// How long a job waited from enqueue to start.
    pub fn started(&self, environment: &EnvironmentName, delay: Duration) {
        self.start_delay.with_label_values(&[environment.as_str()]).observe(delay.as_secs_f64());
    }

    pub fn locked(&self, wait: Duration) {
        self.lock_wait.observe(wait.as_secs_f64());
    }

    pub fn recovered(&self, jobs: u64) {
        self.recoveries.inc_by(jobs);
    }

    pub fn lease_lost(&self) {
        self.lease_losses.inc();
    }

    pub fn undecodable(&self, elements: u64) {
        self.undecodable.inc_by(elements);
    }

    pub fn unknown_kind(&self, kind: &str) {
        self.unknown_kind.with_label_values(&[self.unknown_names.label(kind)]).inc();
    }

    fn kind(&self, kind: &str) -> &'static str {
        self.known_kinds.iter().find(|known| **known == kind).copied().unwrap_or(UNKNOWN)
    }
}

/// One running job in `jobs_running`.
#[derive(Debug)]
#[must_use = "the job counts as running while this lives"]
pub struct RunningJob(IntGauge);

impl Drop for RunningJob {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn kinds_from_the_wire_make_a_bounded_number_of_series() {
        let metrics = Metrics::new(&["deploy"]);
        metrics.jobs.finished("deploy", JobOutcome::Done);
        for n in 0..1000 {
            metrics.jobs.finished(&format!("evil_{n}"), JobOutcome::Failed);
            metrics.jobs.unknown_kind(&format!("evil_{n}"));
        }
        let text = metrics.encode();
        assert!(text.contains(r#"deploymind_jobs_finished_total{kind="deploy",outcome="done"} 1"#), "{text}");
        assert!(
            text.contains(r#"deploymind_jobs_finished_total{kind="unknown",outcome="failed"} 1000"#),
            "{text}"
        );
        assert!(text.contains(r#"deploymind_unknown_kind_total{kind="other"} 984"#), "{text}");
        assert_eq!(text.matches("deploymind_unknown_kind_total{").count(), 17);
    }

    #[test]
    fn a_job_that_panics_is_not_counted_as_running_for_ever() {
        let metrics = Metrics::new(&[]);
        let job = {
            let metrics = metrics.clone();
            std::thread::spawn(move || {
                let _running = metrics.jobs.running();
                assert!(metrics.encode().contains("deploymind_jobs_running 1"));
                panic!("on purpose");
            })
        };
        assert!(job.join().is_err());
        assert!(metrics.encode().contains("deploymind_jobs_running 0"));
    }

    #[test]
    fn waits_are_in_seconds() {
        let metrics = Metrics::new(&[]);
        let staging = EnvironmentName::parse("staging").expect("valid");
        metrics.jobs.started(&staging, Duration::from_millis(1500));
        metrics.jobs.locked(Duration::from_millis(500));
        let text = metrics.encode();
        assert!(
            text.contains(r#"deploymind_job_start_delay_seconds_sum{environment="staging"} 1.5"#),
            "{text}"
        );
        assert!(text.contains("deploymind_lock_wait_seconds_sum 0.5"), "{text}");
    }
}
