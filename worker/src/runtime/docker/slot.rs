//! The containers of a slot: made, started, ended, taken away, and told of.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, ContainerUpdateBody, RestartPolicy,
    RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptions, EventsOptions, InspectContainerOptions, ListContainersOptions,
    RemoveContainerOptions, StartContainerOptions, StopContainerOptions,
};
use deploymind_shared::error::{Code, Error};
use deploymind_shared::ids::Epoch;
use deploymind_shared::retry::Stop;
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt};

use super::config::{HostConfig, Names};
use super::connect::Host;
use super::failure::{Fault, name_taken};
use super::labels::{self, Labels};
use super::network::{self, Network};
use super::{image, mounts, spec};
use crate::runtime::{AppRef, Copy, Fence, Launch, Slot, SlotName};

/// Looks at a copy until it is as it should be. More than one only where another worker, or a person, is at work as well.
const TRIES: usize = 20;
/// A removal that another worker has begun ends within this.
const REMOVAL: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One copy as the engine knows it.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) labels: Labels,
    pub(super) state: ContainerState,
    pub(super) restarts: u32,
    pub(super) policy: Option<RestartPolicyNameEnum>,
    pub(super) grace: Duration,
    /// Ports that the image names.
    pub(super) exposed: Vec<u16>,
}

impl Found {
    fn read(container: ContainerInspectResponse) -> Option<Self> {
        let config = container.config?;
        let port = |port: &String| port.split('/').next()?.parse().ok();
        let exposed = config.exposed_ports.iter().flatten().filter_map(port).collect();
        let grace = config.stop_timeout.and_then(|s| u64::try_from(s).ok()).unwrap_or(10);
        Some(Self {
            id: container.id?,
            name: container.name?.trim_start_matches('/').to_owned(),
            labels: config.labels.unwrap_or_default(),
            state: container.state.unwrap_or_default(),
            restarts: container.restart_count.and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
            policy: container
                .host_config
                .and_then(|limits| limits.restart_policy)
                .and_then(|policy| policy.name),
            grace: Duration::from_secs(grace),
            exposed,
        })
    }

    /// An engine calls one that waits to be started again running as well.
    pub(super) fn is_running(&self) -> bool {
        self.state.running == Some(true)
            && self.state.restarting != Some(true)
            && self.state.paused != Some(true)
    }

    pub(super) fn label<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.labels.get(name)?.parse().ok()
    }

    /// Labels alone prove nothing: an image, and the container of a build's step, has what its Dockerfile says. A name is
    /// given by whoever may use the engine.
    fn is_named_as_labelled(&self) -> bool {
        labels::is_copy(&self.labels, &self.name)
    }

    pub(super) fn address(&self, port: Option<u16>) -> Option<SocketAddr> {
        let address: Ipv4Addr = self.label(labels::ADDRESS)?;
        Some(SocketAddr::new(address.into(), self.label(labels::PORT).or(port)?))
    }
}

pub(super) async fn inspect(host: &Host, container: &str) -> Result<Option<Found>, Stop> {
    let link = host.link().await?;
    let found = link.docker.inspect_container(container, None::<InspectContainerOptions>);
    match host.call("inspect container", found).await {
        Ok(found) => Ok(Found::read(found)),
        Err(fault) if fault.status() == Some(404) => Ok(None),
        Err(fault) => Err(fault.into()),
    }
}

async fn listed(host: &Host, filters: HashMap<String, Vec<String>>) -> Result<Vec<Found>, Stop> {
    let link = host.link().await?;
    let options =
        ListContainersOptions { all: true, filters: Some(filters), ..ListContainersOptions::default() };
    let all = host.call("list containers", link.docker.list_containers(Some(options))).await?;
    let ids: Vec<String> = all.into_iter().filter_map(|container| container.id).collect();
    let mut found: Vec<Found> =
        try_join_all(ids.iter().map(|id| inspect(host, id))).await?.into_iter().flatten().collect();
    found.retain(Found::is_named_as_labelled);
    found.sort_by_key(|copy| copy.label::<u16>(labels::COPY));
    Ok(found)
}

/// The copies of a slot, the first one first.
pub(super) async fn copies(host: &Host, names: &Names, slot: &SlotName) -> Result<Vec<Found>, Stop> {
    listed(host, labels::by_slot(&names.fleet, slot)).await
}

