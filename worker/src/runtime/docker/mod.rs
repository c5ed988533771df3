//! Slots on a Docker host: containers on a bridge network of ours, behind one edge in the network of the host.
//!
//! Owns all that is said to the engine of a target, and the edge's container there. It knows neither the record nor the
//! queue, and holds no state: the host is the record of what is on it.
//!
//! # Guarantees
//! Every effect is admitted by the edge first, which refuses a lower epoch. What does not carry this fleet's label is never
//! changed. No value of a variable is in a line, an error or a label. Every call ends: each exchange with the engine has a
//! deadline.
//!
//! # Assumptions
//! No two fleets of one name share a host, and no two targets are one host.

mod config;
mod connect;
mod edge;
mod failure;
mod health;
mod image;
mod labels;
mod listening;
mod logs;
mod mounts;
mod network;
mod slot;
mod spec;
#[cfg(test)]
mod tests;
mod tunnel;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deploymind_shared::domain::slot::{HealthCheck, SlotSettings};
use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;
use futures::stream::BoxStream;

use self::config::Names;
pub use self::config::{Address, DEFAULT_SUBNET, HostConfig, Ssh, Tls};
use self::connect::Host;
use self::edge::EdgeShell;
use self::slot::Found;
use super::edge::{Edge, Holder, Settings, Upstream};
use super::{
    AppRef, Cursor, Fence, Finding, Health, Launch, Remains, Route, Runtime, Scene, SlotLine, SlotName,
    Traffic, Usage,
};

/// One Docker host.
pub struct DockerRuntime {
    host: Arc<Host>,
    builder: Option<Arc<Host>>,
    config: Arc<HostConfig>,
    names: Names,
    edge: Edge<Arc<EdgeShell>>,
    shell: Arc<EdgeShell>,
}

impl DockerRuntime {
    /// Dials nothing yet.
    pub fn new(config: HostConfig) -> Self {
        let config = Arc::new(config);
        let host = |address: &Address| Arc::new(Host::new(address.clone(), config.connect, config.answer));
        let builder = config.builder.as_ref().map(host);
        let host = host(&config.address);
        let names = Names { fleet: config.fleet.clone() };
        let shell = Arc::new(EdgeShell::new(Arc::clone(&host), Arc::clone(&config), names.clone()));
        let settings = Settings { shared_port: config.http_port, ..Settings::default() };
        let edge = Edge::with(Arc::clone(&shell), settings);
        Self { host, builder, config, names, edge, shell }
    }

    /// Whether the engine answers.
    ///
    /// # Errors
    /// `EngineUnavailable`, `TargetConnection`.
    pub async fn ping(&self) -> Result<(), Stop> {
        let link = self.host.link().await?;
        self.host.call("ping engine", link.docker.ping()).await?;
        Ok(())
    }

    /// For what is no part of a roll-out. The connection lasts as long as this.
    ///
    /// # Errors
    /// `EngineUnavailable`, `TargetConnection`.
    pub(crate) async fn engine(&self) -> Result<bollard::Docker, Stop> {
        Ok(self.host.link().await?.docker.clone())
    }

    async fn copies(&self, slot: &SlotName) -> Result<Vec<Found>, Stop> {
        slot::copies(&self.host, &self.names, slot).await
    }

    /// Where the edge finds a slot; `None` if no copy of it is left. They listen where they were launched to, whatever the
    /// app's port is now.
    async fn upstream(&self, slot: Option<&SlotName>, port: u16) -> Result<Option<Upstream>, Stop> {
        let Some(slot) = slot else { return Ok(None) };
        let copies = self.copies(slot).await?;
        // One that waits to be started again comes back at its address; one that was stopped does not.
        let mut serving: Vec<&Found> =
            copies.iter().filter(|copy| copy.state.running == Some(true)).collect();
        if serving.is_empty() {
            serving = copies.iter().collect();
        }
        let addresses: Vec<_> = serving.iter().filter_map(|copy| copy.address(Some(port))).collect();
        Ok((!addresses.is_empty()).then(|| Upstream { slot: slot.clone(), addresses }))
    }

