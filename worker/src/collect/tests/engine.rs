//! Against a real engine, others' things beside ours. Needs `docker` and the base image of the templates.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};
use chrono::Utc;
use deploymind_shared::clock::Timestamp;
use deploymind_shared::ids::{AppId, DeploymentId, ReleaseId};
use deploymind_shared::retry::Stop;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::collect::*;

const SOCKET: &str = "/var/run/docker.sock";
const BASE: &str = "debian:bookworm-slim";
const SIZE: usize = 300_000;

/// A fleet of one test; what has its name goes at the end.
struct Bench {
    docker: Docker,
    fleet: String,
    folder: TempDir,
    app: AppId,
    known: Known,
    budget: Budget,
}

/// One deployment's image and release.
struct Release {
    id: ReleaseId,
    deployment: DeploymentId,
    image: String,
    name: String,
}

fn docker(arguments: &[&str]) -> String {
    let ran = Command::new("docker").args(arguments).env("DOCKER_BUILDKIT", "0").output().expect("docker");
    assert!(ran.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8_lossy(&ran.stdout).trim().to_owned()
}

fn there(kind: &str, id: &str) -> bool {
    Command::new("docker").args([kind, "inspect", id]).output().expect("docker").status.success()
}

fn labels(pairs: &[(&str, String)]) -> Vec<String> {
    pairs.iter().flat_map(|(name, value)| ["--label".to_owned(), format!("{name}={value}")]).collect()
}

impl Bench {
    async fn new() -> Self {
        let docker = Docker::connect_with_unix(SOCKET, 60, API_DEFAULT_VERSION).expect("client");
        let docker = docker.negotiate_version().await.expect("these tests need a Docker engine");
        let base = docker.inspect_image(BASE).await;
        assert!(
            base.is_ok(),
            "these tests need the base image {BASE}; `make test` builds a stand-in: {base:?}"
        );
        let app = AppId::generate();
        let known = Known { apps: [app].into(), ..Known::default() };
        let budget = Budget {
            images_keep: 0,
            images_max_bytes: None,
            slots_keep: 0,
            cache_max_bytes: Some(0),
            cache_is_ours: false,
            min_age: Duration::from_secs(3600),
        };
        let fleet = format!("hwc{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
        Self { docker, fleet, folder: TempDir::new().expect("folder"), app, known, budget }
    }

    /// Builds a file of its own on `from`; its steps carry the fleet's label when `marked`.
    fn build(&self, from: &str, marked: bool, deployment: Option<DeploymentId>) -> (String, String) {
        let content: Vec<u8> = std::iter::repeat_with(rand::random).take(SIZE).collect();
        std::fs::write(self.folder.path().join("file"), content).expect("write");
        let mark = format!("LABEL {LABEL_FLEET}={} {LABEL_APP}={}\n", self.fleet, self.app);
        let last = deployment.map(|id| format!("LABEL {LABEL_DEPLOYMENT}={id}\n")).unwrap_or_default();
        let (mark, last) = if marked { (mark, last) } else { Default::default() };
        let file = rand::random::<u32>();
        let text = format!("FROM {from}\n{mark}COPY file /file-{file}\nCMD [\"sleep\", \"300\"]\n{last}");
        std::fs::write(self.folder.path().join("Dockerfile"), text).expect("write");
        let (repository, tag) = match deployment {
            Some(id) => (format!("deploymind/{}", self.fleet), id.to_string()),
            None => (format!("foreign/{}", self.fleet), uuid::Uuid::new_v4().to_string()),
        };
        let name = format!("{repository}:{tag}");
        let mut arguments = vec!["build".to_owned(), "--quiet".into(), "--tag".into(), name.clone()];
        if let Some(id) = deployment.filter(|_| !marked) {
            arguments.extend(labels(&[
                (LABEL_FLEET, self.fleet.clone()),
                (LABEL_APP, self.app.to_string()),
                (LABEL_DEPLOYMENT, id.to_string()),
                ("deploymind.commit", "0".repeat(40)),
            ]));
        }
        arguments.push(self.folder.path().to_string_lossy().into_owned());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let said = docker(&arguments);
        (said.lines().last().unwrap_or_default().to_owned(), name)
    }

    /// What serves and the way back from it, in the record alone: their images are on other hosts.
    fn serves_elsewhere(&mut self) {
        self.record(ReleaseId::generate(), "sha256:serves", 0, true);
        self.record(ReleaseId::generate(), "sha256:before", 1, false);
    }

    fn release(&mut self, rank: usize, serving: bool) -> Release {
        let (id, deployment) = (ReleaseId::generate(), DeploymentId::generate());
        let (image, name) = self.build(BASE, true, Some(deployment));
        self.record(id, &image, rank, serving);
        self.known.deployments.insert(deployment, DeploymentFate { ended: true, released: true });
        Release { id, deployment, image, name }
    }

    fn record(&mut self, id: ReleaseId, image: &str, rank: usize, serving: bool) {
        let fate = ReleaseFate {
            app: self.app,
            images: vec![image.to_owned()],
            serving,
            in_rollout: false,
            rank: Some(rank),
        };
        self.known.releases.insert(id, fate);
    }

    /// A container of a slot; returns its id.
    fn slot(&self, of: &Release, app: AppId, epoch: u32, running: bool) -> String {
        let name = format!("{}-shop-{epoch}", self.fleet);
        let mut arguments = vec!["create".to_owned(), "--network=none".into(), "--name".into(), name.clone()];
        arguments.extend(labels(&[
            (LABEL_FLEET, self.fleet.clone()),
            (LABEL_APP, app.to_string()),
            (LABEL_RELEASE, of.id.to_string()),
            (LABEL_DEPLOYMENT, of.deployment.to_string()),
            (LABEL_ROLE, "slot".to_owned()),
            (LABEL_SLOT, name),
            (LABEL_EPOCH, epoch.to_string()),
        ]));
        arguments.extend(["--stop-signal=KILL".into(), of.image.clone()]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let id = docker(&arguments);
        if running {
            docker(&["start", &id]);
        }
        id
    }

    async fn plan(&self, now: Timestamp) -> Plan {
        let survey = survey(&self.docker, &self.fleet).await.expect("survey");
        plan(&survey, &self.known, &self.budget, now)
    }

    async fn carry_out(&self, plan: &Plan) -> Collected {
        carry_out(&self.docker, &self.fleet, plan, &CancellationToken::new()).await.expect("carry out")
    }
}

/// When everything that a test has made is old enough.
fn later() -> Timestamp {
    Utc::now() + Duration::from_secs(7200)
}

impl Drop for Bench {
    fn drop(&mut self) {
        let list = |arguments: &[&str]| -> Vec<String> {
            let ran = Command::new("docker").args(arguments).output();
            let said = ran.map(|ran| String::from_utf8_lossy(&ran.stdout).into_owned()).unwrap_or_default();
            said.lines().map(str::to_owned).collect()
        };
        let away = |arguments: &[&str], what: Vec<String>| {
            if !what.is_empty() {
                let _left = Command::new("docker").args(arguments).args(what).output().is_err();
            }
        };
        let label = format!("label={LABEL_FLEET}={}", self.fleet);
        let named = format!("name={}", self.fleet);
        for filter in [&label, &named] {
            away(&["rm", "--force"], list(&["ps", "--all", "--quiet", "--filter", filter]));
        }
        let mine = |kind| format!("{kind}/{}", self.fleet);
        for name in ["deploymind", "foreign", "registry.example/team"].map(mine) {
            away(&["rmi", "--force"], list(&["images", "--format", "{{.Repository}}:{{.Tag}}", &name]));
        }
        // What others are made from cannot go before them.
        for _ in 0..9 {
            away(&["rmi"], list(&["images", "--all", "--quiet", "--filter", &label]));
        }
        away(&["network", "rm"], vec![self.fleet.clone()]);
        away(&["volume", "rm"], vec![self.fleet.clone()]);
    }
}

#[tokio::test]
async fn what_is_promised_comes_free_and_others_keep_theirs() {
    let mut bench = Bench::new().await;
    let serves = bench.release(0, true);
    let way_back = bench.release(1, false);
    let (used, old, named) = (bench.release(2, false), bench.release(3, false), bench.release(4, false));
    let second = format!("registry.example/team/{}:{}", bench.fleet, old.deployment);
    docker(&["tag", &old.image, &second]);
    let kept_name = format!("foreign/{}:backup", bench.fleet);
    docker(&["tag", &named.image, &kept_name]);
    let live = bench.slot(&serves, bench.app, 9, true);
    let stale = bench.slot(&old, bench.app, 2, false);
    let orphan = bench.slot(&old, AppId::generate(), 3, true);
    // Others' things: a container of ours' image, an image, a nameless one, a container, a network, a volume.
    let foreign_user = docker(&[
        "create",
        "--network=none",
        "--name",
        &format!("{}-foreign-user", bench.fleet),
        &used.image,
    ]);
    let (foreign_image, foreign_name) = bench.build(BASE, false, None);
    let nameless = docker(&["inspect", "--format", "{{.Parent}}", &foreign_image]);
    let foreign =
        docker(&["create", "--network=none", "--name", &format!("{}-foreign", bench.fleet), &foreign_image]);
    docker(&[
        "network",
        "create",
        "--internal",
        "--label",
        &format!("{LABEL_FLEET}={}", bench.fleet),
        &bench.fleet,
    ]);
    let (gone, own) = (AppId::generate().to_string(), &bench.fleet);
    let mark = [format!("{LABEL_FLEET}={own}"), format!("{LABEL_APP}={gone}")];
    docker(&["volume", "create", "--label", &mark[0], "--label", &mark[1], own]);

    assert!(bench.plan(Utc::now()).await.items.is_empty(), "all is younger than the least age");
    let plan = bench.plan(later()).await;
    let text = report(&plan);
    for part in [
        old.name.as_str(),
        "its app is gone; it runs",
        "its release serves",
        "the way back",
        kept_name.as_str(),
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(plan.orphaned_volumes, [bench.fleet.clone()]);
    for kind in [Kind::Slot, Kind::Image, Kind::Layer] {
        assert!(plan.items.iter().any(|item| item.kind == kind), "{kind} in {text}");
    }
    // One image goes, and its steps with it.
    assert_eq!(plan.bytes(), SIZE as u64, "{text}");
    assert!(there("image", &old.image) && there("container", &stale), "a plan touches nothing");

    let collected = bench.carry_out(&plan).await;
    assert_eq!(collected.left, []);
    assert_eq!(collected.removed.len(), plan.items.len());
    assert_eq!(collected.bytes(), plan.bytes());
    for (kind, id) in
        [("image", &old.image), ("image", &second), ("container", &stale), ("container", &orphan)]
    {
        assert!(!there(kind, id), "{kind} {id} is still there");
    }
    for (kind, id) in [
        ("image", &serves.name),
        ("image", &way_back.name),
        ("image", &used.name),
        ("image", &named.name),
        ("image", &kept_name),
        ("image", &foreign_name),
        ("image", &nameless),
        ("container", &live),
        ("container", &foreign_user),
        ("container", &foreign),
        ("network", &bench.fleet),
        ("volume", &bench.fleet),
    ] {
        assert!(there(kind, id), "{kind} {id} is gone");
    }
    assert_eq!(docker(&["inspect", "--format", "{{.State.Running}}", &live]), "true");
    assert_eq!(bench.plan(later()).await.items, []);
}

#[tokio::test]
async fn two_at_once_do_each_thing_once_and_none_when_told_to_stop() {
    let mut bench = Bench::new().await;
    bench.serves_elsewhere();
    for rank in 2..4 {
        let release = bench.release(rank, false);
        bench.slot(&release, bench.app, rank as u32, false);
        let other = format!("registry.example/team/{}:{}", bench.fleet, release.deployment);
        docker(&["tag", &release.image, &other]);
    }
    let plan = bench.plan(later()).await;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let stopped = carry_out(&bench.docker, &bench.fleet, &plan, &cancel).await;
    assert!(matches!(stopped, Err(Stop::Cancelled)), "{stopped:?}");
    assert_eq!(bench.plan(later()).await.items, plan.items);

    let (one, two) = tokio::join!(bench.carry_out(&plan), bench.carry_out(&plan));
    assert_eq!(one.bytes() + two.bytes(), plan.bytes());
    assert_eq!(one.removed.len() + two.removed.len(), plan.items.len(), "{one:?} {two:?}");
    assert_eq!(bench.plan(later()).await.items, []);
    assert_eq!(bench.carry_out(&plan).await.removed, []);
}

#[tokio::test]
async fn what_changed_since_the_plan_is_left_as_it_is() {
    let mut bench = Bench::new().await;
    bench.serves_elsewhere();
    let (started, taken, renamed) =
        (bench.release(2, false), bench.release(3, false), bench.release(4, false));
    let slot = bench.slot(&started, bench.app, 1, false);
    let other = format!("registry.example/team/{}:{}", bench.fleet, taken.deployment);
    docker(&["tag", &taken.image, &other]);
    let plan = bench.plan(later()).await;
    for id in [&slot, &started.image, &taken.image, &renamed.image] {
        assert!(plan.items.iter().any(|item| item.id == **id), "{id} in {}", report(&plan));
    }

    docker(&["start", &slot]);
    let user =
        docker(&["create", "--network=none", "--name", &format!("{}-user", bench.fleet), &taken.image]);
    let kept_name = format!("foreign/{}:backup", bench.fleet);
    docker(&["tag", &renamed.image, &kept_name]);
    let collected = bench.carry_out(&plan).await;
    for id in [&slot, &started.image, &taken.image, &renamed.image] {
        assert!(collected.left.iter().any(|left| left.id == **id), "{id} in {collected:?}");
    }
    assert_eq!(docker(&["inspect", "--format", "{{.State.Running}}", &slot]), "true");
    // Each name was put back that had to go before the engine could refuse.
    for name in [&started.name, &taken.name, &other, &renamed.name, &kept_name] {
        assert!(there("image", name), "{name} is gone");
    }
    assert!(there("container", &user));
}

#[tokio::test]
async fn steps_without_a_label_are_left_and_their_bytes_not_promised() {
    let mut bench = Bench::new().await;
    let deployment = DeploymentId::generate();
    let (image, _) = bench.build(BASE, false, Some(deployment));
    bench.known.deployments.insert(deployment, DeploymentFate { ended: true, released: false });
    let mut steps = Vec::new();
    let mut next = docker(&["inspect", "--format", "{{.Parent}}", &image]);
    let base = docker(&["inspect", "--format", "{{.Id}}", BASE]);
    while !next.is_empty() && next != base {
        steps.push(next.clone());
        next = docker(&["inspect", "--format", "{{.Parent}}", &next]);
    }
    assert!(steps.len() >= 2, "{steps:?}");
    let plan = bench.plan(later()).await;
    assert_eq!(plan.bytes(), 0);
    assert!(
        plan.notes.iter().any(|note| note.starts_with("300.0 kB") && note.contains("without a label")),
        "{:?}",
        plan.notes
    );
    assert_eq!(bench.carry_out(&plan).await.bytes(), 0);
    assert!(!there("image", &image));
    for step in steps.iter().rev() {
        assert!(there("image", step), "{step} was not ours to remove");
    }
    // These are this test's own.
    for step in &steps {
        docker(&["rmi", "--no-prune", step]);
    }
}

#[tokio::test]
async fn an_image_built_on_ours_stays_although_it_has_our_labels() {
    let mut bench = Bench::new().await;
    bench.serves_elsewhere();
    let old = bench.release(2, false);
    let (derived, name) = bench.build(&old.name, false, None);
    docker(&["tag", &derived, &format!("foreign/{}:other", bench.fleet)]);
    let nameless = docker(&["inspect", "--format", "{{.Parent}}", &derived]);
    let plan = bench.plan(later()).await;
    for id in [&derived, &nameless, &old.image] {
        assert!(!plan.items.iter().any(|item| item.id == *id), "{}", report(&plan));
    }
    bench.carry_out(&plan).await;
    for id in [&name, &nameless, &old.name] {
        assert!(there("image", id));
    }
    for step in [&name, &format!("foreign/{}:other", bench.fleet)] {
        docker(&["rmi", step]);
    }
}

#[tokio::test]
async fn an_engine_that_is_away_is_asked_again_later() {
    let folder = TempDir::new().expect("folder");
    let socket: PathBuf = folder.path().join("docker.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("bind");
    let docker =
        Docker::connect_with_unix(&socket.to_string_lossy(), 5, API_DEFAULT_VERSION).expect("client");
    drop(listener);
    let found = survey(&docker, "hwc").await;
    assert!(matches!(found, Err(Stop::Retryable { .. })), "{found:?}");
}
