//! The log writer against real stores: every line is in the record once, in order, and no secret anywhere.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use deploymind_shared::db::deployments::Trigger;
use deploymind_shared::db::jobs::{Claim, job_claim};
use deploymind_shared::db::logs::{LogLine, log_list};
use deploymind_shared::db::workers::{NewWorker, worker_register};
use deploymind_shared::domain::job::Priority;
use deploymind_shared::error::Code;
use deploymind_shared::ids::{Attempt, TargetName, WorkerId};
use deploymind_shared::retry::Stop;
use deploymind_tests::postgres::PrivatePostgres;
use deploymind_tests::redis::TestRedis;
use deploymind_tests::rig::{Rig, production};
use deploymind_tests::wait_for;
use deploymind_worker::log::{Level, Limits, LineSplitter, Lines, Place, Redactor, Writer, writer::ROOM};
use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(20);

/// A deployment whose job this test holds.
async fn place(rig: &Rig) -> Place {
    let db = &rig.fleet.db;
    let owner = deploymind_shared::db::users::user_create(db, "somebody", None).await.expect("user").id;
    let app = deploymind_shared::db::apps::NewApp {
        owner,
        name: "shop".to_owned(),
        repository: "https://example.test/shop.git".to_owned(),
        branch: "main".to_owned(),
        environment: production(),
        targets: Vec::<TargetName>::new(),
    };
    let app = deploymind_shared::db::apps::app_create(db, &app).await.expect("app");
    let created = rig.fleet.deploy(app, Trigger::Push, None, None, Priority::Normal).await.expect("accepted");
    let worker = WorkerId::generate();
    let new = NewWorker {
        id: worker,
        environments: vec![production()],
        concurrency: 1,
        hostname: "here".to_owned(),
        version: "0".to_owned(),
    };
    worker_register(db, &new).await.expect("register");
    let claim = Claim { job: created.job, locked: Vec::new() };
    let claimed = job_claim(db, worker, &[claim]).await.expect("claim");
    Place { job: created.job, attempt: claimed[0].attempt, deployment: created.deployment }
}

async fn record(rig: &Rig, place: Place) -> Vec<LogLine> {
    let mut lines: Vec<LogLine> = Vec::new();
    loop {
        let after = lines.last().map_or(0, |line| line.seq);
        let more = log_list(&rig.fleet.db, place.deployment, after, 10_000).await.expect("list log");
        if more.is_empty() {
            return lines;
        }
        lines.extend(more);
    }
}

async fn listen(rig: &Rig, place: Place) -> redis::aio::PubSub {
    let mut pubsub = redis::Client::open(rig.stores.redis.as_str())
        .expect("a redis address")
        .get_async_pubsub()
        .await
        .expect("subscribe");
    pubsub.subscribe(format!("{}:deployment:{}", rig.name, place.deployment)).await.expect("subscribe");
    pubsub
}

/// Messages of the channel until line `last`, as they came.
async fn hear(pubsub: &mut redis::aio::PubSub, last: i64) -> Vec<String> {
    let (mut messages, mut heard) = (pubsub.on_message(), Vec::new());
    loop {
        let message = tokio::time::timeout(SOON, messages.next()).await.expect("in time").expect("connected");
        let text: String = message.get_payload().expect("text");
        let body: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        heard.push(text);
        if body["last"].as_i64() >= Some(last) {
            return heard;
        }
    }
}