/// All slots of an app, the oldest epoch first.
pub(super) async fn all(host: &Host, names: &Names, app: &AppRef) -> Result<Vec<Slot>, Stop> {
    let id = app.id.to_string();
    let filters = labels::filter(&[
        (labels::FLEET, &names.fleet),
        (labels::ROLE, labels::ROLE_SLOT),
        (labels::APP, &id),
    ]);
    let mut slots: BTreeMap<SlotName, Slot> = BTreeMap::new();
    for found in listed(host, filters).await? {
        let (Some(slot), Some(epoch), Some(release), Some(deployment)) = (
            found.label::<String>(labels::SLOT).map(SlotName),
            found.label(labels::EPOCH).map(Epoch),
            found.label(labels::RELEASE),
            found.label(labels::DEPLOYMENT),
        ) else {
            tracing::warn!(container.name = found.name, "left alone: its labels cannot be read");
            continue;
        };
        let copy = Copy {
            running: found.is_running(),
            restarts: found.restarts,
            address: found.address(None),
            name: found.name,
        };
        let entry = slots.entry(slot.clone());
        entry
            .or_insert_with(|| Slot { name: slot, release, deployment, epoch, copies: Vec::new() })
            .copies
            .push(copy);
    }
    let mut slots: Vec<Slot> = slots.into_values().collect();
    slots.sort_by_key(|slot| slot.epoch);
    Ok(slots)
}

/// A slot that is being launched.
struct Work<'a> {
    host: &'a Host,
    names: &'a Names,
    config: &'a HostConfig,
    fence: &'a Fence,
    launch: &'a Launch,
    network: Network,
    spec: String,
}

/// Makes and starts what is missing of a slot.
pub(super) async fn launch(
    host: &Host,
    names: &Names,
    config: &HostConfig,
    fence: &Fence,
    launch: &Launch,
) -> Result<(), Stop> {
    if launch.spec.run.volumes.iter().any(|volume| volume.is_host_mount()) {
        let link = host.link().await?;
        let info = host.call("read engine info", link.docker.info()).await?;
        mounts::permitted(launch, info.docker_root_dir.as_deref())?;
    }
    let network = network::ensure(host, names, config).await?;
    mounts::ensure(host, names, launch).await?;
    let work = Work { host, names, config, fence, launch, network, spec: spec::hash(launch) };
    for index in 0..launch.spec.run.replicas.max(1) {
        work.copy(index).await?;
    }
    Ok(())
}

impl Work<'_> {
    fn is_of_slot(&self, found: &Found) -> bool {
        labels::is_of(Some(&found.labels), &self.names.fleet)
            && found.label(labels::APP) == Some(self.launch.app.id)
            && found.labels.get(labels::SLOT) == Some(&self.launch.slot.0)
    }

    async fn copy(&self, index: u16) -> Result<(), Stop> {
        let Self { host, launch, .. } = self;
        let name = launch.slot.copy(index);
        for _ in 0..TRIES {
            if let Some(found) = inspect(host, &name).await? {
                if !self.is_of_slot(&found) {
                    return Err(name_taken("container", &name).into());
                }
                if found.labels.get(labels::SPEC) != Some(&self.spec) || found.state.dead == Some(true) {
                    remove(host, &found).await?;
                } else {
                    match start(host, &found, launch).await {
                        // Its address went to another while it was stopped: only by hand, or in a race.
                        Err(fault) if fault.address_taken() => remove(host, &found).await?,
                        started => return started.map_err(|fault| fault.of_slot(&name, &launch.variables)),
                    }
                }
            }
            self.create(index, &name).await?;
        }
        Err(Stop::terminal(
            Code::SlotRefused,
            format!(
                "`{name}` could not be made: something on the target takes its name or its address each time; deploy again"
            ),
        ))
    }

    async fn create(&self, index: u16, name: &str) -> Result<(), Stop> {
        let Self { host, names, config, launch, network, spec, .. } = self;
        let Some(image) = image::find(host, &launch.spec.image).await?.and_then(|image| image.id) else {
            return Err(Error::new(
                Code::ImageMissing,
                "the release's image is not on the target any more; deploy the commit again to bring it there",
            )
            .into());
        };
        let taken = network::taken(host, names, network).await?;
        let address = network.subnet.choose(name, &taken).ok_or_else(|| network::full(names))?;
        let place =
            spec::Place { config, names, network, address, image: &image, epoch: self.fence.epoch, spec };
        let options =
            CreateContainerOptions { name: Some(name.to_owned()), ..CreateContainerOptions::default() };
        let link = host.link().await?;
        let body = spec::body(launch, index, &place);
        match host.call("create container", link.docker.create_container(Some(options), body)).await {
            Ok(_) => Ok(()),
            // Somebody has the name now, a moment before the container is there to be seen. Who, the next look tells.
            Err(fault) if fault.status() == Some(409) => {
                tokio::time::sleep(LOOK_EVERY).await;
                Ok(())
            }
            Err(fault) => Err(fault.of_slot(name, &launch.variables)),
        }
    }
}

async fn start(host: &Host, found: &Found, launch: &Launch) -> Result<(), Fault> {
    let link = host.link().await?;
    if found.state.paused == Some(true) {
        return host.call("resume container", link.docker.unpause_container(&found.id)).await;
    }
    if found.state.running == Some(true) {
        return Ok(());
    }
    // A stop has taken it away.
    let policy = spec::policy(launch.spec.run.restart);
    if found.policy != policy.name {
        set_policy(host, found, policy).await?;
    }
    host.call("start container", link.docker.start_container(&found.id, None::<StartContainerOptions>)).await
}

