//! A fleet for one test: its own database, its own keys in Redis, real processes, and the client's end in this process.

use std::time::Duration;

use deploymind_shared::config::{DatabaseConfig, MapSource, Reader, RedisConfig};
use deploymind_shared::db::{Db, migrate_url};
use deploymind_shared::error::Result;
use deploymind_shared::fleet::{Fleet, JobRequest, Submitter};
use deploymind_shared::ids::{EnvironmentName, JobId, TargetName, WorkerId};
use deploymind_shared::lifecycle::Lifecycle;
use deploymind_shared::queue::Queue;
use deploymind_shared::telemetry::Metrics;
use sqlx::PgPool;

use crate::checker::{Verdict, check};
use crate::postgres::{PrivatePostgres, TestDatabase};
use crate::process::{Proc, ProcBuilder, workspace_binary};
use crate::redis::{base_redis_url, unique_fleet};
use crate::script::{Row, Script, history, record_history, rows};
use crate::{free_port, http, wait_for};

/// Short enough that a test about recovery takes seconds; in the same proportions as the defaults.
const SETTINGS: &[(&str, &str)] = &[
    ("DEPLOYMIND_QUEUE_BLOCK", "500ms"),
    ("DEPLOYMIND_QUEUE_LOCK_TTL", "2s"),
    ("DEPLOYMIND_QUEUE_HEARTBEAT", "300ms"),
    ("DEPLOYMIND_QUEUE_WORKER_TTL", "1500ms"),
    ("DEPLOYMIND_QUEUE_RECONCILE", "400ms"),
    ("DEPLOYMIND_QUEUE_CANCEL_GRACE", "2s"),
    ("DEPLOYMIND_SCHEDULER_LEADER_TTL", "1500ms"),
    ("DEPLOYMIND_SCHEDULER_RECONCILE", "400ms"),
    ("DEPLOYMIND_SCHEDULER_REAP", "300ms"),
    ("DEPLOYMIND_SCHEDULER_PROMOTE", "50ms"),
    ("DEPLOYMIND_SCHEDULER_UNPARK", "300ms"),
    ("DEPLOYMIND_REDIS_RESPONSE_TIMEOUT", "1s"),
    ("DEPLOYMIND_DATABASE_ACQUIRE_TIMEOUT", "1s"),
    ("DEPLOYMIND_DATABASE_STATEMENT_TIMEOUT", "2s"),
    ("DEPLOYMIND_LOG_FILTER", "info"),
];

/// The key of every worker that no test gives another. Its values are made up; it is in the repository for everybody to see.
pub const KEYS: &str = "test:hTCg8JS/SNOJMqdglOZbJO7AEkvyTfMWDK2w2krDa0M=";

/// Where a fleet's stores are.
#[derive(Debug, Clone)]
pub struct Stores {
    pub database: String,
    pub redis: String,
}

pub struct Rig {
    database: TestDatabase,
    pub pool: PgPool,
    pub stores: Stores,
    pub name: String,
    pub fleet: Fleet,
    pub submitter: Submitter,
    pub lifecycle: Lifecycle,
}

/// A node with the port of its admin server.
pub struct Node {
    pub process: Proc,
    pub admin: u16,
}

impl Rig {
    /// On the shared servers.
    pub async fn start() -> Self {
        let database = TestDatabase::create(migrate_url).await;
        let redis = base_redis_url();
        Self::on(database, redis).await
    }

    /// On the shared Postgres and another Redis.
    pub async fn with_redis(redis: &str) -> Self {
        let database = TestDatabase::create(migrate_url).await;
        Self::on(database, redis.to_owned()).await
    }

    /// On servers of its own, which the test may break.
    pub async fn with_servers(postgres: &PrivatePostgres, redis: &str) -> Self {
        let database = TestDatabase::create_on(&postgres.url(), migrate_url).await;
        Self::on(database, redis.to_owned()).await
    }

