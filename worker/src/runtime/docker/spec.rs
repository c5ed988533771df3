//! From a launch to what the engine is asked to make.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HostConfig as Limits, HostConfigLogConfig,
    NetworkingConfig, RestartPolicy as EnginePolicy, RestartPolicyNameEnum,
};
use deploymind_shared::domain::slot::RestartPolicy;
use deploymind_shared::ids::Epoch;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::config::{HostConfig, Names};
use super::labels;
use super::mounts;
use super::network::Network;
use crate::runtime::Launch;

/// With raw packets a program answers for its neighbours' addresses on the bridge they share. The rest of the engine's
/// defaults stay: images that start as root and step down need them.
const DROPPED: [&str; 1] = ["NET_RAW"];
const NO_NEW_PRIVILEGES: &str = "no-new-privileges:true";

/// Of everything a copy is made from except the values of its variables: a label can be read by whoever reads the engine,
/// and a hash of a short secret tells it. Values need not be in it, because a slot's name holds its epoch, and so belongs
/// to one release, whose variables never change.
pub(super) fn hash(launch: &Launch) -> String {
    let run = &launch.spec.run;
    let mut names: Vec<&str> = launch.variables.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let parts = serde_json::json!([
        1,
        launch.app.id,
        launch.release,
        launch.spec.image,
        launch.spec.port,
        launch.spec.start,
        run.resources,
        run.volumes,
        run.stop,
        run.restart,
        names,
    ]);
    let mut text = String::with_capacity(32);
    for byte in &Sha256::digest(parts.to_string().as_bytes())[..16] {
        // Writing into a string does not fail.
        let _infallible = write!(text, "{byte:02x}").is_err();
    }
    text
}

/// What a copy is made with beside its launch.
pub(super) struct Place<'a> {
    pub(super) config: &'a HostConfig,
    pub(super) names: &'a Names,
    pub(super) network: &'a Network,
    pub(super) address: Ipv4Addr,
    /// As the engine calls it.
    pub(super) image: &'a str,
    pub(super) epoch: Epoch,
    pub(super) spec: &'a str,
}

pub(super) fn body(launch: &Launch, index: u16, place: &Place<'_>) -> ContainerCreateBody {
    let run = &launch.spec.run;
    let env = launch.variables.iter().map(|(name, value)| format!("{name}={}", value.expose_secret()));
    let address = place.address.to_string();
    let labels = labels::of_copy(&place.names.fleet, place.epoch, launch, index, &address, place.spec);
    let endpoint = EndpointSettings {
        ipam_config: Some(EndpointIpamConfig {
            ipv4_address: Some(address),
            ..EndpointIpamConfig::default()
        }),
        ..EndpointSettings::default()
    };
    ContainerCreateBody {
        image: Some(place.image.to_owned()),
        cmd: launch.spec.start.clone(),
        env: Some(env.collect()),
        labels: Some(labels),
        stop_signal: Some(run.stop.signal.clone()),
        stop_timeout: Some(i64::from(run.stop.grace_s)),
        host_config: Some(limits(launch, place)),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(place.network.id.clone(), endpoint)])),
        }),
        ..ContainerCreateBody::default()
    }
}

fn limits(launch: &Launch, place: &Place<'_>) -> Limits {
    let run = &launch.spec.run;
    let memory = run.resources.memory_mb.map(|mb| i64::from(mb) << 20);
    Limits {
        memory,
        // As much as memory means: no swap at all. A program that swaps looks healthy and is not.
        memory_swap: memory,
        nano_cpus: run.resources.cpus.map(nano_cpus),
        pids_limit: Some(i64::from(place.config.pids_limit)),
        // Reaps what the program leaves behind, and passes signals on to one that is not made to be process 1.
        init: Some(true),
        cap_drop: Some(DROPPED.map(str::to_owned).to_vec()),
        security_opt: Some(vec![NO_NEW_PRIVILEGES.to_owned()]),
        privileged: Some(false),
        restart_policy: Some(policy(run.restart)),
        log_config: Some(log(place.config)),
        mounts: Some(
            run.volumes.iter().map(|volume| mounts::mount(place.names, &launch.app, volume)).collect(),
        ),
        network_mode: Some(place.network.id.clone()),
        ..Limits::default()
    }
}

/// `check` of the settings keeps it between 0.01 and 1024 cores.
#[expect(
    clippy::cast_possible_truncation,
    reason = "1024 cores are 10^12, and NaN becomes 0, which means no cap"
)]
fn nano_cpus(cpus: f64) -> i64 {
    (cpus * 1e9).round() as i64
}

/// `always` would start what we have stopped when the engine itself starts.
pub(super) fn policy(restart: RestartPolicy) -> EnginePolicy {
    let name = match restart {
        RestartPolicy::Always => RestartPolicyNameEnum::UNLESS_STOPPED,
        RestartPolicy::OnFailure => RestartPolicyNameEnum::ON_FAILURE,
        RestartPolicy::Never => RestartPolicyNameEnum::NO,
    };
    EnginePolicy { name: Some(name), maximum_retry_count: None }
}

pub(super) fn log(config: &HostConfig) -> HostConfigLogConfig {
    HostConfigLogConfig {
        typ: Some("json-file".to_owned()),
        config: Some(HashMap::from([
            ("max-size".to_owned(), config.log_max_bytes.to_string()),
            ("max-file".to_owned(), config.log_max_files.max(1).to_string()),
        ])),
    }
}
