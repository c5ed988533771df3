//! A worker or scheduler as it ships, plus scripted jobs and fail points, a worker with the shipped pipeline, and a client
//! that submits one job: `fault-node worker|deployer|scheduler|client`.
//!
//! `FAULT_KILL_AT=<fail point>` kills the process (-9) when it comes to that line; `FAULT_KILL_SKIP=<n>` lets it pass n
//! times first. `FAULT_PAUSE_AT=<fail point>` holds it there for `FAULT_PAUSE_MS`, the first time or, with
//! `FAULT_PAUSE_SKIP=<n>`, after it passed n times. `FAULT_REFUSE_AT=<fail
//! point>` makes a step of the pipeline fail there for good. `FAULT_BUILD_MS`, `FAULT_ROLLOUT_MS` and `FAULT_DEPLOY_TARGETS` shape the deploy jobs. The client submits the script in `FAULT_SCRIPT`, or deploys `FAULT_APP`.
#![expect(clippy::expect_used, reason = "a node of a test that cannot go on must stop, and say why")]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deploymind_shared::config::{
    EnvSource, HostsConfig, PipelineConfig, QueueConfig, Reader, SchedulerConfig, SecretsConfig, Source,
    WorkerConfig,
};
use deploymind_shared::db::deployments::Trigger;
use deploymind_shared::domain::job::{JobKind as _, KINDS, Priority};
use deploymind_shared::error::{Code, Error, Result};
use deploymind_shared::fleet::Submitter;
use deploymind_shared::ids::TargetName;
use deploymind_shared::lifecycle::Lifecycle;
use deploymind_shared::process::{self, Common, Ground, Role};
use deploymind_shared::secret::Keyring;
use deploymind_tests::rig::{self, Stores};
use deploymind_tests::script::{DeployHandler, RollbackHandler, Script, ScriptHandler, kill_self};
use deploymind_worker::pipeline::{Pipeline, Tools};
use deploymind_worker::{ProbeHandler, Registry};
use secrecy::ExposeSecret as _;
use sqlx::postgres::PgPoolOptions;

fn main() -> ExitCode {
    let role = std::env::args().nth(1).unwrap_or_default();
    arm(&EnvSource);
    let ended = match role.as_str() {
        "worker" => worker(&EnvSource),
        "deployer" => deployer(&EnvSource),
        "scheduler" => scheduler(&EnvSource),
        "client" => client(&EnvSource),
        other => {
            Err(Error::new(Code::Config, format!("no role {other:?}: worker, deployer, scheduler or client")))
        }
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::from(64)
        }
    }
}

fn arm(source: &dyn Source) {
    if let Some(point) = source.get("FAULT_PAUSE_AT") {
        let ms = source.get("FAULT_PAUSE_MS").unwrap_or_default();
        let passed = match source.get("FAULT_PAUSE_SKIP") {
            Some(skip) if skip != "0" => format!("{skip}*off->"),
            _ => String::new(),
        };
        fail::cfg(point, &format!("{passed}1*sleep({ms})")).expect("fail points are compiled in");
    }
    if let Some(point) = source.get("FAULT_REFUSE_AT") {
        fail::cfg(point, "return").expect("fail points are compiled in");
    }
    let Some(point) = source.get("FAULT_KILL_AT") else { return };
    let skip: usize = source.get("FAULT_KILL_SKIP").and_then(|text| text.parse().ok()).unwrap_or(0);
    let passed = Arc::new(AtomicUsize::new(0));
    let name = point.clone();
    fail::cfg_callback(point, move || {
        if passed.fetch_add(1, Ordering::SeqCst) >= skip {
            // The test wants to see that it was this line.
            eprintln!("killed at {name}");
            kill_self();
        }
    })
    .expect("fail points are compiled in");
}

fn kinds() -> Vec<&'static str> {
    KINDS.iter().copied().chain([Script::KIND]).collect()
}

