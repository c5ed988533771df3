//! What the same stores do without us.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use deploymind_tests::rig::Stores;
use redis::aio::MultiplexedConnection;
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;

const CLIENTS: usize = 16;
const RUN: Duration = Duration::from_secs(4);

/// Milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Latency {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
}

impl Latency {
    pub fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort();
        let at = |share: f64| {
            let index = ((samples.len() as f64 * share) as usize).min(samples.len().saturating_sub(1));
            samples.get(index).map_or(f64::NAN, |sample| sample.as_secs_f64() * 1e3)
        };
        Self { p50: at(0.50), p95: at(0.95), p99: at(0.99) }
    }
}

pub struct Floors {
    /// `LPUSH` + `BRPOPLPUSH` + `LREM` over 16 connections.
    pub list_per_s: f64,
    /// Single-row insert commits by 16 clients.
    pub insert_per_s: f64,
    /// `UPDATE … WHERE id` commits by 16 clients.
    pub update_per_s: f64,
    /// From `LPUSH` to the return of a blocked `BRPOPLPUSH`, one every 20 ms.
    pub redis_pickup: Latency,
    /// One single-row insert commit, one every 20 ms.
    pub commit: Latency,
}

impl Floors {
    pub async fn measure(stores: &Stores) -> Self {
        let mut setup = postgres(stores).await;
        sqlx::raw_sql(
            "CREATE TABLE floor (id uuid PRIMARY KEY, state text NOT NULL, payload jsonb NOT NULL);
             CREATE TABLE floor_rows (id integer PRIMARY KEY, state text NOT NULL, attempt integer NOT NULL);
             INSERT INTO floor_rows SELECT n, 'queued', 0 FROM generate_series(1, 50000) n;
             ANALYZE floor_rows;",
        )
        .execute(&mut setup)
        .await
        .expect("tables of the floors");
        Self {
            list_per_s: list(stores).await,
            insert_per_s: commits(stores, Write::Insert).await,
            update_per_s: commits(stores, Write::Update).await,
            redis_pickup: redis_pickup(stores).await,
            commit: commit_latency(stores).await,
        }
    }
}

async fn postgres(stores: &Stores) -> PgConnection {
    PgConnection::connect(&stores.database).await.expect("connect to postgres")
}

async fn redis(stores: &Stores) -> MultiplexedConnection {
    let settings = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    redis::Client::open(stores.redis.as_str())
        .expect("a redis address")
        .get_multiplexed_async_connection_with_config(&settings)
        .await
        .expect("connect to redis")
}

async fn list(stores: &Stores) -> f64 {
    let done = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    let started = Instant::now();
    for client in 0..CLIENTS {
        let (mut connection, done) = (redis(stores).await, Arc::clone(&done));
        clients.spawn(async move {
            let (queue, processing) = ("floor:queue", format!("floor:processing:{client}"));
            while started.elapsed() < RUN {
                let _: u64 = redis::cmd("LPUSH").arg(queue).arg("job").query_async(&mut connection).await?;
                let job: String = redis::cmd("BRPOPLPUSH")
                    .arg(queue)
                    .arg(&processing)
                    .arg(1)
                    .query_async(&mut connection)
                    .await?;
                let _: u64 =
                    redis::cmd("LREM").arg(&processing).arg(1).arg(job).query_async(&mut connection).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, redis::RedisError>(())
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("no panic").expect("redis answers");
    }
    done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}

#[derive(Clone, Copy)]
enum Write {
    Insert,
    Update,
}

async fn write(connection: &mut PgConnection, write: Write, number: u64) {
    let query = match write {
        Write::Insert => sqlx::query("INSERT INTO floor (id, state, payload) VALUES ($1, 'queued', '{}')")
            .bind(uuid::Uuid::now_v7()),
        Write::Update => {
            sqlx::query("UPDATE floor_rows SET state = 'running', attempt = attempt + 1 WHERE id = $1")
                .bind(i32::try_from(number * 7919 % 50_000 + 1).unwrap_or(1))
        }
    };
    query.execute(connection).await.expect("postgres answers");
}

async fn commits(stores: &Stores, what: Write) -> f64 {
    let done = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    let mut connections = Vec::new();
    for _ in 0..CLIENTS {
        connections.push(postgres(stores).await);
    }
    let started = Instant::now();
    for mut connection in connections {
        let done = Arc::clone(&done);
        clients.spawn(async move {
            while started.elapsed() < RUN {
                write(&mut connection, what, done.fetch_add(1, Ordering::Relaxed)).await;
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("no panic");
    }
    done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}

async fn redis_pickup(stores: &Stores) -> Latency {
    let (mut push, mut pop) = (redis(stores).await, redis(stores).await);
    let (sent, mut received) = tokio::sync::mpsc::channel::<Instant>(1);
    let mut popper = JoinSet::new();
    popper.spawn(async move {
        let mut samples = Vec::new();
        while samples.len() < 300 {
            let _: Option<String> = redis::cmd("BRPOPLPUSH")
                .arg("floor:pickup")
                .arg("floor:picked")
                .arg(2)
                .query_async(&mut pop)
                .await
                .expect("redis answers");
            let Some(at) = received.recv().await else { break };
            samples.push(at.elapsed());
        }
        samples
    });
    for _ in 0..300 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let at = Instant::now();
        sent.send(at).await.expect("the popper lives");
        let _: u64 = redis::cmd("LPUSH")
            .arg("floor:pickup")
            .arg("job")
            .query_async(&mut push)
            .await
            .expect("redis answers");
    }
    Latency::of(popper.join_next().await.expect("one task").expect("no panic"))
}

async fn commit_latency(stores: &Stores) -> Latency {
    let mut connection = postgres(stores).await;
    let mut samples = Vec::new();
    for number in 0..300 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let at = Instant::now();
        write(&mut connection, Write::Insert, number).await;
        samples.push(at.elapsed());
    }
    Latency::of(samples)
}
