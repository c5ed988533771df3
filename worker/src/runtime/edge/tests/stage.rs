//! An edge in a container of its own, and programs that play slots.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use deploymind_shared::domain::slot::Routes;
use deploymind_shared::ids::{AppId, Epoch, TargetName};
use deploymind_shared::retry::Stop;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command as AsyncCommand;
use tokio::task::JoinSet;

use super::super::{Edge, Output, Shell, Upstream, install};
use crate::runtime::{AppRef, Fence, Route, SlotName};

pub(super) const IMAGE: &str = "nginx:1.29-bookworm";

pub(super) struct Exec(String);

#[async_trait]
impl Shell for Exec {
    async fn run(&self, args: &[String], stdin: &[u8], deadline: Duration) -> Result<Output, Stop> {
        let mut child = AsyncCommand::new("docker")
            .args(["exec", "-i", &self.0])
            .args(args)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("docker");
        child.stdin.take().expect("stdin").write_all(stdin).await.expect("write stdin");
        let output = tokio::time::timeout(deadline, child.wait_with_output()).await.expect("in time");
        let output = output.expect("docker exec");
        let code = output.status.code().map_or(-1, i64::from);
        Ok(Output { code, stdout: output.stdout, stderr: output.stderr })
    }
}

fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().expect("docker");
    assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A container made by [`install`]; it and its volume are removed when dropped.
pub(super) struct Stage {
    pub name: String,
    pub edge: Edge<Exec>,
}

impl Stage {
    /// Not started. `command` instead of the edge's own, where given.
    pub fn create(env: &[&str], files: &[(&str, String)], command: Option<&[&str]>) -> Self {
        let install = install();
        let name = format!("dm-edge-test-{}", AppId::generate());
        let mut args = vec!["create", "--name", &name, "--network", "host", "--cap-drop", "ALL"];
        args.extend(install.capabilities.iter().flat_map(|one| ["--cap-add", one]));
        let tmpfs: Vec<String> =
            install.tmpfs.iter().map(|(path, options)| format!("{path}:{options}")).collect();
        args.extend(tmpfs.iter().flat_map(|one| ["--tmpfs", one]));
        args.extend(env.iter().flat_map(|one| ["--env", one]));
        let volume = format!("{name}:{}", install.state);
        let command = command.unwrap_or(&install.command);
        args.extend(["--volume", &volume, "--entrypoint", command[0], IMAGE]);
        args.extend(&command[1..]);
        docker(&args);
        let stage = Self { edge: Edge::new(Exec(name.clone())), name };
        let folder = tempfile::tempdir().expect("folder");
        let own = install.files.iter().map(|file| (file.path, file.content.to_owned()));
        for (path, content) in own.chain(files.iter().cloned()) {
            let inner = folder.path().join(path.trim_start_matches('/'));
            std::fs::create_dir_all(inner.parent().expect("folder")).expect("folder");
            std::fs::write(&inner, content).expect("file");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&inner, mode).expect("mode");
        }
        let from = format!("{}/opt", folder.path().display());
        docker(&["cp", &from, &format!("{}:/", stage.name)]);
        stage
    }

    pub async fn started(env: &[&str]) -> Self {
        let stage = Self::create(env, &[], None);
        docker(&["start", &stage.name]);
        stage.ready().await;
        stage
    }

    pub async fn ready(&self) {
        let end = tokio::time::Instant::now() + Duration::from_secs(30);
        while let Err(error) = self.edge.alive().await {
            assert!(tokio::time::Instant::now() < end, "{error:?}\n{}", docker(&["logs", &self.name]));
        }
    }

    /// The same edge, for other settings.
    pub fn edge_again(&self) -> Edge<Exec> {
        Edge::new(Exec(self.name.clone()))
    }

    pub fn docker(&self, verb: &[&str]) -> String {
        docker(&[verb, &[&self.name]].concat())
    }

    /// Runs something beside the edge.
    pub fn exec(&self, args: &[&str]) -> String {
        docker(&[&["exec", &self.name], args].concat())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for args in [["rm", "-f", &self.name], ["volume", "rm", &self.name]] {
            drop(Command::new("docker").args(args).output());
        }
    }
}

