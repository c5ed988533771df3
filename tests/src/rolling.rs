//! Deployments of the sample app in a row, with users at work: what the suite shows in short and the benchmark in full.

use std::time::{Duration, Instant};

use deploymind_shared::db::deployments::Created;
use deploymind_shared::domain::app::AppSettings;
use deploymind_shared::domain::rollout::{CanarySettings, StrategyKind};
use deploymind_shared::domain::slot::HealthCheck;
use deploymind_shared::ids::AppId;

use crate::delivery::{Delivery, Ended};
use crate::git::{Entry, Repository};
use crate::load::{Load, LoadBuilder, Report};
use crate::{free_port, http, sample, wait_for};

/// Longer than any deployment of these tests takes on a busy machine.
pub const SOON: Duration = Duration::from_secs(90);
/// What a slow request of the users takes.
pub const SLOW: Duration = Duration::from_secs(5);

/// An app whose commits differ only in how they behave.
pub struct Sample<'a> {
    pub delivery: &'a Delivery,
    pub app: AppId,
    pub port: u16,
    repository: Repository,
}

/// Settings of an app that is quick to judge.
#[must_use]
pub fn quick() -> AppSettings {
    let mut settings = AppSettings::default();
    settings.run.health = HealthCheck {
        path: "/health".to_owned(),
        interval_ms: 200,
        timeout_ms: 1000,
        start_period_s: 20,
        ..HealthCheck::default()
    };
    settings.run.stop.grace_s = 5;
    settings.rollout.verify_s = 1;
    settings.rollout.drain_s = 5;
    settings
}

/// The same by a strategy, with windows that are as short as they may be and time for the users' slow requests.
#[must_use]
pub fn by(strategy: StrategyKind) -> AppSettings {
    let mut settings = quick();
    settings.run.health.start_period_s = 5;
    settings.rollout.strategy = strategy;
    settings.rollout.observe_s = 1;
    settings.rollout.drain_s = 6;
    settings.rollout.canary =
        CanarySettings { window_s: 1, min_requests: 20, hold_s: 30, ..CanarySettings::default() };
    settings
}

/// The users of the proofs: 200 requests a second, a fifth of them with a body, slow ones, and a WebSocket.
#[must_use]
pub fn users(url: &str) -> LoadBuilder {
    Load::of(url).slow(4, SLOW).websockets(1, Duration::from_millis(500)).timeout(Duration::from_secs(10))
}

impl<'a> Sample<'a> {
    /// An app of this name with a port of its own.
    pub async fn new(delivery: &'a Delivery, name: &str, mut settings: AppSettings) -> Self {
        let (app, repository) = delivery.app(name, &[]).await;
        let port = free_port();
        settings.run.routes.port = Some(port);
        delivery.settings(app, &settings).await;
        Self { delivery, app, port, repository }
    }

