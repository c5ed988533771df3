//! What the program says about its settings, and what it never says: a secret.

use deploymind_shared::config::EXIT_CONFIG;
use deploymind_tests::process::ProcBuilder;
use deploymind_tests::redis::{TestRedis, base_redis_url};
use deploymind_tests::{free_port, wait_for};

use super::{SOON, deploymind, ended};

const SECRET: &str = "hunter2";

fn assert_no_secret(text: &str) {
    assert!(!text.contains(SECRET), "a secret is shown:\n{text}");
}

/// With both addresses, of which the program may show nothing.
fn with_secrets(role: &str) -> ProcBuilder {
    deploymind(role)
        .env("DEPLOYMIND_DATABASE_URL", format!("postgres://u:{SECRET}@127.0.0.1:{}/x", free_port()))
        .env("DEPLOYMIND_REDIS_URL", format!("redis://:{SECRET}@127.0.0.1:{}/", free_port()))
        .env("DEPLOYMIND_ADMIN_ADDR", format!("127.0.0.1:{}", free_port()))
}

#[tokio::test]
async fn every_role_reports_all_its_mistakes_at_once_each_with_a_way_out() {
    let cases: [(&str, &[(&str, &str)]); 4] = [
        (
            "worker",
            &[
                ("DEPLOYMIND_DATABASE_URL", "mysql://u:hunter2@db/x"),
                ("DEPLOYMIND_REDIS_URL", "localhost:6379?password=hunter2"),
                ("DEPLOYMIND_OTLP_ENDPOINT", "http://u:hunter2@collector:4318"),
                ("DEPLOYMIND_ENVIRONMENTS", "Prod!"),
                ("DEPLOYMIND_WORKER_CONCURRENCY", "0"),
                ("DEPLOYMIND_WORKER_DRAIN_GRACE", "30"),
                ("DEPLOYMIND_QUEUE_LOCK_TTL", "9s"),
                ("DEPLOYMIND_QUEUE_CANCEL_GRACE", "10s"),
                ("DEPLOYMIND_FLEET", "a}b"),
                ("DEPLOYMIND_LOG_FORMAT", "xml"),
                ("DEPLOYMIND_ADMIN_ADDR", "9102"),
            ],
        ),
        (
            "gateway",
            &[("DEPLOYMIND_DATABASE_URL", ""), ("DEPLOYMIND_REDIS_URL", ""), ("DEPLOYMIND_LISTEN", "80")],
        ),
        (
            "scheduler",
            &[
                ("DEPLOYMIND_DATABASE_URL", ""),
                ("DEPLOYMIND_REDIS_URL", ""),
                ("DEPLOYMIND_SCHEDULER_REAP", "0s"),
                ("DEPLOYMIND_SCHEDULER_LEADER_TTL", "1ms"),
            ],
        ),
        ("migrate", &[("DEPLOYMIND_DATABASE_URL", ""), ("DEPLOYMIND_DATABASE_MAX_CONNECTIONS", "many")]),
    ];
    for (role, wrong) in cases {
        let builder = wrong.iter().fold(deploymind(role), |builder, (key, value)| builder.env(key, value));
        let (code, log) = ended(builder).await;
        assert_eq!(code, Some(i32::from(EXIT_CONFIG)), "{log}");
        assert_no_secret(&log);
        assert!(log.contains("DM-1001"), "{log}");
        for (key, _) in wrong {
            let line = log
                .lines()
                .find(|line| line.starts_with(key))
                .unwrap_or_else(|| panic!("{key} is not told:\n{log}"));
            assert!(line.contains(&format!("for example {key}=")), "no way out: {line}");
        }
        println!("{role}: {} mistakes in one go", wrong.len());
    }
}

#[tokio::test]
async fn every_role_shows_its_settings_redacted_also_when_they_are_wrong() {
    for (role, own) in [
        ("worker", "DEPLOYMIND_WORKER_DRAIN_GRACE=30s # default"),
        ("gateway", "DEPLOYMIND_LISTEN=127.0.0.1:8080 # default"),
        ("scheduler", "DEPLOYMIND_SCHEDULER_REAP=2s # default"),
    ] {
        let shown = with_secrets(role).arg("--print-config").env("DEPLOYMIND_ENVIRONMENTS", "production");
        let (code, log) = ended(shown).await;
        assert_eq!(code, Some(0), "{log}");
        assert_no_secret(&log);
        for line in ["DEPLOYMIND_DATABASE_URL=[redacted]", "DEPLOYMIND_REDIS_URL=[redacted]", own] {
            assert!(log.lines().any(|shown| shown == line), "{line} is missing:\n{log}");
        }
    }
    // People ask what is in effect when it does not work.
    let wrong = with_secrets("worker").arg("--print-config").env("DEPLOYMIND_ENVIRONMENTS", "Prod!");
    let (code, log) = ended(wrong).await;
    assert_eq!(code, Some(i32::from(EXIT_CONFIG)), "{log}");
    assert_no_secret(&log);
    assert!(
        log.contains("# DEPLOYMIND_ENVIRONMENTS is wrong") && log.contains("DEPLOYMIND_QUEUE_BLOCK=2s"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_shows_in_no_log_line_while_stores_are_unreachable_or_refuse_it() {
    // Nobody listens; and odd places for a secret, which the drivers read or complain about.
    let database =
        format!("postgres://u:{SECRET}@127.0.0.1:{}/x?sslpassword={SECRET}&passwort={SECRET}", free_port());
    for (role, redis) in [
        ("gateway", format!("redis://:{SECRET}@127.0.0.1:{}/", free_port())),
        ("scheduler", base_redis_url()),
    ] {
        let mut process = with_secrets(role)
            .env("DEPLOYMIND_DATABASE_URL", &database)
            .env("DEPLOYMIND_REDIS_URL", redis)
            .env("DEPLOYMIND_LOG_FILTER", "trace")
            .start();
        wait_for("it to wait for a store", SOON, async || {
            if process.log().contains("waiting for a store") { Ok(()) } else { Err(process.log()) }
        })
        .await;
        process.sigterm();
        assert_eq!(process.wait_exit(SOON).await.code(), Some(0), "told to stop, it stopped");
        assert_no_secret(&process.log());
        let ignored = "\"parameter\":\"passwort\"";
        assert!(process.log().contains(ignored), "it is not told that a parameter means nothing");
    }
    // A Redis that wants another password.
    let redis = TestRedis::start().await;
    let set: Result<(), _> = redis::cmd("CONFIG")
        .arg(&["SET", "requirepass", "another"])
        .query_async(&mut redis.connect().await)
        .await;
    set.expect("a password for our own Redis");
    let process = with_secrets("scheduler")
        .env("DEPLOYMIND_REDIS_URL", format!("redis://:{SECRET}@127.0.0.1:{}/", redis.port()))
        .start();
    wait_for("it to say what is wrong", SOON, async || {
        let log = process.log();
        if log.contains("WRONGPASS") || log.contains("authentication") { Ok(()) } else { Err(log) }
    })
    .await;
    println!("{}", process.log().lines().last().unwrap_or_default());
    assert_no_secret(&process.log());
}
