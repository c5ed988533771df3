//! A process that starts before its stores do, and many that migrate at once.

use std::time::{Duration, Instant};

use deploymind_shared::domain::job::Probe;
use deploymind_shared::fleet::{JobRequest, Submitter};
use deploymind_shared::lifecycle::Lifecycle;
use deploymind_tests::postgres::{PrivatePostgres, TestDatabase};
use deploymind_tests::proxy::{FaultProxy, Mode};
use deploymind_tests::redis::{TestRedis, base_redis_url, unique_fleet};
use deploymind_tests::rig::{NodeBuilder, Stores, client, production};
use deploymind_tests::{free_port, wait_for};
use sqlx::PgPool;

use super::{SOON, deploymind, empty, ended};

fn worker(stores: &Stores, fleet: &str) -> NodeBuilder {
    NodeBuilder::shipped("worker", stores, fleet).set("DEPLOYMIND_ENVIRONMENTS", "production,staging")
}

fn gateway(stores: &Stores, fleet: &str) -> NodeBuilder {
    let listen = format!("127.0.0.1:{}", free_port());
    NodeBuilder::shipped("gateway", stores, fleet).set("DEPLOYMIND_LISTEN", &listen)
}

/// Sends a probe through a fleet whose processes run, and waits for its end.
async fn assert_works(stores: &Stores, fleet: &str, pool: &PgPool) {
    let lifecycle = Lifecycle::new();
    let submitter = Submitter::start(&lifecycle, &client(stores, fleet));
    let wish = JobRequest::new(production(), &Probe {}).expect("request");
    let job = submitter.submit(wish).await.expect("submit");
    wait_for("the probe to end", SOON, async || {
        let state: String = sqlx::query_scalar("SELECT state FROM jobs WHERE id = $1")
            .bind(job.as_uuid())
            .fetch_one(pool)
            .await
            .map_err(|error| error.to_string())?;
        if state == "succeeded" { Ok(()) } else { Err(state) }
    })
    .await;
    lifecycle.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_stores_that_are_not_there_yet() {
    let (mut redis, mut postgres) = (TestRedis::start().await, PrivatePostgres::start().await);
    let stores = Stores { database: postgres.url(), redis: redis.url() };
    redis.stop().await;
    postgres.stop().await;
    let fleet = unique_fleet();
    let mut nodes = [
        ("worker", worker(&stores, &fleet).spawn()),
        ("gateway", gateway(&stores, &fleet).spawn()),
        ("scheduler", NodeBuilder::shipped("scheduler", &stores, &fleet).spawn()),
    ];
    let mut impatient = NodeBuilder::shipped("scheduler", &stores, &fleet).spawn();
    let waits_for = |store: &str| format!("\"store\":\"{store}\"");
    for (role, node) in &nodes {
        wait_for("it to wait for Redis", SOON, async || {
            let log = node.process.log();
            if log.contains(&waits_for("redis")) { Ok(()) } else { Err(log) }
        })
        .await;
        assert_eq!(node.get("/healthz").await.map(|answer| answer.status), Ok(200), "{role} lives");
        let ready = node.get("/readyz").await.expect("answers");
        assert!(ready.status == 503 && ready.body.contains("still starting"), "{role}: {ready:?}");
    }
    impatient.process.sigterm();
    assert_eq!(impatient.process.wait_exit(SOON).await.code(), Some(0), "a wait can be ended");
    redis.restart().await;
    for (_, node) in &nodes {
        wait_for("it to wait for Postgres", SOON, async || {
            let log = node.process.log();
            if log.contains(&waits_for("postgres")) { Ok(()) } else { Err(log) }
        })
        .await;
    }
    postgres.restart().await;
    let there = Instant::now();
    for (role, node) in &mut nodes {
        node.wait_ready(SOON).await;
        assert_eq!(node.process.exit(), None);
        println!("{role} was ready {} ms after its last store came", there.elapsed().as_millis());
    }
    let pool = PgPool::connect(&stores.database).await.expect("connect");
    assert_works(&stores, &fleet, &pool).await;
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_a_gateway_and_a_scheduler_migrate_an_empty_database_together_and_work() {
    for round in 0..3 {
        let database = empty().await;
        let stores = Stores { database: database.url(), redis: base_redis_url() };
        let fleet = unique_fleet();
        let nodes = [
            worker(&stores, &fleet),
            worker(&stores, &fleet),
            gateway(&stores, &fleet),
            NodeBuilder::shipped("scheduler", &stores, &fleet),
        ]
        .map(NodeBuilder::spawn);
        let started = Instant::now();
        for node in &nodes {
            node.wait_ready(SOON).await;
            let log = node.process.log();
            let failed: Vec<&str> = log.lines().filter(|line| line.contains("\"ERROR\"")).collect();
            assert!(failed.is_empty(), "{failed:?}");
        }
        println!(
            "round {round}: four processes ready on an empty database after {} ms",
            started.elapsed().as_millis()
        );
        let pool = database.pool().await;
        let applied: i64 = sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations")
            .fetch_one(&pool)
            .await
            .expect("count");
        let files = deploymind_shared::db::migration_sources().count();
        assert_eq!(usize::try_from(applied).ok(), Some(files), "each file once");
        assert_works(&stores, &fleet, &pool).await;
        pool.close().await;
        drop(nodes);
        database.drop_checked().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_may_be_called_again_and_by_several_at_once() {
    let database = empty().await;
    let migrate = || deploymind("migrate").env("DEPLOYMIND_DATABASE_URL", database.url());
    let together = tokio::join!(ended(migrate()), ended(migrate()), ended(migrate()));
    for (code, log) in [together.0, together.1, together.2, ended(migrate()).await] {
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("up to date"), "{log}");
    }
    database.drop_checked().await;
}

/// A command somebody waits for must not wait for ever, nor say nothing.
#[tokio::test(flavor = "multi_thread")]
async fn migrate_without_a_database_fails_and_says_so() {
    let nowhere = format!("postgres://u:hunter2@127.0.0.1:{}/x", free_port());
    let (code, log) = ended(deploymind("migrate").env("DEPLOYMIND_DATABASE_URL", nowhere)).await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("DM-1101") && !log.contains("hunter2"), "{log}");
    let database = TestDatabase::create(deploymind_shared::db::migrate_url).await;
    let missing = format!("{}_no", database.url());
    let (code, log) = ended(deploymind("migrate").env("DEPLOYMIND_DATABASE_URL", missing)).await;
    println!("{log}");
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("does not exist"), "{log}");
    database.drop_checked().await;
}

/// Wherever the connection breaks while the schema is being brought up to date: that is an outage, not a broken schema.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_lost_in_the_middle_of_the_migrations_is_no_reason_to_give_up() {
    let mut databases = Vec::new();
    for _ in 0..8 {
        let database = empty().await;
        let proxy = FaultProxy::before(&database.url()).await;
        // Each round trip takes a while, so that the cut falls into another one each time.
        proxy.set(Mode::Delay(Duration::from_millis(20))).await;
        databases.push((database, proxy));
    }
    let mut nodes: Vec<_> = databases
        .iter()
        .map(|(database, proxy)| {
            let stores = Stores { database: proxy.url(&database.url()), redis: base_redis_url() };
            NodeBuilder::shipped("scheduler", &stores, &unique_fleet()).spawn()
        })
        .collect();
    let started = Instant::now();
    for (step, (_, proxy)) in databases.iter().enumerate() {
        let cut_at = Duration::from_millis(90 * (step as u64 + 2));
        tokio::time::sleep(cut_at.saturating_sub(started.elapsed())).await;
        proxy.set(Mode::Cut).await;
        proxy.set(Mode::Pass).await;
    }
    for (step, node) in nodes.iter_mut().enumerate() {
        wait_for("it to come up", SOON, async || {
            let log = node.process.log();
            let exit = node.process.exit();
            assert!(exit.is_none(), "cut number {step}: it gave up:\n{log}");
            if node.is_ready().await { Ok(()) } else { Err(log) }
        })
        .await;
    }
    println!("cut at 8 moments of its migrations, it came up each time");
    drop(nodes);
    for (database, _) in databases {
        database.drop_checked().await;
    }
}
