//! A TCP proxy that fails the way networks do.

use std::io;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nix::sys::socket::{Shutdown, shutdown};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use url::Url;

use crate::free_port;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// A partition without a FIN: connections stay open and new ones are accepted, but no byte passes either way.
    /// As on a real network, what was sent meanwhile arrives when the mode changes to one that forwards.
    Swallow,
    /// Every connection is closed and new ones are refused.
    Cut,
    /// Requests pass; of the next reply on a connection the first half passes, then the connection is closed.
    /// The server has done the work and the client cannot know.
    CutMidReply,
    /// Each piece (at most 16 KiB) waits this long, in order, in both directions.
    Delay(Duration),
}

/// Stands on one loopback port from `start` to drop, whatever its mode.
pub struct FaultProxy {
    port: u16,
    wanted: watch::Sender<Mode>,
    applied: watch::Receiver<Mode>,
    _task: JoinSet<()>,
}

impl FaultProxy {
    /// `upstream` is `host:port`.
    ///
    /// # Panics
    /// When the port cannot be bound.
    pub async fn start(upstream: &str) -> Self {
        let port = free_port();
        let listener = listen(port).await;
        let (wanted, mode) = watch::channel(Mode::Pass);
        let (done, applied) = watch::channel(Mode::Pass);
        let mut task = JoinSet::new();
        task.spawn(serve(listener, port, upstream.to_owned(), mode, done));
        Self { port, wanted, applied, _task: task }
    }

    /// In front of the server a `redis://` or `postgres://` URL names.
    ///
    /// # Panics
    /// When the URL names no host and port.
    pub async fn before(url: &str) -> Self {
        let url = Url::parse(url).expect("a URL");
        let host = url.host_str().expect("a URL with a host");
        let port = url.port().expect("a URL with a port");
        Self::start(&format!("{host}:{port}")).await
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `url` with host and port replaced by the proxy's.
    ///
    /// # Panics
    /// When it is not a URL with a host.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        let mut url = Url::parse(url).expect("a URL");
        url.set_host(Some("127.0.0.1")).expect("a URL that can have a host");
        url.set_port(Some(self.port)).expect("a URL that can have a port");
        url.into()
    }

    /// When it returns the mode holds: after `Cut` nothing is open, after leaving `Cut` the port accepts again.
    ///
    /// # Panics
    /// When the proxy's task has died.
    pub async fn set(&self, mode: Mode) {
        self.wanted.send(mode).expect("the proxy's task runs until drop");
        let mut applied = self.applied.clone();
        applied.wait_for(|now| *now == mode).await.expect("the proxy's task runs until drop");
    }
}

/// Nobody else asks for this port, so there is nothing to wait for.
async fn listen(port: u16) -> TcpListener {
    TcpListener::bind(("127.0.0.1", port)).await.expect("a port of our own can be bound")
}

/// Closing is not enough: a child that another test is forking holds a copy of the socket until its exec, and would go on accepting.
fn refuse(listener: TcpListener) {
    shutdown(listener.as_raw_fd(), Shutdown::Both).expect("a listener can be shut down");
}

async fn serve(
    first: TcpListener,
    port: u16,
    upstream: String,
    mut mode: watch::Receiver<Mode>,
    done: watch::Sender<Mode>,
) {
    let mut listener = Some(first);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            changed = mode.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = *mode.borrow_and_update();
                if now == Mode::Cut {
                    if let Some(listener) = listener.take() {
                        refuse(listener);
                    }
                    connections.shutdown().await;
                } else if listener.is_none() {
                    listener = Some(listen(port).await);
                }
                done.send_replace(now);
            }
            Some(client) = accept(listener.as_ref()) => {
                connections.spawn(connection(client, upstream.clone(), mode.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> Option<TcpStream> {
    let (stream, _) = listener?.accept().await.ok()?;
    Some(stream)
}

async fn connection(client: TcpStream, upstream: String, mut mode: watch::Receiver<Mode>) {
    if gate(&mut mode).await.is_err() {
        return;
    }
    let Ok(server) = TcpStream::connect(upstream).await else {
        return;
    };
    // Small requests must not wait for an acknowledgement that a delay holds back.
    drop(client.set_nodelay(true));
    drop(server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let requests = pump(from_client, to_server, mode.clone(), Direction::Request);
    let replies = pump(from_server, to_client, mode, Direction::Reply);
    // The first error drops both halves, which closes both sides; an end of stream only closes its own direction.
    drop(tokio::try_join!(requests, replies));
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Reply,
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
    direction: Direction,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        let mut now = gate(&mut mode).await?;
        if let Mode::Delay(delay) = now {
            tokio::time::sleep(delay).await;
            now = gate(&mut mode).await?;
        }
        if count == 0 {
            return to.shutdown().await;
        }
        if now == Mode::CutMidReply && direction == Direction::Reply {
            to.write_all(&buffer[..count / 2]).await?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        to.write_all(&buffer[..count]).await?;
    }
}

/// Holds the caller while nothing may pass.
async fn gate(mode: &mut watch::Receiver<Mode>) -> io::Result<Mode> {
    match mode.wait_for(|mode| *mode != Mode::Swallow).await {
        Ok(mode) if *mode != Mode::Cut => Ok(*mode),
        _ => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}
