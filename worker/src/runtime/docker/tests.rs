//! Against a real engine, with nginx as the edge and a small program in Python as the app.

use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use deploymind_shared::domain::release::{ImageSpec, ReleaseSpec};
use deploymind_shared::domain::slot::{Resources, RestartPolicy, Routes, SlotSettings, StopSettings};
use deploymind_shared::ids::{AppId, DeploymentId, Epoch, ReleaseId, TargetName};
use secrecy::SecretString;

use super::*;
use crate::runtime::FindingCode;

mod answers;
mod connections;
mod edges;
mod endings;
mod foreign;
mod images;
mod life;
mod mount;
mod streams;

const SOCKET: &str = "/var/run/docker.sock";
const APP_IMAGE: &str = "python:3.12-slim-bookworm";
const EDGE_IMAGE: &str = "nginx:1.29-bookworm";
const PROGRAM: &str = include_str!("tests/program.py");
const SECRET: &str = "hunter2-and-more";
const SOON: Duration = Duration::from_secs(20);

/// A fleet of its own on the engine. All that it made is removed when it is dropped.
struct Bench {
    fleet: String,
    runtime: DockerRuntime,
    app: AppRef,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut HostConfig)) -> Self {
        let fleet = format!("dmt{}", &uuid::Uuid::new_v4().simple().to_string()[..10]);
        let mut config = config(&fleet);
        change(&mut config);
        let app = AppRef { id: AppId::generate(), name: "shop".to_owned() };
        Self { fleet, runtime: DockerRuntime::new(config), app }
    }

    fn fence(&self, epoch: i64) -> Fence {
        Fence { target: target(), epoch: Epoch(epoch) }
    }

    fn slot(&self, epoch: i64) -> SlotName {
        SlotName::new(&self.fleet, &self.app, Epoch(epoch))
    }

    fn launch(&self, epoch: i64, mode: &str) -> Launch {
        Launch {
            app: self.app.clone(),
            slot: self.slot(epoch),
            release: ReleaseId::generate(),
            deployment: DeploymentId::generate(),
            spec: ReleaseSpec {
                commit: "0".repeat(40),
                image: ImageSpec { id: image_id(APP_IMAGE), reference: APP_IMAGE.to_owned(), digest: None },
                port: Some(3000),
                start: Some(["python3", "-c", PROGRAM].map(str::to_owned).to_vec()),
                run: SlotSettings {
                    resources: Resources { memory_mb: Some(64), cpus: Some(0.5) },
                    stop: StopSettings { signal: "SIGTERM".to_owned(), grace_s: 5 },
                    restart: RestartPolicy::Never,
                    ..SlotSettings::default()
                },
            },
            variables: vec![
                ("MODE".to_owned(), mode.into()),
                ("PORT".to_owned(), "3000".into()),
                ("TOKEN".to_owned(), SECRET.into()),
            ],
            host_mounts: false,
        }
    }

    async fn start(&self, launch: &Launch) {
        let epoch = launch.slot.0.rsplit('-').next().and_then(|epoch| epoch.parse().ok()).expect("epoch");
        self.runtime.launch(&self.fence(epoch), launch).await.expect("launch");
    }

    /// Asks until it is healthy, or something else is said than that the port is still closed.
    async fn settled(&self, slot: &SlotName, check: &HealthCheck) -> Health {
        let end = Instant::now() + SOON;
        loop {
            let health = self.runtime.probe(slot, 3000, check).await.expect("probe");
            let again = matches!(&health, Health::Bad(finding)
                if finding.code == FindingCode::PortClosed || (finding.code == FindingCode::Exited && !finding.last));
            if !again || Instant::now() > end {
                return health;
            }
        }
    }

    async fn healthy(&self, slot: &SlotName) {
        let health = self.settled(slot, &check("/")).await;
        assert!(matches!(health, Health::Good { .. }), "{health:?}");
    }

    async fn only_slot(&self) -> super::super::Slot {
        let mut scene = self.runtime.inspect(&self.app).await.expect("inspect");
        assert_eq!(scene.slots.len(), 1, "{scene:?}");
        scene.slots.remove(0)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let filter = format!("label=deploymind.fleet={}", self.fleet);
        for (kind, list, remove) in [
            ("container", &["ls", "-aq"][..], &["rm", "-f", "-v"][..]),
            ("network", &["ls", "-q"], &["rm"]),
            ("volume", &["ls", "-q"], &["rm", "-f"]),
        ] {
            let found = docker_quietly(&[&[kind], list, &["--filter", &filter]].concat());
            let ids: Vec<&str> = found.split_whitespace().collect();
            if !ids.is_empty() {
                docker_quietly(&[&[kind], remove, &ids].concat());
            }
        }
    }
}

fn target() -> TargetName {
    TargetName::parse("docker://test").expect("a target")
}

fn config(fleet: &str) -> HostConfig {
    let random = uuid::Uuid::new_v4().as_u128();
    HostConfig {
        address: Address::Unix(SOCKET.into()),
        fleet: fleet.to_owned(),
        target: target(),
        edge_image: EDGE_IMAGE.to_owned(),
        http_port: free_port(),
        subnet: format!("10.{}.{}.0/24", 100 + random % 100, (random >> 16) % 256),
        icc: false,
        pids_limit: 128,
        log_max_bytes: 1 << 20,
        log_max_files: 2,
        connect: Duration::from_secs(5),
        answer: Duration::from_secs(30),
        provide: Duration::from_secs(60),
        registry: None,
        builder: None,
    }
}

fn image_id(name: &str) -> String {
    docker(&["image", "inspect", "-f", "{{.Id}}", name])
}

/// Runs the engine's own client.
fn docker(args: &[&str]) -> String {
    let run = Command::new("docker").args(args).output().expect("the docker client");
    assert!(run.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8_lossy(&run.stdout).trim().to_owned()
}

fn docker_quietly(args: &[&str]) -> String {
    let run = Command::new("docker").args(args).output();
    run.map(|run| String::from_utf8_lossy(&run.stdout).into_owned()).unwrap_or_default()
}

fn inspected(container: &str) -> serde_json::Value {
    let text = docker(&["container", "inspect", container]);
    let mut all: Vec<serde_json::Value> = serde_json::from_str(&text).expect("json");
    all.remove(0)
}

fn check(path: &str) -> HealthCheck {
    HealthCheck { path: path.to_owned(), timeout_ms: 1000, ..HealthCheck::default() }
}

/// Below the range from which the kernel gives ports to clients, so that none of those takes it in between.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed);
        let begin = u16::try_from(std::process::id() % 9000).expect("small");
        let port = 20_000 + (begin + offset * 7) % 10_000;
        if std::net::TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

fn code<T: std::fmt::Debug>(result: &Result<T, Stop>) -> Option<Code> {
    match result {
        Err(Stop::Terminal(error) | Stop::Retryable { error, .. }) => Some(error.code()),
        _ => None,
    }
}

fn sentence<T: std::fmt::Debug>(result: Result<T, Stop>) -> String {
    match result {
        Err(Stop::Terminal(error) | Stop::Retryable { error, .. }) => error.chain(),
        other => panic!("{other:?}"),
    }
}

fn bad(health: Health) -> Finding {
    match health {
        Health::Bad(finding) => finding,
        Health::Good { .. } => panic!("{health:?}"),
    }
}
