//! One app, its repository and a registry, on a fleet whose workers come and go.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use deploymind_shared::db::credentials::{Credential, credential_put};
use deploymind_shared::db::deployments::Created;
use deploymind_shared::db::steps::{Step, step_list};
use deploymind_shared::db::variables::{Variable, variable_put};
use deploymind_shared::domain::app::{AppSettings, CredentialKind, VariableScope};
use deploymind_shared::ids::{AppId, CredentialId};
use deploymind_shared::secret::Associated;
use deploymind_tests::delivery::{Delivery, Ended};
use deploymind_tests::git::Entry;
use deploymind_tests::registry::Registry;
use deploymind_tests::rig::{Node, NodeBuilder};
use deploymind_tests::wait_for;
use deploymind_worker::pipeline::STEPS;
use futures::stream::{self, StreamExt as _};
use secrecy::SecretString;

use crate::common::SOON;

/// Cases that run side by side in one test. The machine of the tests has few cores.
const ABREAST: usize = 3;

/// The points of each step that a worker may die, fail or be stopped at.
pub const POINTS: [&str; 3] = ["started", "worked", "done"];

/// The steps that have them.
pub fn steps() -> impl Iterator<Item = &'static str> {
    STEPS.iter().copied().filter(|step| *step != "validate")
}

pub fn point(step: &str, point: &str) -> String {
    format!("pipeline.{step}.{point}")
}

pub struct Bench {
    pub delivery: Delivery,
    pub app: AppId,
    _scheduler: Node,
}

impl Bench {
    async fn start(dockerfile: &str) -> Self {
        let delivery = Delivery::start().await;
        let files = [
            Entry::file("Dockerfile", dockerfile),
            Entry::file(".dockerignore", ".git\n"),
            Entry::file("hello", "hello\n"),
        ];
        let (app, _) = delivery.app("shop", &files).await;
        let scheduler = patient(delivery.rig.scheduler()).ready().await;
        Self { delivery, app, _scheduler: scheduler }
    }

    /// An app whose image goes to the registry, so that no step is left out. There is next to nothing to send.
    pub async fn small(registry: &Registry) -> Self {
        let bench = Self::start("FROM scratch\nCOPY hello /hello\nUSER 1000\nCMD [\"/hello\"]\n").await;
        let Self { delivery, app, .. } = &bench;
        let settings =
            AppSettings { registry: Some(format!("{}/shop", registry.host())), ..AppSettings::default() };
        delivery.settings(*app, &settings).await;
        let id = CredentialId::generate();
        let password = SecretString::from(registry.password());
        let credential = Credential {
            id,
            owner: delivery.owner,
            app: None,
            kind: CredentialKind::Registry,
            host: registry.host().to_owned(),
            username: Some(registry.user().to_owned()),
            sealed: delivery.keyring.seal(&Associated::credential(id.as_uuid()), &password),
        };
        credential_put(&delivery.rig.fleet.db, &credential).await.expect("set credential");
        bench
    }

    pub fn worker(&self) -> NodeBuilder {
        patient(self.delivery.worker())
    }

    /// One whose build sleeps as long as [`Bench::nap`] says, and whose image goes nowhere.
    pub async fn sleeping(nap: u32) -> Self {
        let bench =
            Self::start("FROM debian:bookworm-slim\nARG NAP\nRUN sleep $NAP\nUSER 1000\nCMD [\"true\"]\n")
                .await;
        bench.nap(nap).await;
        bench
    }

    pub async fn nap(&self, seconds: u32) {
        let value = SecretString::from(seconds.to_string());
        let sealed = self.delivery.keyring.seal(&Associated::variable(self.app, "NAP"), &value);
        let variable =
            Variable { name: "NAP".to_owned(), scope: VariableScope::Build, secret: false, sealed };
        variable_put(&self.delivery.rig.fleet.db, self.app, &[variable]).await.expect("set variable");
    }

    /// A worker that cleans up what it undoes, and sweeps nothing but at its start.
    pub fn unswept(&self) -> NodeBuilder {
        self.worker().set("DEPLOYMIND_SWEEP", "1h")
    }

    pub async fn journal(&self, created: &Created) -> BTreeMap<String, Step> {
        let steps = step_list(&self.delivery.rig.fleet.db, created.deployment).await.expect("read journal");
        steps.into_iter().map(|step| (step.step.clone(), step)).collect()
    }

    /// Waits until the journal knows a step.
    pub async fn begun(&self, created: &Created, step: &str) {
        wait_for("the step to begin", SOON, async || {
            let journal = self.journal(created).await;
            if journal.contains_key(step) { Ok(()) } else { Err(format!("{:?}", journal.keys())) }
        })
        .await;
    }

    /// Deploys on a worker that dies at this fail point; nothing of it runs when this returns.
    pub async fn dies_at(&self, node: NodeBuilder, point: &str) -> Created {
        let mut node = node.kill_at(point, 0).ready().await;
        let created = self.delivery.deploy(self.app).await;
        gone(&mut node, point).await;
        created
    }

    pub async fn released(&self, created: &Created) -> Ended {
        let ended = self.delivery.ended(created, SOON).await;
        ended.assert_released();
        ended
    }

