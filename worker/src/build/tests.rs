//! Against a real engine, with the base image that the templates use.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deploymind_shared::error::Code;
use deploymind_shared::retry::Stop;
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::log::{Line, Lines, Redactor};

mod failing;
mod registries;
mod stopping;
mod working;

/// In full: an engine takes the beginning of an id for the id.
const ABSENT: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
const BASE: &str = "debian:bookworm-slim";
/// What an engine may take to end a step whose build has gone.
const GONE: Duration = Duration::from_secs(10);

async fn engine() -> Engine {
    let config = EngineConfig {
        address: Address::Unix(PathBuf::from("/var/run/docker.sock")),
        connect: Duration::from_secs(5),
        answer: Duration::from_secs(60),
    };
    let engine = match Engine::connect(&config).await {
        Ok(engine) => engine,
        Err(stop) => panic!("these tests need a Docker engine at {}: {stop:?}", config.address),
    };
    let base = engine.docker.inspect_image(BASE).await;
    assert!(base.is_ok(), "these tests need the base image {BASE}; `make test` builds a stand-in: {base:?}");
    engine
}

/// A tree, a tag and a log of one test. Its image is removed at the end.
struct Bench {
    engine: Engine,
    tree: TempDir,
    name: String,
    lines: Lines,
    heard: mpsc::Receiver<Line>,
    cancel: CancellationToken,
}

impl Bench {
    async fn new() -> Self {
        let (lines, heard) = Lines::channel(200_000);
        Self {
            engine: engine().await,
            tree: TempDir::new().expect("tree"),
            name: format!("deploymind-test-{}", uuid::Uuid::new_v4().simple()),
            lines,
            heard,
            cancel: CancellationToken::new(),
        }
    }

    async fn with(dockerfile: &str) -> Self {
        let bench = Self::new().await;
        bench.write("Dockerfile", format!("FROM {BASE}\n{dockerfile}\n"));
        bench
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let full = self.tree.path().join(path);
        std::fs::create_dir_all(full.parent().expect("parent")).expect("folder");
        std::fs::write(full, content).expect("write");
    }

    fn request(&self, builder: Builder) -> Request<'_> {
        Request {
            context: self.tree.path(),
            dockerfile: Dockerfile::InTree("Dockerfile"),
            tag: format!("{}:1", self.name),
            labels: self.labels(),
            variables: Vec::new(),
            limits: Limits {
                memory_bytes: 256 << 20,
                cpus: 1.0,
                caps: Caps::BestEffort,
                cgroup_parent: None,
                deadline: Duration::from_secs(120),
                context_bytes: 1 << 30,
                min_free_disk: 1 << 20,
            },
            builder,
            network: None,
            redactor: Arc::new(Redactor::shapes_only()),
        }
    }

    fn labels(&self) -> Vec<(String, String)> {
        vec![(LABEL_APP.into(), "test".into()), (LABEL_DEPLOYMENT.into(), self.name.clone())]
    }

    async fn build(&self, request: &Request<'_>) -> Result<Built, Stop> {
        build(&self.engine, request, &self.lines, &self.cancel).await
    }

    fn said(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        while let Ok(line) = self.heard.try_recv() {
            said.push(line.text);
        }
        said
    }

    /// What a container of the result says.
    async fn output(&self, image: &str, command: &[&str]) -> String {
        let run = tokio::process::Command::new("docker")
            .args(["run", "--rm", "--network=none", image])
            .args(command)
            .output()
            .await
            .expect("docker run");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8_lossy(&run.stdout).into_owned()
    }

    async fn clean(self) {
        for image in images_labelled(&self.engine).await.expect("list") {
            if image.deployment == self.name {
                assert!(image_remove(&self.engine, &image.id).await.expect("remove"));
            }
        }
    }
}

fn both() -> [Builder; 2] {
    [Builder::Classic, Builder::BuildKit]
}

fn code(result: &Result<Built, Stop>) -> Option<Code> {
    match result {
        Err(Stop::Terminal(error) | Stop::Retryable { error, .. }) => Some(error.code()),
        _ => None,
    }
}

fn sentence(result: Result<Built, Stop>) -> String {
    match result {
        Err(Stop::Terminal(error) | Stop::Retryable { error, .. }) => error.sentence().to_owned(),
        other => panic!("{other:?}"),
    }
}

/// Whether a process of this machine has `mark` among its arguments.
fn running(mark: &str) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else { return false };
    processes.flatten().any(|process| {
        // By whole argument: the test itself may hold the mark in a longer one.
        std::fs::read(process.path().join("cmdline"))
            .is_ok_and(|line| line.split(|byte| *byte == 0).any(|argument| argument == mark.as_bytes()))
    })
}

async fn wait_until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    begun.elapsed()
}