    /// Other settings; the port stays.
    pub async fn set(&self, mut settings: AppSettings) {
        settings.run.routes.port = Some(self.port);
        self.delivery.settings(self.app, &settings).await;
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Commits a version that behaves so; its commit.
    pub fn commit(&self, version: &str, env: &[(&str, &str)]) -> String {
        let env = [&[("VERSION", version)], env].concat();
        self.commit_files(version, &sample::files(&env))
    }

    pub fn commit_files(&self, message: &str, files: &[Entry]) -> String {
        self.repository.commit("main", message, files)
    }

    /// Commits it and asks for it.
    pub async fn push(&self, version: &str, env: &[(&str, &str)]) -> Created {
        self.commit(version, env);
        self.delivery.deploy(self.app).await
    }

    /// The same, and waits for its end.
    pub async fn deploy(&self, version: &str, env: &[(&str, &str)]) -> Ended {
        let created = self.push(version, env).await;
        self.delivery.ended(&created, SOON).await
    }

    /// The same of one that is well.
    ///
    /// # Panics
    /// When it does not reach its users.
    pub async fn deploy_well(&self, version: &str, env: &[(&str, &str)]) -> Ended {
        let ended = self.deploy(version, env).await;
        assert_eq!(ended.status(), "DEPLOYED", "{version}: {:?}\n{}", ended.deployment.reason, ended.text());
        ended
    }

    /// What the app answers now.
    pub async fn answers(&self) -> String {
        match http::get(&self.url()).await {
            Ok(answer) => format!("{} {}", answer.status, answer.body),
            Err(error) => error,
        }
    }

    /// # Panics
    /// When it is another.
    pub async fn assert_answers(&self, version: &str) {
        let answer = self.answers().await;
        assert!(answer.contains(&format!("\"version\":\"{version}\"")), "not {version}: {answer}");
    }
}

/// A way in which a version is broken, such that no user must ever meet it.
#[derive(Debug, Clone, Copy)]
pub struct Broken {
    pub name: &'static str,
    pub env: &'static [(&'static str, &'static str)],
    /// How long a version has to be well before it gets traffic: what dies later than it starts is caught by nothing else.
    pub settle_s: u32,
    /// How its deployment fails.
    pub code: &'static str,
}

pub const BROKEN: [Broken; 4] = [
    Broken { name: "fails to start", env: &[("EXIT_AT_START", "7")], settle_s: 0, code: "DM-4801" },
    Broken { name: "fails its health check", env: &[("HEALTH", "fail")], settle_s: 0, code: "DM-4804" },
    Broken { name: "dies after 3 s", env: &[("DIES_AFTER_MS", "3000")], settle_s: 5, code: "DM-4801" },
    Broken {
        name: "answers 500",
        // Its health check's page is one of those that are answered 500.
        env: &[("HEALTH_PATH", "/nowhere"), ("ERROR_PERCENT", "100")],
        settle_s: 0,
        code: "DM-4804",
    },
];

/// Deployments one after another.
#[derive(Debug, Clone)]
pub struct Row<'a> {
    pub strategy: StrategyKind,
    pub deployments: usize,
    /// Every second one is broken, in these ways in turn; none: all are well.
    pub broken: &'a [Broken],
    /// What the names of the versions begin with.
    pub prefix: &'a str,
}

/// How long each deployment of a row took, from its request to its end.
#[derive(Debug, Default)]
pub struct Took {
    pub well: Vec<Duration>,
    pub broken: Vec<Duration>,
    /// Versions that no user must have met.
    pub never: Vec<String>,
}

impl Row<'_> {
    /// Deploys all of it, with whoever uses the app meanwhile. The app must serve already.
    ///
    /// # Panics
    /// When one that is well does not become what users reach, or a broken one does not fail as it has to.
    pub async fn deploy(&self, sample: &Sample<'_>) -> Took {
        let mut took = Took::default();
        for number in 0..self.deployments {
            let version = format!("{}{number}", self.prefix);
            let broken = match self.broken {
                [] => None,
                ways => (number % 2 == 0).then(|| ways[number / 2 % ways.len()]),
            };
            let mut settings = by(self.strategy);
            settings.run.health.settle_s = broken.map_or(0, |broken| broken.settle_s);
            sample.set(settings).await;
            let begun = Instant::now();
            let Some(broken) = broken else {
                sample.deploy_well(&version, &[]).await;
                took.well.push(begun.elapsed());
                sample.assert_answers(&version).await;
                continue;
            };
            let ended = sample.deploy(&version, broken.env).await;
            took.broken.push(begun.elapsed());
            let as_it_has_to = (ended.status(), ended.code()) == ("FAILED", broken.code);
            assert!(as_it_has_to, "{}: {:?}\n{}", broken.name, ended.deployment, ended.text());
            took.never.push(version);
        }
        took
    }

    /// The same with the users of the proofs; what they saw.
    ///
    /// # Panics
    /// When a user lost anything, or met a version that was never to serve.
    pub async fn prove(&self, sample: &Sample<'_>) -> (Took, Report) {
        let load = users(&sample.url()).start().await;
        let took = self.deploy(sample).await;
        let report = load.finish().await;
        report.assert_nothing_lost();
        for version in &took.never {
            assert_eq!(report.of(version), 0, "a user met {version}: {report:#?}");
        }
        assert!(report.slow_done > 0 && report.posts_done > 0 && report.ws_echoes > 0, "{report:#?}");
        (took, report)
    }
}

/// Waits until a deployment is that far.
pub async fn reached(delivery: &Delivery, created: &Created, line: &str) {
    wait_for(&format!("the log to say {line:?}"), SOON, async || {
        let log = delivery.log(created.deployment).await;
        match log.iter().any(|one| one.line.contains(line)) {
            true => Ok(()),
            false => Err(log.last().map_or_else(String::new, |last| last.line.clone())),
        }
    })
    .await;
}
