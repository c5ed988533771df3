//! The edge's container, and how a program is run in it.
//!
//! Guarantees: there is one, made on first use, also when two workers begin at once; one that was stopped is started, one of
//! another make is made anew (its routes are in its volume). What is not ours and has its name is not touched.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::exec::{CreateExecOptions, StartExecResults};
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, HostConfig as Limits, Mount, MountType, RestartPolicy,
    RestartPolicyNameEnum, VolumeCreateRequest,
};
use bollard::query_parameters::{
    CreateContainerOptions, InspectContainerOptions, RemoveContainerOptions, StartContainerOptions,
    UploadToContainerOptions,
};
use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;
use futures::StreamExt;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::sync::Mutex;

use super::config::{HostConfig, Names};
use super::connect::Host;
use super::failure::{Fault, gone, name_taken, shorten};
use super::{image, labels, spec};
use crate::runtime::edge::{Install, Output, Shell, install};

/// nginx with its workers and buffers; the log is read by a program beside it.
const MEMORY_BYTES: i64 = 512 << 20;
const PIDS: i64 = 512;
/// Most that is read of a program's output.
const STDOUT_MAX: usize = 1 << 20;
const STDERR_MAX: usize = 64 << 10;
/// Between a container's start and its answer.
const COMES_UP: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const ENDS_SOON: Duration = Duration::from_millis(5);

/// Runs programs in the edge's container, and sees to it that there is one.
pub(super) struct EdgeShell {
    host: Arc<Host>,
    config: Arc<HostConfig>,
    names: Names,
    install: Install,
    hash: String,
    /// The container that was looked at and found right.
    id: Mutex<Option<String>>,
}

impl EdgeShell {
    pub(super) fn new(host: Arc<Host>, config: Arc<HostConfig>, names: Names) -> Self {
        let install = install();
        let hash = hash(&install, &config);
        Self { host, config, names, install, hash, id: Mutex::new(None) }
    }

    /// Whether one of ours is there, running or not. Changes nothing.
    pub(super) async fn exists(&self) -> Result<bool, Stop> {
        Ok(match self.look().await? {
            Some(found) => self.is_ours(&found),
            None => false,
        })
    }

    fn is_ours(&self, found: &ContainerInspectResponse) -> bool {
        let labels = found.config.as_ref().and_then(|config| config.labels.as_ref());
        labels::is_of(labels, &self.names.fleet)
            && labels
                .and_then(|labels| labels.get(labels::ROLE))
                .is_some_and(|role| role == labels::ROLE_EDGE)
    }

