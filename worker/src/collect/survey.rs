//! Looks at an engine. Reads only, so it may be dropped at any time.

use std::collections::HashMap;

use bollard::Docker;
use bollard::errors::Error as Call;
use bollard::models::{ContainerSummaryStateEnum, ImageHistoryResponseItem, ImageSummary};
use bollard::query_parameters::{
    InspectContainerOptions, ListContainersOptions, ListImagesOptions, ListVolumesOptions,
};
use chrono::DateTime;
use deploymind_shared::clock::Timestamp;
use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;
use futures::{StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};

use super::words::{Container, Image, Layer, Survey, Volume};
use super::{LABEL_DEPLOYMENT, LABEL_FLEET, LABEL_ROLE, LABEL_SLOT, cache};

/// Questions under way at once.
const ASKING: usize = 4;
/// Instructions that leave no layer.
const META: [&str; 13] = [
    "ENV",
    "LABEL",
    "CMD",
    "EXPOSE",
    "ENTRYPOINT",
    "USER",
    "ARG",
    "STOPSIGNAL",
    "HEALTHCHECK",
    "ONBUILD",
    "MAINTAINER",
    "VOLUME",
    "SHELL",
];

/// # Errors
/// `EngineUnavailable`, `EngineUnexpected`.
pub async fn survey(docker: &Docker, fleet: &str) -> Result<Survey, Stop> {
    let images = images(docker).await?;
    let (images, steps) = details(docker, fleet, images).await?;
    let mut survey = Survey { fleet: fleet.to_owned(), images, ..Survey::default() };
    continuations(&mut survey.images, &steps);
    for image in &survey.images {
        if let Some(steps) = steps.get(&image.id) {
            for (chain, layer) in image.layers.iter().zip(sizes(steps, image.layers.len())) {
                // Where two histories differ about a layer, the smaller promise is the one to keep.
                let known = survey.layers.entry(chain.clone()).or_insert(layer);
                known.bytes = known.bytes.min(layer.bytes);
                known.in_cache |= layer.in_cache;
            }
        }
    }
    // After the images: what was started meanwhile is seen to use one.
    survey.containers = containers(docker, fleet).await?;
    survey.volumes = volumes(docker, fleet).await?;
    survey.cache = cache::used(docker).await?;
    if let Some(cache) = &survey.cache {
        // BuildKit may have made it elsewhere. A record of the cache does not say of which layer it is, but its size.
        for layer in survey.layers.values_mut() {
            layer.in_cache &= cache.shared.contains(&layer.bytes);
        }
    }
    let info = docker.info().await.map_err(|error| failed(error, "read engine info"))?;
    let status = info.driver_status.unwrap_or_default();
    survey.names_layers = !status.iter().flatten().any(|word| word.starts_with("io.containerd.snapshotter"));
    Ok(survey)
}

async fn images(docker: &Docker) -> Result<Vec<ImageSummary>, Stop> {
    let options = ListImagesOptions { all: true, ..ListImagesOptions::default() };
    docker.list_images(Some(options)).await.map_err(|error| failed(error, "list images"))
}

type Steps = HashMap<String, Vec<ImageHistoryResponseItem>>;

