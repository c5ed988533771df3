//! The gateway: the thin front of the fleet. It touches Postgres and Redis, and never a container, a cloud or a shell.
//!
//! So far it answers whether it is alive and ready; the API joins it here.

mod stores;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use deploymind_shared::admin::Readiness;
use deploymind_shared::config::GatewayConfig;
use deploymind_shared::error::{Code, Error, Result};
use deploymind_shared::fleet::Fleet;
use deploymind_shared::lifecycle::{ExitPolicy, Lifecycle};
use tokio::net::TcpListener;

/// How long open requests may take to end at shutdown.
pub const GRACE: Duration = Duration::from_secs(10);

/// Binds and serves; returns the bound address. It ends with `lifecycle`.
pub async fn start(
    fleet: &Fleet,
    config: &GatewayConfig,
    lifecycle: &Lifecycle,
    readiness: &Readiness,
) -> Result<SocketAddr> {
    let refused = |source| {
        Error::new(Code::Config, format!("cannot listen on {}: is the port taken?", config.listen))
            .because(source)
    };
    let listener = TcpListener::bind(config.listen).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    stores::watch(fleet, lifecycle, readiness);
    let app = router(readiness.clone());
    let stop = lifecycle.token().clone();
    lifecycle.spawn("serve", ExitPolicy::FailProcess, async move {
        let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the listener failed");
        }
    });
    tracing::info!(%address, "gateway listens");
    Ok(address)
}

fn router(readiness: Readiness) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move || async move { ready(&readiness) }))
        .fallback(not_found)
}

/// Whether to send requests here; why not is for operators, on the admin port.
fn ready(readiness: &Readiness) -> Response {
    if readiness.report().ready {
        (StatusCode::OK, "ready\n").into_response()
    } else {
        problem(StatusCode::SERVICE_UNAVAILABLE, "This gateway cannot take requests at the moment.")
    }
}

async fn not_found(uri: Uri) -> Response {
    let path: String = uri.path().chars().take(100).collect();
    problem(StatusCode::NOT_FOUND, &format!("There is nothing at {path}."))
}

/// RFC 9457.
fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or_default();
    let body = serde_json::json!({
        "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail,
    });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}
