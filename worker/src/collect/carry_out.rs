//! Does what a plan says, one thing after the other, each looked at again just before.
//!
//! A thing that has changed since the plan is left, and so is one that the engine refuses to remove: nothing is forced, and
//! nothing is removed on the way to it. Any number may work at once; what another removed first is no error.

use std::collections::HashMap;

use bollard::Docker;
use bollard::errors::Error as Call;
use bollard::models::ImageDeleteResponseItem;
use bollard::query_parameters::{
    InspectContainerOptions, RemoveContainerOptions, RemoveImageOptions, StopContainerOptions,
    TagImageOptions,
};
use deploymind_shared::retry::Stop;
use tokio_util::sync::CancellationToken;

use super::survey::{failed, is_slot, there};
use super::words::{Item, Kind, Left, Plan};
use super::{LABEL_FLEET, cache};

/// What came of a plan.
#[derive(Debug, Clone, Default)]
pub struct Collected {
    /// Each with the bytes that came free with it.
    pub removed: Vec<Item>,
    pub left: Vec<Left>,
}

impl Collected {
    pub fn bytes(&self) -> u64 {
        self.removed.iter().map(|item| item.bytes).sum()
    }
}

/// How it went with one thing.
enum Done {
    Freed(u64),
    Gone,
    Left(&'static str),
}

const IN_USE: &str = "in use since the plan was made";
const CHANGED: &str = "its labels or names are others than when the plan was made";

/// # Errors
/// `Cancelled`; `EngineUnavailable`, `EngineUnexpected`. What was removed until then stays removed.
pub async fn carry_out(
    docker: &Docker,
    fleet: &str,
    plan: &Plan,
    cancel: &CancellationToken,
) -> Result<Collected, Stop> {
    let mut collected = Collected::default();
    for item in &plan.items {
        let work = async {
            match item.kind {
                Kind::Slot => slot(docker, fleet, item).await,
                Kind::Image | Kind::Layer => image(docker, fleet, plan, item).await,
                Kind::Cache => match plan.cache {
                    Some((keep, unused)) => cache::shrink(docker, keep, unused).await.map(Done::Freed),
                    None => Ok(Done::Gone),
                },
            }
        };
        let done = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Stop::Cancelled),
            done = work => done?,
        };
        match done {
            Done::Freed(bytes) => {
                tracing::info!(
                    collect.kind = %item.kind, collect.id = item.id, collect.names = ?item.names,
                    collect.why = %item.why, collect.freed_bytes = bytes, "collected"
                );
                collected.removed.push(Item { bytes, ..item.clone() });
            }
            Done::Gone => {}
            Done::Left(why) => collected.left.push(Left {
                id: item.id.clone(),
                names: item.names.clone(),
                why: why.to_owned(),
            }),
        }
    }
    Ok(collected)
}

async fn slot(docker: &Docker, fleet: &str, item: &Item) -> Result<Done, Stop> {
    let asked = docker.inspect_container(&item.id, None::<InspectContainerOptions>).await;
    let Some(found) = there(asked, "inspect container")? else { return Ok(Done::Gone) };
    let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
    if !is_slot(&labels, fleet) {
        return Ok(Done::Left(CHANGED));
    }
    if found.state.and_then(|state| state.running).unwrap_or(false) {
        if !item.stop {
            return Ok(Done::Left(IN_USE));
        }
        // With the signal and the grace that it was created with.
        match docker.stop_container(&item.id, None::<StopContainerOptions>).await {
            Ok(()) | Err(Call::DockerResponseServerError { status_code: 304 | 404, .. }) => {}
            Err(error) => return Err(failed(error, "stop container")),
        }
    }
    // Volumes stay, nameless ones, too. One that runs again by now is refused.
    let options = RemoveContainerOptions { v: false, force: false, link: false };
    match docker.remove_container(&item.id, Some(options)).await {
        Ok(()) => Ok(Done::Freed(item.bytes)),
        Err(Call::DockerResponseServerError { status_code: 404, .. }) => Ok(Done::Gone),
        Err(Call::DockerResponseServerError { status_code: 409, .. }) => Ok(Done::Left(IN_USE)),
        Err(error) => Err(failed(error, "remove container")),
    }
}

async fn image(docker: &Docker, fleet: &str, plan: &Plan, item: &Item) -> Result<Done, Stop> {
    let Some(found) = there(docker.inspect_image(&item.id).await, "inspect image")? else {
        return Ok(Done::Gone);
    };
    let labels: HashMap<String, String> = found.config.and_then(|config| config.labels).unwrap_or_default();
    let names = found.repo_tags.unwrap_or_default();
    let known = names.iter().all(|name| item.names.contains(name));
    if labels.get(LABEL_FLEET).is_none_or(|name| name != fleet) || !known {
        return Ok(Done::Left(CHANGED));
    }
    // Removing by its last name takes that away even where the image is needed, and removing by id refuses an image with names
    // in two repositories. So: all names but one, then the id, which is refused as a whole.
    let mut lost = Vec::new();
    for name in names.iter().skip(1) {
        match remove(docker, name).await? {
            Removal::Done(_) => lost.push(name),
            Removal::Absent => {}
            Removal::Refused => {
                give_back(docker, &item.id, &lost).await?;
                return Ok(Done::Left(IN_USE));
            }
        }
    }
    Ok(match remove(docker, &item.id).await? {
        Removal::Done(records) => Done::Freed(freed(plan, item, &records)),
        Removal::Absent => Done::Gone,
        Removal::Refused => {
            give_back(docker, &item.id, &lost).await?;
            Done::Left(IN_USE)
        }
    })
}

enum Removal {
    Done(Vec<ImageDeleteResponseItem>),
    Absent,
    Refused,
}

async fn remove(docker: &Docker, name: &str) -> Result<Removal, Stop> {
    // The engine would go on to nameless images below it, whoever made them.
    let options = RemoveImageOptions { force: false, noprune: true, platforms: None };
    match docker.remove_image(name, Some(options), None).await {
        Ok(records) => Ok(Removal::Done(records)),
        Err(Call::DockerResponseServerError { status_code: 404, .. }) => Ok(Removal::Absent),
        Err(Call::DockerResponseServerError { status_code: 409, .. }) => Ok(Removal::Refused),
        // An engine that is told to remove an image twice at once says 500 to one of them.
        Err(error @ Call::DockerResponseServerError { status_code: 500, .. }) => {
            match there(docker.inspect_image(name).await, "inspect image")? {
                None => Ok(Removal::Absent),
                Some(_) => Err(failed(error, "remove image")),
            }
        }
        Err(error) => Err(failed(error, "remove image")),
    }
}

async fn give_back(docker: &Docker, id: &str, names: &[&String]) -> Result<(), Stop> {
    for name in names {
        let Some((repository, tag)) = name.rsplit_once(':') else { continue };
        let options = TagImageOptions { repo: Some(repository.to_owned()), tag: Some(tag.to_owned()) };
        there(docker.tag_image(id, Some(options)).await, "tag image")?;
    }
    Ok(())
}

/// The layers that the engine says went with it.
fn freed(plan: &Plan, item: &Item, records: &[ImageDeleteResponseItem]) -> u64 {
    let Some(layers) = &plan.layers else { return item.bytes };
    records.iter().filter_map(|record| layers.get(record.deleted.as_ref()?)).sum()
}
