//! What the pipeline works with, the same for every deployment of a worker.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use deploymind_shared::config::{BuilderChoice, HostsConfig, PipelineConfig, ScanConfig};
use deploymind_shared::error::{Code, Error};
use deploymind_shared::fleet::Fleet;
use deploymind_shared::retry::Stop;
use deploymind_shared::secret::Keyring;

use super::targets::Targets;
use super::workspace::Workspaces;
use crate::build::{Address, Builder, Caps, Engine, EngineConfig};
use crate::scan::Scanner;

/// Of the connection and its first answer.
const ENGINE_CONNECT: Duration = Duration::from_secs(10);
/// Of one answer that is not a stream. Removing a large image takes tens of seconds.
const ENGINE_ANSWER: Duration = Duration::from_secs(120);

pub struct Tools {
    pub(super) config: PipelineConfig,
    pub(super) targets: Targets,
    pub(super) keyring: Arc<Keyring>,
    pub(super) workspaces: Workspaces,
    pub(super) fleet_name: String,
    engine: EngineConfig,
}

impl Tools {
    /// Opens nothing but the work folder: a worker may start before its engine does.
    pub fn open(
        config: &PipelineConfig,
        hosts: &HostsConfig,
        keyring: Keyring,
        fleet: &Fleet,
    ) -> Result<Self, Error> {
        let fleet_name = fleet.queue.keys().fleet().to_owned();
        let keyring = Arc::new(keyring);
        Ok(Self {
            workspaces: Workspaces::open(&config.work_dir, &fleet_name)?,
            engine: EngineConfig {
                address: address(&config.build.engine)?,
                connect: ENGINE_CONNECT,
                answer: ENGINE_ANSWER,
            },
            targets: Targets::new(config, hosts, Arc::clone(&keyring), &fleet_name)?,
            config: config.clone(),
            keyring,
            fleet_name,
        })
    }

    pub(super) async fn engine(&self) -> Result<Engine, Stop> {
        Engine::connect(&self.engine).await
    }

    /// One that works below `scratch`, a deployment's own folder.
    pub(super) fn scanner(&self, scratch: PathBuf) -> Scanner {
        let config = &self.config.scan;
        Scanner {
            program: config.program.clone(),
            cache_dir: config.cache_dir.clone(),
            scratch,
            deadline: config.deadline,
            max_database_age: config.max_database_age,
            update: config.update,
            update_env: update_env(config),
        }
    }

    pub(super) fn builder(&self) -> Builder {
        match self.config.build.builder {
            BuilderChoice::Auto => Builder::Auto,
            BuilderChoice::Buildkit => Builder::BuildKit,
            BuilderChoice::Classic => Builder::Classic,
        }
    }

    pub(super) fn caps(&self) -> Caps {
        if self.config.build.require_caps { Caps::Require } else { Caps::BestEffort }
    }
}

fn update_env(config: &ScanConfig) -> Vec<(String, String)> {
    let proxy = config.proxy.as_ref().map(|url| ("HTTPS_PROXY".to_owned(), url.to_string()));
    let ca = config.ca_file.as_ref().map(|path| ("SSL_CERT_FILE".to_owned(), path.display().to_string()));
    proxy.into_iter().chain(ca).collect()
}

pub(super) fn address(text: &str) -> Result<Address, Error> {
    if let Some(path) = text.strip_prefix("unix://") {
        Ok(Address::Unix(path.into()))
    } else if let Some(address) = text.strip_prefix("tcp://") {
        Ok(Address::Tcp(address.to_owned()))
    } else {
        Err(Error::new(Code::Config, "DEPLOYMIND_DOCKER_HOST begins with neither unix:// nor tcp://"))
    }
}
