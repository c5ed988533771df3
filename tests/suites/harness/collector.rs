//! The OTLP collector and the GET client, shown on each other.

use std::time::Duration;

use deploymind_tests::http;
use deploymind_tests::otlp::OtlpCollector;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn export() -> Vec<u8> {
    let span = |id: u8, parent: Vec<u8>, name: &str| Span {
        trace_id: vec![0xab; 16],
        span_id: vec![id; 8],
        parent_span_id: parent,
        name: name.to_owned(),
        attributes: vec![attribute("attempt", Value::IntValue(2))],
        ..Span::default()
    };
    let spans = vec![span(1, vec![], "deployment"), span(2, vec![1; 8], "claim")];
    let resource = Resource {
        attributes: vec![attribute("service.name", Value::StringValue("worker".to_owned()))],
        ..Resource::default()
    };
    let of_process = ResourceSpans {
        resource: Some(resource),
        scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest { resource_spans: vec![of_process] }.encode_to_vec()
}

async fn post(address: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/x-protobuf\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn spans_are_kept_with_their_family_and_their_process() {
    let collector = OtlpCollector::start().await;
    let address = collector.endpoint().strip_prefix("http://").unwrap();
    assert!(post(address, &export()).await.starts_with("HTTP/1.1 200"));
    let deadline = Duration::from_secs(5);
    let claim = collector.wait_for_span("the claim", deadline, |span| span.name == "claim").await;
    assert_eq!(claim.trace_id, "ab".repeat(16));
    assert_eq!(claim.parent_span_id.as_deref(), Some("0101010101010101"));
    assert_eq!(claim.service, "worker");
    assert_eq!(claim.attributes["attempt"], "2");
    assert_eq!(collector.spans().len(), 2);
    assert_eq!(collector.spans()[0].parent_span_id, None);
    assert!(post(address, b"not protobuf").await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn get_tells_status_and_body() {
    let collector = OtlpCollector::start().await;
    let answer = http::get(&format!("{}/nothing?here", collector.endpoint())).await.unwrap();
    assert_eq!((answer.status, &*answer.body), (404, ""));
}

#[tokio::test]
async fn get_reads_chunks_and_sends_path_and_query() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/metrics?name=x", listener.local_addr().unwrap());
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 1024];
        let count = stream.read(&mut buffer).await.unwrap();
        let answer =
            b"HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nred\r\n0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    };
    let (request, answer) = tokio::join!(server, http::get(&url));
    assert!(request.starts_with("GET /metrics?name=x HTTP/1.1\r\n"), "{request}");
    let answer = answer.unwrap();
    assert_eq!((answer.status, &*answer.body), (503, "red"));
}

#[tokio::test]
async fn get_says_why_there_is_no_answer() {
    let url = format!("http://127.0.0.1:{}/readyz", deploymind_tests::free_port());
    let error = http::get(&url).await.unwrap_err();
    assert!(error.starts_with(&format!("GET {url}: ")) && error.contains("refused"), "{error}");
}
