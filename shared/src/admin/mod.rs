//! What an operator, a load balancer and Prometheus ask a process: `/healthz`, `/readyz`, `/metrics`, `/status`.
//!
//! Owns a small HTTP/1 server of its own, so that the worker and the scheduler need no web framework. Must not change
//! anything and must not show a secret: nothing here is authenticated.
//!
//! Liveness and readiness differ on purpose. `/healthz` looks at nothing outside the process: restarting it because
//! Postgres is gone would only add a stampede. `/readyz` says whether work should be sent here now.
//!
//! The server is a supporting task ([`Lifecycle::spawn_supporting`](crate::lifecycle::Lifecycle::spawn_supporting)): it
//! answers until the process has drained.

mod readiness;
mod routes;
mod server;

use std::sync::Arc;

pub use self::readiness::{Check, Readiness, Report};
pub use self::server::{AdminError, AdminServer};
use crate::telemetry::Metrics;

type StatusProvider = dyn Fn() -> serde_json::Value + Send + Sync;

/// What the server shows. Clones share it.
#[derive(Clone)]
pub struct AdminState {
    readiness: Readiness,
    metrics: Metrics,
    status: Arc<StatusProvider>,
}

impl AdminState {
    pub fn new(readiness: Readiness, metrics: Metrics) -> Self {
        Self { readiness, metrics, status: Arc::new(|| serde_json::json!({})) }
    }

    /// What `/status` shows, such as the last result of each reconciler. Asked for at each request, so it must be quick
    /// and must not wait.
    #[must_use]
    pub fn with_status(mut self, provider: impl Fn() -> serde_json::Value + Send + Sync + 'static) -> Self {
        self.status = Arc::new(provider);
        self
    }
}
