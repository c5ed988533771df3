//! Images that are ours: is one still there, away with one, which are there.
//!
//! Nothing here touches an image that does not carry our labels.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use bollard::errors::Error as Call;
use bollard::query_parameters::{ListImagesOptions, PruneImagesOptions, RemoveImageOptions};
use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;
use futures::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

use super::context::size_text;
use super::engine::Engine;
use super::failure::of_call;

pub const LABEL_APP: &str = "deploymind.app";
pub const LABEL_DEPLOYMENT: &str = "deploymind.deployment";
pub const LABEL_COMMIT: &str = "deploymind.commit";

/// An image that carries our labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledImage {
    pub id: String,
    pub tags: Vec<String>,
    pub deployment: String,
    pub labels: HashMap<String, String>,
    /// Seconds since 1970.
    pub created: i64,
    pub size_bytes: u64,
}

/// Whether an image is there and carries these labels.
///
/// # Errors
/// `EngineUnavailable`, `EngineUnexpected`.
pub async fn image_usable(engine: &Engine, id: &str, labels: &[(String, String)]) -> Result<bool, Stop> {
    let found = labels_of(engine, id).await?;
    Ok(found.is_some_and(|found| labels.iter().all(|(name, value)| found.get(name) == Some(value))))
}

/// Removes an image with all its names. `false` if there is none of ours, or a container uses it.
///
/// # Errors
/// `EngineUnavailable`, `EngineUnexpected`.
pub async fn image_remove(engine: &Engine, id: &str) -> Result<bool, Stop> {
    let image = match engine.docker.inspect_image(id).await {
        Err(Call::DockerResponseServerError { status_code: 404, .. }) => return Ok(false),
        image => image.map_err(|error| of_call(engine, error, "inspect image"))?,
    };
    let labelled = image.config.and_then(|config| config.labels).unwrap_or_default();
    if !labelled.contains_key(LABEL_DEPLOYMENT) {
        tracing::warn!(image.id = id, "not removed: the image is not of a deployment");
        return Ok(false);
    }
    // Name by name: removing by id refuses an image that has two, and by force takes it from under a stopped container.
    let mut names = image.repo_tags.unwrap_or_default();
    names.push(id.to_owned());
    for name in names {
        match engine.docker.remove_image(&name, None::<RemoveImageOptions>, None).await {
            Ok(_) | Err(Call::DockerResponseServerError { status_code: 404, .. }) => {}
            Err(Call::DockerResponseServerError { status_code: 409, message }) => {
                tracing::debug!(image.id = id, reason = message, "image is in use");
                return Ok(false);
            }
            Err(error) => return Err(of_call(engine, error, "remove image")),
        }
    }
    Ok(true)
}

/// All images that a deployment made.
///
/// # Errors
/// `EngineUnavailable`, `EngineUnexpected`.
pub async fn images_labelled(engine: &Engine) -> Result<Vec<LabelledImage>, Stop> {
    let filters = HashMap::from([("label".to_owned(), vec![LABEL_DEPLOYMENT.to_owned()])]);
    let options = ListImagesOptions { filters: Some(filters), ..ListImagesOptions::default() };
    let images = engine
        .docker
        .list_images(Some(options))
        .await
        .map_err(|error| of_call(engine, error, "list images"))?;
    Ok(images
        .into_iter()
        .filter_map(|image| {
            let deployment = image.labels.get(LABEL_DEPLOYMENT)?.clone();
            Some(LabelledImage {
                id: image.id,
                tags: image.repo_tags,
                deployment,
                labels: image.labels,
                created: image.created,
                size_bytes: u64::try_from(image.size).unwrap_or(0),
            })
        })
        .collect())
}

/// Removes our images that have lost their name and are older than `age`; returns the bytes that came free.
///
/// # Errors
/// `EngineUnavailable`, `EngineUnexpected`.
pub async fn images_prune(engine: &Engine, age: Duration) -> Result<u64, Stop> {
    let filters = HashMap::from([
        ("dangling".to_owned(), vec!["true".to_owned()]),
        ("label".to_owned(), vec![LABEL_DEPLOYMENT.to_owned()]),
        ("until".to_owned(), vec![format!("{}s", age.as_secs())]),
    ]);
    let options = PruneImagesOptions { filters: Some(filters) };
    let pruned = engine
        .docker
        .prune_images(Some(options))
        .await
        .map_err(|error| of_call(engine, error, "prune images"))?;
    Ok(pruned.space_reclaimed.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0))
}

/// Writes an image as a `docker save` archive of at most `limit` bytes; returns its length. Nothing is left on failure.
///
/// # Errors
/// `ImageMissing`, `EngineUnavailable`, `WorkspaceFailed`; `ScannerFailed` for an image larger than the limit.
pub async fn export(
    engine: &Engine,
    image: &str,
    into: &Path,
    limit: u64,
    cancel: &CancellationToken,
) -> Result<u64, Stop> {
    if labels_of(engine, image).await?.is_none() {
        return Err(Error::new(
            Code::ImageMissing,
            "the image is not in the engine any more; deploy again to build it anew",
        )
        .into());
    }
    let written = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Stop::Cancelled),
        written = write(engine, image, into, limit) => written,
    };
    if written.is_err() {
        // What cannot be removed now goes with the work directory.
        let _left = tokio::fs::remove_file(into).await.is_err();
    }
    written
}

async fn write(engine: &Engine, image: &str, into: &Path, limit: u64) -> Result<u64, Stop> {
    let refused = |error: std::io::Error| {
        Error::new(
            Code::WorkspaceFailed,
            "the image cannot be written to the worker's disk; see that it has room",
        )
        .context("write image archive")
        .because(error)
    };
    let mut file = tokio::fs::File::create(into).await.map_err(refused)?;
    let mut stream = std::pin::pin!(engine.docker.export_image(image));
    let mut written = 0;
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| of_call(engine, error, "export image"))?;
        written += piece.len() as u64;
        if written > limit {
            return Err(Stop::terminal(
                Code::ScannerFailed,
                format!(
                    "the image is larger than the {} that may be scanned; make it smaller, or raise the limit",
                    size_text(limit)
                ),
            ));
        }
        file.write_all(&piece).await.map_err(refused)?;
    }
    file.flush().await.map_err(refused)?;
    Ok(written)
}

async fn labels_of(engine: &Engine, id: &str) -> Result<Option<HashMap<String, String>>, Stop> {
    match engine.docker.inspect_image(id).await {
        Ok(image) => Ok(Some(image.config.and_then(|config| config.labels).unwrap_or_default())),
        Err(Call::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(of_call(engine, error, "inspect image")),
    }
}
