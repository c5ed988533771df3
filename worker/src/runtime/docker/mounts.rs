//! Volumes of an app: named ones, which are made and never removed here, and paths of the host, which need a permission.

use bollard::models::{Mount, MountBindOptions, MountType, VolumeCreateRequest};
use deploymind_shared::domain::slot::Volume;
use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;

use super::config::Names;
use super::connect::Host;
use super::failure::name_taken;
use super::labels;
use crate::runtime::{AppRef, Launch};

/// Whoever can write here, or reads what is here, has the host.
const NEVER: [&str; 22] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/root/.docker",
    "/root/.ssh",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/kubelet",
    "/var/run",
    "/var/spool/cron",
    "/var/snap/docker",
];

/// # Errors
/// `HostMountRefused`.
///
/// # Caveats
/// A link on the host that leads to such a place is not seen from here.
pub(super) fn permitted(launch: &Launch, engine_root: Option<&str>) -> Result<(), Error> {
    for volume in launch.spec.run.volumes.iter().filter(|volume| volume.is_host_mount()) {
        if !launch.host_mounts {
            return Err(refused(format!(
                "the app may not mount `{}` of the host; use a named volume, or let an administrator give the app the permission for host mounts",
                volume.source
            )));
        }
        let source = plain(&volume.source);
        let parts = NEVER.iter().copied().chain(engine_root);
        if volume.source.split('/').any(|part| part == "..")
            || parts.into_iter().any(|never| within(&source, never) || within(never, &source))
        {
            return Err(refused(format!(
                "`{}` of the host is never mounted: whoever has it, or what lies in it, rules the host; mount a directory made for the app",
                volume.source
            )));
        }
    }
    Ok(())
}

fn refused(sentence: String) -> Error {
    Error::new(Code::HostMountRefused, sentence)
}

/// Without doubled slashes, dots and a slash at the end.
fn plain(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    format!("/{}", parts.join("/"))
}

fn within(inner: &str, outer: &str) -> bool {
    outer == "/" || inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Makes the named volumes that are missing.
///
/// # Errors
/// `NameTaken`.
pub(super) async fn ensure(host: &Host, names: &Names, launch: &Launch) -> Result<(), Stop> {
    let link = host.link().await?;
    for volume in launch.spec.run.volumes.iter().filter(|volume| !volume.is_host_mount()) {
        let name = names.volume(launch.app.id, &volume.source);
        if is_there(host, names, &launch.app, &name).await? {
            continue;
        }
        let request = VolumeCreateRequest {
            name: Some(name.clone()),
            labels: Some(labels::of_volume(&names.fleet, &launch.app)),
            ..VolumeCreateRequest::default()
        };
        // The engine gives an existing one for a new one, whoever made it.
        let made = host.call("create volume", link.docker.create_volume(request)).await?;
        if !is_of_app(Some(&made.labels), names, &launch.app) {
            return Err(name_taken("volume", &name).into());
        }
    }
    Ok(())
}

/// # Errors
/// `NameTaken` where it is another's.
pub(super) async fn is_there(host: &Host, names: &Names, app: &AppRef, name: &str) -> Result<bool, Stop> {
    let link = host.link().await?;
    match host.call("inspect volume", link.docker.inspect_volume(name)).await {
        Ok(volume) if is_of_app(Some(&volume.labels), names, app) => Ok(true),
        Ok(_) => Err(name_taken("volume", name).into()),
        Err(fault) if fault.status() == Some(404) => Ok(false),
        Err(fault) => Err(fault.into()),
    }
}

fn is_of_app(found: Option<&labels::Labels>, names: &Names, app: &AppRef) -> bool {
    labels::is_of(found, &names.fleet)
        && found.and_then(|found| found.get(labels::APP)).is_some_and(|id| *id == app.id.to_string())
}

pub(super) fn mount(names: &Names, app: &AppRef, volume: &Volume) -> Mount {
    let (typ, source, bind_options) = if volume.is_host_mount() {
        let options = MountBindOptions { create_mountpoint: Some(false), ..MountBindOptions::default() };
        (MountType::BIND, plain(&volume.source), Some(options))
    } else {
        (MountType::VOLUME, names.volume(app.id, &volume.source), None)
    };
    Mount {
        typ: Some(typ),
        source: Some(source),
        target: Some(volume.path.clone()),
        read_only: Some(volume.read_only),
        bind_options,
        ..Mount::default()
    }
}