    /// `of_app`: whether an app that has no route yet wants the port for itself.
    async fn port_obstacle(&self, port: u16, of_app: bool) -> Result<Option<Error>, Stop> {
        let (code, sentence) = match self.edge.port_holder(port).await? {
            Holder::Foreign => (
                Code::EdgePortTaken,
                format!(
                    "another program listens on port {port} of the target (`ss -ltnp 'sport = :{port}'` there says which); stop it, or give the app another port"
                ),
            ),
            Holder::Edge if of_app => (
                Code::RouteTaken,
                format!("port {port} of the target is another app's; give one of the two another port"),
            ),
            Holder::Free | Holder::Edge => return Ok(None),
        };
        Ok(Some(Error::new(code, sentence)))
    }
}

/// What stands in the way as an obstacle; what cannot be told now as the error that it is.
fn obstacle(stop: Stop, into: &mut Vec<Error>) -> Result<(), Stop> {
    match stop {
        Stop::Terminal(error) => into.push(error),
        Stop::Retryable { error, .. } if error.code() == Code::DiskFull => into.push(error),
        stop => return Err(stop),
    }
    Ok(())
}

#[async_trait]
impl Runtime for DockerRuntime {
    async fn inspect(&self, app: &AppRef) -> Result<Scene, Stop> {
        let slots = slot::all(&self.host, &self.names, app).await?;
        let route = if self.shell.exists().await? { self.edge.standing(app.id).await? } else { None };
        Ok(Scene { slots, route })
    }

    /// Only the edge sees the host's ports: where there is none yet, it is made.
    async fn obstacles(&self, app: &AppRef, run: &SlotSettings) -> Result<Vec<Error>, Stop> {
        let mut found = Vec::new();
        let host = self.host.as_ref();
        if let Err(stop) = network::find(host, &self.names).await {
            obstacle(stop, &mut found)?;
        }
        for volume in run.volumes.iter().filter(|volume| !volume.is_host_mount()) {
            let name = self.names.volume(app.id, &volume.source);
            if let Err(stop) = mounts::is_there(host, &self.names, app, &name).await {
                obstacle(stop, &mut found)?;
            }
        }
        if let Err(stop) = image::room(host, 0).await {
            obstacle(stop, &mut found)?;
        }
        match self.shell.ensure().await {
            Err(stop) => obstacle(stop, &mut found)?,
            Ok(_) => {
                if let Some(port) = run.routes.port {
                    let is_routed = self.edge.standing(app.id).await?.is_some();
                    found.extend(self.port_obstacle(port, !is_routed).await?);
                }
                if !run.routes.hosts.is_empty() {
                    found.extend(self.port_obstacle(self.config.http_port, false).await?);
                }
            }
        }
        Ok(found)
    }

    async fn provide(&self, launch: &Launch) -> Result<(), Stop> {
        image::provide(&self.host, self.builder.as_ref(), &self.config, &launch.spec.image).await
    }

    async fn launch(&self, fence: &Fence, launch: &Launch) -> Result<(), Stop> {
        self.edge.admit(fence).await?;
        slot::launch(&self.host, &self.names, &self.config, fence, launch).await
    }

    async fn probe(&self, slot: &SlotName, port: u16, check: &HealthCheck) -> Result<Health, Stop> {
        let copies = self.copies(slot).await?;
        if copies.is_empty() {
            return Ok(Health::Bad(health::absent(&slot.0)));
        }
        for copy in &copies {
            if let Some(finding) = self.state(copy).await? {
                return Ok(Health::Bad(finding));
            }
        }
        let addresses: Vec<_> = copies.iter().filter_map(|copy| copy.address(Some(port))).collect();
        let answers = self.edge.probe(&addresses, check).await?;
        for ((copy, address), answer) in copies.iter().zip(&addresses).zip(&answers) {
            if let Some(finding) = self.finding(copy, address.port(), check, answer).await? {
                return Ok(Health::Bad(finding));
            }
        }
        Ok(Health::Good { restarts: copies.iter().map(|copy| copy.restarts).sum() })
    }