fn worker(source: &dyn Source) -> Result<u8> {
    let mut reader = Reader::new(source);
    let common = Common::read(&mut reader, ([127, 0, 0, 1], 0).into());
    let queue = QueueConfig::read(&mut reader);
    let config = WorkerConfig::read(&mut reader);
    reader.finish()?;
    let ms = |key, default| {
        Duration::from_millis(source.get(key).and_then(|text| text.parse().ok()).unwrap_or(default))
    };
    let (build, rollout) = (ms("FAULT_BUILD_MS", 100), ms("FAULT_ROLLOUT_MS", 0));
    let targets: Vec<TargetName> = source
        .get("FAULT_DEPLOY_TARGETS")
        .map(|text| text.split(',').map(TargetName::parse).collect::<Result<_>>())
        .transpose()?
        .unwrap_or_default();
    let url = common.database.url.expose_secret().to_owned();
    process::runtime()?.block_on(process::run("worker", common, &kinds(), async |ground: Ground| {
        let Ground { fleet, lifecycle, readiness } = ground;
        let pool = PgPoolOptions::new().max_connections(4).connect_lazy(&url)?;
        let registry = Registry::default()
            .with(ProbeHandler)
            .with(ScriptHandler { pool })
            .with(RollbackHandler { rollout })
            .with(DeployHandler { build, rollout, targets: targets.clone() });
        let started =
            deploymind_worker::start(fleet, config.clone(), queue.clone(), registry, &lifecycle, &readiness)
                .await?;
        let id = started.id;
        Ok(Role { grace: started.grace, status: Box::new(move || serde_json::json!({ "worker": id })) })
    }))
}

/// As it ships, but for the fail points.
fn deployer(source: &dyn Source) -> Result<u8> {
    let mut reader = Reader::new(source);
    let common = Common::read(&mut reader, ([127, 0, 0, 1], 0).into());
    let queue = QueueConfig::read(&mut reader);
    let config = WorkerConfig::read(&mut reader);
    let secrets = SecretsConfig::read(&mut reader);
    let pipeline = PipelineConfig::read(&mut reader);
    let hosts = HostsConfig::read(&mut reader);
    reader.finish()?;
    let keyring = Keyring::from_config(&secrets)?;
    process::runtime()?.block_on(process::run("worker", common, KINDS, async |ground: Ground| {
        let Ground { fleet, lifecycle, readiness } = ground;
        let tools = Tools::open(&pipeline, &hosts, keyring, &fleet)?;
        let registry = deploymind_worker::registry(&Pipeline::start(tools, &fleet, &lifecycle));
        let started =
            deploymind_worker::start(fleet, config.clone(), queue.clone(), registry, &lifecycle, &readiness)
                .await?;
        let id = started.id;
        Ok(Role { grace: started.grace, status: Box::new(move || serde_json::json!({ "worker": id })) })
    }))
}

fn scheduler(source: &dyn Source) -> Result<u8> {
    let mut reader = Reader::new(source);
    let common = Common::read(&mut reader, ([127, 0, 0, 1], 0).into());
    let queue = QueueConfig::read(&mut reader);
    let config = SchedulerConfig::read(&mut reader);
    reader.finish()?;
    process::runtime()?.block_on(process::run("scheduler", common, &kinds(), async |ground: Ground| {
        let Ground { fleet, lifecycle, readiness } = ground;
        let board = deploymind_scheduler::start(&fleet, &config, &queue, &lifecycle, &readiness);
        Ok(Role { grace: deploymind_scheduler::GRACE, status: Box::new(move || board.status()) })
    }))
}

/// Accepts one job as a gateway would, says which, and ends.
fn client(source: &dyn Source) -> Result<u8> {
    let get = |key: &str| source.get(key).unwrap_or_default();
    let stores = Stores { database: get("DEPLOYMIND_DATABASE_URL"), redis: get("DEPLOYMIND_REDIS_URL") };
    let invalid = |text: String| Error::new(Code::Config, text);
    process::runtime()?.block_on(async {
        let fleet = rig::client(&stores, &get("DEPLOYMIND_FLEET"));
        let job = if let Some(app) = source.get("FAULT_APP") {
            let app = app.parse().map_err(|_| invalid(format!("no app id: {app}")))?;
            fleet.deploy(app, Trigger::Push, None, None, Priority::Normal).await?.job
        } else {
            let script: Script = serde_json::from_str(&get("FAULT_SCRIPT"))
                .map_err(|error| invalid(format!("no script: {error}")))?;
            Submitter::start(&Lifecycle::new(), &fleet).submit(rig::request(&script)).await?
        };
        println!("{job}");
        Ok(0)
    })
}
