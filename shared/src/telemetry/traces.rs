//! Traces over OTLP/HTTP with protobuf bodies (OpenTelemetry Protocol, section OTLP/HTTP).
//!
//! The SDK exports from a thread of its own, which has no runtime; hyper needs one. [`OnRuntime`] lends it ours. TLS is
//! rustls with ring, the same as to Postgres, named explicitly: another crate of the process may bring a second provider,
//! and rustls refuses to guess between two.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry::KeyValue;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::runtime::Handle;
use tokio_util::context::TokioContext;
use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, filter};
use url::Url;

use super::TelemetryError;
use crate::lifecycle::TASK_SPAN_TARGET;

/// The longest one export may take, retries included.
///
/// Too high: spans pile up behind a slow collector and the newest are dropped. Too low: a distant collector gets nothing.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

const TRACES_PATH: &str = "v1/traces";

pub(super) fn provider(role: &'static str, endpoint: &Url) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(OnRuntime::new()?)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(traces_url(endpoint))
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(TelemetryError::Exporter)?;
    let resource = Resource::builder()
        .with_service_name(format!("deploymind-{role}"))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// Turns spans of level INFO and above into traces. Left out: task spans, which never end, and the exporter's own
/// libraries, whose spans would each cause the next export.
pub(super) fn layer<S>(tracer: SdkTracer) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let mut targets =
        Targets::new().with_default(LevelFilter::INFO).with_target(TASK_SPAN_TARGET, LevelFilter::OFF);
    for library in
        ["opentelemetry", "opentelemetry_sdk", "opentelemetry_otlp", "hyper", "hyper_util", "h2", "rustls"]
    {
        targets = targets.with_target(library, LevelFilter::OFF);
    }
    let layer = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false);
    filter::Filtered::new(layer, targets)
}

/// The endpoint is a base, as in `OTEL_EXPORTER_OTLP_ENDPOINT`; one that already names the signal is taken as it is.
fn traces_url(endpoint: &Url) -> String {
    let mut url = endpoint.clone();
    let path = url.path().trim_end_matches('/').to_owned();
    if !path.ends_with(TRACES_PATH) {
        url.set_path(&format!("{path}/{TRACES_PATH}"));
    }
    url.into()
}

/// Sends with hyper on the process's runtime, whatever thread asks.
#[derive(Debug)]
struct OnRuntime {
    client: HyperClient<HttpsConnector<HttpConnector>>,
    runtime: Handle,
}

impl OnRuntime {
    fn new() -> Result<Self, TelemetryError> {
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .map_err(TelemetryError::Tls)?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            client: HyperClient::new(connector, EXPORT_TIMEOUT, None),
            runtime: Handle::try_current().map_err(TelemetryError::NoRuntime)?,
        })
    }
}

#[async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        TokioContext::new(self.client.send_bytes(request), self.runtime.clone()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_is_a_base_unless_it_names_the_signal() {
        for (endpoint, expected) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("https://vendor/otlp/", "https://vendor/otlp/v1/traces"),
            ("https://vendor/otlp/v1/traces", "https://vendor/otlp/v1/traces"),
        ] {
            assert_eq!(traces_url(&Url::parse(endpoint).expect("URL")), expected);
        }
    }
}
