//! From a target's name to what acts on it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use deploymind_shared::config::{HostsConfig, PipelineConfig};
use deploymind_shared::db::Db;
use deploymind_shared::db::targets::target_connection;
use deploymind_shared::error::{Code, Error};
use deploymind_shared::ids::TargetName;
use deploymind_shared::retry::Stop;
use deploymind_shared::secret::{Associated, Keyring, Sealed};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::tools;
use crate::build::{self, RegistryCredential};
use crate::runtime::Runtime;
use crate::runtime::docker::{Address, DockerRuntime, HostConfig, Ssh, Tls};

/// The engine that the worker itself uses.
const LOCAL: &str = "docker://local";
/// Of the connection and its first answer.
const CONNECT: Duration = Duration::from_secs(10);
/// Of one answer that is not a stream.
const ANSWER: Duration = Duration::from_secs(60);
/// Of an image on its way to another host.
const PROVIDE: Duration = Duration::from_secs(1800);
const LOG_FILES: u16 = 3;

/// What a target over TLS is reached with, as it is sealed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bundle {
    ca: String,
    certificate: String,
    key: zeroize::Zeroizing<String>,
}

/// The targets of a fleet, and what is needed to reach them.
pub struct Targets {
    hosts: HostsConfig,
    own: build::Address,
    keyring: Arc<Keyring>,
    fleet: String,
}

impl Targets {
    /// Dials nothing.
    pub fn new(
        config: &PipelineConfig,
        hosts: &HostsConfig,
        keyring: Arc<Keyring>,
        fleet: &str,
    ) -> Result<Self, Error> {
        let own = tools::address(&config.build.engine)?;
        Ok(Self { hosts: hosts.clone(), own, keyring, fleet: fleet.to_owned() })
    }

    pub(super) fn hosts(&self) -> &HostsConfig {
        &self.hosts
    }

    pub(super) fn fleet(&self) -> &str {
        &self.fleet
    }

    /// What the names of slots begin with.
    pub(super) fn slot_prefix(&self) -> &str {
        if self.fleet == "deploymind" { "dm" } else { &self.fleet }
    }

    pub(super) async fn runtime(
        &self,
        db: &Db,
        registry: Option<&RegistryCredential>,
        target: &TargetName,
    ) -> Result<Arc<dyn Runtime>, Stop> {
        Ok(Arc::new(self.docker(db, registry, target).await?))
    }

    pub(super) async fn docker(
        &self,
        db: &Db,
        registry: Option<&RegistryCredential>,
        target: &TargetName,
    ) -> Result<DockerRuntime, Stop> {
        if !target.as_str().starts_with("docker://") {
            return Err(Stop::terminal(
                Code::TargetUnsupported,
                format!(
                    "this version cannot roll out to {target}; give the app a target that begins with docker://"
                ),
            ));
        }
        let own = self.own_engine();
        let address = self.address(db, target).await?;
        let builder = (address.to_string() != own.to_string()).then_some(own);
        let hosts = &self.hosts;
        Ok(DockerRuntime::new(HostConfig {
            address,
            fleet: self.fleet.clone(),
            target: target.clone(),
            edge_image: hosts.edge_image.clone(),
            http_port: hosts.edge_http_port,
            subnet: hosts.subnet.clone(),
            icc: hosts.icc,
            pids_limit: hosts.slot_pids,
            log_max_bytes: hosts.slot_log_bytes / u64::from(LOG_FILES),
            log_max_files: LOG_FILES,
            connect: CONNECT,
            answer: ANSWER,
            provide: PROVIDE,
            registry: registry.cloned(),
            builder,
        }))
    }

    fn own_engine(&self) -> Address {
        match &self.own {
            build::Address::Unix(path) => Address::Unix(path.clone()),
            build::Address::Tcp(address) => Address::Tcp(address.clone()),
        }
    }

    async fn address(&self, db: &Db, target: &TargetName) -> Result<Address, Stop> {
        let connection = target_connection(db, target).await?.ok_or_else(|| {
            Error::new(
                Code::TargetUnknown,
                format!("there is no target {target} any more; give the app another"),
            )
        })?;
        let secret = connection.sealed.as_ref().map(|sealed| self.unsealed(target, sealed)).transpose()?;
        match connection.address.as_deref() {
            None if target.as_str() == LOCAL => Ok(self.own_engine()),
            None => Err(unusable(
                target,
                "has no address; give it one, such as tcp://host:2376 or ssh://user@host",
            )),
            Some(text) => self.parse(target, text, secret),
        }
    }

    fn unsealed(&self, target: &TargetName, sealed: &Sealed) -> Result<SecretString, Error> {
        self.keyring.open(&Associated::target(target), sealed)
    }

    fn parse(&self, target: &TargetName, text: &str, secret: Option<SecretString>) -> Result<Address, Stop> {
        if let Some(path) = text.strip_prefix("unix://") {
            return Ok(Address::Unix(PathBuf::from(path)));
        }
        if let Some(address) = text.strip_prefix("tcp://") {
            let Some(secret) = secret else { return Ok(Address::Tcp(address.to_owned())) };
            let bundle: Bundle = serde_json::from_str(secret.expose_secret()).map_err(|_| {
                unusable(
                    target,
                    "has a TLS bundle that is not the JSON of `ca`, `certificate` and `key`; set it anew",
                )
            })?;
            return Ok(Address::Tls(Tls {
                address: address.to_owned(),
                ca: bundle.ca,
                certificate: bundle.certificate,
                key: SecretString::from(bundle.key.as_str()),
            }));
        }
        let url = url::Url::parse(text).ok().filter(|url| url.scheme() == "ssh");
        let (Some(url), Some(key)) = (url, secret) else {
            return Err(unusable(
                target,
                "has an address that is none of unix://, tcp:// and ssh:// (with a private key); set it anew",
            ));
        };
        let known_hosts = self.hosts.known_hosts.clone().ok_or_else(|| {
            unusable(
                target,
                "is reached over SSH, and no host key is known; set DEPLOYMIND_DOCKER_KNOWN_HOSTS",
            )
        })?;
        let host = url.host_str().filter(|host| !host.is_empty() && !host.starts_with('-'));
        let user = Some(url.username()).filter(|user| !user.is_empty() && !user.starts_with('-'));
        let (Some(host), Some(user)) = (host, user) else {
            return Err(unusable(target, "needs an address with a user and a host: ssh://user@host"));
        };
        Ok(Address::Ssh(Ssh {
            user: user.to_owned(),
            host: host.to_owned(),
            port: url.port().unwrap_or(22),
            key,
            known_hosts,
            socket: PathBuf::from(match url.path() {
                "" | "/" => "/var/run/docker.sock",
                path => path,
            }),
        }))
    }
}

fn unusable(target: &TargetName, sentence: &str) -> Stop {
    Stop::terminal(Code::TargetConnection, format!("{target} {sentence}"))
}
