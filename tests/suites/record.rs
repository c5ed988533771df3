//! The record against a real Postgres: every function of `shared::db`, every rule of the schema, and the plans of the
//! statements that run all day.

mod adrift;
mod deployments;
mod jobs;
mod people;
mod pipeline;
mod plans;
mod retention;
mod rollback;
mod rollout;
mod schema;

use std::path::Path;

use deploymind_shared::db::apps::{NewApp, app_create};
use deploymind_shared::db::deployments::{Created, NewDeployment, Trigger, deployment_create};
use deploymind_shared::db::jobs::{Claim, NewJob, job_claim};
use deploymind_shared::db::users::user_create;
use deploymind_shared::db::workers::{NewWorker, worker_register};
use deploymind_shared::domain::job::{Deploy, JobKind as _, Locking, Priority};
use deploymind_shared::ids::{AppId, Attempt, JobId, TargetName, UserId, WorkerId};
use deploymind_tests::rig::{Rig, production};

/// The constraint that refused a statement of the test.
fn refused_by<T: std::fmt::Debug>(result: Result<T, sqlx::Error>) -> String {
    let error = result.expect_err("the database refuses this");
    let error = error.as_database_error().expect("an answer of the database");
    error.constraint().unwrap_or_else(|| panic!("refused, but by no named constraint: {error}")).to_owned()
}

pub async fn user(rig: &Rig, login: &str) -> UserId {
    user_create(&rig.fleet.db, login, None).await.expect("create user").id
}

pub async fn app(rig: &Rig, owner: UserId, name: &str, targets: &[TargetName]) -> AppId {
    let new = NewApp {
        owner,
        name: name.to_owned(),
        repository: "https://git.example/shop".to_owned(),
        branch: "main".to_owned(),
        environment: production(),
        targets: targets.to_vec(),
    };
    app_create(&rig.fleet.db, &new).await.expect("create app")
}

async fn worker(rig: &Rig) -> WorkerId {
    let id = WorkerId::generate();
    let new = NewWorker {
        id,
        environments: vec![production()],
        concurrency: 4,
        hostname: "h".repeat(300),
        version: "0.1.0".to_owned(),
    };
    worker_register(&rig.fleet.db, &new).await.expect("register worker");
    id
}

async fn deploy(rig: &Rig, app: AppId, trigger: Trigger) -> Created {
    let new = NewDeployment {
        app,
        trigger,
        requested_by: None,
        commit: Some("a".repeat(40)),
        release: None,
        kind: Deploy::KIND,
        locking: if trigger == Trigger::Rollback { Locking::AtClaim } else { Locking::WhenAsked },
        priority: Priority::Normal,
        trace: None,
    };
    deployment_create(&rig.fleet.db, &new).await.expect("create deployment")
}

async fn claim(rig: &Rig, worker: WorkerId, job: JobId, locked: &[TargetName]) -> Attempt {
    let claim = Claim { job, locked: locked.to_vec() };
    let claimed = job_claim(&rig.fleet.db, worker, &[claim]).await.expect("claim");
    claimed.first().expect("claimable").attempt
}

fn new_job(targets: &[TargetName]) -> NewJob {
    NewJob {
        id: JobId::generate(),
        kind: "probe".to_owned(),
        environment: production(),
        priority: Priority::Normal,
        payload: serde_json::json!({}),
        targets: targets.to_vec(),
        delay: std::time::Duration::ZERO,
        trace: None,
    }
}

/// The sources below a directory of the workspace, with their paths.
pub fn sources(directory: &str, extension: &str) -> Vec<(String, String)> {
    fn walk(directory: &Path, extension: &str, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, extension, found);
            } else if path.extension().is_some_and(|end| end == extension) {
                let text = std::fs::read_to_string(&path).expect("a readable file");
                found.push((path.display().to_string(), text));
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(directory), extension, &mut found);
    found.sort();
    assert!(!found.is_empty(), "no .{extension} files below {directory}");
    found
}

#[test]
fn every_function_of_the_record_is_called_here() {
    let mut suite = include_str!("record.rs").to_owned();
    sources("tests/suites/record", "rs").iter().for_each(|(_, text)| suite.push_str(text));
    let mut missing = Vec::new();
    let mut found = 0;
    for (path, text) in sources("shared/src/db", "rs") {
        for line in text.lines().filter_map(|line| line.strip_prefix("pub async fn ")) {
            let name = line.split(['(', '<']).next().unwrap_or_default();
            found += 1;
            if !suite.contains(&format!("{name}(")) {
                missing.push(format!("{path}: {name}"));
            }
        }
    }
    println!("{found} functions of the record");
    assert!(found > 40, "the scan found {found} functions only");
    assert!(missing.is_empty(), "not exercised: {missing:#?}");
}
