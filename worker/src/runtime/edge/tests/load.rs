//! Users, in a process of their own: this test binary, run again for one ignored test.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::stage::{header, message};

/// What is to be asked for.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Plan {
    pub port: u16,
    /// Connections that are kept, each with ten requests a second.
    pub kept: usize,
    /// Connections with one request of 3 s after another.
    pub slow: usize,
    pub upgraded: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub good: u64,
    pub bad: u64,
    /// Connections that were opened.
    pub opened: u64,
    pub why: Vec<String>,
}

impl Outcome {
    fn fail(&mut self, why: String) {
        self.bad += 1;
        if self.why.len() < 5 {
            self.why.push(why);
        }
    }
}

/// Between looking whether the other side has closed and the request's arrival: half of a round trip.
const ONE_WAY: Duration = Duration::from_millis(20);
const BETWEEN: Duration = Duration::from_millis(100);

pub(super) struct Load(Child);

impl Load {
    pub async fn start(plan: Plan) -> Self {
        let name = concat!(module_path!(), "::generator");
        let name = name.split_once("::").expect("crate").1;
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", name, "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("spawn");
        let mut line = serde_json::to_vec(&plan).expect("plan");
        line.push(b'\n');
        child.stdin.as_mut().expect("stdin").write_all(&line).await.expect("write plan");
        Self(child)
    }

    /// Ends the stream of requests; those under way are waited for.
    pub async fn end(mut self) -> Outcome {
        drop(self.0.stdin.take());
        let mut text = String::new();
        self.0.stdout.take().expect("stdout").read_to_string(&mut text).await.expect("read outcome");
        self.0.wait().await.expect("end");
        let json = text.split("OUTCOME ").nth(1).and_then(|rest| rest.lines().next()).expect("an outcome");
        serde_json::from_str(json).expect("outcome")
    }
}

/// One client of HTTP/1.1: keeps its connection unless an answer closes it or it sees that the other side has.
async fn user(
    plan: Plan,
    number: usize,
    path: &'static str,
    between: Duration,
    stop: watch::Receiver<bool>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut kept: Option<(TcpStream, Vec<u8>)> = None;
    let mut count = number;
    tokio::time::sleep(between / 40 * (number as u32 % 40)).await;
    while !*stop.borrow() {
        let start = Instant::now();
        count += 1;
        let closed = kept.as_mut().is_some_and(|(stream, _)| {
            let mut one = [0];
            !matches!(stream.try_read(&mut one), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        });
        if closed {
            kept = None;
        }
        tokio::time::sleep(ONE_WAY).await;
        if kept.is_none() {
            outcome.opened += 1;
            match TcpStream::connect(("127.0.0.1", plan.port)).await {
                Ok(stream) => kept = Some((stream, Vec::new())),
                Err(error) => {
                    outcome.fail(format!("connect: {error}"));
                    continue;
                }
            }
        }
        let Some((mut stream, mut buffer)) = kept.take() else { continue };
        let request = if count.is_multiple_of(3) {
            "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".to_owned()
        } else {
            format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
        };
        let sent = stream.write_all(request.as_bytes()).await;
        match (sent, message(&mut stream, &mut buffer).await) {
            (Ok(()), Some((head, body))) if head.starts_with("HTTP/1.1 200") && !body.is_empty() => {
                outcome.good += 1;
                if !header(&head, "connection").is_some_and(|value| value.contains("close")) {
                    kept = Some((stream, buffer));
                }
            }
            (_, Some((head, _))) => outcome.fail(head.lines().next().unwrap_or_default().to_owned()),
            (sent, None) => outcome.fail(format!("{path}: no answer ({sent:?})")),
        }
        tokio::time::sleep(between.saturating_sub(start.elapsed())).await;
    }
    outcome
}

async fn upgraded(plan: Plan, stop: watch::Receiver<bool>) -> Outcome {
    let mut outcome = Outcome { opened: 1, ..Outcome::default() };
    let mut stream = TcpStream::connect(("127.0.0.1", plan.port)).await.expect("connect");
    let ask = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    stream.write_all(ask).await.expect("write");
    let (head, _) = message(&mut stream, &mut Vec::new()).await.expect("an answer");
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    while !*stop.borrow() {
        let mut back = [0; 4];
        let wrote = stream.write_all(b"ping").await;
        match (wrote, stream.read_exact(&mut back).await) {
            (Ok(()), Ok(_)) if &back == b"ping" => outcome.good += 1,
            other => {
                outcome.fail(format!("upgraded: {other:?}"));
                return outcome;
            }
        }
        tokio::time::sleep(BETWEEN).await;
    }
    outcome
}

#[tokio::test]
#[ignore = "not a test: the process that the tests of lossless changes start"]
async fn generator() {
    let read = || {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    };
    let line = read().expect("plan");
    let Ok(plan) = serde_json::from_str::<Plan>(&line) else { return };
    let (tell, stop) = watch::channel(false);
    let mut users = JoinSet::new();
    for number in 0..plan.kept {
        users.spawn(user(plan, number, "/", BETWEEN, stop.clone()));
    }
    for number in 0..plan.slow {
        users.spawn(user(plan, number * 10 + 1, "/slow", BETWEEN, stop.clone()));
    }
    if plan.upgraded {
        users.spawn(upgraded(plan, stop));
    }
    // Until the other side closes it.
    tokio::task::spawn_blocking(read).await.expect("thread").expect("end");
    tell.send(true).expect("users");
    let mut all = Outcome::default();
    while let Some(one) = users.join_next().await {
        let one = one.expect("user");
        all.good += one.good;
        all.bad += one.bad;
        all.opened += one.opened;
        all.why.extend(one.why);
    }
    all.why.truncate(20);
    println!("\nOUTCOME {}", serde_json::to_string(&all).expect("outcome"));
}
