//! The image of a release, on the target: is it there, can it run there, and if it is not there, from where.

use std::sync::Arc;

use bollard::auth::DockerCredentials;
use bollard::models::ImageInspect;
use bollard::query_parameters::{CreateImageOptions, ImportImageOptions};
use deploymind_shared::domain::release::ImageSpec;
use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;
use futures::{StreamExt, TryStreamExt};
use secrecy::ExposeSecret;

use super::config::HostConfig;
use super::connect::Host;
use super::failure::{Fault, disk_full, gone};
use crate::build::RegistryCredential;

/// What an engine needs beside the image, to unpack it and to run.
const SPARE_BYTES: u64 = 64 << 20;

/// The image as this engine knows it.
pub(super) async fn find(host: &Host, image: &ImageSpec) -> Result<Option<ImageInspect>, Stop> {
    for name in names(image) {
        if let Some(found) = inspect(host, &name).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Both say what is in it. Its tag does not: that can be given to another.
fn names(image: &ImageSpec) -> Vec<String> {
    let mut names = vec![image.id.clone()];
    names.extend(by_digest(image));
    names
}

fn by_digest(image: &ImageSpec) -> Option<String> {
    let digest = image.digest.as_ref()?;
    Some(format!("{}@{digest}", repository(&image.reference)))
}

/// `host:5000/team/app:tag` without its tag.
fn repository(reference: &str) -> &str {
    let name = reference.rfind('/').map_or(0, |slash| slash + 1);
    let end = reference[name..].find([':', '@']).map_or(reference.len(), |at| name + at);
    &reference[..end]
}

pub(super) async fn inspect(host: &Host, name: &str) -> Result<Option<ImageInspect>, Stop> {
    let link = host.link().await?;
    match host.call("inspect image", link.docker.inspect_image(name)).await {
        Ok(image) => Ok(Some(image)),
        Err(fault) if fault.status() == Some(404) => Ok(None),
        Err(fault) => Err(fault.into()),
    }
}

/// Brings it here if it is not.
pub(super) async fn provide(
    host: &Host,
    builder: Option<&Arc<Host>>,
    config: &HostConfig,
    image: &ImageSpec,
) -> Result<(), Stop> {
    let found = match find(host, image).await? {
        Some(found) => found,
        None => {
            let fetch = fetch(host, builder, config, image);
            tokio::time::timeout(config.provide, fetch)
                .await
                .map_err(|late| gone(host.name(), "bring image to target", late))??;
            find(host, image).await?.ok_or_else(missing)?
        }
    };
    fits(host, &found).await
}

async fn fetch(
    host: &Host,
    builder: Option<&Arc<Host>>,
    config: &HostConfig,
    image: &ImageSpec,
) -> Result<(), Stop> {
    if let Some(reference) = by_digest(image) {
        room(host, 0).await?;
        return pull(host, &reference, config.registry.as_ref()).await;
    }
    let Some(builder) = builder else { return Err(missing().into()) };
    let Some(there) = inspect(builder, &image.id).await? else { return Err(missing().into()) };
    room(host, there.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0)).await?;
    // By its name, where that is still its own, so that the name comes along.
    let named = inspect(builder, &image.reference).await?.is_some_and(|named| named.id == there.id);
    copy(builder, host, if named { &image.reference } else { &image.id }).await
}

fn missing() -> Error {
    Error::new(
        Code::ImageMissing,
        "the release's image is neither on the target nor where it was built; deploy the commit again to build it anew",
    )
}

/// Piece by piece from engine to engine; nothing of it is held or written here.
pub(super) async fn copy(from: &Arc<Host>, to: &Host, name: &str) -> Result<(), Stop> {
    let source = from.link().await?;
    let target = to.link().await?;
    // The library wants a stream that lives for as long as it likes.
    let (mut give, take) = futures::channel::mpsc::channel::<Result<bytes::Bytes, std::io::Error>>(4);
    let send = async {
        let mut pieces = std::pin::pin!(source.docker.export_image(name));
        while let Some(piece) = pieces.next().await {
            let broken = piece.is_err();
            let piece = piece.map_err(std::io::Error::other);
            if futures::SinkExt::send(&mut give, piece).await.is_err() || broken {
                break;
            }
        }
        drop(give);
    };
    let receive = async {
        let options = ImportImageOptions { quiet: true, ..ImportImageOptions::default() };
        let mut said = std::pin::pin!(target.docker.import_image_stream(options, take, None));
        while let Some(message) = said.next().await {
            message.map_err(|error| Fault::of(error, to.name(), "load image"))?;
        }
        Ok::<_, Fault>(())
    };
    let (received, ()) = futures::join!(receive, send);
    Ok(received?)
}

pub(super) async fn pull(
    host: &Host,
    reference: &str,
    credential: Option<&RegistryCredential>,
) -> Result<(), Stop> {
    let (repository, version) = match reference.split_once('@') {
        Some(parts) => parts,
        None => {
            let name = repository(reference);
            (name, reference[name.len()..].strip_prefix(':').unwrap_or("latest"))
        }
    };
    let options = CreateImageOptions {
        from_image: Some(repository.to_owned()),
        tag: Some(version.to_owned()),
        ..CreateImageOptions::default()
    };
    let credential = credential.map(|credential| DockerCredentials {
        username: Some(credential.username.clone()),
        password: Some(credential.password.expose_secret().to_owned()),
        serveraddress: repository.split('/').next().map(str::to_owned),
        ..DockerCredentials::default()
    });
    let link = host.link().await?;
    let said = link.docker.create_image(Some(options), None, credential);
    said.try_for_each(|_| futures::future::ready(Ok(())))
        .await
        .map_err(|error| Fault::of(error, host.name(), "pull image").of_image(reference))
}

/// Whether the engine can run it: emulation of other processors is a property of a host that none may count on.
async fn fits(host: &Host, image: &ImageInspect) -> Result<(), Stop> {
    let link = host.link().await?;
    let engine = host.call("read version", link.docker.version()).await?;
    let (Some(made), Some(has)) = (image.architecture.as_deref(), engine.arch.as_deref()) else {
        return Ok(());
    };
    let made_os = image.os.as_deref().unwrap_or("linux");
    let has_os = engine.os.as_deref().unwrap_or("linux");
    // What runs on the same processor in its older mode.
    let older = matches!((made, has), ("386", "amd64") | ("arm", "arm64"));
    if made_os == has_os && (made.is_empty() || made == has || older) {
        return Ok(());
    }
    Err(Stop::terminal(
        Code::ImagePlatform,
        format!(
            "the image is made for {made_os}/{made} and the target is {has_os}/{has}; build it for the target (`FROM --platform={has_os}/{has} …`, or on an engine of that architecture)"
        ),
    ))
}

/// No engine tells how much is free; where its disk is this machine's, we can look.
pub(super) async fn room(host: &Host, needed: u64) -> Result<(), Stop> {
    if !host.is_local() {
        return Ok(());
    }
    let link = host.link().await?;
    let info = host.call("read engine info", link.docker.info()).await?;
    let Some(root) = info.docker_root_dir else { return Ok(()) };
    let free = tokio::task::spawn_blocking(move || {
        nix::sys::statvfs::statvfs(root.as_str())
            .ok()
            .map(|disk| disk.blocks_available() * disk.fragment_size())
    });
    match free.await.ok().flatten() {
        Some(free) if free < needed.saturating_add(SPARE_BYTES) => {
            Err(disk_full("look for room", &format!("{free} bytes free, {needed} needed")).into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_a_reference_without_its_version() {
        for (reference, name) in [
            ("shop", "shop"),
            ("shop:1", "shop"),
            ("host:5000/team/shop", "host:5000/team/shop"),
            ("host:5000/team/shop:1", "host:5000/team/shop"),
            ("host:5000/team/shop@sha256:aa", "host:5000/team/shop"),
        ] {
            assert_eq!(repository(reference), name);
        }
    }
}
