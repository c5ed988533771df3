//! Which path answers what. Errors are problem documents (RFC 9457).

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};
use serde_json::json;

use super::AdminState;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
/// What Prometheus calls its text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn answer(state: &AdminState, method: &Method, path: &str) -> Response<Full<Bytes>> {
    let show: fn(&AdminState) -> Response<Full<Bytes>> = match path {
        "/healthz" => |_| respond(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" => readyz,
        "/metrics" => |state| respond(StatusCode::OK, PROMETHEUS, state.metrics.encode()),
        "/status" => |state| respond(StatusCode::OK, JSON, (state.status)().to_string()),
        _ => {
            return problem(StatusCode::NOT_FOUND, "There is /healthz, /readyz, /metrics and /status.");
        }
    };
    if matches!(*method, Method::GET | Method::HEAD) {
        return show(state);
    }
    let mut refusal = problem(StatusCode::METHOD_NOT_ALLOWED, "This path can only be read.");
    refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    refusal
}

fn readyz(state: &AdminState) -> Response<Full<Bytes>> {
    let report = state.readiness.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    respond(status, JSON, json!(report).to_string())
}

fn problem(status: StatusCode, detail: &str) -> Response<Full<Bytes>> {
    let title = status.canonical_reason().unwrap_or_default();
    let body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    respond(status, PROBLEM, body.to_string())
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