    /// The images in the engine that this deployment made.
    pub fn images(&self, created: &Created) -> Vec<String> {
        let id = created.deployment.to_string();
        let images = self.delivery.images().into_iter();
        images.filter(|(_, deployment)| *deployment == id).map(|(image, _)| image).collect()
    }

    /// Ends the test.
    pub async fn finish(self) {
        let Self { delivery, _scheduler: scheduler, .. } = self;
        drop(scheduler);
        delivery.finish().await;
    }

    pub async fn assert_one_image(&self, created: &Created) {
        wait_for("one image to be left", SOON, async || match self.images(created) {
            images if images.len() == 1 => Ok(()),
            images => Err(format!("{images:?}")),
        })
        .await;
    }
}

/// A fail point that pauses holds a thread of its worker, and the machine may be busy: neither counts as death.
fn patient(node: NodeBuilder) -> NodeBuilder {
    node.set("DEPLOYMIND_QUEUE_WORKER_TTL", "4s").set("DEPLOYMIND_QUEUE_LOCK_TTL", "6s")
}

/// Waits until it has died at that line.
pub async fn gone(node: &mut Node, point: &str) {
    node.process.wait_exit(SOON).await;
    assert!(node.process.stderr().contains(&format!("killed at {point}\n")), "{point} was not reached");
}

/// `kill -9` of the process alone, as the kernel does it when memory is short: its children live on.
pub async fn kill_alone(node: &mut Node) {
    node.process.signal(nix::sys::signal::Signal::SIGKILL);
    node.process.wait_exit(SOON).await;
}

/// A number of seconds that no other process of this machine sleeps.
pub fn nap() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    700_000 + std::process::id() % 10_000 * 20 + NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Every process of this machine, also in containers, that sleeps for this long.
pub fn sleepers(nap: u32) -> Vec<String> {
    let wanted = format!("sleep\0{nap}\0");
    processes(|folder| {
        let line = std::fs::read(folder.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains(&wanted).then(|| line.replace('\0', " "))
    })
}

/// Every process that works in this folder.
pub fn working_in(root: &Path) -> Vec<String> {
    processes(|folder| {
        let inside = std::fs::read_link(folder.join("cwd")).is_ok_and(|cwd| cwd.starts_with(root));
        inside.then(|| {
            let line = std::fs::read(folder.join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).replace('\0', " ")
        })
    })
}

fn processes(mut judge: impl FnMut(&Path) -> Option<String>) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("the kernel's list of processes").flatten();
    let folders = entries.map(|entry| entry.path());
    folders.filter(|folder| number(folder)).filter_map(|folder| judge(&folder)).collect()
}

fn number(folder: &Path) -> bool {
    folder.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.parse::<u32>().is_ok())
}

pub async fn assert_awake(nap: u32, deadline: Duration) {
    wait_for("no process to be left", deadline, async || {
        let left = sleepers(nap);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}

pub async fn asleep(nap: u32) {
    wait_for("a process to sleep", SOON, async || {
        if sleepers(nap).is_empty() { Err("none".to_owned()) } else { Ok(()) }
    })
    .await;
}

/// Trivy, but for scans of one kind: these sleep until they are let go.
pub struct SleepyScanner {
    folder: tempfile::TempDir,
    pub nap: u32,
}

impl SleepyScanner {
    /// `kind` is Trivy's own word: `fs` or `image`.
    pub fn new(kind: &str) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::Builder::new().prefix("scanner-").tempdir().expect("a temporary directory");
        let nap = nap();
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" = {kind} ] && [ ! -e {0}/go ]; then sleep {nap}; fi\nexec {1} \"$@\"\n",
            folder.path().display(),
            trivy(),
        );
        let this = Self { folder, nap };
        std::fs::write(this.program(), script).expect("a script");
        std::fs::set_permissions(this.program(), std::fs::Permissions::from_mode(0o755)).expect("a mode");
        this
    }

    pub fn program(&self) -> PathBuf {
        self.folder.path().join("trivy")
    }

    pub fn worker(&self, node: NodeBuilder) -> NodeBuilder {
        node.set("DEPLOYMIND_TRIVY", &self.program().display().to_string())
    }

    pub fn let_go(&self) {
        std::fs::write(self.folder.path().join("go"), "").expect("a file");
    }
}

#[expect(clippy::disallowed_methods, reason = "a script of this test goes on to what the harness is told")]
fn trivy() -> String {
    std::env::var("DEPLOYMIND_TEST_TRIVY").expect("`make test` sets DEPLOYMIND_TEST_TRIVY")
}

/// Runs all cases, a few side by side, and prints what each took.
pub async fn table<C: Send + 'static, F: Future<Output = (String, Duration)>>(
    title: &str,
    cases: impl IntoIterator<Item = C>,
    run: impl Fn(C) -> F,
) {
    let began = Instant::now();
    let mut rows: Vec<(String, Duration)> =
        stream::iter(cases).map(run).buffer_unordered(ABREAST).collect().await;
    rows.sort();
    let mut text = format!("{title} ({} cases in {:.0} s)\n", rows.len(), began.elapsed().as_secs_f64());
    for (case, took) in rows {
        writeln!(text, "  {case:<56} {:>5.1} s", took.as_secs_f64()).expect("a string takes text");
    }
    print!("{text}");
}
