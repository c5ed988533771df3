//! The worker: takes jobs, holds their locks, runs them, writes down how they ended.
//!
//! It may touch Postgres, Redis and the outside world (git, containers, clouds). It keeps nothing of its own: a worker
//! that is killed at any line loses no job.
//!
//! Order of reading: [`taker`] → [`claimer`] → [`runner`] → [`supervise`] → [`dispose`] → [`finisher`], beside them
//! [`heart`].

pub mod build;
pub mod checkout;
mod claimer;
pub mod collect;
mod context;
pub mod detect;
mod dispose;
pub mod dockerfile;
mod drain;
mod finisher;
mod heart;
mod lease;
pub mod log;
pub mod pipeline;
mod probe;
mod readiness;
mod registry;
pub mod rollout;
mod runner;
pub mod runtime;
pub mod scan;
mod supervise;
mod taker;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use deploymind_shared::admin::Readiness;
use deploymind_shared::config::{QueueConfig, WorkerConfig};
use deploymind_shared::db::environments::environment_list;
use deploymind_shared::db::workers::{NewWorker, worker_register};
use deploymind_shared::error::{Code, Error, Result};
use deploymind_shared::fleet::Fleet;
use deploymind_shared::ids::WorkerId;
use deploymind_shared::lifecycle::{ExitPolicy, Lifecycle};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use context::JobContext;
pub use probe::ProbeHandler;
pub use registry::{Done, Handler, Registry};

use claimer::Claimer;
use finisher::Finisher;
use lease::Hands;
use readiness::Pulse;
use runner::Worker;
use taker::Taker;

/// The kinds the product ships.
pub fn registry(pipeline: &pipeline::Pipeline) -> Registry {
    pipeline.register(Registry::default().with(ProbeHandler))
}

/// A started worker.
pub struct Started {
    pub id: WorkerId,
    /// How long the process has to wait for it at shutdown, at most.
    pub grace: Duration,
}

/// Registers and starts a worker; returns when it takes jobs. It ends with `lifecycle`.
pub async fn start(
    fleet: Fleet,
    config: WorkerConfig,
    queue_config: QueueConfig,
    registry: Registry,
    lifecycle: &Lifecycle,
    readiness: &Readiness,
) -> Result<Started> {
    let known = environment_list(&fleet.db).await?;
    if let Some(unknown) = config.environments.iter().find(|name| !known.contains(name)) {
        return Err(Error::new(
            Code::EnvironmentUnknown,
            format!("there is no environment {:?}; known are: {}", unknown.as_str(), list(&known)),
        ));
    }
    let id = WorkerId::generate();
    worker_register(
        &fleet.db,
        &NewWorker {
            id,
            environments: config.environments.clone(),
            concurrency: i32::try_from(config.concurrency).unwrap_or(i32::MAX),
            hostname: hostname(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
    )
    .await?;
    let worker = Arc::new(Worker {
        id,
        environments: config.environments.clone(),
        hands: Hands::default(),
        registry,
        lifecycle: lifecycle.clone(),
        claimer: Claimer::start(lifecycle, &fleet, id),
        finisher: Finisher::start(lifecycle, &fleet, id),
        unknown_kinds: Mutex::new(Vec::new()),
        fleet,
        queue_config,
    });
    let places = Arc::new(Semaphore::new(config.concurrency));
    start_hearts(&worker, &places, lifecycle, readiness);
    let mut takers = Vec::new();
    for environment in config.environments.clone() {
        let pulse = watched(readiness, format!("pop {environment}"), worker.queue_config.block * 2);
        let taker = Taker { worker: Arc::clone(&worker), environment, places: Arc::clone(&places), pulse };
        takers.push(lifecycle.spawn("take jobs", ExitPolicy::FailProcess, taker.run()));
    }
    let grace = config.drain_grace + worker.queue_config.cancel_grace + drain::LAST_WRITES;
    let drain = drain::drain(Arc::clone(&worker), takers, config.drain_grace);
    lifecycle.spawn("drain", ExitPolicy::FailProcess, drain);
    tracing::info!(
        worker.id = %id,
        environments = list(&config.environments),
        concurrency = config.concurrency,
        "worker takes jobs"
    );
    Ok(Started { id, grace })
}

fn start_hearts(worker: &Arc<Worker>, places: &Arc<Semaphore>, lifecycle: &Lifecycle, readiness: &Readiness) {
    let limit = worker.queue_config.heartbeat * 2;
    let locks = watched(readiness, "renew locks".to_owned(), limit);
    let record = watched(readiness, "record".to_owned(), limit);
    // They go on while the process drains: a job that is being finished must keep its locks. Then each is dropped where it
    // stands: a store that does not answer must not hold up the end, and whatever they do may be done again.
    beat(lifecycle, "renew locks", |stop| heart::renew_locks(Arc::clone(worker), locks, stop));
    beat(lifecycle, "watch record", |stop| heart::watch_record(Arc::clone(worker), record, stop));
    beat(lifecycle, "check list", |stop| heart::check_list(Arc::clone(worker), Arc::clone(places), stop));
    beat(lifecycle, "listen", |stop| heart::listen(Arc::clone(worker), stop));
}

fn beat<Fut>(lifecycle: &Lifecycle, name: &'static str, heart: impl FnOnce(CancellationToken) -> Fut)
where
    Fut: Future<Output = ()> + Send + 'static,
{
    lifecycle.spawn_supporting(name, |stop| {
        let beating = heart(stop.clone());
        async move {
            stop.run_until_cancelled(beating).await;
        }
    });
}

fn watched(readiness: &Readiness, name: String, limit: Duration) -> Pulse {
    let pulse = Pulse::new();
    let watched = pulse.clone();
    readiness.register(&name, move || watched.check(limit));
    pulse
}

fn list(names: &[deploymind_shared::ids::EnvironmentName]) -> String {
    names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
}

/// For people who look at the list of workers; nothing depends on it.
fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}