    async fn look(&self) -> Result<Option<ContainerInspectResponse>, Stop> {
        let link = self.host.link().await?;
        let name = self.names.edge();
        let found = link.docker.inspect_container(&name, None::<InspectContainerOptions>);
        match self.host.call("inspect edge", found).await {
            Ok(found) => Ok(Some(found)),
            Err(fault) if fault.status() == Some(404) => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }

    /// The id of a container that runs and is as it should be.
    ///
    /// # Errors
    /// `NameTaken`, `EdgeUnavailable`, those of images.
    pub(super) async fn ensure(&self) -> Result<String, Stop> {
        let mut known = self.id.lock().await;
        if let Some(id) = known.as_ref() {
            return Ok(id.clone());
        }
        let mut end = tokio::time::Instant::now() + COMES_UP;
        // Made by us, or by another worker at the same moment; looked at again each time.
        while tokio::time::Instant::now() < end {
            let Some(found) = self.look().await? else {
                self.create().await?;
                end = tokio::time::Instant::now() + COMES_UP;
                continue;
            };
            if !self.is_ours(&found) {
                return Err(name_taken("container", &self.names.edge()).into());
            }
            let Some(id) = found.id else { continue };
            let made = found.config.and_then(|config| config.labels).unwrap_or_default();
            if made.get(labels::SPEC) != Some(&self.hash) {
                // Users are without an edge from here until the new one runs: what takes long comes first.
                self.have_image().await?;
                end = tokio::time::Instant::now() + COMES_UP;
                self.remove(&id).await?;
                continue;
            }
            let state = found.state.unwrap_or_default();
            if state.dead == Some(true) {
                self.remove(&id).await?;
                continue;
            }
            if state.paused == Some(true) {
                let link = self.host.link().await?;
                self.host.call("resume edge", link.docker.unpause_container(&id)).await?;
            } else if state.running != Some(true) || state.restarting == Some(true) {
                match self.start(&id).await {
                    Err(fault) if fault.status() == Some(404) => continue,
                    started => started?,
                }
            }
            return Ok(known.insert(id).clone());
        }
        Err(unavailable("its container is not there although it was made; see whether something removes it")
            .into())
    }

    async fn forget(&self) {
        *self.id.lock().await = None;
    }

    async fn remove(&self, id: &str) -> Result<(), Stop> {
        tracing::info!(edge.container = id, "edge is made anew");
        let link = self.host.link().await?;
        let options = RemoveContainerOptions { v: true, force: true, ..RemoveContainerOptions::default() };
        match self.host.call("remove edge", link.docker.remove_container(id, Some(options))).await {
            Ok(()) => Ok(()),
            // Another worker has begun to; the next look sees how far it got.
            Err(fault) if matches!(fault.status(), Some(404 | 409)) => {
                tokio::time::sleep(LOOK_EVERY).await;
                Ok(())
            }
            Err(fault) => Err(fault.into()),
        }
    }

    async fn have_image(&self) -> Result<(), Stop> {
        let config = &self.config;
        if image::inspect(&self.host, &config.edge_image).await?.is_none() {
            let pull = image::pull(&self.host, &config.edge_image, None);
            tokio::time::timeout(config.provide, pull)
                .await
                .map_err(|late| gone(self.host.name(), "pull the edge's image", late))??;
        }
        Ok(())
    }

    pub(super) async fn create(&self) -> Result<(), Stop> {
        self.have_image().await?;
        let volume = self.names.edge_volume();
        let request = VolumeCreateRequest {
            name: Some(volume.clone()),
            labels: Some(labels::of_fleet(&self.names.fleet, labels::ROLE_EDGE)),
            ..VolumeCreateRequest::default()
        };
        let link = self.host.link().await?;
        // The engine gives an existing one for a new one, whoever made it.
        let made = self.host.call("create volume", link.docker.create_volume(request)).await?;
        if !labels::is_of(Some(&made.labels), &self.names.fleet) {
            return Err(name_taken("volume", &volume).into());
        }
        let options =
            CreateContainerOptions { name: Some(self.names.edge()), ..CreateContainerOptions::default() };
        match self.host.call("create edge", link.docker.create_container(Some(options), self.body())).await {
            Ok(_) => Ok(()),
            // The name is given away a moment before the container is there to be seen.
            Err(fault) if fault.status() == Some(409) => {
                tokio::time::sleep(LOOK_EVERY).await;
                Ok(())
            }
            Err(fault) => Err(fault.into()),
        }
    }

    fn body(&self) -> ContainerCreateBody {
        let install = &self.install;
        let own = |text: &&str| (*text).to_owned();
        let mut labels = labels::of_fleet(&self.names.fleet, labels::ROLE_EDGE);
        labels.insert(labels::SPEC.to_owned(), self.hash.clone());
        let tmpfs = install.tmpfs.iter().map(|(path, options)| (own(path), own(options)));
        ContainerCreateBody {
            image: Some(self.config.edge_image.clone()),
            user: Some("0:0".to_owned()),
            entrypoint: Some(install.command.iter().map(own).collect()),
            cmd: Some(Vec::new()),
            labels: Some(labels),
            stop_signal: Some(install.stop_signal.to_owned()),
            stop_timeout: Some(i64::from(install.stop_grace_s)),
            host_config: Some(Limits {
                // So that a port can be listened on without making the container anew, and clients' addresses are seen.
                network_mode: Some("host".to_owned()),
                memory: Some(MEMORY_BYTES),
                memory_swap: Some(MEMORY_BYTES),
                pids_limit: Some(PIDS),
                restart_policy: Some(RestartPolicy {
                    name: Some(RestartPolicyNameEnum::ALWAYS),
                    maximum_retry_count: None,
                }),
                log_config: Some(spec::log(&self.config)),
                cap_drop: Some(vec!["ALL".to_owned()]),
                cap_add: Some(install.capabilities.iter().map(own).collect()),
                security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
                tmpfs: Some(HashMap::from_iter(tmpfs)),
                mounts: Some(vec![Mount {
                    typ: Some(MountType::VOLUME),
                    source: Some(self.names.edge_volume()),
                    target: Some(install.state.to_owned()),
                    ..Mount::default()
                }]),
                ..Limits::default()
            }),
            ..ContainerCreateBody::default()
        }
    }

    /// Puts the files in before each start: a worker that died between the two left a container without.
    async fn start(&self, id: &str) -> Result<(), Fault> {
        let archive = archive(&self.install)
            .map_err(|error| Fault::Stop(unavailable("its files cannot be packed").because(error).into()))?;
        let link = self.host.link().await?;
        let options =
            UploadToContainerOptions { path: "/".to_owned(), ..UploadToContainerOptions::default() };
        let upload = link.docker.upload_to_container(id, Some(options), bollard::body_full(archive.into()));
        self.host.call("upload edge's files", upload).await?;
        self.host.call("start edge", link.docker.start_container(id, None::<StartContainerOptions>)).await?;
        let alive: Vec<String> =
            self.install.command.iter().take(1).chain(&["alive"]).map(|part| (*part).to_owned()).collect();
        let end = tokio::time::Instant::now() + COMES_UP;
        loop {
            let last = match self.exec(id, &alive, &[], COMES_UP).await {
                Ok(output) if output.code == 0 => return Ok(()),
                Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
                // It ended again; the engine starts it anew.
                Err(Fault::Refused { message, status: 409, .. }) => message,
                Err(Fault::Refused { message, .. }) if says_ended(&message) => message,
                Err(fault) => return Err(fault),
            };
            if tokio::time::Instant::now() > end {
                return Err(Fault::Stop(
                    unavailable("it does not come up; `docker logs` of its container says why")
                        .because(shorten(&last))
                        .into(),
                ));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What is given up does not go on for ever: the script has time-outs of its own, below these.
    async fn exec(
        &self,
        id: &str,
        args: &[String],
        stdin: &[u8],
        deadline: Duration,
    ) -> Result<Output, Fault> {
        let run = async {
            let link = self.host.link().await?;
            let options = CreateExecOptions::<String> {
                attach_stdin: Some(!stdin.is_empty()),
                attach_stdout: Some(true),
                attach_stderr: Some(true),
                cmd: Some(args.to_vec()),
                ..CreateExecOptions::default()
            };
            let exec =
                self.host.call("prepare to run a program in the edge", link.docker.create_exec(id, options));
            let exec = exec.await?.id;
            let started =
                self.host.call("run a program in the edge", link.docker.start_exec(&exec, None)).await?;
            let StartExecResults::Attached { output, input } = started else {
                return Err(Fault::Stop(unavailable("the engine did not attach to the program").into()));
            };
            let (read, ()) = futures::join!(read(output), write(input, stdin));
            let (stdout, stderr) =
                read.map_err(|error| Fault::of(error, self.host.name(), "read the edge's answer"))?;
            // The streams end a moment before the engine has noted the end.
            loop {
                let ended =
                    self.host.call("read how a program ended", link.docker.inspect_exec(&exec)).await?;
                if let (Some(code), Some(false) | None) = (ended.exit_code, ended.running) {
                    return Ok(Output { code, stdout, stderr });
                }
                tokio::time::sleep(ENDS_SOON).await;
            }
        };
        match tokio::time::timeout(deadline, run).await {
            Ok(ended) => ended,
            Err(late) => Err(Fault::Stop(
                unavailable("a program in its container did not end in time").because(late).into(),
            )),
        }
    }
}

#[async_trait]
impl Shell for Arc<EdgeShell> {
    async fn run(&self, args: &[String], stdin: &[u8], deadline: Duration) -> Result<Output, Stop> {
        let id = self.ensure().await?;
        match self.exec(&id, args, stdin, deadline).await {
            // It went away, or was stopped, since it was looked at.
            Err(fault) if has_ended(&fault) => {
                self.forget().await;
                let id = self.ensure().await?;
                match self.exec(&id, args, stdin, deadline).await {
                    Err(Fault::Refused { message, .. }) if says_ended(&message) => {
                        self.forget().await;
                        let again =
                            unavailable("its container ended again and again; `docker logs` of it says why");
                        Err(again.because(shorten(&message)).into())
                    }
                    ended => Ok(ended?),
                }
            }
            ended => Ok(ended?),
        }
    }
}

/// Whether a program was not run, or not to its end, because the container is not there or has ended.
fn has_ended(fault: &Fault) -> bool {
    match fault {
        Fault::Refused { status: 404 | 409, .. } => true,
        Fault::Refused { message, .. } => says_ended(message),
        Fault::Stop(_) => false,
    }
}

/// The engine has no status of its own for a program whose container ended under it.
fn says_ended(message: &str) -> bool {
    message.contains("is not running")
}

async fn write(mut input: std::pin::Pin<Box<dyn tokio::io::AsyncWrite + Send>>, stdin: &[u8]) {
    // A program that wants no more input has its own reasons, which its exit code tells.
    let _refused = input.write_all(stdin).await.is_err();
    let _closed = input.shutdown().await.is_err();
}

async fn read(
    mut output: std::pin::Pin<
        Box<dyn futures::Stream<Item = Result<bollard::container::LogOutput, bollard::errors::Error>> + Send>,
    >,
) -> Result<(Vec<u8>, Vec<u8>), bollard::errors::Error> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(piece) = output.next().await {
        let piece = piece?;
        let (kept, most) = match piece {
            bollard::container::LogOutput::StdErr { .. } => (&mut stderr, STDERR_MAX),
            _ => (&mut stdout, STDOUT_MAX),
        };
        let bytes = piece.into_bytes();
        kept.extend_from_slice(&bytes[..bytes.len().min(most - kept.len())]);
    }
    Ok((stdout, stderr))
}

fn archive(install: &Install) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for file in &install.files {
        let mut header = tar::Header::new_gnu();
        header.set_size(file.content.len() as u64);
        header.set_mode(file.mode);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, file.path.trim_start_matches('/'), file.content.as_bytes())?;
    }
    archive.into_inner()
}

/// Of all that the container is made from.
fn hash(install: &Install, config: &HostConfig) -> String {
    let mut hash = Sha256::new();
    let settings = (&config.edge_image, config.log_max_bytes, config.log_max_files, MEMORY_BYTES, PIDS);
    hash.update(format!("{settings:?} {install:?}").as_bytes());
    let mut text = String::with_capacity(32);
    for byte in &hash.finalize()[..16] {
        // Writing into a string does not fail.
        let _infallible = write!(text, "{byte:02x}").is_err();
    }
    text
}

fn unavailable(why: &str) -> Error {
    Error::new(Code::EdgeUnavailable, format!("the edge on the target cannot be used: {why}"))
}