/// The layers of every image, and how ours were made. One that goes meanwhile is left out.
async fn details(
    docker: &Docker,
    fleet: &str,
    images: Vec<ImageSummary>,
) -> Result<(Vec<Image>, Steps), Stop> {
    let found: Vec<Option<(Image, Option<Vec<ImageHistoryResponseItem>>)>> =
        futures::stream::iter(images.into_iter().map(|summary| async move {
            let Some(inspected) = there(docker.inspect_image(&summary.id).await, "inspect image")? else {
                return Ok(None);
            };
            let ours = summary.labels.get(LABEL_FLEET).is_some_and(|name| name == fleet);
            let steps = if ours {
                let Some(mut steps) = there(docker.image_history(&summary.id).await, "read image history")?
                else {
                    return Ok(None);
                };
                steps.reverse();
                Some(steps)
            } else {
                None
            };
            let real =
                |names: Vec<String>| names.into_iter().filter(|name| !name.contains("<none>")).collect();
            let image = Image {
                parent: Some(summary.parent_id).filter(|id| !id.is_empty()),
                names: real(summary.repo_tags),
                digests: real(summary.repo_digests),
                created: at(summary.created),
                layers: chain(inspected.root_fs.and_then(|root| root.layers).unwrap_or_default()),
                continues: Vec::new(),
                labels: summary.labels,
                id: summary.id,
            };
            Ok::<_, Stop>(Some((image, steps)))
        }))
        .buffer_unordered(ASKING)
        .try_collect()
        .await?;
    let mut images = Vec::new();
    let mut all = Steps::new();
    for (image, steps) in found.into_iter().flatten() {
        if let Some(steps) = steps {
            all.insert(image.id.clone(), steps);
        }
        images.push(image);
    }
    images.sort_by(|a, b| a.id.cmp(&b.id));
    Ok((images, all))
}

/// The OCI image specification's ChainID: a layer together with all below it.
fn chain(layers: Vec<String>) -> Vec<String> {
    let mut chain: Vec<String> = Vec::with_capacity(layers.len());
    for layer in layers {
        let id = match chain.last() {
            None => layer,
            Some(below) => {
                let digest = Sha256::digest(format!("{below} {layer}"));
                let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("sha256:{hex}")
            }
        };
        chain.push(id);
    }
    chain
}

/// Which steps of a history made which of `count` layers. It does not say whether a step of no bytes left an empty one.
pub(super) fn sizes(steps: &[ImageHistoryResponseItem], count: usize) -> Vec<Layer> {
    let size = |step: &ImageHistoryResponseItem| u64::try_from(step.size).unwrap_or(0);
    let layer = |step: &ImageHistoryResponseItem| Layer {
        bytes: size(step),
        in_cache: step.comment.starts_with("buildkit."),
    };
    // One of these guesses fits nearly every image: a step that may write did; all but WORKDIR did; none without bytes did.
    let guess = |empty: fn(&str) -> bool| -> Vec<Layer> {
        steps.iter().filter(|step| size(step) > 0 || empty(&step.created_by)).map(layer).collect()
    };
    let mut layers = guess(may_write);
    if layers.len() != count {
        layers = guess(|by| may_write(by) && !by.contains("WORKDIR"));
    }
    if layers.len() != count {
        layers = guess(|_| false);
    }
    // Too few: the bytes are put low, where they are most likely shared, so that no more is promised than comes free.
    layers.resize(count.max(layers.len()), Layer { bytes: 0, in_cache: false });
    while layers.len() > count {
        let extra = layers.pop().map_or(0, |layer| layer.bytes);
        if let Some(first) = layers.first_mut() {
            first.bytes += extra;
        } else {
            break;
        }
    }
    layers
}

fn may_write(created_by: &str) -> bool {
    let instruction = created_by.trim_start_matches("/bin/sh -c #(nop)").trim_start();
    !META.iter().any(|meta| instruction.starts_with(meta))
}

/// An image inherits the labels of what it is built on, so that one of somebody else may have ours.
fn continuations(images: &mut [Image], steps: &Steps) {
    let key = |step: &ImageHistoryResponseItem| (step.created, step.created_by.clone(), step.size);
    let histories: Vec<(String, Option<String>, Vec<_>, Vec<String>)> = images
        .iter()
        .filter_map(|image| {
            let history = steps.get(&image.id)?.iter().map(key).collect();
            let deployment = image.labels.get(LABEL_DEPLOYMENT).cloned();
            Some((image.id.clone(), deployment, history, image.layers.clone()))
        })
        .collect();
    for image in images.iter_mut().filter(|image| image.labels.contains_key(LABEL_DEPLOYMENT)) {
        let Some(own) = steps.get(&image.id) else { continue };
        let own: Vec<_> = own.iter().map(key).collect();
        for (id, deployment, history, layers) in &histories {
            if deployment.as_ref() == image.labels.get(LABEL_DEPLOYMENT)
                && history.len() < own.len()
                && own.starts_with(history)
                && image.layers.starts_with(layers)
            {
                image.continues.push(id.clone());
            }
        }
    }
}