async fn set_policy(host: &Host, found: &Found, policy: RestartPolicy) -> Result<(), Fault> {
    let link = host.link().await?;
    let update = ContainerUpdateBody { restart_policy: Some(policy), ..ContainerUpdateBody::default() };
    host.call("set restart policy", link.docker.update_container(&found.id, update)).await
}

/// Ends all copies of a slot, each with its own signal and grace.
pub(super) async fn stop(host: &Host, names: &Names, slot: &SlotName) -> Result<(), Stop> {
    let copies = copies(host, names, slot).await?;
    try_join_all(copies.iter().map(|found| end(host, found))).await?;
    Ok(())
}

/// Ends them and takes them away, with the volumes that have no name.
pub(super) async fn retire(host: &Host, names: &Names, slot: &SlotName) -> Result<(), Stop> {
    let copies = copies(host, names, slot).await?;
    let each = copies.iter().map(|found| async {
        end(host, found).await?;
        remove(host, found).await
    });
    try_join_all(each).await?;
    Ok(())
}

async fn end(host: &Host, found: &Found) -> Result<(), Stop> {
    if found.state.running != Some(true) && found.state.paused != Some(true) {
        return Ok(());
    }
    // An engine that starts would start it again, were it to restart on failure: to be ended by a signal is one.
    if found.policy == Some(RestartPolicyNameEnum::ON_FAILURE) {
        let never = RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None };
        gone_is_fine(set_policy(host, found, never).await)?;
    }
    let link = host.link().await?;
    if found.state.paused == Some(true) {
        // A frozen program does not hear its signal.
        gone_is_fine(host.call("resume container", link.docker.unpause_container(&found.id)).await)?;
    }
    let stop = link.docker.stop_container(&found.id, None::<StopContainerOptions>);
    gone_is_fine(host.call_within(found.grace + host.answer(), "stop container", stop).await)
}

fn gone_is_fine(ended: Result<(), Fault>) -> Result<(), Stop> {
    match ended {
        Err(fault) if fault.status() == Some(404) => Ok(()),
        ended => Ok(ended?),
    }
}

async fn remove(host: &Host, found: &Found) -> Result<(), Stop> {
    let link = host.link().await?;
    let options = RemoveContainerOptions { v: true, force: true, ..RemoveContainerOptions::default() };
    match host.call("remove container", link.docker.remove_container(&found.id, Some(options))).await {
        Err(fault) if fault.status() == Some(409) => {
            let end = tokio::time::Instant::now() + REMOVAL;
            while inspect(host, &found.id).await?.is_some() {
                if tokio::time::Instant::now() > end {
                    return Err(fault.into());
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Ok(())
        }
        ended => gone_is_fine(ended),
    }
}

/// Whether it last ended because the kernel took its memory away. The engine forgets when it starts it again, but not in
/// its list of events.
pub(super) async fn lacked_memory(host: &Host, found: &Found) -> Result<bool, Stop> {
    if found.state.oom_killed == Some(true) {
        return Ok(true);
    }
    if found.restarts == 0 {
        return Ok(false);
    }
    let filters = HashMap::from([
        ("type".to_owned(), vec!["container".to_owned()]),
        ("container".to_owned(), vec![found.id.clone()]),
        ("event".to_owned(), vec!["oom".to_owned()]),
    ]);
    let now = deploymind_shared::clock::Clock::system().now().timestamp();
    let options =
        EventsOptions { since: Some("0".to_owned()), until: Some(now.to_string()), filters: Some(filters) };
    let link = host.link().await?;
    let events = std::pin::pin!(link.docker.events(Some(options)));
    let any = events.take(1).try_collect::<Vec<_>>();
    Ok(!host.call("read events", any).await?.is_empty())
}

/// How it ended, if it is not running: for a person.
pub(super) fn ended(found: &Found, is_memory: bool) -> Option<String> {
    if found.is_running() {
        return None;
    }
    if is_memory {
        return Some("killed for want of memory".to_owned());
    }
    if found.state.status == Some(ContainerStateStatusEnum::CREATED) {
        return Some(match found.state.error.as_deref() {
            Some(error) if !error.is_empty() => format!("never started: {}", super::failure::shorten(error)),
            _ => "never started".to_owned(),
        });
    }
    Some(match found.state.exit_code.unwrap_or(0) {
        137 => "exit code 137 (killed)".to_owned(),
        139 => "exit code 139 (it touched memory that is not its own)".to_owned(),
        127 => "exit code 127 (a command was not found)".to_owned(),
        126 => "exit code 126 (a command is not executable)".to_owned(),
        code => format!("exit code {code}"),
    })
}
