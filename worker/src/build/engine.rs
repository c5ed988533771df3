//! The connection to one Docker engine: who it is, whether it answers.

use std::path::PathBuf;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};
use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;
use serde::Serialize;

use super::failure;

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Unix(PathBuf),
    /// `host:port` in plain text: for a private network or a tunnel only.
    Tcp(String),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
            Address::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

#[derive(Debug, Clone)]
pub struct EngineConfig {
    pub address: Address,
    /// Of the connection and its first answer. Too low calls a busy engine gone, too high delays saying so.
    pub connect: Duration,
    /// Of one answer that is not a stream. Too low fails when the engine removes a large image.
    pub answer: Duration,
}

/// What an engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EngineVersion {
    pub version: String,
    pub api_version: String,
    pub architecture: String,
}

/// Cheap to clone. Holds no open connection: every call dials.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(super) docker: Docker,
    pub(super) config: EngineConfig,
    pub(super) api: (usize, usize),
}

impl Engine {
    /// # Errors
    /// `EngineUnavailable`, to be tried again.
    pub async fn connect(config: &EngineConfig) -> Result<Self, Stop> {
        let seconds = config.answer.as_secs().max(1);
        let docker = match &config.address {
            Address::Unix(path) => {
                Docker::connect_with_unix(&path.to_string_lossy(), seconds, API_DEFAULT_VERSION)
            }
            Address::Tcp(address) => Docker::connect_with_http(address, seconds, API_DEFAULT_VERSION),
        }
        .map_err(|error| unavailable(config, error))?;
        let docker = tokio::time::timeout(config.connect, docker.negotiate_version())
            .await
            .map_err(|late| unavailable(config, late))?
            .map_err(|error| unavailable(config, error))?;
        let version = docker.client_version();
        Ok(Self { docker, config: config.clone(), api: (version.major_version, version.minor_version) })
    }

    /// # Errors
    /// `EngineUnavailable`, to be tried again.
    pub async fn ping(&self) -> Result<(), Stop> {
        match tokio::time::timeout(self.config.connect, self.docker.ping()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.gone(error)),
            Err(late) => Err(self.gone(late)),
        }
    }

    /// # Errors
    /// `EngineUnavailable`, to be tried again.
    pub async fn version(&self) -> Result<EngineVersion, Stop> {
        let version =
            self.docker.version().await.map_err(|error| failure::of_call(self, error, "read version"))?;
        Ok(EngineVersion {
            version: version.version.unwrap_or_default(),
            api_version: version.api_version.unwrap_or_default(),
            architecture: version.arch.unwrap_or_default(),
        })
    }

    /// BuildKit answers on an engine of Linux from API 1.39 on (Docker 18.09), whether or not it is the default there.
    pub(super) fn has_buildkit(&self) -> bool {
        self.api >= (1, 39)
    }

    /// BuildKit passes `cgroupparent` on from Docker 23 (API 1.42).
    pub(super) fn buildkit_obeys_cgroup(&self) -> bool {
        self.api >= (1, 42)
    }

    pub(super) fn gone(&self, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Stop {
        unavailable(&self.config, why)
    }
}

fn unavailable(config: &EngineConfig, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Stop {
    Error::new(
        Code::EngineUnavailable,
        format!(
            "the Docker engine at {} cannot be reached; see that it runs and that the worker may use it",
            config.address
        ),
    )
    .because(why)
    .into()
}
