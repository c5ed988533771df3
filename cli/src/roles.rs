//! One function a role: what it reads, what it starts.

use std::net::SocketAddr;

use deploymind_shared::config::{
    DatabaseConfig, GatewayConfig, HostsConfig, PipelineConfig, QueueConfig, Reader, SchedulerConfig,
    SecretsConfig, Source, WorkerConfig,
};
use deploymind_shared::db::Db;
use deploymind_shared::domain::job::KINDS;
use deploymind_shared::error::Result;
use deploymind_shared::process::{self, Common, Ground, Role, runtime};
use deploymind_shared::secret::Keyring;
use deploymind_shared::telemetry::Metrics;
use deploymind_worker::pipeline::{Pipeline, Tools};

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}

pub(crate) fn gateway(source: &dyn Source, print_config: bool) -> Result<u8> {
    let mut reader = Reader::new(source);
    let common = Common::read(&mut reader, loopback(9101));
    let config = GatewayConfig::read(&mut reader);
    if print_config {
        return print(reader);
    }
    reader.finish()?;
    runtime()?.block_on(process::run("gateway", common, KINDS, async |ground: Ground| {
        let Ground { fleet, lifecycle, readiness } = ground;
        deploymind_gateway::start(&fleet, &config, &lifecycle, &readiness).await?;
        Ok(Role { grace: deploymind_gateway::GRACE, status: Box::new(|| serde_json::json!({})) })
    }))
}

pub(crate) fn worker(source: &dyn Source, print_config: bool) -> Result<u8> {
    let mut reader = Reader::new(source);
    let common = Common::read(&mut reader, loopback(9102));
    let queue = QueueConfig::read(&mut reader);
    let config = WorkerConfig::read(&mut reader);
    let secrets = SecretsConfig::read(&mut reader);
    let pipeline = PipelineConfig::read(&mut reader);
    let hosts = HostsConfig::read(&mut reader);
    if print_config {
        return print(reader);
    }
    reader.finish()?;
    // Before the stores are waited for: a wrong key is to be known at once.
    let keyring = Keyring::from_config(&secrets)?;
    runtime()?.block_on(process::run("worker", common, KINDS, async |ground: Ground| {
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

pub(crate) fn scheduler(source: &dyn Source, print_config: bool) -> Result<u8> {
    let mut reader = Reader::new(source);
    let common = Common::read(&mut reader, loopback(9103));
    let queue = QueueConfig::read(&mut reader);
    let config = SchedulerConfig::read(&mut reader);
    if print_config {
        return print(reader);
    }
    reader.finish()?;
    runtime()?.block_on(process::run("scheduler", common, KINDS, async |ground: Ground| {
        let Ground { fleet, lifecycle, readiness } = ground;
        let board = deploymind_scheduler::start(&fleet, &config, &queue, &lifecycle, &readiness);
        Ok(Role { grace: deploymind_scheduler::GRACE, status: Box::new(move || board.status()) })
    }))
}

pub(crate) fn migrate(source: &dyn Source, print_config: bool) -> Result<u8> {
    let mut reader = Reader::new(source);
    let database = DatabaseConfig::read(&mut reader);
    if print_config {
        return print(reader);
    }
    reader.finish()?;
    runtime()?.block_on(async { Db::open(&database, Metrics::new(&[]))?.migrate().await })?;
    eprintln!("the database schema is up to date");
    Ok(0)
}

/// Shows what is in effect even when it is wrong: that is when people ask.
pub(crate) fn print(reader: Reader) -> Result<u8> {
    print!("{}", reader.print_config());
    reader.finish()?;
    Ok(0)
}
