//! One HTTP/1.1 exchange with the engine, over a connection of its own.
//!
//! The client library hides three things that a build needs: the exit code in an error of the stream, the upgrade of a
//! BuildKit session, and a connection that closes the moment the build is dropped. Everything else goes through the library.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::engine::{Address, Engine};

pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;
pub(super) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// An answer whose body is still to come. Dropping it closes the connection.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    driver: Driver,
}

/// The connection's own work; done once the other side has closed it.
struct Driver(Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>);

impl Driver {
    /// Never ends before the connection does, and then never again.
    async fn drive(&mut self) {
        if let Some(work) = &mut self.0 {
            // What went wrong is told to whoever waits for the answer.
            let _told_elsewhere = work.as_mut().await.is_err();
            self.0 = None;
        }
        std::future::pending::<()>().await;
    }
}

pub(super) fn empty() -> Body {
    Empty::new().map_err(|never: Infallible| match never {}).boxed_unsync()
}

pub(super) fn streamed(chunks: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static) -> Body {
    BodyExt::boxed_unsync(StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data))))
}

/// A request for a path of the API, with the version in front.
pub(super) fn post(engine: &Engine, path_and_query: &str) -> hyper::http::request::Builder {
    let (major, minor) = engine.api;
    Request::post(format!("/v{major}.{minor}{path_and_query}"))
        .header("Host", "docker")
        .header("User-Agent", "deploymind")
}

pub(super) fn get(engine: &Engine, path_and_query: &str) -> hyper::http::request::Builder {
    let (major, minor) = engine.api;
    Request::get(format!("/v{major}.{minor}{path_and_query}")).header("Host", "docker")
}

/// Sends a request and waits for the head of its answer.
pub(super) async fn exchange(engine: &Engine, request: Request<Body>) -> Result<Answer, Cause> {
    let io: Box<dyn Wire> =
        tokio::time::timeout(engine.config.connect, dial(&engine.config.address)).await??;
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    let mut driver = Driver(Some(Box::pin(connection.with_upgrades())));
    let response = tokio::select! {
        response = sender.send_request(request) => response?,
        () = driver.drive() => return Err("the connection closed without an answer".into()),
    };
    Ok(Answer { response, driver })
}

async fn dial(address: &Address) -> std::io::Result<Box<dyn Wire>> {
    Ok(match address {
        Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
        Address::Tcp(address) => Box::new(
            TcpStream::connect(address.trim_start_matches("tcp://").trim_start_matches("http://")).await?,
        ),
    })
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// The next piece of the body; `None` at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Cause> {
        loop {
            let frame = tokio::select! {
                biased;
                frame = self.response.body_mut().frame() => frame,
                () = self.driver.drive() => None,
            };
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The whole body, up to `limit` bytes.
    pub(super) async fn text(&mut self, limit: usize) -> Result<Vec<u8>, Cause> {
        let mut all = Vec::new();
        while let Some(piece) = self.chunk().await? {
            if all.len() + piece.len() > limit {
                return Err("the answer is longer than it may be".into());
            }
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    /// The connection itself, once the engine has agreed to talk something else on it.
    pub(super) async fn upgraded(mut self) -> Result<hyper::upgrade::Upgraded, Cause> {
        let upgrade = hyper::upgrade::on(&mut self.response);
        tokio::select! {
            biased;
            upgraded = upgrade => Ok(upgraded?),
            () = self.driver.drive() => Err("the connection closed before the session began".into()),
        }
    }
}
