//! A collector that keeps the spans it is sent over OTLP/HTTP (protobuf), so that a test can ask whether one trace spans the processes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::wait_for;

/// One span as it arrived; ids are lower-case hex.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub trace_id: String,
    pub span_id: String,
    /// `None` for the root of a trace.
    pub parent_span_id: Option<String>,
    pub name: String,
    /// `service.name` of the process that sent it.
    pub service: String,
    pub attributes: BTreeMap<String, String>,
}

type Spans = Arc<Mutex<Vec<Span>>>;

/// Listens until dropped.
pub struct OtlpCollector {
    endpoint: String,
    spans: Spans,
    _server: JoinSet<()>,
}

impl OtlpCollector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let spans = Spans::default();
        let mut server = JoinSet::new();
        server.spawn(serve(listener, Arc::clone(&spans)));
        Self { endpoint: format!("http://{address}"), spans, _server: server }
    }

    /// The value for `OTEL_EXPORTER_OTLP_ENDPOINT`; exporters add `/v1/traces`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// # Panics
    /// When no span for which `wanted` holds arrives in time; with the names of those that did.
    pub async fn wait_for_span(
        &self,
        what: &str,
        deadline: Duration,
        wanted: impl Fn(&Span) -> bool,
    ) -> Span {
        wait_for(what, deadline, async || {
            let spans = self.spans();
            let found = spans.iter().find(|span| wanted(span)).cloned();
            found.ok_or_else(|| {
                let names: Vec<_> = spans.iter().map(|span| &span.name).collect();
                format!("{} spans so far: {names:?}", spans.len())
            })
        })
        .await
    }
}

async fn serve(listener: TcpListener, spans: Spans) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let spans = Arc::clone(&spans);
        let service = service_fn(move |request| {
            let spans = Arc::clone(&spans);
            async move { Ok::<_, Infallible>(receive(request, &spans).await) }
        });
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move {
            // An exporter that hangs up is no fault of the test.
            drop(connection.await);
        });
    }
}

async fn receive(request: Request<Incoming>, spans: &Spans) -> Response<Full<Bytes>> {
    if request.method() != Method::POST || request.uri().path() != "/v1/traces" {
        return answer(StatusCode::NOT_FOUND, Vec::new());
    }
    let Ok(body) = request.into_body().collect().await else {
        return answer(StatusCode::BAD_REQUEST, Vec::new());
    };
    let Ok(export) = ExportTraceServiceRequest::decode(body.to_bytes()) else {
        return answer(StatusCode::BAD_REQUEST, Vec::new());
    };
    let mut received = flatten(export);
    spans.lock().unwrap_or_else(PoisonError::into_inner).append(&mut received);
    answer(StatusCode::OK, ExportTraceServiceResponse::default().encode_to_vec())
}

fn answer(status: StatusCode, body: Vec<u8>) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/x-protobuf")
        .body(Full::from(body))
        .expect("a status and a header make a response")
}

fn flatten(export: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for of_process in export.resource_spans {
        let resource = texts(of_process.resource.unwrap_or_default().attributes);
        let service = resource.get("service.name").cloned().unwrap_or_default();
        for span in of_process.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(Span {
                trace_id: hex(&span.trace_id),
                span_id: hex(&span.span_id),
                parent_span_id: Some(hex(&span.parent_span_id)).filter(|id| !id.is_empty()),
                name: span.name,
                service: service.clone(),
                attributes: texts(span.attributes),
            });
        }
    }
    spans
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    attributes.into_iter().map(|attribute| (attribute.key, text(attribute.value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::BoolValue(flag)) => flag.to_string(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
