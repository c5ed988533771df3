//! What we do with the same stores.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use deploymind_shared::admin::Readiness;
use deploymind_shared::config::{MapSource, QueueConfig, Reader, WorkerConfig};
use deploymind_shared::domain::job::{JobKind, Locking, Probe};
use deploymind_shared::fleet::JobRequest;
use deploymind_shared::ids::{EnvironmentName, JobId};
use deploymind_shared::lifecycle::Lifecycle;
use deploymind_shared::queue::hands;
use deploymind_shared::retry::Stop;
use deploymind_tests::process::{Proc, workspace_binary};
use deploymind_tests::rig::{Rig, client, housed, production};
use deploymind_tests::{free_port, wait_for};
use deploymind_worker::{Done, Handler, JobContext, Registry};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::floors::Latency;

/// Callers that enqueue at once, as a busy gateway has them.
const CALLERS: usize = 256;
/// Places of a draining worker. A no-op job is all waiting for commits; places decide how many share one.
const PLACES: usize = 512;

fn staging() -> EnvironmentName {
    EnvironmentName::parse("staging").expect("a good name")
}

/// Durable enqueues per second: recorded, committed and pushed.
pub async fn enqueue(rig: &Rig, jobs: usize) -> f64 {
    let left = Arc::new(AtomicUsize::new(jobs));
    let mut callers = JoinSet::new();
    let started = Instant::now();
    for _ in 0..CALLERS {
        let (submitter, left) = (rig.submitter.clone(), Arc::clone(&left));
        callers.spawn(async move {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
                let probe = JobRequest::new(production(), &Probe {}).expect("a request");
                submitter.submit(probe).await.expect("accepted");
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended.expect("no panic");
    }
    jobs as f64 / started.elapsed().as_secs_f64()
}

fn worker(rig: &Rig, environment: &str, places: usize) -> Proc {
    housed(Proc::builder("worker", shipped()))
        .arg("worker")
        .args(["--environment", environment])
        .args(["--concurrency", &places.to_string()])
        .env("DEPLOYMIND_DATABASE_URL", &rig.stores.database)
        .env("DEPLOYMIND_REDIS_URL", &rig.stores.redis)
        .env("DEPLOYMIND_FLEET", &rig.name)
        .env("DEPLOYMIND_LOG_FILTER", "warn")
        .env("DEPLOYMIND_ADMIN_ADDR", format!("127.0.0.1:{}", free_port()))
        .start()
}

fn shipped() -> PathBuf {
    let this = std::env::current_exe().expect("a running program has a path");
    let beside = this.with_file_name("deploymind");
    if beside.is_file() { beside } else { workspace_binary("deploymind") }
}

/// Its reconcilers are part of every fleet, so they are part of every figure.
pub fn scheduler(rig: &Rig) -> Proc {
    Proc::builder("scheduler", shipped())
        .arg("scheduler")
        .env("DEPLOYMIND_DATABASE_URL", &rig.stores.database)
        .env("DEPLOYMIND_REDIS_URL", &rig.stores.redis)
        .env("DEPLOYMIND_FLEET", &rig.name)
        .env("DEPLOYMIND_LOG_FILTER", "warn")
        .env("DEPLOYMIND_ADMIN_ADDR", format!("127.0.0.1:{}", free_port()))
        .start()
}

pub struct Drain {
    pub per_s: f64,
    /// The larger worker afterwards.
    pub memory_mb: f64,
}

/// Drains everything that waits in production; from the first claim to the last finish, by the database's clock.
pub async fn drain(rig: &Rig, workers: usize) -> Drain {
    let mark: f64 = scalar(rig, "SELECT extract(epoch FROM clock_timestamp())::float8").await;
    let workers: Vec<Proc> = (0..workers).map(|_| worker(rig, "production", PLACES)).collect();
    wait_for("the queue to drain", Duration::from_secs(300), || async {
        let left: f64 = scalar(
            rig,
            "SELECT count(*)::float8 FROM jobs WHERE environment = 'production' AND finished_at IS NULL",
        )
        .await;
        if left == 0.0 { Ok(()) } else { Err(format!("{left} left")) }
    })
    .await;
    let rate = format!(
        "SELECT (count(*) / extract(epoch FROM max(finished_at) - min(claimed_at)))::float8 FROM jobs
         WHERE state = 'succeeded' AND environment = 'production' AND claimed_at > to_timestamp({mark})"
    );
    let per_s = scalar(rig, &rate).await;
    let memory_mb = workers.iter().map(|worker| resident_mb(worker.pid())).fold(0.0, f64::max);
    Drain { per_s, memory_mb }
}

async fn scalar(rig: &Rig, query: &str) -> f64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(&rig.pool).await.expect("postgres answers")
}

fn resident_mb(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line of the kernel's");
    let kilobytes: f64 = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number");
    kilobytes / 1024.0
}

/// A worker whose environment has nothing to do, after ten seconds.
pub async fn idle_memory(rig: &Rig) -> f64 {
    let idle = worker(rig, "preview", 4);
    tokio::time::sleep(Duration::from_secs(10)).await;
    resident_mb(idle.pid())
}

/// Says when it ran.
#[derive(Serialize, Deserialize)]
struct Stamp {}

impl JobKind for Stamp {
    const KIND: &'static str = "stamp";
    const LOCKING: Locking = Locking::AtClaim;
    const MAX_TRIES: i32 = 1;
    const DEADLINE: Duration = Duration::from_secs(10);
}

struct Stamper(Arc<Mutex<Vec<(JobId, Instant)>>>);

#[async_trait]
impl Handler for Stamper {
    type Kind = Stamp;

    async fn run(&self, _: Stamp, context: JobContext) -> Result<Done, Stop> {
        self.0.lock().expect("no panic").push((context.id(), Instant::now()));
        Ok(Done::default())
    }
}

/// From the call to submit until the job's code runs: one job every 20 ms. The worker is the real one, in this process,
/// so that both ends read one clock.
pub async fn pickup(rig: &Rig) -> Latency {
    let source =
        MapSource::new().with(WorkerConfig::ENVIRONMENTS, "staging").with(WorkerConfig::CONCURRENCY, "4");
    let mut reader = Reader::new(&source);
    let (config, queue) = (WorkerConfig::read(&mut reader), QueueConfig::read(&mut reader));
    reader.finish().expect("settings of the benchmark are right");
    let ran = Arc::new(Mutex::new(Vec::new()));
    let lifecycle = Lifecycle::new();
    let fleet = client(&rig.stores, &rig.name);
    let registry = Registry::default().with(Stamper(Arc::clone(&ran)));
    deploymind_worker::start(fleet, config, queue, registry, &lifecycle, &Readiness::new())
        .await
        .expect("the worker starts");
    let mut sent = Vec::new();
    for _ in 0..550 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let at = Instant::now();
        let stamp = JobRequest::new(staging(), &Stamp {}).expect("a request");
        sent.push((rig.submitter.submit(stamp).await.expect("accepted"), at));
    }
    wait_for("every stamp", Duration::from_secs(10), || async {
        let count = ran.lock().expect("no panic").len();
        if count == sent.len() { Ok(()) } else { Err(format!("{count} of {}", sent.len())) }
    })
    .await;
    lifecycle.shutdown(Duration::from_secs(10)).await;
    let ran = ran.lock().expect("no panic");
    // The first ones open connections and load scripts.
    let samples = sent.iter().skip(50).filter_map(|(job, at)| {
        let (_, started) = ran.iter().find(|(ran, _)| ran == job)?;
        Some(started.duration_since(*at))
    });
    Latency::of(samples.collect())
}