/// The highest resident size of this process, in MB.
fn peak_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("linux");
    let kb = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    kb.trim().trim_end_matches("kB").trim().parse::<f64>().expect("a number") / 1024.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_lines_are_numbered_and_none_is_lost() {
    const LINES: i64 = 100_000;
    let rig = Rig::start().await;
    let place = place(&rig).await;
    let mut pubsub = listen(&rig, place).await;
    let (lines, receiver) = Lines::channel(ROOM);
    let redactor = Arc::new(Redactor::new([("NAME", "hunter22")]).expect("small"));
    let (writer, _flusher) = Writer::new(&rig.fleet, place, redactor, Limits::default(), 0, receiver);
    let before = peak_mb();
    let say = async move {
        let mut splitter = LineSplitter::new();
        for number in (1..=LINES).step_by(100) {
            let mut bytes = String::new();
            for number in number..number + 100 {
                writeln!(bytes, "line {number} {}", "x".repeat(80)).expect("to memory");
            }
            let mut whole = Vec::new();
            for chunk in bytes.as_bytes().chunks(1_000) {
                splitter.push(chunk, |line| whole.push(line));
            }
            for line in whole {
                lines.say(Level::Info, line).await;
            }
        }
    };
    let token = CancellationToken::new();
    let (totals, (), heard) = tokio::join!(writer.run(&token, SOON), say, hear(&mut pubsub, LINES));
    println!("log_peak_mb {:.1}", peak_mb() - before);
    let totals = totals.expect("written");
    assert_eq!((totals.lines, totals.last, totals.dropped), (LINES as u64, LINES, 0));
    let mut next = 1;
    for message in &heard {
        let body: serde_json::Value = serde_json::from_str(message).expect("JSON");
        assert_eq!((body["kind"].as_str(), body["first"].as_i64()), (Some("log"), Some(next)));
        let lines = body["lines"].as_array().expect("lines");
        next += lines.len() as i64;
        assert_eq!(body["last"].as_i64(), Some(next - 1));
    }
    assert_eq!(next, LINES + 1);
    let record = record(&rig, place).await;
    assert_eq!(record.len() as i64, LINES);
    for (line, number) in record.iter().zip(1..) {
        assert_eq!(line.seq, number);
        assert!(line.line.starts_with(&format!("line {number} x")), "{}", line.line);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_the_record_the_queue_or_the_channel() {
    let rig = Rig::start().await;
    let place = place(&rig).await;
    let mut pubsub = listen(&rig, place).await;
    let secrets: Vec<(String, String)> = (0..40)
        .map(|n| (format!("SECRET_{n}"), format!("s{n}-p@ss/w0rd+{}?&='{n}", "Zq".repeat(n % 7 + 1))))
        .collect();
    let redactor = Arc::new(Redactor::new(secrets.iter().map(|(n, v)| (n, v))).expect("small"));
    let (lines, receiver) = Lines::channel(ROOM);
    let (writer, flusher) =
        Writer::new(&rig.fleet, place, Arc::clone(&redactor), Limits::default(), 0, receiver);
    let hex = |value: &str| value.bytes().fold(String::new(), |hex, c| hex + &format!("{c:02x}"));
    let url = |value: &str| value.bytes().fold(String::new(), |url, c| url + &format!("%{c:02X}"));
    let forms: Vec<String> = secrets
        .iter()
        .flat_map(|(_, value)| {
            let json = serde_json::json!({ "value": value }).to_string();
            [value.clone(), json, hex(value), url(value)]
        })
        .collect();
    let say = async {
        let mut splitter = LineSplitter::new().hiding(redactor);
        let mut text = String::new();
        for form in &forms {
            write!(text, "RUN env\r\nexport X=\"{form}\" done\n{form}\u{1b}[0m{}", "-".repeat(20_000))
                .expect("to memory");
        }
        let mut whole = Vec::new();
        // Sizes that share no factor with anything: the borders fall everywhere.
        let mut rest = text.as_bytes();
        let mut size = 1;
        while !rest.is_empty() {
            let (chunk, left) = rest.split_at(size.min(rest.len()));
            splitter.push(chunk, |line| whole.push(line));
            (rest, size) = (left, size % 37 + 1);
        }
        splitter.finish(|line| whole.push(line));
        for line in whole {
            lines.info(line).await;
        }
        flusher.flush().await.expect("written");
        drop(lines);
    };
    let token = CancellationToken::new();
    let (totals, ()) = tokio::join!(writer.run(&token, SOON), say);
    let totals = totals.expect("written");
    let heard = hear(&mut pubsub, totals.last).await.concat();
    let kept: String = record(&rig, place).await.into_iter().map(|line| line.line + "\n").collect();
    assert!(kept.contains("[REDACTED:SECRET_39]"));
    let mut connection = rig.redis().await;
    let keys: Vec<String> =
        redis::cmd("KEYS").arg(rig.key("*")).query_async(&mut connection).await.expect("keys");
    let mut queue = keys.join("\n");
    for key in keys {
        let dump: Vec<u8> = redis::cmd("DUMP").arg(&key).query_async(&mut connection).await.expect("dump");
        queue += &String::from_utf8_lossy(&dump);
    }
    for (_, value) in &secrets {
        for form in [value.clone(), hex(value), url(value)] {
            assert!(!kept.contains(&form), "{form} is in the record");
            assert!(!heard.contains(&form), "{form} was published");
            assert!(!queue.contains(&form), "{form} is in the queue");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lost_the_claim_writes_nothing_and_is_told() {
    let rig = Rig::start().await;
    let place = place(&rig).await;
    let late = Place { attempt: Attempt(place.attempt.0 - 1), ..place };
    let (lines, receiver) = Lines::channel(ROOM);
    let redactor = Arc::new(Redactor::shapes_only());
    let (writer, flusher) = Writer::new(&rig.fleet, late, redactor, Limits::default(), 0, receiver);
    let token = CancellationToken::new();
    let say = async {
        lines.info("too late").await;
        let first = flusher.flush().await;
        // Nobody writes any more: neither this waits.
        for _ in 0..ROOM * 2 {
            lines.info("later still").await;
        }
        (first, flusher.flush().await)
    };
    let (end, (first, second)) = tokio::join!(writer.run(&token, SOON), say);
    assert!(matches!(end, Err(Stop::ClaimLost)), "{end:?}");
    assert!(matches!(first, Err(Stop::ClaimLost)), "{first:?}");
    assert!(matches!(second, Err(Stop::ClaimLost)), "{second:?}");
    assert!(record(&rig, place).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_and_comes_back_costs_no_line() {
    const LINES: i64 = 50_000;
    let mut postgres = PrivatePostgres::start().await;
    let redis = TestRedis::start().await;
    let rig = Rig::with_servers(&postgres, &redis.url()).await;
    let place = place(&rig).await;
    let (lines, receiver) = Lines::channel(ROOM);
    let redactor = Arc::new(Redactor::shapes_only());
    let (writer, flusher) = Writer::new(&rig.fleet, place, redactor, Limits::default(), 0, receiver);
    let token = CancellationToken::new();
    let say = async {
        for number in 1..=LINES {
            lines.info(format!("line {number}")).await;
            if number == 10_000 {
                postgres.kill9();
            }
            if number == 11_000 {
                postgres.restart().await;
            }
        }
        flusher.flush().await.expect("it came back");
        drop(lines);
    };
    let (totals, ()) = tokio::join!(writer.run(&token, SOON), say);
    assert_eq!(totals.expect("written").last, LINES);
    let record = record(&rig, place).await;
    assert!(record.iter().zip(1..).all(|(line, n)| line.seq == n && line.line == format!("line {n}")));
    assert_eq!(record.len() as i64, LINES);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_does_not_wait_for_ever_for_a_database_that_is_gone() {
    let mut postgres = PrivatePostgres::start().await;
    let redis = TestRedis::start().await;
    let rig = Rig::with_servers(&postgres, &redis.url()).await;
    let place = place(&rig).await;
    let (lines, receiver) = Lines::channel(ROOM);
    let redactor = Arc::new(Redactor::shapes_only());
    let (writer, flusher) = Writer::new(&rig.fleet, place, redactor, Limits::default(), 0, receiver);
    postgres.kill9();
    let token = CancellationToken::new();
    let say = async {
        lines.info("unheard").await;
        token.cancel();
        // The step still holds its end: being in a hurry is enough.
        let flushed = flusher.flush().await;
        drop(lines);
        flushed
    };
    let run = writer.run(&token, Duration::from_millis(500));
    let both = async { tokio::join!(run, say) };
    let (end, flushed) = tokio::time::timeout(SOON, both).await.expect("it ends");
    for end in [end.map(drop), flushed] {
        match end {
            Err(Stop::Retryable { error, .. }) => assert_eq!(error.code(), Code::DatabaseUnavailable),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_gone_slows_the_record_down_only_a_little() {
    let mut redis = TestRedis::start().await;
    let rig = Rig::with_redis(&redis.url()).await;
    let place = place(&rig).await;
    redis.kill9();
    let (lines, receiver) = Lines::channel(ROOM);
    let redactor = Arc::new(Redactor::shapes_only());
    let (writer, _flusher) = Writer::new(&rig.fleet, place, redactor, Limits::default(), 0, receiver);
    let say = async move {
        for number in 0..20_000 {
            lines.info(number.to_string()).await;
        }
    };
    let token = CancellationToken::new();
    let (totals, ()) = tokio::join!(writer.run(&token, SOON), say);
    assert_eq!(totals.expect("written").last, 20_000);
    wait_for("the record to hold all", SOON, async || {
        let lines = record(&rig, place).await.len();
        if lines == 20_000 { Ok(()) } else { Err(format!("{lines} lines")) }
    })
    .await;
}
