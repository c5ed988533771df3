//! Versions, settings and hosts that a deployment must refuse: each with its code, a sentence that says what to do, and users
//! where they were.

mod foreign;

use std::net::TcpListener;
use std::time::Duration;

use deploymind_shared::db::targets::target_get;
use deploymind_shared::domain::app::AppSettings;
use deploymind_shared::domain::deployment::DeploymentStatus;
use deploymind_shared::domain::slot::{RestartPolicy, Volume};
use deploymind_tests::delivery::{Delivery, Ended};
use deploymind_tests::git::Entry;
use deploymind_tests::load::Load;
use deploymind_tests::{free_port, sample, wait_for};

use crate::common::{SOON, Sample, quick};

const PROGRAM: &str = "/usr/local/bin/sample-app";

/// When a deployment is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    BeforeBuild,
    Rollout,
}

struct Case {
    name: &'static str,
    files: Vec<Entry>,
    settings: AppSettings,
    at: At,
    status: &'static str,
    code: &'static str,
    says: &'static [&'static str],
}

/// Quick to give up.
fn short() -> AppSettings {
    let mut settings = quick();
    settings.run.health.start_period_s = 2;
    settings
}

fn with(change: impl FnOnce(&mut AppSettings)) -> AppSettings {
    let mut settings = short();
    change(&mut settings);
    settings
}

fn dockerfile(text: &str) -> Vec<Entry> {
    vec![Entry::file(
        "Dockerfile",
        format!("FROM {}\nENV VERSION=bad\nEXPOSE 8080\n{text}\n", sample::base()),
    )]
}

impl Case {
    /// Of a version that behaves so.
    fn env(
        name: &'static str,
        env: &[(&str, &str)],
        settings: AppSettings,
        code: &'static str,
        says: &'static [&'static str],
    ) -> Self {
        let files = sample::files(&[&[("VERSION", "bad")], env].concat());
        Self { name, files, settings, at: At::Rollout, status: "FAILED", code, says }
    }

    fn judge(&self, ended: &Ended) {
        let reason = ended.deployment.reason.as_deref().unwrap_or_default();
        println!("{}: {}: {reason}", self.name, ended.code());
        let found = (ended.status(), ended.code());
        assert_eq!(found, (self.status, self.code), "{}: {reason}\n{}", self.name, ended.text());
        for word in self.says {
            assert!(reason.contains(word), "{}: no {word:?} in: {reason}", self.name);
        }
        let at = if ended.deployment.release.is_some() { At::Rollout } else { At::BeforeBuild };
        assert_eq!(at, self.at, "{}: {}", self.name, ended.text());
        let page = format!("{}/../docs/errors/{}.md", env!("CARGO_MANIFEST_DIR"), self.code);
        assert!(std::fs::exists(&page).expect("a look at docs/errors"), "{}: no page {page}", self.name);
    }
}

/// Versions that do not become healthy.
fn versions() -> Vec<Case> {
    let rollout = |name, files, code, says| Case { files, ..Case::env(name, &[], short(), code, says) };
    vec![
        Case::env(
            "a health check that redirects",
            &[("HEALTH", "redirect")],
            short(),
            "DM-4804",
            &["/health", "302", "not followed", "health.path"],
        ),
        Case::env(
            "one that answers late",
            &[("HEALTH", "slow 5000")],
            with(|settings| settings.run.health.timeout_ms = 500),
            "DM-4805",
            &["/health", "within 500 ms", "health.timeout_ms"],
        ),
        Case::env(
            "one that is no HTTP",
            &[("HEALTH", "nothttp")],
            short(),
            "DM-4804",
            &["8080", "HTTP", "health.kind"],
        ),
        Case::env(
            "a program on loopback only",
            &[("LISTEN", "127.0.0.1")],
            short(),
            "DM-4803",
            &["port 8080", "127.0.0.1 only", "0.0.0.0"],
        ),
        rollout(
            "a program on another port",
            dockerfile(&format!("CMD [\"sh\", \"-c\", \"PORT=9999 exec {PROGRAM}\"]")),
            "DM-4803",
            &["port 8080", "listens on 9999", "set the app's port"],
        ),
        Case::env(
            "more memory than it may use",
            &[("EAT_MEMORY_MB", "256")],
            with(|settings| {
                settings.run.resources.memory_mb = Some(64);
                settings.run.health.settle_s = 3;
                // Started again, it would be well for a moment, and what is found is which of the two was seen first.
                settings.run.restart = RestartPolicy::Never;
                settings.run.health.start_period_s = 10;
            }),
            "DM-4802",
            &["want of memory", "resources.memory_mb"],
        ),
        rollout(
            "a start command that is not there",
            dockerfile("CMD [\"/nowhere/program\"]"),
            // It is the slot's own first process that does not find it.
            "DM-4801",
            &["exit code 127", "a command was not found", "its last lines say why"],
        ),
        rollout(
            "a user that is not there",
            dockerfile("USER somebody\nCMD [\"sample-app\"]"),
            "DM-4814",
            &["somebody", "correct USER in the Dockerfile"],
        ),
        rollout(
            "an image for another processor",
            vec![Entry::file(
                "Dockerfile",
                format!("FROM {}\nEXPOSE 8080\nCMD [\"/program\"]\n", foreign::image()),
            )],
            "DM-4813",
            &["arm64", "amd64", "build it for the target"],
        ),
        Case {
            at: At::BeforeBuild,
            ..Case::env(
                "a path of the host without the permission",
                &[],
                with(|settings| {
                    let path = "/data".to_owned();
                    let volume =
                        Volume { source: "/srv".to_owned(), path, read_only: false, exclusive: false };
                    settings.run.volumes.push(volume);
                }),
                "DM-4816",
                &["path of the host", "named volume", "administrator"],
            )
        },
    ]
}