async fn containers(docker: &Docker, fleet: &str) -> Result<Vec<Container>, Stop> {
    let options = ListContainersOptions { all: true, ..ListContainersOptions::default() };
    let listed =
        docker.list_containers(Some(options)).await.map_err(|error| failed(error, "list containers"))?;
    let mut containers = Vec::with_capacity(listed.len());
    for summary in listed {
        let id = summary.id.unwrap_or_default();
        let name = summary.names.unwrap_or_default().into_iter().next().unwrap_or_default();
        let mut container = Container {
            name: name.trim_start_matches('/').to_owned(),
            image: summary.image_id.unwrap_or_default(),
            labels: summary.labels.unwrap_or_default(),
            created: at(summary.created.unwrap_or_default()),
            running: !matches!(
                summary.state,
                Some(
                    ContainerSummaryStateEnum::CREATED
                        | ContainerSummaryStateEnum::EXITED
                        | ContainerSummaryStateEnum::DEAD
                )
            ),
            bytes: 0,
            id,
        };
        // What a Dockerfile says of a container is no proof; its name is.
        if !named_as_labelled(&container) {
            container.labels.remove(LABEL_SLOT);
        }
        if !container.running && is_slot(&container.labels, fleet) {
            let options = InspectContainerOptions { size: true };
            let asked = docker.inspect_container(&container.id, Some(options)).await;
            let Some(inspected) = there(asked, "inspect container")? else { continue };
            container.bytes = inspected.size_rw.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
        }
        containers.push(container);
    }
    containers.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(containers)
}

fn named_as_labelled(container: &Container) -> bool {
    let Some(slot) = container.labels.get(LABEL_SLOT) else { return true };
    match container.name.strip_prefix(slot.as_str()) {
        Some("") => true,
        Some(rest) => rest.strip_prefix('-').is_some_and(|copy| copy.parse::<u16>().is_ok()),
        None => false,
    }
}

/// Whether these are the labels of a slot of this fleet. The edge has another role.
pub(super) fn is_slot(labels: &HashMap<String, String>, fleet: &str) -> bool {
    labels.get(LABEL_FLEET).is_some_and(|name| name == fleet)
        && labels.contains_key(LABEL_SLOT)
        && labels.get(LABEL_ROLE).is_none_or(|role| role == "slot")
}

async fn volumes(docker: &Docker, fleet: &str) -> Result<Vec<Volume>, Stop> {
    let filters = HashMap::from([("label".to_owned(), vec![format!("{LABEL_FLEET}={fleet}")])]);
    let options = ListVolumesOptions { filters: Some(filters) };
    let listed = docker.list_volumes(Some(options)).await.map_err(|error| failed(error, "list volumes"))?;
    let mut volumes: Vec<Volume> = listed
        .volumes
        .unwrap_or_default()
        .into_iter()
        .map(|volume| Volume { name: volume.name, labels: volume.labels })
        .collect();
    volumes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(volumes)
}

fn at(seconds: i64) -> Timestamp {
    DateTime::from_timestamp(seconds, 0).unwrap_or_default()
}

/// `None` for what is not there any more.
pub(super) fn there<T>(answer: Result<T, Call>, context: &'static str) -> Result<Option<T>, Stop> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(Call::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(failed(error, context)),
    }
}

pub(super) fn failed(error: Call, context: &'static str) -> Stop {
    let answered = matches!(
        error,
        Call::DockerResponseServerError { .. }
            | Call::DockerStreamError { .. }
            | Call::JsonDataError { .. }
            | Call::JsonSerdeError { .. }
    );
    let error = if answered {
        Error::new(
            Code::EngineUnexpected,
            "the Docker engine answered in a way that is not understood; see the worker's log and the engine's version",
        )
        .because(error)
    } else {
        Error::new(
            Code::EngineUnavailable,
            "the Docker engine cannot be reached; see that it runs and that the worker may use it",
        )
        .because(error)
    };
    error.context(context).into()
}
