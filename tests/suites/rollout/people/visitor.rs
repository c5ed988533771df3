//! One request over a connection of its own, with headers that a visitor chose.

use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, SET_COOKIE};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    pub version: String,
    /// `name=value`, as it is to be sent back.
    pub cookie: Option<String>,
    pub body: String,
}

/// `Err`: no whole answer.
pub async fn visit(port: u16, path: &str, headers: &[(&str, &str)]) -> Result<Answer, String> {
    match timeout(PATIENCE, exchange(port, path, headers)).await {
        Ok(answer) => answer.map_err(|error| format!("{error:#}")),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}

/// The release that answers, which must not fail.
pub async fn version(port: u16, headers: &[(&str, &str)]) -> String {
    let answer = visit(port, "/", headers).await.expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.version
}

async fn exchange(port: u16, path: &str, headers: &[(&str, &str)]) -> anyhow::Result<Answer> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::get(path).header(CONNECTION, "close");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(HOST.as_str())) {
        request = request.header(HOST, format!("127.0.0.1:{port}"));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Empty::<Bytes>::new())?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        let text = |name: &str| answer.headers().get(name).and_then(|text| text.to_str().ok());
        let version = text("x-version").unwrap_or_default().to_owned();
        let cookie = text(SET_COOKIE.as_str()).and_then(|text| text.split(';').next()).map(str::to_owned);
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        anyhow::Ok(Answer { status, version, cookie, body: String::from_utf8_lossy(&body).into_owned() })
    };
    let (answer, _) = tokio::join!(answer, connection);
    answer
}
