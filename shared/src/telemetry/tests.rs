//! Traces from end to end: real spans, a real export over a socket, from a current-thread runtime, which is where a
//! blocking flush would lock up.

use std::convert::Infallible;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tracing::Instrument;
use tracing::instrument::WithSubscriber;
use url::Url;

use super::propagation::adopt;
use super::*;
use crate::config::LogFormat;

const REMOTE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn config(otlp_endpoint: Option<Url>) -> TelemetryConfig {
    TelemetryConfig { format: LogFormat::Json, filter: "off".into(), otlp_endpoint }
}

/// A collector that hands over the path and the raw body of each export.
async fn collector() -> (Url, mpsc::UnboundedReceiver<(String, Bytes)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    let (sender, receiver) = mpsc::unbounded_channel();
    let serve = async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: Request<Incoming>| async {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect().await.expect("body").to_bytes();
                sender.send((path, body)).expect("the test still listens");
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
            });
            let connection = hyper::server::conn::http1::Builder::new();
            connection.serve_connection(TokioIo::new(stream), service).await.ok();
        }
    };
    crate::lifecycle::Lifecycle::new().spawn_scoped("collector", serve);
    (Url::parse(&url).expect("URL"), receiver)
}

fn holds(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn spans_reach_the_collector_under_the_trace_they_were_given() {
    let (endpoint, mut exports) = collector().await;
    let (subscriber, telemetry) = build("worker", &config(Some(endpoint))).expect("telemetry");
    let carried = async {
        let span = tracing::info_span!("run_the_job");
        adopt(&span, &TraceContext::parse(REMOTE).expect("valid"));
        let endless = tracing::info_span!(target: crate::lifecycle::TASK_SPAN_TARGET, "endless_task");
        drop(endless);
        async { TraceContext::current() }.instrument(span).await
    }
    .with_subscriber(subscriber)
    .await
    .expect("a span that is collected has a context");

    let trace = &REMOTE[3..35];
    assert_eq!(&carried.as_str()[3..35], trace, "the trace goes on");
    assert_ne!(&carried.as_str()[36..52], &REMOTE[36..52], "in a span of its own");

    telemetry.shutdown().await;
    let (path, body) = exports.try_recv().expect("shutdown flushes");
    assert_eq!(path, "/v1/traces");
    for part in [
        &b"run_the_job"[..],
        b"deploymind-worker",
        &u128::from_str_radix(trace, 16).expect("hex").to_be_bytes(),
    ] {
        assert!(holds(&body, part), "{part:?}");
    }
    assert!(!holds(&body, b"endless_task"));
}

#[tokio::test]
async fn a_collector_that_is_gone_does_not_hold_up_the_end() {
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("bind").local_addr().expect("address");
    let endpoint = Url::parse(&format!("https://{gone}")).expect("URL");
    let (subscriber, telemetry) = build("worker", &config(Some(endpoint))).expect("telemetry");
    async { drop(tracing::info_span!("lost").entered()) }.with_subscriber(subscriber).await;
    let end = tokio::time::timeout(FLUSH_DEADLINE * 2, telemetry.shutdown());
    assert!(end.await.is_ok(), "the flush has a deadline");
}

#[test]
fn mistakes_are_errors() {
    let bad_filter = TelemetryConfig { filter: "=[[[".into(), ..config(None) };
    assert!(matches!(build("worker", &bad_filter), Err(TelemetryError::Filter(_))));
    let no_runtime = config(Some(Url::parse("http://localhost:4318").expect("URL")));
    assert!(matches!(build("worker", &no_runtime), Err(TelemetryError::NoRuntime(_))));
}