/// Parks jobs of staging behind one target, which stays locked.
pub async fn park(rig: &Rig, jobs: usize) {
    let target = rig.targets(1).await.remove(0);
    let holder = deploymind_shared::ids::WorkerId::generate();
    let long = Duration::from_secs(3600);
    hands::lock(&rig.fleet.queue, holder, JobId::generate(), std::slice::from_ref(&target), long)
        .await
        .expect("the lock");
    let mut submits = JoinSet::new();
    for _ in 0..jobs {
        let (submitter, target) = (rig.submitter.clone(), target.clone());
        submits.spawn(async move {
            let mut probe = JobRequest::new(staging(), &Probe {}).expect("a request");
            probe.targets = vec![target];
            submitter.submit(probe).await.expect("accepted");
        });
    }
    while let Some(ended) = submits.join_next().await {
        ended.expect("no panic");
    }
    // Taking is what parks them.
    let taker = deploymind_shared::ids::WorkerId::generate();
    loop {
        let taken =
            hands::take(&rig.fleet.queue, taker, &staging(), 100, long, &[]).await.expect("redis answers");
        assert!(taken.is_empty(), "its target is locked");
        let depth =
            deploymind_shared::queue::line::depth(&rig.fleet.queue, &[staging()]).await.expect("depth");
        if depth.parked as usize >= jobs {
            break;
        }
    }
}