    async fn remains(&self, slot: &SlotName) -> Result<Remains, Stop> {
        logs::remains(&self.host, &self.copies(slot).await?).await
    }

    async fn route(&self, fence: &Fence, route: &Route, port: u16) -> Result<(), Stop> {
        let old = self.upstream(route.old.as_ref(), port).await?;
        let new = self.upstream(route.new.as_ref(), port).await?;
        let mut route = route.clone();
        // A side that gets nothing need not be there: what is left of the route must not wait for it.
        if old.is_none() && route.new.is_some() && route.weight == 100 {
            route.old = None;
        }
        if new.is_none() && route.old.is_some() && route.weight == 0 {
            route.new = None;
        }
        for (named, found) in [(&route.old, &old), (&route.new, &new)] {
            if let (Some(slot), None) = (named, found) {
                return Err(Stop::terminal(
                    Code::SlotExited,
                    format!("no copy of `{slot}` is left on the target to send users to; deploy again"),
                ));
            }
        }
        self.edge.route(fence, &route, old.as_ref(), new.as_ref()).await
    }

    async fn drained(&self, most: Duration) -> Result<bool, Stop> {
        if self.shell.exists().await? { self.edge.drained(most).await } else { Ok(true) }
    }

    async fn traffic(&self, app: &AppRef, from: &Cursor) -> Result<(Traffic, Cursor), Stop> {
        if self.shell.exists().await? {
            self.edge.traffic(app.id, from).await
        } else {
            Ok((Traffic::default(), from.clone()))
        }
    }

    async fn stop(&self, fence: &Fence, slot: &SlotName) -> Result<(), Stop> {
        self.edge.admit(fence).await?;
        slot::stop(&self.host, &self.names, slot).await
    }

    async fn retire(&self, fence: &Fence, slot: &SlotName) -> Result<(), Stop> {
        self.edge.admit(fence).await?;
        slot::retire(&self.host, &self.names, slot).await
    }

    async fn logs(
        &self,
        slot: &SlotName,
        tail: usize,
    ) -> Result<BoxStream<'static, Result<SlotLine, Stop>>, Stop> {
        Ok(logs::follow(&self.host, self.copies(slot).await?, tail))
    }

    async fn usage(&self, slot: &SlotName) -> Result<BoxStream<'static, Result<Usage, Stop>>, Stop> {
        usage::watch(&self.host, self.copies(slot).await?).await
    }
}

impl DockerRuntime {
    /// What is wrong with a copy that does not run.
    async fn state(&self, copy: &Found) -> Result<Option<Finding>, Stop> {
        if copy.is_running() {
            return Ok(None);
        }
        let is_memory = slot::lacked_memory(&self.host, copy).await?;
        Ok(health::of_state(copy, is_memory))
    }

    /// A copy that gave no good answer may have ended while it was asked: that is then the finding.
    async fn finding(
        &self,
        copy: &Found,
        port: u16,
        check: &HealthCheck,
        answer: &super::edge::Answer,
    ) -> Result<Option<Finding>, Stop> {
        let nothing = listening::Hears::default();
        if health::of_answer(copy, port, check, answer, &nothing).is_none() {
            return Ok(None);
        }
        let Some(now) = slot::inspect(&self.host, &copy.id).await? else {
            return Ok(Some(health::absent(&copy.name)));
        };
        if let Some(ended) = self.state(&now).await? {
            return Ok(Some(ended));
        }
        if now.state.started_at != copy.state.started_at {
            let is_memory = slot::lacked_memory(&self.host, &now).await?;
            return Ok(Some(health::started_again(&now, is_memory)));
        }
        let hears = if self.host.is_local() { listening::look(&now).await } else { nothing };
        Ok(health::of_answer(&now, port, check, answer, &hears))
    }
}
