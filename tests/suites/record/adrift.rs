//! Roll-outs that were left half way, who is sent to them, and what is kept until they are over.

use std::time::Duration;

use deploymind_shared::db::deployments::Trigger;
use deploymind_shared::db::jobs::{Finish, NewJob, job_finish, job_get, job_insert};
use deploymind_shared::db::retention::retain_deployments;
use deploymind_shared::db::rollouts::{
    RolloutEnd, rollout_finish, rollout_open, rollout_save, rollouts_adrift,
};
use deploymind_shared::domain::deployment::DeploymentStatus;
use deploymind_shared::domain::job::{Collect, JobKind as _, JobState, Priority, Settle};
use deploymind_shared::ids::{Attempt, DeploymentId, JobId, TargetName};
use deploymind_tests::rig::{Rig, target};
use deploymind_tests::wait_for;
use serde_json::json;

use super::deployments::{Claimed, lost};
use super::rollout::{Rolling, done, end, opening, served};
use super::{claim, new_job, worker};

/// A `settle` job in the record only.
async fn settle_job(rig: &Rig, deployment: DeploymentId, targets: &[TargetName]) -> (JobId, Attempt) {
    let new = NewJob {
        kind: Settle::KIND.to_owned(),
        payload: json!({ "deployment_id": deployment }),
        ..new_job(targets)
    };
    job_insert(&rig.fleet.db, std::slice::from_ref(&new)).await.expect("insert")[0]
        .as_ref()
        .expect("inserted");
    let attempt = claim(rig, worker(rig).await, new.id, targets).await;
    (new.id, attempt)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_was_left_is_adrift_until_a_settle_job_ends_it() {
    let rig = Rig::start().await;
    let rolling = Rolling::start(&rig).await;
    let (db, held) = (&rig.fleet.db, &rolling.held);
    let deployment = held.deployment;
    let adrift = async || rollouts_adrift(db, 10).await.expect("list");
    assert_eq!(adrift().await, [], "its deployment is under way");
    rolling.end_deployment(&rig, DeploymentStatus::Failed).await;
    let found = adrift().await;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].deployment, found[0].app), (deployment, held.app));
    assert_eq!(
        (found[0].environment.as_str(), found[0].targets.as_slice()),
        ("production", [target(0), target(1)].as_slice())
    );
    assert_eq!(rollouts_adrift(db, 0).await.expect("list"), []);

    // Somebody else's settle job may not write here; this one's may, while it holds its claim.
    let (other, other_attempt) = settle_job(&rig, DeploymentId::generate(), &[]).await;
    lost(rollout_save(db, other, other_attempt, deployment, &json!([]), &json!({})).await);
    lost(rollout_finish(db, other, other_attempt, deployment, &done()).await);
    let (job, attempt) = settle_job(&rig, deployment, &found[0].targets).await;
    assert_eq!(adrift().await, [], "a settle job is under way");
    rollout_save(db, job, attempt, deployment, &json!([]), &json!({ "phase": "back" })).await.expect("save");
    lost(rollout_save(db, job, Attempt(attempt.0 + 1), deployment, &json!([]), &json!({})).await);

    // One that fails is followed by another after a while; one in quarantine waits for a person.
    let ended =
        |job, attempt, state| Finish { job, attempt, state, deployment: None, code: None, reason: None };
    job_finish(db, &[ended(job, attempt, JobState::Failed)]).await.expect("finish");
    lost(rollout_finish(db, job, attempt, deployment, &done()).await);
    assert_eq!(adrift().await, [], "just now");
    sqlx::query("UPDATE jobs SET finished_at = now() - interval '2 minutes' WHERE kind = 'settle' AND finished_at IS NOT NULL")
        .execute(&rig.pool)
        .await
        .expect("age");
    assert_eq!(adrift().await, found);
    let (job, attempt) = settle_job(&rig, deployment, &[]).await;
    rollout_finish(db, job, attempt, deployment, &done()).await.expect("finish");
    job_finish(
        db,
        &[ended(job, attempt, JobState::Quarantined), ended(other, other_attempt, JobState::Succeeded)],
    )
    .await
    .expect("finish");
    sqlx::query("UPDATE rollouts SET outcome = NULL, finished_at = NULL")
        .execute(&rig.pool)
        .await
        .expect("reopen");
    sqlx::query("UPDATE jobs SET finished_at = now() - interval '2 minutes' WHERE kind = 'settle' AND finished_at IS NOT NULL")
        .execute(&rig.pool)
        .await
        .expect("age");
    assert_eq!(adrift().await, [], "in quarantine");
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scheduler_sends_one_worker_to_what_was_left_and_one_to_each_host() {
    let rig = Rig::start().await;
    let rolling = Rolling::start(&rig).await;
    rolling.end_deployment(&rig, DeploymentStatus::Failed).await;
    let scheduler = rig.scheduler().set("DEPLOYMIND_SCHEDULER_SETTLE", "100ms").ready().await;
    let jobs = async || -> Vec<(uuid::Uuid, String)> {
        sqlx::query_as("SELECT id, kind FROM jobs WHERE deployment_id IS NULL ORDER BY kind, id")
            .fetch_all(&rig.pool)
            .await
            .expect("list")
    };
    // Several runs more than are needed.
    wait_for("the tasks to have run", Duration::from_secs(20), async || {
        let status = scheduler.get("/status").await?.body;
        let status: serde_json::Value = serde_json::from_str(&status).map_err(|error| error.to_string())?;
        let runs = |task: &str| status["tasks"][task]["runs"].as_u64().unwrap_or(0);
        if runs("settle") > 5 && runs("collect") > 0 { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    let sent = jobs().await;
    let kinds: Vec<&str> = sent.iter().map(|(_, kind)| kind.as_str()).collect();
    assert_eq!(kinds, [Collect::KIND, Collect::KIND, Settle::KIND]);
    let read = async |index: usize| {
        job_get(&rig.fleet.db, JobId::from_uuid(sent[index].0)).await.expect("read").expect("there")
    };
    let settle = read(2).await;
    assert_eq!((settle.priority, settle.targets), (Priority::High, vec![target(0), target(1)]));
    assert_eq!((read(0).await.targets, read(1).await.targets), (vec![target(0)], vec![target(1)]));
    let payload: serde_json::Value = sqlx::query_scalar("SELECT payload FROM jobs WHERE id = $1")
        .bind(sent[2].0)
        .fetch_one(&rig.pool)
        .await
        .expect("payload");
    assert_eq!(payload, json!({ "deployment_id": rolling.held.deployment }));
    for (job, _) in &sent {
        rig.fleet.cancel(JobId::from_uuid(*job)).await.expect("cancel");
    }
    drop(scheduler);
    assert_eq!(jobs().await.len(), 3);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_waits_for_the_rollout_and_for_users_to_leave() {
    let rig = Rig::start().await;
    let rolling = Rolling::start(&rig).await;
    let db = &rig.fleet.db;
    rolling.end_deployment(&rig, DeploymentStatus::Deployed).await;
    let old = async || {
        sqlx::query(
            "UPDATE deployments SET finished_at = now() - interval '10 days' WHERE finished_at IS NOT NULL",
        )
        .execute(&rig.pool)
        .await
        .expect("age");
        retain_deployments(db, Duration::from_secs(3600)).await.expect("retain")
    };
    assert_eq!(old().await, 0, "it made a release");
    // A way back made none: it may go, but not before its roll-out has ended and users reach another one's.
    let back = super::deploy(&rig, rolling.held.app, Trigger::Rollback).await;
    let targets = [target(0), target(1)];
    let attempt = claim(&rig, worker(&rig).await, back.job, &targets).await;
    let held = Claimed { app: rolling.held.app, deployment: back.deployment, job: back.job, attempt };
    rollout_open(db, back.job, attempt, &opening(&held, rolling.release)).await.expect("open");
    end(&rig, back.job, attempt, DeploymentStatus::Deployed).await;
    assert_eq!(old().await, 0, "its roll-out has not ended");
    let (settle, settling) = settle_job(&rig, back.deployment, &[]).await;
    let serving = vec![served(0, rolling.release, back.deployment, 3)];
    rollout_finish(db, settle, settling, back.deployment, &RolloutEnd { serving, ..done() })
        .await
        .expect("finish");
    assert_eq!(old().await, 0, "users reach it");
    sqlx::query("DELETE FROM serving").execute(&rig.pool).await.expect("nobody");
    assert_eq!(old().await, 1);
    let left: Vec<uuid::Uuid> =
        sqlx::query_scalar("SELECT id FROM deployments").fetch_all(&rig.pool).await.expect("list");
    assert_eq!(left, [rolling.held.deployment.as_uuid()]);
    let finish = Finish {
        job: settle,
        attempt: settling,
        state: JobState::Succeeded,
        deployment: None,
        code: None,
        reason: None,
    };
    job_finish(db, &[finish]).await.expect("finish");
    rig.finish().await;
}
