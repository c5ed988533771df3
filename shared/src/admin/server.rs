//! Connections: how many, for how long, and how they end.
//!
//! # Guarantees
//! - At most [`CONNECTIONS_MAX`] connections; further ones wait in the kernel's backlog.
//! - No connection lives longer than [`CONNECTION_LIFE`] + [`CLOSE_GRACE`], so a peer that sends or reads a byte at a time
//!   cannot keep one for ever.
//! - When the stop signal fires, requests that have begun are answered.
//!
//! # Caveats
//! - Idle keep-alive connections count; [`HEADER_TIMEOUT`] ends those.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{AdminState, routes};
use crate::lifecycle::Lifecycle;

const CONNECTIONS_MAX: usize = 64;
/// The longest a peer may take to send a request's head, and an idle connection may stay open.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_LIFE: Duration = Duration::from_secs(60);
/// How long a connection may take to finish its last response. Below the lifecycle's grace for supporting tasks.
const CLOSE_GRACE: Duration = Duration::from_millis(500);
/// After a failed accept (mostly: out of file descriptors) trying again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("the admin server cannot listen on {addr}")]
    Bind {
        addr: SocketAddr,
        #[source]
        source: io::Error,
    },
}

/// A bound server that does not serve yet.
#[derive(Debug)]
pub struct AdminServer {
    listener: TcpListener,
    local_addr: SocketAddr,
}

impl AdminServer {
    pub async fn bind(addr: SocketAddr) -> Result<Self, AdminError> {
        let failed = |source| AdminError::Bind { addr, source };
        let listener = TcpListener::bind(addr).await.map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, local_addr })
    }

    /// The address in use; tells the port when 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until the process has drained.
    pub fn serve(self, state: AdminState, lifecycle: &Lifecycle) -> JoinHandle<()> {
        tracing::info!(admin.addr = %self.local_addr, "admin server listens");
        lifecycle.spawn_supporting("admin_server", |stop| accept(self.listener, state, stop))
    }
}

async fn accept(listener: TcpListener, state: AdminState, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            // Frees the place. A panic in a check has been logged by the hook and cost its own connection only.
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, state.clone(), stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "admin connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(stream: TcpStream, state: AdminState, stop: CancellationToken) {
    let service = service_fn(|request: Request<Incoming>| {
        let response: Response<_> = routes::answer(&state, request.method(), request.uri().path());
        async { Ok::<_, Infallible>(response) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => Some(ended),
        () = stop.cancelled() => None,
        () = sleep(CONNECTION_LIFE) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            serving.as_mut().graceful_shutdown();
            timeout(CLOSE_GRACE, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        // A peer that hangs up or sends nonsense is its own affair.
        tracing::debug!(%error, "admin connection ended early");
    }
}

#[cfg(test)]
mod tests;
