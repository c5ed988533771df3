//! The users of a roll-out test and the app they ask: what the load does not notice, no test of a roll-out would.

use std::future::Future;
use std::time::Duration;

use deploymind_tests::load::websocket::{self, CLOSE, Frame};
use deploymind_tests::load::{self, FailureKind, Load, Lookout};
use deploymind_tests::process::{Proc, workspace_binary};
use deploymind_tests::{free_port, http, wait_for};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const DEADLINE: Duration = Duration::from_secs(10);
const HALF: Duration = Duration::from_millis(500);
const SHORT: Duration = Duration::from_millis(200);
const GOOD: &str = "HTTP/1.1 200 OK\r\nX-Version: one\r\nContent-Length: 17\r\n\r\n{\"version\":\"one\"}";

struct App {
    process: Proc,
    url: String,
}

impl App {
    async fn start(env: &[(&str, &str)]) -> Self {
        let port = free_port();
        let mut process = Proc::builder("sample-app", workspace_binary("sample-app"))
            .env("VERSION", "one")
            .env("LISTEN", "127.0.0.1")
            .env("PORT", port.to_string());
        for (name, value) in env {
            process = process.env(name, value);
        }
        let app = Self { process: process.start(), url: format!("http://127.0.0.1:{port}") };
        wait_for("the sample app listens", DEADLINE, async || {
            let log = app.process.log();
            if log.contains("listens on") { Ok(()) } else { Err(log) }
        })
        .await;
        app
    }

    async fn get(&self, path: &str) -> Result<http::Response, String> {
        http::get(&format!("{}{path}", self.url)).await
    }
}

/// A server that does with each connection what `serve` does.
struct Server {
    url: String,
    _task: JoinSet<()>,
}

impl Server {
    async fn start<F: Future<Output = ()> + Send + 'static>(serve: fn(TcpStream) -> F) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream));
            }
        });
        Self { url, _task: task }
    }

    /// 100 requests over 5 connections, in half a second.
    async fn load(&self) -> load::Report {
        few(&self.url).start().await.over().await
    }
}

fn few(url: &str) -> load::LoadBuilder {
    Load::of(url).rate(200.0).connections(5).posts(0.0).lasts(HALF)
}

/// The head of the next request; `None` when there is none.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

async fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn every_request_is_made_in_time_and_counted_once() {
    let app = App::start(&[]).await;
    let load = Load::of(&app.url).rate(400.0).connections(10).posts(20.0).slow(2, SHORT);
    let report = load.websockets(1, Duration::from_millis(50)).lasts(HALF).start().await.over().await;
    report.assert_nothing_lost();
    assert_eq!((report.requests - report.slow_done, report.posts_done), (200, 40), "{report:#?}");
    // Two at a time, 200 ms each, for half a second, and those that were under way then.
    assert!((4..=6).contains(&report.slow_done) && report.ws_echoes >= 5, "{report:#?}");
    assert_eq!(report.statuses[&200], report.requests);
    assert_eq!(report.of("one"), report.requests);
    assert!(report.connections_opened >= 13, "{report:#?}");
    assert!(report.p50_us > 0 && report.p50_us <= report.p99_us && report.p99_us <= report.max_us);
    let first = report.versions["one"].first;
    assert!(first.ms < report.versions["one"].last.ms && first.unix_us > 1_600_000_000_000_000);
    // The app has seen as many, and the WebSocket.
    assert_eq!(app.get("/hits").await.unwrap().body, (report.requests + 1).to_string());
}

#[tokio::test]
async fn an_error_is_a_failure() {
    let app = App::start(&[("ERROR_PERCENT", "7")]).await;
    let report = few(&app.url).start().await.over().await;
    assert_eq!((report.requests, report.non_2xx, report.failures), (100, 7, 7), "{report:#?}");
    assert_eq!((report.statuses[&200], report.statuses[&500]), (93, 7));
    assert_eq!(report.first_failures.len(), 7);
    assert!(report.first_failures[0].text.contains("as it was told"), "{report:#?}");
}

