//! Whom to ask, how often and for what.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use deploymind_tests::load::Share;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::{Method, Request};
use tokio::net::lookup_host;

use crate::args::Args;

const LARGEST_BODY: usize = 64 << 10;

pub struct Target {
    pub address: SocketAddr,
    pub host: String,
    path: String,
    pub rate: f64,
    pub connections: usize,
    pub posts: Share,
    pub slow: Duration,
    pub echo_every: Duration,
    pub timeout: Duration,
    pub lasts: Option<Duration>,
}

/// A request that can be written more than once, for when it was certainly not written at all.
pub struct Ask {
    method: Method,
    path: String,
    pub body: Bytes,
}

impl Target {
    /// The address is asked for once.
    pub async fn resolve(args: &Args) -> std::io::Result<Self> {
        let wrong = |text: &str| Error::new(ErrorKind::InvalidInput, text.to_owned());
        let host = args.url.host_str().filter(|_| args.url.scheme() == "http");
        let host = host.ok_or_else(|| wrong("http://<host>[:<port>] is needed"))?;
        let port = args.url.port().unwrap_or(80);
        let mut addresses = lookup_host((host.trim_matches(['[', ']']), port)).await?;
        let milliseconds = Duration::from_millis;
        let lasts = args.seconds.map(Duration::try_from_secs_f64).transpose();
        Ok(Self {
            address: addresses.next().ok_or_else(|| wrong("the name has no address"))?,
            host: args.host.clone().unwrap_or_else(|| args.url.authority().to_owned()),
            path: args.url[url::Position::BeforePath..url::Position::AfterQuery].to_owned(),
            rate: args.rate,
            connections: args.connections,
            posts: args.posts,
            slow: milliseconds(args.slow_ms),
            echo_every: milliseconds(args.echo_ms),
            timeout: milliseconds(args.timeout_ms),
            lasts: lasts.map_err(|_| wrong("--seconds is no time"))?,
        })
    }

    pub fn get(&self) -> Ask {
        Ask { method: Method::GET, path: self.path.clone(), body: Bytes::new() }
    }

    pub fn slow(&self) -> Ask {
        let path = format!("/slow?ms={}", self.slow.as_millis());
        Ask { method: Method::GET, path, body: Bytes::new() }
    }

    /// Of random length and content.
    pub fn post(&self) -> Ask {
        let mut body = vec![0; rand::random_range(0..=LARGEST_BODY)];
        rand::fill(&mut body[..]);
        Ask { method: Method::POST, path: "/echo".to_owned(), body: body.into() }
    }
}

impl Ask {
    pub fn request(&self, target: &Target) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        Request::builder()
            .method(&self.method)
            .uri(&self.path)
            .header(HOST, &target.host)
            .body(Full::new(self.body.clone()))
    }

    pub fn is_post(&self) -> bool {
        self.method == Method::POST
    }
}
