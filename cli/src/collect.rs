//! The `collect` command: housekeeping on one host, by hand.

use std::sync::Arc;

use deploymind_shared::config::{
    DatabaseConfig, HostsConfig, PipelineConfig, Reader, RedisConfig, SecretsConfig, Source,
};
use deploymind_shared::db::Db;
use deploymind_shared::error::{Code, Error, Result};
use deploymind_shared::ids::TargetName;
use deploymind_shared::process::runtime;
use deploymind_shared::retry::Stop;
use deploymind_shared::secret::Keyring;
use deploymind_shared::telemetry::Metrics;
use deploymind_worker::pipeline::Targets;
use tokio_util::sync::CancellationToken;

use crate::roles;

pub(crate) fn run(source: &dyn Source, print_config: bool, target: &str, dry_run: bool) -> Result<u8> {
    let mut reader = Reader::new(source);
    let database = DatabaseConfig::read(&mut reader);
    let redis = RedisConfig::read(&mut reader);
    let secrets = SecretsConfig::read(&mut reader);
    let pipeline = PipelineConfig::read(&mut reader);
    let hosts = HostsConfig::read(&mut reader);
    if print_config {
        return roles::print(reader);
    }
    reader.finish()?;
    let target = TargetName::parse(target)?;
    let keyring = Arc::new(Keyring::from_config(&secrets)?);
    let targets = Targets::new(&pipeline, &hosts, keyring, redis.fleet.as_str())?;
    let done = runtime()?.block_on(async {
        let db = Db::open(&database, Metrics::new(&[]))?;
        Box::pin(targets.collect(&db, &target, dry_run, &CancellationToken::new())).await.map_err(error)
    })?;
    print!("{}", done.report());
    if !dry_run {
        let (removed, left) = (done.collected.removed.len(), done.collected.left.len());
        println!("\nremoved {removed}, left {left}, {} bytes came free", done.collected.bytes());
    }
    Ok(0)
}

fn error(stop: Stop) -> Error {
    match stop {
        Stop::Terminal(error) | Stop::Retryable { error, .. } => error,
        Stop::Cancelled | Stop::Parked | Stop::ClaimLost => {
            Error::new(Code::JobFailed, "housekeeping was stopped; run it again")
        }
    }
}
