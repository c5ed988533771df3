//! Real HTTP over a socket.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::admin::Readiness;
use crate::telemetry::Metrics;

struct Served {
    addr: SocketAddr,
    lifecycle: Lifecycle,
    readiness: Readiness,
}

impl Served {
    async fn start() -> Self {
        let server = AdminServer::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("bind");
        let (addr, lifecycle, readiness) = (server.local_addr(), Lifecycle::new(), Readiness::new());
        let state = AdminState::new(readiness.clone(), Metrics::new(&[]))
            .with_status(|| json!({ "reap": { "last": "ok" } }));
        server.serve(state, &lifecycle);
        Self { addr, lifecycle, readiness }
    }

    /// Sends raw bytes and reads until the server closes.
    async fn send(&self, raw: &str) -> String {
        let mut stream = TcpStream::connect(self.addr).await.expect("connect");
        stream.write_all(raw.as_bytes()).await.expect("send");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("read");
        answer
    }

    async fn request(&self, method: &str, path: &str) -> (u16, String, String) {
        let answer =
            self.send(&format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, head.to_lowercase(), body.to_owned())
    }

    async fn get_json(&self, path: &str) -> (u16, Value) {
        let (status, _, body) = self.request("GET", path).await;
        (status, serde_json::from_str(&body).expect("JSON"))
    }
}

#[tokio::test]
async fn the_four_paths_answer() {
    let served = Served::start().await;
    assert_eq!(served.request("GET", "/healthz").await.0, 200);
    assert_eq!(served.get_json("/status").await, (200, json!({ "reap": { "last": "ok" } })));
    let (status, head, body) = served.request("GET", "/metrics").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("deploymind_jobs_running 0"));
    let (status, head, body) = served.request("HEAD", "/healthz").await;
    assert_eq!((status, body.as_str()), (200, ""), "{head}");
    assert_eq!(served.request("GET", "/healthz?verbose").await.0, 200);
}

#[tokio::test]
async fn readiness_says_why_not_and_stays_apart_from_health() {
    let served = Served::start().await;
    assert_eq!(served.get_json("/readyz").await.0, 200);
    served.readiness.register("postgres", || Err("no connection".into()));
    let (status, body) = served.get_json("/readyz").await;
    assert_eq!(status, 503);
    let expected = json!({ "name": "postgres", "ready": false, "reason": "no connection" });
    assert_eq!(body["checks"], json!([expected]));
    assert_eq!(served.request("GET", "/healthz").await.0, 200);

    served.readiness.register("postgres", || Ok(()));
    served.readiness.start_draining();
    let (status, body) = served.get_json("/readyz").await;
    assert_eq!((status, &body["draining"]), (503, &json!(true)));
}

#[tokio::test]
async fn mistakes_are_problem_documents() {
    let served = Served::start().await;
    let (status, head, body) = served.request("GET", "/secret").await;
    assert_eq!(status, 404);
    assert!(head.contains("content-type: application/problem+json"), "{head}");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((&body["status"], &body["title"]), (&json!(404), &json!("Not Found")));

    let (status, head, _) = served.request("POST", "/metrics").await;
    assert_eq!(status, 405);
    assert!(head.contains("allow: get, head"), "{head}");
    assert!(served.send("nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn a_draining_process_can_still_be_asked_and_then_the_port_closes() {
    let served = Served::start().await;
    let token = served.lifecycle.child();
    served.lifecycle.spawn_scoped("job", async move {
        token.cancelled().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    });
    // Idle on keep-alive: must not hold up the end.
    let _idle = TcpStream::connect(served.addr).await.expect("connect");
    served.readiness.start_draining();
    let lifecycle = served.lifecycle.clone();
    let (report, status) = tokio::join!(lifecycle.shutdown(Duration::from_secs(10)), async {
        served.lifecycle.token().cancelled().await;
        served.get_json("/readyz").await.0
    });
    assert_eq!(status, 503);
    assert_eq!(report.exit_code(), 0, "{report:?}");
    assert!(TcpStream::connect(served.addr).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_taken_port_is_an_error() {
    let served = Served::start().await;
    let mut idle = TcpStream::connect(served.addr).await.expect("connect");
    let mut rest = Vec::new();
    let closed = timeout(HEADER_TIMEOUT * 3, idle.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "the head never came, so the connection must end");
    assert!(matches!(AdminServer::bind(served.addr).await, Err(AdminError::Bind { .. })));
}

#[tokio::test]
async fn more_connections_than_allowed_wait_their_turn() {
    let served = Served::start().await;
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        held.push(TcpStream::connect(served.addr).await.expect("connect"));
    }
    // The kernel accepts for us, so wait until the server has taken them all: the next request gets no answer.
    let blocked = timeout(Duration::from_millis(300), served.request("GET", "/healthz")).await;
    assert!(blocked.is_err(), "one more than allowed was served");
    held.clear();
    assert_eq!(served.request("GET", "/healthz").await.0, 200);
}