    async fn on(database: TestDatabase, redis: String) -> Self {
        let pool = database.pool().await;
        record_history(&pool).await.expect("the history can be created");
        let stores = Stores { database: database.url(), redis };
        let name = unique_fleet();
        let fleet = client(&stores, &name);
        let lifecycle = Lifecycle::new();
        let submitter = Submitter::start(&lifecycle, &fleet);
        Self { database, pool, stores, name, fleet, submitter, lifecycle }
    }

    /// Lets the nodes (not this test) reach the stores by other addresses, such as a proxy's.
    pub fn node(&self, role: &str, stores: &Stores) -> NodeBuilder {
        NodeBuilder::new("fault-node", role, stores, &self.name)
    }

    /// A worker of `production` with this many places.
    pub fn worker(&self, concurrency: usize) -> NodeBuilder {
        self.node("worker", &self.stores)
            .set("DEPLOYMIND_ENVIRONMENTS", "production")
            .set("DEPLOYMIND_WORKER_CONCURRENCY", &concurrency.to_string())
    }

    pub fn scheduler(&self) -> NodeBuilder {
        self.node("scheduler", &self.stores)
    }

    /// A process that submits one job and ends.
    pub fn client(&self) -> NodeBuilder {
        self.node("client", &self.stores)
    }

    pub async fn targets(&self, count: usize) -> Vec<TargetName> {
        let mut targets = Vec::with_capacity(count);
        for number in 0..count {
            let target = target(number);
            deploymind_shared::db::targets::target_create(&self.fleet.db, &target)
                .await
                .expect("create target");
            targets.push(target);
        }
        targets
    }

    pub async fn submit(&self, script: &Script) -> JobId {
        self.submitter.submit(request(script)).await.expect("submit job")
    }

    /// Waits until every one of these jobs has ended.
    pub async fn wait_ended(&self, jobs: &[JobId], deadline: Duration) {
        let ids: Vec<uuid::Uuid> = jobs.iter().map(|job| job.as_uuid()).collect();
        wait_for("every job to end", deadline, || async {
            let left: Vec<(uuid::Uuid, String, i32)> = sqlx::query_as(
                "SELECT id, state, attempt FROM jobs WHERE id = ANY ($1) AND finished_at IS NULL ORDER BY id LIMIT 1000",
            )
            .bind(&ids)
            .fetch_all(&self.pool)
            .await
            .map_err(|error| error.to_string())?;
            match left.first() {
                None => Ok(()),
                Some((job, state, attempt)) => {
                    let why = match self.fleet.why(JobId::from_uuid(*job)).await {
                        Ok(why) => why.to_string(),
                        Err(error) => error.to_string(),
                    };
                    Err(format!("{} left; first: {job} {state} (attempt {attempt}): {why}", left.len()))
                }
            }
        })
        .await;
    }

    pub async fn state(&self, job: JobId) -> String {
        sqlx::query_scalar("SELECT state FROM jobs WHERE id = $1")
            .bind(job.as_uuid())
            .fetch_one(&self.pool)
            .await
            .expect("the job is in the record")
    }

    pub async fn rows(&self) -> Vec<Row> {
        rows(&self.pool).await.expect("read history")
    }

    /// Every job in the record that is not among `accepted`: its caller got an error although it had been written down.
    pub async fn uncertain(&self, accepted: &[JobId]) -> Vec<JobId> {
        let accepted: Vec<uuid::Uuid> = accepted.iter().map(|job| job.as_uuid()).collect();
        sqlx::query_scalar("SELECT id FROM jobs WHERE id <> ALL ($1)")
            .bind(&accepted)
            .fetch_all(&self.pool)
            .await
            .map(|ids: Vec<uuid::Uuid>| ids.into_iter().map(JobId::from_uuid).collect())
            .expect("read jobs")
    }

