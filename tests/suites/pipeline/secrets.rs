//! Secrets of an app that its build shows in every way it can: none may be in the record, in Redis, on a channel or in the
//! worker's own log. And a build that says very much: all of it is in the record.

mod kinds;
mod lines;
mod search;

use std::process::Command;

use deploymind_shared::db::variables::{Variable, variable_put};
use deploymind_shared::domain::app::VariableScope;
use deploymind_shared::ids::AppId;
use deploymind_shared::secret::Associated;
use deploymind_tests::delivery::{Delivery, Ended};
use deploymind_tests::git::{Entry, Repository};
use secrecy::SecretString;

use crate::common::SOON;
use kinds::{Kind, Leaks};
use search::{Ears, Haystack};

#[derive(Clone, Copy, PartialEq)]
enum Builder {
    Classic,
    BuildKit,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_leaves_a_classic_build() {
    pushed_through(Builder::Classic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_leaves_buildkit() {
    pushed_through(Builder::BuildKit).await;
}

async fn pushed_through(builder: Builder) {
    let delivery = Delivery::start().await;
    let leaks = Leaks::make(builder);
    let marker = format!("no-secret-{}", uuid::Uuid::new_v4().simple());
    let open = format!("open-value-{}", uuid::Uuid::new_v4().simple());

    let (app, repository) = delivery.app("leaky", &leaks.files(&marker, &open)).await;
    recommit(&repository, &leaks.message, &leaks.author);
    put(&delivery, app, &leaks.kinds).await;
    let sealed =
        delivery.keyring.seal(&Associated::variable(app, "OPEN"), &SecretString::from(open.as_str()));
    let variable = Variable { name: "OPEN".to_owned(), scope: VariableScope::Run, secret: false, sealed };
    variable_put(&delivery.rig.fleet.db, app, &[variable]).await.expect("put");
    let failing = kinds::failing();
    let mut broken = Vec::new();
    for Kind { name, how, .. } in &failing {
        let (app, _) =
            delivery.app(&name.to_lowercase().replace('_', "-"), &[Entry::file("Dockerfile", how)]).await;
        put(&delivery, app, &failing).await;
        broken.push(app);
    }

    let ears = Ears::start(&delivery).await;
    let worker = match builder {
        Builder::Classic => delivery.worker().set("DEPLOYMIND_BUILDER", "classic"),
        Builder::BuildKit => delivery
            .worker()
            .set("DEPLOYMIND_BUILDER", "buildkit")
            .set("DEPLOYMIND_BUILD_REQUIRE_CAPS", "false"),
    };
    // As talkative as it can be.
    let worker = worker.set("DEPLOYMIND_LOG_FILTER", "debug").ready().await;
    let _scheduler = delivery.rig.scheduler().ready().await;
    let mut created = vec![delivery.deploy(app).await];
    for app in broken {
        created.push(delivery.deploy(app).await);
    }
    let mut ended: Vec<Ended> = Vec::new();
    for created in &created {
        ended.push(delivery.ended(created, SOON).await);
    }
    ended[0].assert_released();
    for ended in &ended[1..] {
        assert_eq!(ended.status(), "FAILED");
        println!("{}: {}", ended.code(), ended.deployment.reason.as_deref().unwrap_or_default());
        assert!(
            ended.deployment.reason.as_deref().is_some_and(|reason| reason.contains("[REDACTED")),
            "{ended:?}"
        );
    }
    let text = ended[0].text();
    assert!(text.matches("[REDACTED").count() >= 40, "{text}");

    let mut hay = Haystack::default();
    hay.database(&delivery.rig.pool).await;
    hay.redis(&delivery).await;
    hay.heard(ears.stop(&ended[0]).await);
    hay.add("the worker's log", worker.process.log());
    for ended in &ended {
        hay.add("a log without its line breaks", search::unbroken(&ended.log));
    }
    // The search works: both are found wherever a secret would be.
    for told in [&marker, &open] {
        let places = hay.find("a control", told);
        for place in ["deployment_logs", "a log without", "channel", "monitor"] {
            assert!(places.iter().any(|found| found.contains(place)), "no {told} in {place}: {places:?}");
        }
    }
    let secrets: Vec<&Kind> = leaks.kinds.iter().chain(&failing).collect();
    let found: Vec<String> = secrets.iter().flat_map(|kind| hay.find(&kind.name, &kind.value)).collect();
    println!(
        "{} kinds of secret looked for in {} texts of {} bytes",
        secrets.len(),
        hay.count(),
        hay.bytes()
    );
    assert!(secrets.len() >= 40);
    assert!(found.is_empty(), "{} leaks:\n{}", found.len(), found.join("\n"));
    delivery.assert_clean(SOON).await;
    delivery.finish().await;
}

async fn put(delivery: &Delivery, app: AppId, kinds: &[Kind]) {
    for Kind { name, value, scope, declared, .. } in kinds {
        if *declared {
            delivery.variable(app, name, value, *scope).await;
        }
    }
}

/// The tip of `main` anew, by this author and with this message.
fn recommit(repository: &Repository, message: &str, author: &str) {
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(repository.path()).args(args).env("GIT_AUTHOR_NAME", author);
        for (key, value) in [
            ("GIT_AUTHOR_EMAIL", "test@example.com"),
            ("GIT_COMMITTER_NAME", "Test"),
            ("GIT_COMMITTER_EMAIL", "test@example.com"),
        ] {
            command.env(key, value);
        }
        let output = command.output().expect("git");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let commit = git(&["commit-tree", "refs/heads/main^{tree}", "-m", message]);
    git(&["update-ref", "refs/heads/main", &commit]);
}
