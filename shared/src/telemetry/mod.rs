//! What a process says about itself: logs ([`init`]), traces ([`init`], [`propagation`]) and numbers ([`metrics`]).
//!
//! Owns the global subscriber and the exporter. Must not decide what is worth logging; that is with the code that knows.

mod logs;
pub mod metrics;
pub mod propagation;
mod traces;

use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt;

pub use self::metrics::Metrics;
pub use self::propagation::TraceContext;
use crate::config::TelemetryConfig;

/// How long the end of the process may be held up by traces not yet sent.
///
/// Too high: a collector that is gone delays every restart. Too low: the last seconds, which say why the process ended,
/// are lost.
pub const FLUSH_DEADLINE: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("the log filter cannot be parsed")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    #[error("the trace exporter cannot be built")]
    Exporter(#[source] opentelemetry_otlp::ExporterBuildError),
    #[error("the TLS settings of the trace exporter cannot be built")]
    Tls(#[source] rustls::Error),
    #[error("traces need a running tokio runtime")]
    NoRuntime(#[source] tokio::runtime::TryCurrentError),
    #[error("logging is already set up in this process")]
    AlreadySet(#[source] tracing_subscriber::util::TryInitError),
}

/// Keeps traces flowing; give it back with [`Telemetry::shutdown`] as the last act of the process.
#[derive(Debug)]
#[must_use = "traces are flushed by `shutdown`"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// Sets up logs on stderr and, when an endpoint is configured, traces over OTLP/HTTP. Once per process, inside the
/// runtime.
pub fn init(role: &'static str, config: &TelemetryConfig) -> Result<Telemetry, TelemetryError> {
    let (subscriber, telemetry) = build(role, config)?;
    subscriber.try_init().map_err(TelemetryError::AlreadySet)?;
    Ok(telemetry)
}

fn build(
    role: &'static str,
    config: &TelemetryConfig,
) -> Result<(impl Subscriber + Send + Sync + 'static, Telemetry), TelemetryError> {
    let endpoint = config.otlp_endpoint.as_ref();
    let provider = endpoint.map(|endpoint| traces::provider(role, endpoint)).transpose()?;
    let traces = provider.as_ref().map(|provider| traces::layer(provider.tracer("deploymind")));
    let subscriber = Registry::default().with(traces).with(logs::layer(config)?);
    Ok((subscriber, Telemetry { provider }))
}

impl Telemetry {
    /// Sends what is left, for [`FLUSH_DEADLINE`] at most.
    pub async fn shutdown(self) {
        let Some(provider) = self.provider else {
            return;
        };
        // The flush blocks its thread until the exporter is done, and the exporter needs this runtime to get there.
        let flush = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_DEADLINE));
        match flush.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last traces could not be sent"),
            Err(error) => tracing::warn!(%error, "flushing traces panicked"),
        }
    }
}

#[cfg(test)]
mod tests;
