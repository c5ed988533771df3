use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use deploymind_tests::postgres::{PrivatePostgres, TestDatabase, base_database_url};
use sqlx::{Connection as _, Executor as _, PgConnection};

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

async fn migrate(url: &str) -> anyhow::Result<()> {
    let mut connection = connect(url).await;
    connection.execute("CREATE TABLE note (body text)").await?;
    // Left open on purpose: a pool that is not closed must not spoil the template.
    std::mem::forget(connection);
    Ok(())
}

async fn databases(url: &str) -> Vec<String> {
    sqlx::query_scalar("SELECT datname FROM pg_database WHERE datname LIKE 'dm\\_test\\_%'")
        .fetch_all(&mut connect(url).await)
        .await
        .unwrap()
}

#[tokio::test]
async fn each_test_gets_a_migrated_database_and_leaves_none() {
    let postgres = PrivatePostgres::start().await;
    let url = postgres.url();
    let migrated = AtomicU32::new(0);
    let counted = async |url: &str| {
        migrated.fetch_add(1, Ordering::Relaxed);
        migrate(url).await
    };
    let (one, other, third) = tokio::join!(
        TestDatabase::create_on(&url, counted),
        TestDatabase::create_on(&url, counted),
        TestDatabase::create_on(&url, counted),
    );
    assert_eq!(migrated.load(Ordering::Relaxed), 1);

    one.pool().await.execute("INSERT INTO note VALUES ('mine')").await.unwrap();
    let seen: i64 =
        sqlx::query_scalar("SELECT count(*) FROM note").fetch_one(&other.pool().await).await.unwrap();
    assert_eq!(seen, 0);

    assert_eq!(databases(&url).await.len(), 3);
    let still_open = one.pool().await;
    one.drop_checked().await;
    drop(other);
    drop(third);
    assert_eq!(databases(&url).await, Vec::<String>::new());
    drop(still_open);
}

#[tokio::test]
#[should_panic(expected = "migrate the template database: read migrations: no such table")]
async fn a_failed_migration_is_told_with_its_causes() {
    let postgres = PrivatePostgres::start().await;
    let error = || anyhow::anyhow!("no such table").context("read migrations");
    TestDatabase::create_on(&postgres.url(), async |_: &str| Err(error())).await;
}

#[tokio::test]
async fn the_shared_server_is_durable_and_large_enough() {
    let mut connection = connect(&base_database_url()).await;
    for (setting, wanted) in [("fsync", "on"), ("max_connections", "300")] {
        let value: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(setting)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(value, wanted, "{setting}");
    }
}

#[tokio::test]
async fn a_killed_server_comes_back_with_what_was_committed() {
    let mut postgres = PrivatePostgres::start().await;
    let mut connection = connect(&postgres.url()).await;
    connection.execute("CREATE TABLE note AS SELECT 'kept' AS body").await.unwrap();
    postgres.kill9();
    assert!(connection.execute("SELECT 1").await.is_err());
    assert!(PgConnection::connect(&postgres.url()).await.is_err());
    postgres.restart().await;
    connect(&postgres.url()).await.execute("INSERT INTO note VALUES ('more')").await.unwrap();
    postgres.stop().await;
    assert!(PgConnection::connect(&postgres.url()).await.is_err());
    postgres.restart().await;
    let notes: Vec<String> = sqlx::query_scalar("SELECT body FROM note")
        .fetch_all(&mut connect(&postgres.url()).await)
        .await
        .unwrap();
    assert_eq!(notes, ["kept", "more"]);
}

#[tokio::test]
async fn a_frozen_server_keeps_its_connections_and_answers_when_it_thaws() {
    let mut postgres = PrivatePostgres::start().await;
    let mut connection = connect(&postgres.url()).await;
    // The backend of this connection leads a group of its own: it must be frozen too.
    postgres.sigstop();
    let mut answer = Box::pin(sqlx::query_scalar::<_, i32>("SELECT 1").fetch_one(&mut connection));
    let silence = tokio::time::timeout(Duration::from_millis(300), &mut answer).await;
    assert!(silence.is_err(), "a frozen server answered: {silence:?}");
    postgres.sigcont();
    assert_eq!(answer.await.unwrap(), 1);
}
