//! Pushes that arrive faster than they deploy: the newest wins, the running one is not starved, every one gets its end.

use std::time::{Duration, Instant};

use deploymind_shared::db::apps::{NewApp, app_create};
use deploymind_shared::db::deployments::{Created, Deployment, Trigger, deployment_get, deployment_job};
use deploymind_shared::db::environments::environment_put;
use deploymind_shared::db::users::user_create;
use deploymind_shared::domain::deployment::DeploymentStatus;
use deploymind_shared::domain::job::Priority;
use deploymind_shared::domain::overlap::{MAX_OVERRIDES, OverlapPolicy};
use deploymind_shared::fleet::{Cancel, Waiting, Why};
use deploymind_shared::ids::{AppId, DeploymentId, JobId, TargetName};
use deploymind_tests::rig::{NodeBuilder, Rig, production};
use deploymind_tests::wait_for;

const SOON: Duration = Duration::from_secs(30);

async fn app(rig: &Rig, name: &str, targets: &[TargetName]) -> AppId {
    let owner = user_create(&rig.fleet.db, name, None).await.expect("user").id;
    let new = NewApp {
        owner,
        name: name.to_owned(),
        repository: "https://example.test/app.git".to_owned(),
        branch: "main".to_owned(),
        environment: production(),
        targets: targets.to_vec(),
    };
    app_create(&rig.fleet.db, &new).await.expect("app")
}

async fn push(rig: &Rig, app: AppId) -> Created {
    rig.fleet.deploy(app, Trigger::Push, None, None, Priority::Normal).await.expect("accepted")
}

async fn read(rig: &Rig, deployment: DeploymentId) -> Deployment {
    deployment_get(&rig.fleet.db, deployment).await.expect("read").expect("there")
}

/// Waits for the ends, checks that job and deployment tell the same story, and answers the statuses.
async fn ends(rig: &Rig, created: &[Created]) -> Vec<DeploymentStatus> {
    let jobs: Vec<JobId> = created.iter().map(|created| created.job).collect();
    rig.wait_ended(&jobs, Duration::from_secs(60)).await;
    let mut statuses = Vec::new();
    for created in created {
        let deployment = read(rig, created.deployment).await;
        let job = deployment_job(&rig.fleet.db, created.deployment).await.expect("read").expect("there");
        assert!(deployment.status.is_terminal(), "{} {}", created.deployment, deployment.status);
        assert!(deployment.agrees_with(job.state), "{} and {}", deployment.status, job.state);
        statuses.push(deployment.status);
    }
    statuses
}

