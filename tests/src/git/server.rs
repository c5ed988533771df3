//! HTTP to CGI: each request runs one `git http-backend`.

use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdout};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Fault, Seen, Shared, git, lock};

/// Ends when its sender is gone; dropped, it ends the task that feeds it.
pub(super) struct Answer {
    pieces: mpsc::Receiver<Bytes>,
    _feeder: JoinSet<()>,
}

impl Answer {
    fn empty() -> Self {
        Self { pieces: mpsc::channel(1).1, _feeder: JoinSet::new() }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.pieces.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

pub(super) async fn serve(listener: TcpListener, root: PathBuf, settings: Shared) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                let (root, settings) = (root.clone(), Arc::clone(&settings));
                let service = service_fn(move |request| answer(request, root.clone(), Arc::clone(&settings)));
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move {
                    // A client that breaks off is its own affair.
                    let _broken = connection.await.is_err();
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    root: PathBuf,
    settings: Shared,
) -> Result<Response<Answer>, Infallible> {
    let (head, body) = request.into_parts();
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let path = head.uri.path().to_owned();
    let query = head.uri.query().unwrap_or_default().to_owned();
    let authorization = header(AUTHORIZATION.as_str());
    let (fault, demand, tips_only) = {
        let mut settings = lock(&settings);
        settings.seen.push(Seen {
            path: path.clone(),
            query: query.clone(),
            authorization: authorization.clone(),
        });
        (settings.fault.clone(), settings.demand.clone(), settings.tips_only)
    };
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let mut pause = None;
    match fault {
        Some(Fault::Status(status)) => return Ok(bare(status)),
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::HangPack) if body.windows(5).any(|word| word == b"want ") => std::future::pending().await,
        Some(Fault::Redirect(to)) => {
            let mut response = bare(301);
            let to = format!("{to}{path}?{query}").parse().expect("a URL fits in a header");
            response.headers_mut().insert(LOCATION, to);
            return Ok(response);
        }
        Some(Fault::Drip(between)) => pause = Some(between),
        Some(Fault::HangPack) | None => {}
    }
    if demand.is_some() && demand != authorization {
        let mut response = bare(401);
        response.headers_mut().insert(WWW_AUTHENTICATE, "Basic realm=\"test\"".parse().expect("a header"));
        return Ok(response);
    }

    let mut backend = git(&root);
    backend
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", head.method.as_str())
        .env("PATH_INFO", &path)
        .env("QUERY_STRING", &query)
        .env("CONTENT_TYPE", header(CONTENT_TYPE.as_str()).unwrap_or_default())
        .env("HTTP_CONTENT_ENCODING", header(CONTENT_ENCODING.as_str()).unwrap_or_default())
        .env("CONTENT_LENGTH", body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if let Some(protocol) = header("git-protocol").filter(|_| !tips_only) {
        backend.env("GIT_PROTOCOL", protocol);
    }
    let mut backend = tokio::process::Command::from(backend);
    let mut child = backend.kill_on_drop(true).spawn().expect("git http-backend starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let feed = async move {
        // It may refuse before it has read everything.
        let _refused = stdin.write_all(&body).await.is_err();
    };
    let (response, ()) = tokio::join!(head_of(&mut stdout), feed);
    let (sender, pieces) = mpsc::channel(4);
    let mut feeder = JoinSet::new();
    feeder.spawn(copy(stdout, child, sender, pause));
    Ok(response.body(Answer { pieces, _feeder: feeder }).expect("what http-backend says is a response"))
}

fn bare(status: u16) -> Response<Answer> {
    Response::builder().status(status).body(Answer::empty()).expect("a status")
}

/// The CGI header: `Status` is the status, 200 without one.
async fn head_of(stdout: &mut BufReader<ChildStdout>) -> hyper::http::response::Builder {
    let mut response = Response::builder();
    loop {
        let mut line = String::new();
        let read = stdout.read_line(&mut line).await.unwrap_or_default();
        let line = line.trim_end();
        if read == 0 || line.is_empty() {
            return response;
        }
        match line.split_once(": ") {
            Some(("Status", status)) => response = response.status(status.get(..3).unwrap_or("500")),
            Some((name, value)) => response = response.header(name, value),
            None => {}
        }
    }
}

async fn copy(
    mut stdout: BufReader<ChildStdout>,
    mut child: Child,
    pieces: mpsc::Sender<Bytes>,
    pause: Option<Duration>,
) {
    let mut buffer = vec![0; if pause.is_some() { 100 } else { 64 * 1024 }];
    while let Ok(read @ 1..) = stdout.read(&mut buffer).await {
        if pieces.send(Bytes::copy_from_slice(&buffer[..read])).await.is_err() {
            return;
        }
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
    }
    let _reaped = child.wait().await.is_ok();
}
