//! One HTTP connection: a request at a time, never sent again, and exactly what became of it.

use std::io::ErrorKind;
use std::time::Duration;

use deploymind_tests::load::{FailureKind, VERSION_HEADER};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::CONNECTION;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::target::{Ask, Target};
use crate::wire::{Seen, Watch, Wire};

type Driver = http1::Connection<TokioIo<Wire>, Full<Bytes>>;

#[derive(Debug)]
pub struct Failure {
    pub kind: FailureKind,
    pub text: String,
    /// A browser would have asked again by itself (RFC 9112, 9.3.1): nothing came of an answer over a connection that had
    /// served before, and asking twice does no harm.
    pub retriable: bool,
}

impl Failure {
    pub fn new(kind: FailureKind, text: String) -> Self {
        Self { kind, text, retriable: false }
    }
}

#[derive(Debug)]
pub enum Trouble {
    Failed(Failure),
    /// The server had ended a connection in order that had served before, and no byte was written.
    ClosedBeforeSent,
}

pub struct Answer {
    pub status: u16,
    pub version: Option<String>,
    pub body: Bytes,
    /// The server takes another request over this connection.
    pub stays: bool,
}

pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Dropped when it has ended: the sender learns of it only then.
    driver: Option<Driver>,
    /// Whether a request was answered over it.
    served: bool,
    seen: Watch,
}

impl Connection {
    pub async fn open(target: &Target) -> Result<Self, Failure> {
        let wire = connect(target).await?;
        let (wire, seen) = Wire::new(wire);
        let opened = http1::handshake(TokioIo::new(wire)).await;
        let (sender, driver) = opened.map_err(|error| refused(error.to_string()))?;
        Ok(Self { sender, driver: Some(driver), served: false, seen })
    }

    /// Not to be used again after trouble, or when it was dropped half-way.
    pub async fn ask(&mut self, ask: &Ask, target: &Target) -> Result<Answer, Trouble> {
        // What happened to it while it was idle counts.
        self.seen.with(|seen| (seen.written, seen.read) = (0, 0));
        let Self { sender, driver, served, seen } = self;
        let exchange = async {
            sender.ready().await?;
            let request = ask.request(target)?;
            let answer = sender.send_request(request).await?;
            let headers = answer.headers();
            let text = |name: &str| headers.get(name).and_then(|text| text.to_str().ok());
            // There may be several of them, and each may be a list.
            let named = headers.get_all(CONNECTION).iter().filter_map(|text| text.to_str().ok());
            let mut words = named.flat_map(|text| text.split(','));
            let stays = !words.any(|word| word.trim().eq_ignore_ascii_case("close"));
            let version = text(VERSION_HEADER).map(str::to_owned);
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await?.to_bytes();
            anyhow::Ok(Answer { status, version, body, stays })
        };
        let mut exchange = std::pin::pin!(exchange);
        let answered = loop {
            let Some(at_work) = driver.as_mut() else {
                break exchange.await;
            };
            tokio::select! {
                biased;
                answered = exchange.as_mut() => break answered,
                _ = at_work => *driver = None,
            }
        };
        let trouble = |error| trouble(&seen.with(|seen| seen.clone()), *served, !ask.is_post(), &error);
        let answer = answered.map_err(trouble)?;
        *served = true;
        Ok(answer)
    }
}

pub async fn connect(target: &Target) -> Result<TcpStream, Failure> {
    let stream = match timeout(target.timeout, TcpStream::connect(target.address)).await {
        Ok(connected) => connected.map_err(|error| refused(error.to_string()))?,
        Err(_) => return Err(refused(format!("no connection within {:?}", target.timeout))),
    };
    stream.set_nodelay(true).map_err(|error| refused(error.to_string()))?;
    Ok(stream)
}

fn refused(text: String) -> Failure {
    Failure::new(FailureKind::Refused, text)
}

pub fn timed_out(after: Duration) -> Failure {
    Failure::new(FailureKind::Timeout, format!("no whole answer within {after:?}"))
}

/// A reset is known by the kernel's word for it, also when it is seen at the next write.
pub fn kind_of(error: ErrorKind) -> FailureKind {
    match error {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => {
            FailureKind::Reset
        }
        ErrorKind::TimedOut => FailureKind::Timeout,
        _ => FailureKind::Cut,
    }
}

fn trouble(seen: &Seen, served: bool, harmless: bool, error: &anyhow::Error) -> Trouble {
    let (kind, text) = match &seen.error {
        Some((kind, text)) => (kind_of(*kind), text.clone()),
        None if served && seen.end && seen.written == 0 => return Trouble::ClosedBeforeSent,
        None if seen.end => (FailureKind::Cut, format!("{error:#}")),
        // The socket is well: what came over it is no HTTP.
        None => (FailureKind::WrongAnswer, format!("{error:#}")),
    };
    let text = format!("{text}, after {} bytes were sent", seen.written);
    let retriable =
        served && harmless && seen.read == 0 && matches!(kind, FailureKind::Reset | FailureKind::Cut);
    Trouble::Failed(Failure { kind, text, retriable })
}
