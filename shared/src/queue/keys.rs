//! Names in Redis. The prefix is the fleet's name in braces, so that all keys of a fleet share one cluster slot.

use crate::config::FleetName;
use crate::ids::{DeploymentId, EnvironmentName, TargetName, WorkerId};

#[derive(Debug, Clone)]
pub struct Keys {
    prefix: String,
    fleet: String,
}

impl Keys {
    pub fn new(fleet: &FleetName) -> Self {
        Self { prefix: format!("{{{}}}:", fleet.as_str()), fleet: fleet.as_str().to_owned() }
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub fn fleet(&self) -> &str {
        &self.fleet
    }

    pub fn queue(&self, environment: &EnvironmentName) -> String {
        format!("{}queue:{environment}", self.prefix)
    }

    pub fn high(&self, environment: &EnvironmentName) -> String {
        format!("{}queue:{environment}:high", self.prefix)
    }

    pub fn processing(&self, worker: WorkerId) -> String {
        format!("{}processing:{worker}", self.prefix)
    }

    pub fn worker(&self, worker: WorkerId) -> String {
        format!("{}worker:{worker}", self.prefix)
    }

    pub fn lock(&self, target: &TargetName) -> String {
        format!("{}lock:instance:{target}", self.prefix)
    }

    pub fn parked(&self, target: &TargetName) -> String {
        format!("{}parked:{target}", self.prefix)
    }

    pub fn place(&self) -> String {
        format!("{}place", self.prefix)
    }

    pub fn delayed(&self) -> String {
        format!("{}delayed", self.prefix)
    }

    pub fn quarantine(&self) -> String {
        format!("{}quarantine", self.prefix)
    }

    /// A channel: everything told about one deployment.
    pub fn deployment_channel(&self, deployment: DeploymentId) -> String {
        format!("{}:deployment:{deployment}", self.fleet)
    }

    /// A channel: `events` or `progress` of the whole fleet.
    pub fn fleet_channel(&self, name: &str) -> String {
        format!("{}:{name}", self.fleet)
    }

    /// A channel, not a key: what a worker is told directly.
    pub fn control(&self, worker: WorkerId) -> String {
        format!("{}:control:{worker}", self.fleet)
    }
}