async fn wait_status(rig: &Rig, deployment: DeploymentId, wanted: DeploymentStatus) {
    wait_for("the status", SOON, || async {
        let status = read(rig, deployment).await.status;
        if status == wanted { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}

fn worker(rig: &Rig, build_ms: u64, targets: &[TargetName]) -> NodeBuilder {
    let targets: Vec<&str> = targets.iter().map(TargetName::as_str).collect();
    let node = rig.worker(4).set("FAULT_BUILD_MS", &build_ms.to_string());
    if targets.is_empty() { node } else { node.set("FAULT_DEPLOY_TARGETS", &targets.join(",")) }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_pushes_in_a_second_the_newest_is_deployed() {
    let rig = Rig::start().await;
    let targets = rig.targets(1).await;
    let app = app(&rig, "busy", &targets).await;
    let _scheduler = rig.scheduler().spawn();
    let _worker = worker(&rig, 1_000, &targets).ready().await;
    let began = Instant::now();
    let mut pushes = Vec::new();
    for _ in 0..100 {
        pushes.push(push(&rig, app).await);
    }
    println!("100 pushes accepted in {} ms", began.elapsed().as_millis());
    let statuses = ends(&rig, &pushes).await;
    let count = |wanted| statuses.iter().filter(|status| **status == wanted).count();
    let (deployed, superseded) = (count(DeploymentStatus::Deployed), count(DeploymentStatus::Superseded));
    println!("{deployed} deployed, {superseded} superseded");
    assert!(deployed <= 3, "{deployed} ran");
    assert_eq!(deployed + superseded, 100);
    assert_eq!(statuses.last(), Some(&DeploymentStatus::Deployed));
    let replaced = read(&rig, pushes[50].deployment).await;
    assert!(replaced.superseded_by.is_some() || replaced.status == DeploymentStatus::Deployed);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_queue_all_run_in_order_and_one_at_a_time() {
    let rig = Rig::start().await;
    environment_put(&rig.fleet.db, &production(), OverlapPolicy::Queue).await.expect("policy");
    let app = app(&rig, "orderly", &[]).await;
    let _worker = worker(&rig, 50, &[]).ready().await;
    let mut pushes = Vec::new();
    for _ in 0..8 {
        pushes.push(push(&rig, app).await);
    }
    match rig.fleet.why(pushes[7].job).await.expect("why") {
        Why::Waiting { what: Waiting::App { .. }, .. } => {}
        other => panic!("{other:?}"),
    }
    let statuses = ends(&rig, &pushes).await;
    assert!(statuses.iter().all(|status| *status == DeploymentStatus::Deployed), "{statuses:?}");
    let states: Vec<(JobId, String)> = rig
        .rows()
        .await
        .iter()
        .filter(|row| row.kind == "state")
        .map(|row| (JobId::from_uuid(row.job), row.detail["is"].as_str().unwrap_or_default().to_owned()))
        .collect();
    let expected: Vec<(JobId, String)> = pushes
        .iter()
        .flat_map(|push| [(push.job, "running".to_owned()), (push.job, "succeeded".to_owned())])
        .collect();
    assert_eq!(states, expected);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn override_stops_the_running_one_but_a_stream_of_pushes_still_deploys() {
    let rig = Rig::start().await;
    environment_put(&rig.fleet.db, &production(), OverlapPolicy::Override).await.expect("policy");
    let app = app(&rig, "hasty", &[]).await;
    let _scheduler = rig.scheduler().spawn();
    let _worker = worker(&rig, 600, &[]).ready().await;
    let mut pushes = Vec::new();
    for _ in 0..12 {
        let created = push(&rig, app).await;
        // Each arrives while the one before it builds.
        wait_for("it to begin or to wait behind one that may not be stopped", SOON, || async {
            match read(&rig, created.deployment).await.status {
                DeploymentStatus::Queued => match rig.fleet.why(created.job).await {
                    Ok(Why::Waiting { what: Waiting::App { behind }, .. }) => {
                        let stopping = matches!(
                            rig.fleet.why(behind).await,
                            Ok(Why::Running { stopping: true, .. } | Why::Ended { .. })
                        );
                        if stopping { Err("the other is being stopped".to_owned()) } else { Ok(()) }
                    }
                    other => Err(format!("{other:?}")),
                },
                _ => Ok(()),
            }
        })
        .await;
        pushes.push(created);
    }
    let statuses = ends(&rig, &pushes).await;
    println!("{}", statuses.iter().map(|status| status.as_str()).collect::<Vec<_>>().join(" "));
    assert_eq!(statuses.last(), Some(&DeploymentStatus::Deployed));
    let mut in_a_row = 0;
    for (created, status) in pushes.iter().zip(&statuses) {
        let begun =
            deployment_job(&rig.fleet.db, created.deployment).await.expect("read").expect("there").attempt.0
                > 0;
        in_a_row = match status {
            DeploymentStatus::Superseded if begun => in_a_row + 1,
            DeploymentStatus::Superseded => in_a_row,
            _ => 0,
        };
        assert!(in_a_row <= MAX_OVERRIDES, "{in_a_row} begun ones stopped in a row");
    }
    assert!(statuses.contains(&DeploymentStatus::Superseded), "nothing was ever stopped");
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_parked_at_its_checkpoint_is_not_superseded_and_two_apps_build_side_by_side() {
    let rig = Rig::start().await;
    let targets = rig.targets(1).await;
    let (first, second) = (app(&rig, "first", &targets).await, app(&rig, "second", &targets).await);
    let _scheduler = rig.scheduler().spawn();
    // Another holds the target while both build.
    let holder = deploymind_shared::ids::WorkerId::generate();
    let other = JobId::generate();
    let long = Duration::from_secs(600);
    let queue = &rig.fleet.queue;
    assert!(deploymind_shared::queue::hands::lock(queue, holder, other, &targets, long).await.expect("lock"));
    let _worker = worker(&rig, 200, &targets).ready().await;
    let (one, two) = (push(&rig, first).await, push(&rig, second).await);
    for created in [&one, &two] {
        wait_for("both to be built and parked", SOON, || async {
            match rig.fleet.why(created.job).await {
                Ok(Why::Waiting { what: Waiting::Target { .. }, .. }) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        assert_eq!(read(&rig, created.deployment).await.status, DeploymentStatus::Queued);
    }
    let newer = push(&rig, first).await;
    assert!(newer.superseded.is_empty(), "what is built and waits for its target has begun");
    match rig.fleet.why(newer.job).await.expect("why") {
        Why::Waiting { what: Waiting::App { behind }, .. } => assert_eq!(behind, one.job),
        other => panic!("{other:?}"),
    }
    let release = deploymind_shared::queue::hands::InHand {
        job: other,
        environment: production(),
        priority: Priority::Normal,
        targets: targets.clone(),
    };
    let gone = deploymind_shared::queue::hands::Fate::Gone;
    deploymind_shared::queue::hands::finish(queue, holder, &[(release, gone)]).await.expect("release");
    let statuses = ends(&rig, &[one, two, newer]).await;
    assert!(statuses.iter().all(|status| *status == DeploymentStatus::Deployed), "{statuses:?}");
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_never_superseded_and_cancels_end_deployments() {
    let rig = Rig::start().await;
    let app = app(&rig, "careful", &[]).await;
    let back = rig.fleet.deploy(app, Trigger::Rollback, None, None, Priority::High).await.expect("accepted");
    let pushed = push(&rig, app).await;
    assert!(pushed.superseded.is_empty());
    assert_eq!(rig.fleet.cancel(pushed.job).await.expect("cancel"), Cancel::Ended);
    assert_eq!(read(&rig, pushed.deployment).await.status, DeploymentStatus::Cancelled);
    let _worker = worker(&rig, 6_000, &[]).ready().await;
    assert_eq!(ends(&rig, std::slice::from_ref(&back)).await, [DeploymentStatus::Deployed]);
    // And a running one.
    let running = push(&rig, app).await;
    wait_status(&rig, running.deployment, DeploymentStatus::Building).await;
    assert_eq!(rig.fleet.cancel(running.job).await.expect("cancel"), Cancel::Stopping);
    assert_eq!(ends(&rig, &[running]).await, [DeploymentStatus::Cancelled]);
    rig.finish().await;
}
