//! To and from any registry of the v2 protocol, through the engine.
//!
//! The credential travels in the engine's own header, is not written to its disk, and is in no line or error.

use bollard::auth::DockerCredentials;
use bollard::errors::Error as Call;
use bollard::query_parameters::{CreateImageOptions, PushImageOptions, TagImageOptions};
use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;
use futures::StreamExt;
use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;

use super::engine::Engine;
use super::failure::{host, of_call, of_registry, unexpected};
use crate::log::Lines;

/// A user of one registry.
#[derive(Debug, Clone)]
pub struct RegistryCredential {
    pub username: String,
    pub password: SecretString,
}

/// States that are drawn as bars elsewhere, and would be a line per block here.
const MOVING: [&str; 8] = [
    "Preparing",
    "Waiting",
    "Pushing",
    "Downloading",
    "Extracting",
    "Pulling fs layer",
    "Verifying Checksum",
    "Download complete",
];

/// Sends an image to `reference` (`host/name:tag`) and returns its digest there.
///
/// # Errors
/// `RegistryDenied`, `RegistryUnreachable`, `RegistryImageMissing`, `ImageMissing`, `EngineUnavailable`, `EngineUnexpected`.
pub async fn push(
    engine: &Engine,
    image: &str,
    reference: &str,
    credential: Option<&RegistryCredential>,
    lines: &Lines,
    cancel: &CancellationToken,
) -> Result<String, Stop> {
    let work = async {
        let (repository, tag) = named(reference)?;
        let names = TagImageOptions { repo: Some(repository.to_owned()), tag: Some(tag.to_owned()) };
        engine
            .docker
            .tag_image(image, Some(names))
            .await
            .map_err(|error| of_call(engine, error, "tag image"))?;
        let options = PushImageOptions { tag: Some(tag.to_owned()), platform: None };
        let mut stream = engine.docker.push_image(repository, Some(options), sealed(reference, credential));
        while let Some(message) = stream.next().await {
            let message = message.map_err(|error| answer(engine, reference, error))?;
            say(lines, None, message.status).await;
        }
        digest(engine, reference, repository).await
    };
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Stop::Cancelled),
        done = work => done,
    }
}

/// Brings `reference` into the engine and returns its digest.
///
/// # Errors
/// As `push`.
pub async fn pull(
    engine: &Engine,
    reference: &str,
    credential: Option<&RegistryCredential>,
    lines: &Lines,
    cancel: &CancellationToken,
) -> Result<String, Stop> {
    let work = async {
        let (repository, tag) = named(reference)?;
        let options = CreateImageOptions {
            from_image: Some(repository.to_owned()),
            tag: Some(tag.to_owned()),
            ..CreateImageOptions::default()
        };
        let mut stream = engine.docker.create_image(Some(options), None, sealed(reference, credential));
        while let Some(message) = stream.next().await {
            let message = message.map_err(|error| answer(engine, reference, error))?;
            say(lines, message.id.as_deref(), message.status).await;
        }
        digest(engine, reference, repository).await
    };
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Stop::Cancelled),
        done = work => done,
    }
}

/// `host:5000/team/app:tag`, or `...@sha256:digest`, in its two parts.
fn named(reference: &str) -> Result<(&str, &str), Stop> {
    if let Some((repository, digest)) = reference.split_once('@') {
        return Ok((repository, digest));
    }
    let name = reference.rfind('/').map_or(0, |slash| slash + 1);
    match reference[name..].rfind(':') {
        Some(colon) if name + colon + 1 < reference.len() => {
            Ok((&reference[..name + colon], &reference[name + colon + 1..]))
        }
        _ => Err(Stop::terminal(
            Code::SettingsInvalid,
            format!("`{reference}` names no tag; write it as host/name:tag"),
        )),
    }
}

fn sealed(reference: &str, credential: Option<&RegistryCredential>) -> Option<DockerCredentials> {
    credential.map(|credential| DockerCredentials {
        username: Some(credential.username.clone()),
        password: Some(credential.password.expose_secret().to_owned()),
        serveraddress: Some(host(reference).to_owned()),
        ..DockerCredentials::default()
    })
}

async fn say(lines: &Lines, id: Option<&str>, status: Option<String>) {
    let Some(status) = status else { return };
    if status.is_empty() || MOVING.contains(&status.as_str()) {
        return;
    }
    match id {
        Some(id) => lines.info(format!("{id}: {status}")).await,
        None => lines.info(status).await,
    }
}

fn answer(engine: &Engine, reference: &str, error: Call) -> Stop {
    match error {
        Call::DockerStreamError { error } => of_registry(reference, None, &error).into(),
        Call::DockerResponseServerError { status_code, message } => {
            of_registry(reference, Some(status_code), &message).into()
        }
        error => of_call(engine, error, "talk to registry"),
    }
}

/// What the registry calls the image by content.
async fn digest(engine: &Engine, reference: &str, repository: &str) -> Result<String, Stop> {
    let image = engine
        .docker
        .inspect_image(reference)
        .await
        .map_err(|error| of_call(engine, error, "inspect image"))?;
    image
        .repo_digests
        .unwrap_or_default()
        .iter()
        .find_map(|digest| digest.strip_prefix(repository)?.strip_prefix('@').map(str::to_owned))
        .ok_or_else(|| {
            unexpected(Error::new(Code::EngineUnexpected, "no digest for the reference"), "read digest")
        })
}
