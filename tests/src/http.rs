//! One GET over a fresh connection: what a probe or a scraper does.

use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use url::Url;

const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub body: String,
}

/// `http://` only. The error is a sentence, so that it can be the status of [`crate::wait_for`].
///
/// # Errors
/// When there is no whole answer within 5 s. An answer with any status is `Ok`.
pub async fn get(url: &str) -> Result<Response, String> {
    match tokio::time::timeout(TIMEOUT, exchange(url)).await {
        Ok(answer) => answer.map_err(|error| format!("GET {url}: {error:#}")),
        Err(_) => Err(format!("GET {url}: no answer within {TIMEOUT:?}")),
    }
}

async fn exchange(url: &str) -> anyhow::Result<Response> {
    let url = Url::parse(url)?;
    let address = url.socket_addrs(|| None)?;
    let stream = TcpStream::connect(&*address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let request = Request::get(path)
        .header(HOST, url.authority())
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        anyhow::Ok(Response { status, body: String::from_utf8_lossy(&body).into_owned() })
    };
    // With `Connection: close` the connection ends after the answer; until then both have to be driven.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}
