use std::time::Duration;

use deploymind_tests::redis::{RedisOptions, TestRedis, base_redis_url, unique_fleet};
use redis::AsyncCommands as _;

async fn value(redis: &TestRedis) -> Option<String> {
    redis.connect().await.get("key").await.unwrap()
}

async fn set(redis: &TestRedis) {
    let () = redis.connect().await.set("key", "kept").await.unwrap();
}

#[tokio::test]
async fn with_an_append_only_file_a_kill_loses_nothing_that_was_acknowledged() {
    let mut redis = TestRedis::start().await;
    set(&redis).await;
    redis.kill9();
    assert!(redis::Client::open(redis.url()).unwrap().get_multiplexed_async_connection().await.is_err());
    redis.restart().await;
    assert_eq!(value(&redis).await.as_deref(), Some("kept"));
}

#[tokio::test]
async fn without_one_a_kill_loses_everything() {
    let mut redis = TestRedis::start_with(RedisOptions {
        append_only: false,
        maxmemory_policy: "allkeys-lru".to_owned(),
    })
    .await;
    let policy: (String, String) = redis::cmd("CONFIG")
        .arg("GET")
        .arg("maxmemory-policy")
        .query_async(&mut redis.connect().await)
        .await
        .unwrap();
    assert_eq!(policy.1, "allkeys-lru");
    set(&redis).await;
    redis.restart().await;
    assert_eq!(value(&redis).await, None);
}

#[tokio::test]
async fn an_orderly_stop_and_a_flush() {
    let mut redis = TestRedis::start().await;
    set(&redis).await;
    redis.stop().await;
    redis.restart().await;
    assert_eq!(value(&redis).await.as_deref(), Some("kept"));
    redis.flushall().await;
    assert_eq!(value(&redis).await, None);
}

#[tokio::test]
async fn a_frozen_redis_keeps_its_connections_and_answers_when_it_thaws() {
    let mut redis = TestRedis::start().await;
    let mut connection = redis.connect().await;
    redis.sigstop();
    let ping = redis::cmd("PING");
    let mut answer = Box::pin(ping.query_async::<String>(&mut connection));
    let silence = tokio::time::timeout(Duration::from_millis(300), &mut answer).await;
    assert!(silence.is_err(), "a frozen server answered: {silence:?}");
    redis.sigcont();
    assert_eq!(answer.await.unwrap(), "PONG");
}

#[tokio::test]
async fn tests_share_a_redis_under_names_of_their_own() {
    let connection = redis::Client::open(base_redis_url()).unwrap().get_multiplexed_async_connection().await;
    let pong: String = redis::cmd("PING").query_async(&mut connection.unwrap()).await.unwrap();
    assert_eq!(pong, "PONG");
    let (one, other) = (unique_fleet(), unique_fleet());
    assert_ne!(one, other);
    assert!(one.len() <= 32);
    assert!(one.chars().all(|letter| matches!(letter, 'a'..='z' | '0'..='9' | '-')));
}
