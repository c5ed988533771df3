//! The numbers of a process, in Prometheus text format. One registry per role, so that several roles in one process and
//! many tests in one binary do not mix.
//!
//! Every label value is from a closed set: an enum, a literal in the source (`&'static str`), an environment an operator
//! created, or a job kind this program knows. Must never take text from the wire as it is: each new value is a series
//! that lives as long as the process.

mod database;
mod jobs;
mod names;
mod queue;
mod reconcilers;

use std::ops::Deref;
use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

pub use self::database::{DatabaseMetrics, QueryResult};
pub use self::jobs::{JobMetrics, JobOutcome, RunningJob};
pub use self::queue::{ListKind, QueueMetrics};
pub use self::reconcilers::{ReconcilerMetrics, RunResult};

/// All metrics of one role. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Groups>);

/// The metrics by what they are about; reached through [`Metrics`].
#[derive(Debug)]
pub struct Groups {
    pub queue: QueueMetrics,
    pub jobs: JobMetrics,
    pub reconcilers: ReconcilerMetrics,
    pub database: DatabaseMetrics,
    registry: Registry,
}

impl Metrics {
    /// `known_kinds` are the job kinds this program has code for; all others are counted as `unknown`.
    #[expect(
        clippy::expect_used,
        reason = "names and labels are literals, checked by every test that makes a registry"
    )]
    pub fn new(known_kinds: &[&'static str]) -> Self {
        let groups = Groups::new(known_kinds).expect("metric names are valid and distinct");
        Self(Arc::new(groups))
    }

    /// Everything in Prometheus text format (version 0.0.4).
    pub fn encode(&self) -> String {
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.0.registry.gather(), &mut text) {
            tracing::warn!(%error, "metrics could not be encoded");
        }
        text
    }
}

impl Deref for Metrics {
    type Target = Groups;

    fn deref(&self) -> &Groups {
        &self.0
    }
}

impl Groups {
    fn new(known_kinds: &[&'static str]) -> prometheus::Result<Self> {
        let register = Register(Registry::new());
        Ok(Self {
            queue: QueueMetrics::new(&register)?,
            jobs: JobMetrics::new(&register, known_kinds)?,
            reconcilers: ReconcilerMetrics::new(&register)?,
            database: DatabaseMetrics::new(&register)?,
            registry: register.0,
        })
    }
}

/// Makes metrics whose names all begin with `deploymind_`.
struct Register(Registry);

impl Register {
    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.add(IntGauge::with_opts(opts(name, help))?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(opts(name, help), labels)?)
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.add(IntCounter::with_opts(opts(name, help))?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.add(IntCounterVec::new(opts(name, help), labels)?)
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
        self.add(Histogram::with_opts(histogram_opts(name, help, buckets))?)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
        labels: &[&str],
    ) -> prometheus::Result<HistogramVec> {
        self.add(HistogramVec::new(histogram_opts(name, help, buckets), labels)?)
    }

    fn add<C: Collector + Clone + 'static>(&self, metric: C) -> prometheus::Result<C> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("deploymind")
}

fn histogram_opts(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
    HistogramOpts::new(name, help).namespace("deploymind").buckets(buckets.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_roles_do_not_share_numbers_and_clones_do() {
        let (worker, scheduler) = (Metrics::new(&[]), Metrics::new(&[]));
        worker.clone().jobs.recovered(2);
        assert!(worker.encode().contains("deploymind_recoveries_total 2"));
        assert!(scheduler.encode().contains("deploymind_recoveries_total 0"));
    }

    #[test]
    fn every_series_has_the_prefix() {
        let metrics = Metrics::new(&["deploy"]);
        metrics.jobs.finished("deploy", JobOutcome::Done);
        for line in metrics.encode().lines().filter(|line| !line.starts_with('#')) {
            assert!(line.starts_with("deploymind_"), "{line}");
        }
    }
}