async fn refused(sample: &Sample<'_>, case: &Case, port: u16) {
    let mut settings = case.settings.clone();
    settings.run.routes.port = Some(port);
    sample.delivery.settings(sample.app, &settings).await;
    sample.commit_files(case.name, &case.files);
    let created = sample.delivery.deploy(sample.app).await;
    case.judge(&sample.delivery.ended(&created, SOON).await);
    sample.assert_answers("v1").await;
}

/// A good version whose port is not to be had.
fn of_port(name: &'static str, at: At, code: &'static str, says: &'static [&'static str]) -> Case {
    Case { at, ..Case::env(name, &[("NAME", name)], short(), code, says) }
}

async fn ports(delivery: &Delivery, sample: &Sample<'_>) {
    let other = Sample::new(delivery, "other", quick()).await;
    other.deploy_well("other", &[]).await;
    let says: &[&str] = &["port"];
    // The edge refuses what the roll-out has begun to do, so it is told as a way back, although nobody was moved.
    let back = "ROLLED_BACK";
    let case = Case { status: back, ..of_port("the port of another app", At::Rollout, "DM-4820", says) };
    refused(sample, &case, other.port).await;
    // One that has no route yet is refused before it is built.
    let late = Sample::new(delivery, "late", quick()).await;
    let mut settings = quick();
    settings.run.routes.port = Some(other.port);
    delivery.settings(late.app, &settings).await;
    let case = of_port(
        "the same of an app that is new",
        At::BeforeBuild,
        "DM-4820",
        &["port", "give one of the two another port"],
    );
    case.judge(&late.deploy("late", &[]).await);
    other.assert_answers("other").await;

    let says: &[&str] = &["another program", "port", "stop it", "ss -ltnp"];
    let taken = TcpListener::bind(("0.0.0.0", free_port())).expect("a free port");
    let port = taken.local_addr().expect("an address").port();
    refused(sample, &of_port("a port that a program has", At::BeforeBuild, "DM-4901", says), port).await;
    drop(taken);

    // Taken once the deployment has looked, while it is built.
    let case = Case {
        files: dockerfile(&format!("RUN sleep 2\nCMD [\"{PROGRAM}\"]")),
        status: back,
        ..of_port("a port that a program takes meanwhile", At::Rollout, "DM-4901", &["port"])
    };
    let port = free_port();
    let taker = async {
        let row = wait_for("the look at the port to be over", SOON, async || {
            let row: Option<(uuid::Uuid, String)> = sqlx::query_as(
                "SELECT id, status FROM deployments WHERE app_id = $1 ORDER BY created_at DESC LIMIT 1",
            )
            .bind(sample.app.as_uuid())
            .fetch_optional(&delivery.rig.pool)
            .await
            .map_err(|error| error.to_string())?;
            let begun = [DeploymentStatus::Cloning, DeploymentStatus::Building].map(DeploymentStatus::as_str);
            row.filter(|(_, status)| begun.contains(&status.as_str())).ok_or_else(|| "not yet".to_owned())
        })
        .await;
        (TcpListener::bind(("0.0.0.0", port)).expect("a free port"), row)
    };
    let ((), _held) = tokio::join!(refused(sample, &case, port), taker);
}

/// A container of somebody else's has the name that the next slot needs.
async fn name(delivery: &Delivery, sample: &Sample<'_>) {
    let target =
        target_get(&delivery.rig.fleet.db, &delivery.targets[0]).await.expect("read").expect("the target");
    let next = target.epoch.0 + 1;
    let name = format!("{}-shop-{next}", delivery.rig.name);
    let container = foreign::Container::create(&name);
    let before = container.state();
    let case = Case::env(
        "a name that is taken",
        &[("NAME", "taken")],
        short(),
        "DM-4904",
        &["not DeployMind's", "rename or remove"],
    );
    refused(sample, &case, sample.port).await;
    assert_eq!(container.state(), before, "somebody else's container was touched");
}

/// Users of a version that stays what they reach, whatever is deployed meanwhile.
async fn of_v1(delivery: &Delivery) -> (Sample<'_>, Load) {
    let sample = Sample::new(delivery, "shop", quick()).await;
    sample.deploy_well("v1", &[]).await;
    let load = Load::of(&sample.url()).rate(50.0).timeout(Duration::from_secs(10)).start().await;
    (sample, load)
}

async fn assert_only_v1(load: Load) {
    let report = load.finish().await;
    report.assert_nothing_lost();
    assert_eq!(report.of("v1"), report.requests, "users met something else: {report:#?}");
    println!("{} requests meanwhile, all of them answered by v1", report.requests);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_versions_and_settings_are_refused_and_users_stay_where_they_are() {
    let delivery = Delivery::on_docker().await;
    let (_worker, _scheduler) = delivery.nodes().await;
    let (sample, load) = of_v1(&delivery).await;
    for case in versions() {
        refused(&sample, &case, sample.port).await;
    }
    assert_only_v1(load).await;
    // What counts is the status: a page of garbage that comes with 200 is healthy.
    sample.set(short()).await;
    sample.deploy_well("garbage", &[("HEALTH", "garbage")]).await;
    delivery.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_ports_that_others_have_are_left_to_them() {
    let delivery = Delivery::on_docker().await;
    let (_worker, _scheduler) = delivery.nodes().await;
    let (sample, load) = of_v1(&delivery).await;
    name(&delivery, &sample).await;
    ports(&delivery, &sample).await;
    assert_only_v1(load).await;
    delivery.finish().await;
}