    /// As [`Rig::verdict`], where some callers were left without an answer.
    pub async fn verdict_with(&self, accepted: &[JobId], uncertain: &[JobId]) -> Verdict {
        let mut history = history(accepted.iter().map(|job| job.as_uuid()), &self.rows().await);
        history.uncertain = uncertain.iter().map(|job| job.as_uuid()).collect();
        let verdict = check(&history);
        println!("{verdict}");
        verdict
    }

    /// The checker's judgement over everything recorded, printed.
    pub async fn verdict(&self, accepted: &[JobId]) -> Verdict {
        self.verdict_with(accepted, &[]).await
    }

    /// Ends the test: nothing may be left in Redis but the heartbeats of dead workers, and the database goes.
    ///
    /// # Panics
    /// When a job, lock or place was left behind.
    pub async fn finish(self) {
        self.assert_redis_clean().await;
        self.lifecycle.shutdown(Duration::from_secs(5)).await;
        self.pool.close().await;
        self.database.drop_checked().await;
    }

    /// A connection for the test's own questions and interference.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn redis(&self) -> redis::aio::MultiplexedConnection {
        // The test's questions may wait: what is judged is the product's patience, not this one's.
        let patience = Some(Duration::from_secs(20));
        let settings = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(patience)
            .set_response_timeout(patience);
        redis::Client::open(self.stores.redis.as_str())
            .expect("a redis address")
            .get_multiplexed_async_connection_with_config(&settings)
            .await
            .expect("connect to redis")
    }

    /// The name in Redis of one of this fleet's keys.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        format!("{{{}}}:{name}", self.name)
    }

    /// Waits for what the last repairs still do, then complains about the rest.
    pub async fn assert_redis_clean(&self) {
        let redis = self.redis().await;
        let prefix = self.key("");
        wait_for("nothing to be left in redis", Duration::from_secs(15), || {
            let (mut redis, prefix) = (redis.clone(), prefix.clone());
            async move {
                let keys: Vec<String> = redis::cmd("KEYS")
                    .arg(format!("{prefix}*"))
                    .query_async(&mut redis)
                    .await
                    .map_err(|error| error.to_string())?;
                let left: Vec<&str> = keys
                    .iter()
                    .filter_map(|key| key.strip_prefix(&prefix))
                    .filter(|key| !key.starts_with("worker:") && *key != "quarantine")
                    .collect();
                if left.is_empty() { Ok(()) } else { Err(format!("left behind: {left:?}")) }
            }
        })
        .await;
    }
}

/// The client's end of a fleet, as a gateway would have it.
#[must_use]
pub fn client(stores: &Stores, name: &str) -> Fleet {
    let source = MapSource::new()
        .with("DEPLOYMIND_DATABASE_URL", &stores.database)
        .with("DEPLOYMIND_REDIS_URL", &stores.redis)
        .with("DEPLOYMIND_FLEET", name);
    let mut reader = Reader::new(&source);
    let (database, redis) = (DatabaseConfig::read(&mut reader), RedisConfig::read(&mut reader));
    reader.finish().expect("settings of the test are right");
    let metrics = Metrics::new(&[]);
    Fleet {
        db: Db::open(&database, metrics.clone()).expect("open the record"),
        queue: Queue::open(&redis).expect("open the queue"),
        metrics,
    }
}

/// # Panics
/// Never: the name is right.
#[must_use]
pub fn production() -> EnvironmentName {
    EnvironmentName::parse("production").expect("a good name")
}

#[must_use]
pub fn target(number: usize) -> TargetName {
    TargetName::parse(&format!("docker://host-{number}")).expect("a good name")
}

#[must_use]
pub fn request(script: &Script) -> JobRequest {
    JobRequest::new(production(), script).expect("a script can be written down")
}

/// The shipped program, knowing nothing but what the test tells it (and, for a worker, a key and a folder).
#[must_use]
pub fn deploymind<const N: usize>(args: [&str; N]) -> ProcBuilder {
    housed(Proc::builder("deploymind", workspace_binary("deploymind")).args(args))
}

