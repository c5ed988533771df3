//! How the shipped program starts, and how it refuses to.

mod early;
mod endpoints;
mod keys;
mod secrets;

use std::time::Duration;

use deploymind_shared::config::EXIT_CONFIG;
use deploymind_shared::db::migration_sources;
use deploymind_tests::postgres::{TestDatabase, base_database_url};
use deploymind_tests::process::ProcBuilder;
use deploymind_tests::redis::{RedisOptions, TestRedis, base_redis_url, unique_fleet};
use deploymind_tests::{free_port, http, rig, wait_for};

const SOON: Duration = Duration::from_secs(20);

fn deploymind(role: &str) -> ProcBuilder {
    rig::deploymind([role])
}

async fn ended(builder: ProcBuilder) -> (Option<i32>, String) {
    let mut process = builder.start();
    let status = process.wait_exit(SOON).await;
    (status.code(), process.log())
}

/// An address of an empty database, and what keeps it alive.
async fn empty() -> TestDatabase {
    // The template is shared by all tests, so the schema is taken out again instead of left out.
    let database = TestDatabase::create(deploymind_shared::db::migrate_url).await;
    let pool = database.pool().await;
    sqlx::raw_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public").execute(&pool).await.expect("emptied");
    pool.close().await;
    database
}

#[tokio::test]
async fn all_wrong_settings_are_reported_together_and_no_secret_among_them() {
    let wrong = deploymind("worker")
        .args(["--concurrency", "many"])
        .env("DEPLOYMIND_DATABASE_URL", "mysql://root:hunter2@localhost/x")
        .env("DEPLOYMIND_QUEUE_LOCK_TTL", "1s")
        .env("DEPLOYMIND_QUEUE_HEARTBEAT", "soon");
    let (code, log) = ended(wrong).await;
    assert_eq!(code, Some(i32::from(EXIT_CONFIG)), "{log}");
    for key in [
        "DEPLOYMIND_DATABASE_URL",
        "DEPLOYMIND_REDIS_URL",
        "DEPLOYMIND_ENVIRONMENTS",
        "DEPLOYMIND_WORKER_CONCURRENCY",
        "DEPLOYMIND_QUEUE_HEARTBEAT",
    ] {
        assert!(log.contains(key), "{key} is not mentioned:\n{log}");
    }
    assert!(!log.contains("hunter2"), "{log}");
}

#[tokio::test]
async fn the_settings_in_effect_are_shown_without_secrets() {
    let shown = deploymind("scheduler")
        .arg("--print-config")
        .env("DEPLOYMIND_DATABASE_URL", "postgres://root:hunter2@localhost/x")
        .env("DEPLOYMIND_REDIS_URL", "redis://:hunter2@localhost");
    let mut process = shown.start();
    assert_eq!(process.wait_exit(SOON).await.code(), Some(0));
    let text = process.stdout();
    assert!(text.contains("DEPLOYMIND_SCHEDULER_LEADER_TTL") && text.contains("redacted"), "{text}");
    assert!(!process.log().contains("hunter2"));
}

#[tokio::test]
async fn usage_errors_and_help_have_their_exit_codes() {
    assert_eq!(ended(deploymind("--help")).await.0, Some(0));
    assert_eq!(ended(deploymind("--version")).await.0, Some(0));
    assert_eq!(ended(deploymind("dance")).await.0, Some(2));
    assert_eq!(ended(deploymind("worker").arg("--loud")).await.0, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_evicts_is_refused() {
    let redis = TestRedis::start_with(RedisOptions {
        maxmemory_policy: "allkeys-lru".to_owned(),
        ..RedisOptions::default()
    })
    .await;
    let scheduler = deploymind("scheduler")
        .env("DEPLOYMIND_DATABASE_URL", base_database_url())
        .env("DEPLOYMIND_REDIS_URL", redis.url())
        .env("DEPLOYMIND_ADMIN_ADDR", format!("127.0.0.1:{}", free_port()));
    let (code, log) = ended(scheduler).await;
    assert_eq!(code, Some(i32::from(EXIT_CONFIG)), "{log}");
    assert!(log.contains("DM-1002") && log.contains("allkeys-lru"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_without_an_append_only_file_is_warned_about_and_an_unknown_environment_refused() {
    let redis = TestRedis::start_with(RedisOptions { append_only: false, ..RedisOptions::default() }).await;
    let database = TestDatabase::create(deploymind_shared::db::migrate_url).await;
    let worker = deploymind("worker")
        .args(["--environment", "nowhere"])
        .env("DEPLOYMIND_DATABASE_URL", database.url())
        .env("DEPLOYMIND_REDIS_URL", redis.url())
        .env("DEPLOYMIND_ADMIN_ADDR", format!("127.0.0.1:{}", free_port()));
    let (code, log) = ended(worker).await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("append-only is off"), "{log}");
    assert!(log.contains("DM-2003") && log.contains("production"), "{log}");
    database.drop_checked().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_roles_start_at_once_on_an_empty_database_and_show_how_they_are() {
    let database = empty().await;
    let fleet = unique_fleet();
    let mut roles = Vec::new();
    for (role, arguments) in [
        ("gateway", vec!["--listen".to_owned(), format!("127.0.0.1:{}", free_port())]),
        ("scheduler", Vec::new()),
        ("worker", vec!["--environment".to_owned(), "production".to_owned()]),
        ("worker", vec!["--environment".to_owned(), "staging".to_owned()]),
    ] {
        let admin = free_port();
        let process = deploymind(role)
            .args(arguments)
            .env("DEPLOYMIND_DATABASE_URL", database.url())
            .env("DEPLOYMIND_REDIS_URL", base_redis_url())
            .env("DEPLOYMIND_FLEET", &fleet)
            .env("DEPLOYMIND_ADMIN_ADDR", format!("127.0.0.1:{admin}"))
            .start();
        roles.push((role, process, admin));
    }
    for (role, _, admin) in &roles {
        let get = async |path: &str| http::get(&format!("http://127.0.0.1:{admin}{path}")).await;
        wait_for("the role to be ready", SOON, async || match get("/readyz").await {
            Ok(response) if response.status == 200 => Ok(()),
            other => Err(format!("{role}: {other:?}")),
        })
        .await;
        assert_eq!(get("/healthz").await.expect("answers").status, 200);
        assert!(get("/metrics").await.expect("answers").body.contains("deploymind_db_query_seconds"));
        assert_eq!(get("/status").await.expect("answers").status, 200);
        assert_eq!(get("/nothing").await.expect("answers").status, 404);
    }
    for (role, mut process, _) in roles {
        process.sigterm();
        assert_eq!(process.wait_exit(SOON).await.code(), Some(0), "{role}:\n{}", process.log());
    }
    // And the schema can be brought up to date again, as a command too.
    let again = deploymind("migrate").env("DEPLOYMIND_DATABASE_URL", database.url());
    assert_eq!(ended(again).await.0, Some(0));
    database.drop_checked().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_migration_may_run_twice() {
    let database = TestDatabase::create(deploymind_shared::db::migrate_url).await;
    let pool = database.pool().await;
    for migration in migration_sources() {
        sqlx::raw_sql(sqlx::AssertSqlSafe(migration)).execute(&pool).await.expect("harmless");
    }
    pool.close().await;
    database.drop_checked().await;
}
