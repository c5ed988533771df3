//! Latency and errors of queries, by operation. Fed by the one wrapper every query goes through.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec};

use super::Register;

/// Whether a query was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryResult {
    Ok,
    Failed,
}

impl QueryResult {
    pub fn of<T, E>(result: &Result<T, E>) -> Self {
        if result.is_ok() { Self::Ok } else { Self::Failed }
    }
}

const QUERY: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

#[derive(Debug)]
pub struct DatabaseMetrics {
    query: HistogramVec,
    errors: IntCounterVec,
}

impl DatabaseMetrics {
    pub(super) fn new(register: &Register) -> prometheus::Result<Self> {
        Ok(Self {
            query: register.histograms(
                "db_query_seconds",
                "How long a query took.",
                QUERY,
                &["operation"],
            )?,
            errors: register.counters("db_errors_total", "Queries that failed.", &["operation"])?,
        })
    }

    /// `operation` is a literal: the operations are an enum in the source.
    pub fn queried(&self, operation: &'static str, result: QueryResult, took: Duration) {
        self.query.with_label_values(&[operation]).observe(took.as_secs_f64());
        if result == QueryResult::Failed {
            self.errors.with_label_values(&[operation]).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn failures_count_as_queries_too() {
        let metrics = Metrics::new(&[]);
        metrics.database.queried("job_claim", QueryResult::Ok, Duration::from_millis(2));
        let failed = QueryResult::of(&Err::<(), _>("no connection"));
        metrics.database.queried("job_claim", failed, Duration::from_millis(2));
        let text = metrics.encode();
        assert!(text.contains(r#"deploymind_db_query_seconds_count{operation="job_claim"} 2"#), "{text}");
        assert!(text.contains(r#"deploymind_db_errors_total{operation="job_claim"} 1"#), "{text}");
    }
}