/// What a worker must be told that few tests are about: a key, and a folder to work in. Workers of one fleet share it, as on
/// one machine; those of others have their own inside.
#[must_use]
pub fn housed(builder: ProcBuilder) -> ProcBuilder {
    builder.env("DEPLOYMIND_KEYS", KEYS).env("DEPLOYMIND_WORK_DIR", std::env::temp_dir().join("work"))
}

pub struct NodeBuilder {
    builder: ProcBuilder,
    admin: u16,
}

impl NodeBuilder {
    fn new(program: &str, role: &str, stores: &Stores, fleet: &str) -> Self {
        let admin = free_port();
        let mut builder = housed(Proc::builder(role, workspace_binary(program)))
            .arg(role)
            .env("DEPLOYMIND_DATABASE_URL", &stores.database)
            .env("DEPLOYMIND_REDIS_URL", &stores.redis)
            .env("DEPLOYMIND_FLEET", fleet)
            .env("DEPLOYMIND_ADMIN_ADDR", format!("127.0.0.1:{admin}"));
        for (key, value) in SETTINGS {
            builder = builder.env(key, value);
        }
        Self { builder, admin }
    }

    /// The shipped program in one of its roles, with the timings of a rig; needs no rig.
    #[must_use]
    pub fn shipped(role: &str, stores: &Stores, fleet: &str) -> Self {
        Self::new("deploymind", role, stores, fleet)
    }

    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.builder = self.builder.env(key, value);
        self
    }

    /// With the timings that ship, not a rig's.
    #[must_use]
    pub fn unhurried(self) -> Self {
        // Empty text is no value.
        SETTINGS.iter().fold(self, |node, (key, _)| node.set(key, ""))
    }

    /// Dies by `kill -9` when it comes to this fail point, after passing it `skip` times.
    #[must_use]
    pub fn kill_at(self, point: &str, skip: usize) -> Self {
        self.set("FAULT_KILL_AT", point).set("FAULT_KILL_SKIP", &skip.to_string())
    }

    /// Stops for a while at this fail point, the first time it comes there.
    #[must_use]
    pub fn pause_at(self, point: &str, pause: Duration) -> Self {
        self.set("FAULT_PAUSE_AT", point).set("FAULT_PAUSE_MS", &pause.as_millis().to_string())
    }

    #[must_use]
    pub fn spawn(self) -> Node {
        Node { process: self.builder.start(), admin: self.admin }
    }

    /// Starts it and waits until it is ready.
    pub async fn ready(self) -> Node {
        let mut node = self.spawn();
        wait_for("the node to be ready", Duration::from_secs(20), async || {
            if let Some(exit) = node.process.exit() {
                panic!("it ended with {exit}");
            }
            if node.is_ready().await { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
        node
    }
}

impl Node {
    pub async fn is_ready(&self) -> bool {
        matches!(self.get("/readyz").await, Ok(response) if response.status == 200)
    }

    pub async fn get(&self, path: &str) -> Result<http::Response, String> {
        http::get(&format!("http://127.0.0.1:{}{path}", self.admin)).await
    }

    pub async fn wait_ready(&self, deadline: Duration) {
        wait_for("the node to be ready", deadline, || async {
            match self.get("/readyz").await {
                Ok(response) if response.status == 200 => Ok(()),
                Ok(response) => Err(response.body),
                Err(error) => Err(error),
            }
        })
        .await;
    }

    /// What a worker calls itself.
    ///
    /// # Panics
    /// When it is not a ready worker.
    pub async fn worker_id(&self) -> WorkerId {
        let answer = self.get("/status").await.expect("a ready worker answers");
        let status: serde_json::Value = serde_json::from_str(&answer.body).expect("the status is JSON");
        serde_json::from_value(status["worker"].clone()).expect("a worker shows its id")
    }

    /// One value of `/metrics`, by the start of its line.
    pub async fn metric(&self, start: &str) -> f64 {
        let text = self.get("/metrics").await.map(|response| response.body).unwrap_or_default();
        text.lines()
            .filter(|line| line.starts_with(start))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }
}