pub(super) fn fence(epoch: i64) -> Fence {
    Fence { target: TargetName::parse("docker://local").expect("target"), epoch: Epoch(epoch) }
}

pub(super) fn app() -> AppRef {
    AppRef { id: AppId::generate(), name: "shop".into() }
}

/// One that nobody listens on now.
pub(super) fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind("0.0.0.0:0").expect("bind");
    socket.local_addr().expect("address").port()
}

pub(super) fn route(
    app: &AppRef,
    port: u16,
    old: Option<&Upstream>,
    new: Option<&Upstream>,
    weight: u8,
) -> Route {
    Route {
        app: app.clone(),
        routes: Routes { port: Some(port), hosts: vec![] },
        old: old.map(|one| one.slot.clone()),
        new: new.map(|one| one.slot.clone()),
        weight,
        sticky: false,
        header: false,
    }
}

/// A program that says its name. `/slow` takes 3 s, `/echo` answers with the request's head, `/500` with a 500, and an
/// upgrade echoes bytes. Dropped: it is gone at once, with its connections.
pub(super) struct Slot {
    pub upstream: Upstream,
    pub requests: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Slot {
    pub async fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address: SocketAddr = listener.local_addr().expect("address");
        let requests = Arc::new(AtomicU64::new(0));
        let (name, count) = (name.to_owned(), requests.clone());
        let slot = SlotName(name.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("accept");
                connections.spawn(serve(stream, name.clone(), count.clone()));
            }
        });
        Self { upstream: Upstream { slot, addresses: vec![address] }, requests, _tasks: tasks }
    }

    pub fn seen(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, name: String, count: Arc<AtomicU64>) {
    let mut buffer = Vec::new();
    while let Some((head, body)) = message(&mut stream, &mut buffer).await {
        count.fetch_add(1, Ordering::SeqCst);
        if head.to_lowercase().contains("\r\nupgrade: echo") {
            drop(
                stream
                    .write_all(
                        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n",
                    )
                    .await,
            );
            let (mut from, mut to) = stream.split();
            drop(tokio::io::copy(&mut from, &mut to).await);
            return;
        }
        let path = head.split(' ').nth(1).unwrap_or_default();
        if path == "/slow" {
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        let status = if path == "/500" { "500 Broken" } else { "200 OK" };
        let body = match path {
            "/body" => String::from_utf8(body).expect("text"),
            path if path.starts_with("/echo") => head,
            _ => name.clone(),
        };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Reads one message with a `Content-Length`, or without a body: its head and its body. `None`: the other side ended.
pub(super) async fn message(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let length = header(&head, "content-length").map_or(0, |text| text.parse().expect("length"));
    while buffer.len() < end + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let rest = buffer.split_off(end + length);
    let body = std::mem::replace(buffer, rest).split_off(end);
    Some((head, body))
}

/// All values of a header, with commas between.
pub(super) fn header(head: &str, name: &str) -> Option<String> {
    let values: Vec<&str> = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

pub(super) struct Got {
    pub head: String,
    pub body: String,
}

impl Got {
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|text| text.parse().ok()).expect("status")
    }
}

/// One request on a connection of its own.
pub(super) async fn get(port: u16, path: &str, headers: &str) -> Got {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("connect");
    let host = if headers.to_lowercase().contains("host:") { "" } else { "Host: shop.example\r\n" };
    let request = format!("GET {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("write");
    let (head, body) = message(&mut stream, &mut Vec::new()).await.expect("an answer");
    Got { head, body: String::from_utf8(body).expect("text") }
}

/// So many requests on one connection; how often each name answered.
pub(super) async fn many(port: u16, count: usize) -> std::collections::BTreeMap<String, usize> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("connect");
    let mut buffer = Vec::new();
    let mut names = std::collections::BTreeMap::new();
    for _ in 0..count {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.expect("write");
        let (_, body) = message(&mut stream, &mut buffer).await.expect("an answer");
        *names.entry(String::from_utf8(body).expect("text")).or_default() += 1;
    }
    names
}