#[tokio::test]
async fn a_reset_is_a_failure_and_not_asked_again() {
    let server = Server::start(|mut stream| async move {
        head(&mut stream).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    let report = server.load().await;
    assert_eq!((report.requests, report.resets, report.failures), (100, 100, 100), "{report:#?}");
    assert_eq!((report.closed_before_sent, report.retriable, report.connections_opened), (0, 0, 100));
    assert_eq!(report.first_failures.len(), 20, "only the first ones are kept");
}

#[tokio::test]
async fn a_reset_of_an_idle_connection_is_a_failure() {
    let server = Server::start(|mut stream| async move {
        head(&mut stream).await;
        say(&mut stream, GOOD).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    let report = server.load().await;
    assert!(report.resets > 0 && report.failures == report.resets, "{report:#?}");
    assert_eq!(report.of("one") + report.failures, 100);
    assert_eq!(report.retriable, report.failures);
}

#[tokio::test]
async fn an_end_under_a_request_is_a_failure_also_where_a_browser_would_hide_it() {
    let server = Server::start(|mut stream| async move {
        if head(&mut stream).await.is_some() {
            say(&mut stream, GOOD).await;
            head(&mut stream).await;
        }
    })
    .await;
    let report = server.load().await;
    assert_eq!((report.requests, report.of("one") + report.cut, report.failures), (100, 100, report.cut));
    assert!(report.cut > 20 && report.retriable == report.cut, "{report:#?}");
    // What may have had an effect is not to be sent again by anybody.
    let report = few(&server.url).posts(100.0).start().await.over().await;
    assert_eq!((report.failures > 0, report.retriable), (true, 0), "{report:#?}");
}

#[tokio::test]
async fn an_answer_that_is_cut_is_a_failure() {
    let server = Server::start(|mut stream| async move {
        head(&mut stream).await;
        say(&mut stream, &GOOD[..GOOD.len() - 1]).await;
    })
    .await;
    let report = server.load().await;
    assert_eq!((report.requests, report.cut, report.failures), (100, 100, 100), "{report:#?}");
}

#[tokio::test]
async fn no_answer_in_time_is_a_failure_and_makes_no_other_request_late() {
    let app = App::start(&[("DELAY_MS", "5000")]).await;
    let report = few(&app.url).timeout(SHORT).start().await.over().await;
    assert_eq!((report.requests, report.timeouts, report.failures), (100, 100, 100), "{report:#?}");
    let first = report.first_failures[0].at.ms;
    let last = report.first_failures[19].at.ms;
    assert!((60.0..600.0).contains(&(last - first)), "20 requests, 5 ms apart: {first} to {last}");
}

#[tokio::test]
async fn a_late_server_lowers_no_rate_and_its_lateness_is_seen() {
    let app = App::start(&[("DELAY_MS", "120")]).await;
    let report = few(&app.url).connections(2).start().await.over().await;
    report.assert_nothing_lost();
    assert_eq!(report.requests, 100);
    assert!(report.connections_opened > 10 && report.p50_us >= 120_000, "{report:#?}");
}

#[tokio::test]
async fn an_answer_of_two_releases_is_wrong() {
    let server = Server::start(|mut stream| async move {
        while head(&mut stream).await.is_some() {
            say(&mut stream, &GOOD.replace("\"one\"", "\"two\"")).await;
        }
    })
    .await;
    let report = server.load().await;
    assert_eq!((report.requests, report.wrong_answers, report.failures), (100, 100, 100), "{report:#?}");
}

#[tokio::test]
async fn a_body_that_did_not_arrive_as_it_was_sent_is_wrong() {
    let server = Server::start(|mut stream| async move {
        while let Some(head) = head(&mut stream).await {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            stream.read_exact(&mut body).await.unwrap();
            let said = format!("{{\"version\":\"one\",\"bytes\":{length},\"sum\":1}}");
            let head = GOOD.split("17").next().unwrap();
            say(&mut stream, &format!("{head}{}\r\n\r\n{said}", said.len())).await;
        }
    })
    .await;
    let report = few(&server.url).posts(100.0).start().await.over().await;
    assert_eq!((report.requests, report.wrong_answers, report.posts_done), (100, 100, 0), "{report:#?}");
}

#[tokio::test]
async fn what_is_no_http_is_wrong() {
    let server = Server::start(|mut stream| async move {
        head(&mut stream).await;
        say(&mut stream, "\0\u{1}no HTTP\r\n\r\n").await;
        // Open until the client has had enough.
        head(&mut stream).await;
    })
    .await;
    let report = server.load().await;
    assert_eq!((report.wrong_answers, report.failures), (100, 100), "{report:#?}");
}

#[tokio::test]
async fn nobody_there_is_a_failure() {
    let report = few(&format!("http://127.0.0.1:{}", free_port())).start().await.over().await;
    assert_eq!((report.requests, report.refused, report.failures), (100, 100, 100), "{report:#?}");
    assert_eq!(report.first_failures[0].kind, FailureKind::Refused);
}

#[tokio::test]
async fn an_end_in_order_between_two_requests_is_none() {
    let unannounced = Server::start(|mut stream| async move {
        for _ in 0..3 {
            if head(&mut stream).await.is_some() {
                say(&mut stream, GOOD).await;
            }
        }
    })
    .await;
    let report = unannounced.load().await;
    report.assert_nothing_lost();
    assert!(report.closed_before_sent > 20 && report.connections_opened > 20, "{report:#?}");

    let announced = Server::start(|mut stream| async move {
        head(&mut stream).await;
        say(&mut stream, &GOOD.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).await;
    })
    .await;
    let report = announced.load().await;
    report.assert_nothing_lost();
    assert_eq!((report.closed_before_sent, report.connections_opened), (0, 100), "{report:#?}");
}

#[tokio::test]
async fn a_new_connection_that_is_ended_at_once_is_a_failure() {
    let server = Server::start(|stream| async { drop(stream) }).await;
    let report = server.load().await;
    assert_eq!(
        (report.requests, report.cut + report.resets, report.failures),
        (100, 100, 100),
        "{report:#?}"
    );
}

/// Serves requests, and a WebSocket that has `echoes` echoes in it; `farewell` says whether it closes it or just goes.
async fn websocket_server(mut stream: TcpStream, echoes: usize, farewell: bool) {
    while let Some(head) = head(&mut stream).await {
        let Some(key) = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")) else {
            say(&mut stream, GOOD).await;
            continue;
        };
        let accept = websocket::accept(key);
        say(&mut stream, &format!("HTTP/1.1 101 Switching\r\nSec-WebSocket-Accept: {accept}\r\n\r\n")).await;
        for _ in 0..echoes {
            let Ok(Some(frame)) = websocket::read(&mut stream).await else { return };
            websocket::write(&mut stream, &frame, None).await.unwrap();
        }
        if farewell {
            let close = Frame { opcode: CLOSE, payload: 1001_u16.to_be_bytes().to_vec() };
            websocket::write(&mut stream, &close, None).await.unwrap();
        } else {
            drop(websocket::read(&mut stream).await);
        }
        return;
    }
}

#[tokio::test]
async fn a_websocket_that_ends_in_order_is_opened_again() {
    let server = Server::start(|stream| websocket_server(stream, 2, true)).await;
    let every = Duration::from_millis(20);
    let report = few(&server.url).websockets(1, every).start().await.over().await;
    report.assert_nothing_lost();
    assert!(report.ws_reopened > 3 && report.ws_echoes > 6, "{report:#?}");
}

#[tokio::test]
async fn an_echo_that_never_comes_is_a_failure() {
    let server = Server::start(|stream| websocket_server(stream, 2, false)).await;
    let every = Duration::from_millis(20);
    let report = few(&server.url).websockets(1, every).start().await.over().await;
    assert!(report.ws_lost > 3 && report.failures == report.ws_lost, "{report:#?}");
    assert_eq!(report.ws_reopened, 0);
}

/// One request, two slow ones and a WebSocket while the app is told to end; what the load and the app say.
async fn while_it_ends(env: &[(&str, &str)]) -> (load::Report, Proc) {
    let mut app = App::start(env).await;
    let users = Load::of(&app.url).rate(0.1).slow(2, HALF).websockets(1, Duration::from_millis(20));
    let mut load = users.start().await;
    wait_for("all of them are under way", DEADLINE, async || {
        let report = load.so_far().await;
        let hits = app.get("/hits").await?.body;
        if report.ws_echoes > 0 && hits == "4" { Ok(()) } else { Err(format!("{hits} {report:?}")) }
    })
    .await;
    app.process.sigterm();
    app.process.wait_exit(DEADLINE).await;
    (load.finish().await, app.process)
}

#[tokio::test]
async fn the_sample_app_ends_without_losing_anything() {
    let (report, mut app) = while_it_ends(&[]).await;
    assert_eq!(app.exit().unwrap().code(), Some(0));
    // Those that came afterwards found nobody.
    assert_eq!((report.slow_done, report.failures), (2, report.refused), "{report:#?}\n{}", app.log());
    assert!(app.stdout().ends_with("ends\n"), "{}", app.log());
}

#[tokio::test]
async fn the_sample_app_can_also_end_badly() {
    let (report, mut app) = while_it_ends(&[("ON_TERM", "exit")]).await;
    assert_eq!(app.exit().unwrap().code(), Some(0));
    assert_eq!((report.slow_done, report.cut + report.resets), (0, 2), "{report:#?}");
}

#[tokio::test]
async fn the_sample_app_behaves_as_its_environment_says() {
    let status = async |health: &str| {
        let app = App::start(&[("HEALTH", health)]).await;
        let health = app.get("/health").await;
        // Whatever its health says, users are served.
        assert_eq!(app.get("/").await.unwrap().body, r#"{"n":1,"version":"one"}"#);
        health.map(|response| response.status)
    };
    for (health, expected) in
        [("ok", 200), ("fail", 503), ("redirect", 302), ("slow 50", 200), ("fail-after 0", 503)]
    {
        assert_eq!(status(health).await, Ok(expected), "{health}");
    }
    let error = status("nothttp").await.unwrap_err();
    assert!(error.contains("invalid HTTP"), "{error}");
    let app = App::start(&[("HEALTH", "garbage")]).await;
    assert_ne!(app.get("/health").await.unwrap().body, app.get("/health").await.unwrap().body);

    let unreachable = format!("http://127.0.0.1:{}", free_port());
    let app = App::start(&[("DEPENDENCY", &unreachable)]).await;
    assert_eq!(app.get("/").await.unwrap().status, 500);
    let with = App::start(&[("DEPENDENCY", &app.url)]).await;
    assert_eq!(with.get("/").await.unwrap().status, 200);

    let mut dying = App::start(&[("DIES_AFTER_MS", "1")]).await;
    assert_eq!(dying.process.wait_exit(DEADLINE).await.code(), Some(3));
    let program = || Proc::builder("sample-app", workspace_binary("sample-app"));
    let mut told = program().env("EXIT_AT_START", "7").start();
    assert_eq!(told.wait_exit(DEADLINE).await.code(), Some(7));
    let mut wrong = program().env("HEALTH", "splendid").env("PORT", "x").start();
    assert_eq!(wrong.wait_exit(DEADLINE).await.code(), Some(64));
    assert!(wrong.stderr().contains("PORT cannot be") && wrong.stderr().contains("HEALTH cannot be"));
}

#[tokio::test]
async fn the_first_answer_of_a_release_is_timed() {
    let app = App::start(&[]).await;
    let lookout = |version| Lookout::start(&app.url, None, version, Duration::from_millis(2), SHORT);
    let (there, missing) = (lookout("one"), lookout("two"));
    let (there, missing) = (there.sighting().await, missing.sighting().await);
    assert!(there.at.is_some() && there.asked == 1, "{there:?}");
    assert!(
        missing.at.is_none() && missing.others["one"] == missing.asked && missing.asked > 10,
        "{missing:?}"
    );
}

#[tokio::test]
async fn a_round_trip_is_measured() {
    let app = App::start(&[("DELAY_MS", "2")]).await;
    let found = load::latency(&app.url, None, 50, DEADLINE).await;
    assert_eq!((found.requests, found.failures), (50, 0));
    assert!(found.p50_us >= 2_000 && found.p99_us >= found.p50_us && found.max_us < 1_000_000, "{found:?}");
}
