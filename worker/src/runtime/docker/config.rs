//! What must be known of a Docker host before anything is asked of it.

use std::path::PathBuf;
use std::time::Duration;

use deploymind_shared::ids::TargetName;
use secrecy::SecretString;

use crate::build::RegistryCredential;

/// Where slots get their addresses, unless the operator names another range. If another network of the host has it, one
/// of [`OTHER_SUBNETS`] is taken.
pub const DEFAULT_SUBNET: &str = "10.213.0.0/16";
pub(super) const OTHER_SUBNETS: [&str; 4] =
    ["10.217.0.0/16", "172.28.128.0/18", "192.168.213.0/24", "10.99.64.0/18"];

/// Where an engine listens, and what it wants to see.
#[derive(Debug, Clone)]
pub enum Address {
    Unix(PathBuf),
    /// `host:port` in plain text: for a private network or a tunnel only.
    Tcp(String),
    Tls(Tls),
    Ssh(Ssh),
}

/// An engine that asks for a client certificate.
#[derive(Debug, Clone)]
pub struct Tls {
    /// `host:port`; the host is what the engine's certificate must be made out to.
    pub address: String,
    /// PEM. Nothing else is trusted, not even what the worker's system trusts.
    pub ca: String,
    pub certificate: String,
    pub key: SecretString,
}

/// An engine whose socket is reached through `sshd` of its host.
#[derive(Debug, Clone)]
pub struct Ssh {
    pub user: String,
    pub host: String,
    pub port: u16,
    /// An OpenSSH private key without a passphrase.
    pub key: SecretString,
    pub known_hosts: PathBuf,
    /// On the host.
    pub socket: PathBuf,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
            Address::Tcp(address) => write!(f, "tcp://{address}"),
            Address::Tls(tls) => write!(f, "https://{}", tls.address),
            Address::Ssh(ssh) => write!(f, "ssh://{}@{}:{}", ssh.user, ssh.host, ssh.port),
        }
    }
}

#[derive(Debug, Clone)]
pub struct HostConfig {
    pub address: Address,
    /// Tells what is ours from what another installation put on the same host.
    pub fleet: String,
    pub target: TargetName,
    pub edge_image: String,
    /// The port that all apps with host names share.
    pub http_port: u16,
    pub subnet: String,
    /// Whether slots may talk to each other on the network. Off: only the host, and so the edge, reaches them.
    pub icc: bool,
    /// Processes and threads of one copy. Too low and a program cannot start its threads; too high and one that forks
    /// without end takes the host with it.
    pub pids_limit: u32,
    pub log_max_bytes: u64,
    pub log_max_files: u16,
    /// Of the connection and its first answer. Too low calls a busy host gone, too high delays saying so.
    pub connect: Duration,
    /// Of one answer that is not a stream. Too low fails when the engine removes a large container.
    pub answer: Duration,
    /// Of the whole way of an image to the host.
    pub provide: Duration,
    /// For the registry that images are pushed to.
    pub registry: Option<RegistryCredential>,
    /// The engine that builds, where it is another than this one: images that no registry has come from there.
    pub builder: Option<Address>,
}

/// What things are called on a host.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) fleet: String,
}

impl Names {
    const OWN: &'static str = "deploymind";

    /// Of slots and volumes.
    pub(super) fn prefix(&self) -> &str {
        if self.fleet == Self::OWN { "dm" } else { &self.fleet }
    }

    pub(super) fn network(&self) -> &str {
        &self.fleet
    }

    pub(super) fn edge(&self) -> String {
        format!("{}-edge", self.fleet)
    }

    pub(super) fn edge_volume(&self) -> String {
        format!("{}-edge", self.prefix())
    }

    /// The last twelve digits of an app's id are random; its first are the time, and alike for apps made together.
    pub(super) fn volume(&self, app: deploymind_shared::ids::AppId, name: &str) -> String {
        let id = app.as_uuid().simple().to_string();
        format!("{}-{}-{name}", self.prefix(), &id[20..])
    }
}
