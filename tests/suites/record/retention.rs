//! Only what is old and ended goes; what somebody may still need stays.

use std::time::Duration;

use deploymind_shared::clock::Timestamp;
use deploymind_shared::db::deployments::{Created, Trigger};
use deploymind_shared::db::jobs::{Finish, job_finish, job_insert};
use deploymind_shared::db::logs::{LogLine, log_append};
use deploymind_shared::db::releases::{NewRelease, release_create};
use deploymind_shared::db::retention::{retain_deployments, retain_jobs, retain_logs, retain_workers};
use deploymind_shared::db::workers::{worker_bury, worker_stop};
use deploymind_shared::domain::deployment::DeploymentStatus;
use deploymind_shared::domain::job::JobState;
use deploymind_shared::ids::{AppId, JobId, WorkerId};
use deploymind_tests::rig::Rig;

use super::{app, claim, deploy, new_job, user, worker};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn age(rig: &Rig, table: &str, column: &str, id: uuid::Uuid) {
    let sql = format!("UPDATE {table} SET {column} = now() - interval '10 days' WHERE id = $1");
    sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).execute(&rig.pool).await.expect("age");
}

async fn ids(rig: &Rig, table: &str) -> Vec<uuid::Uuid> {
    let sql = format!("SELECT id FROM {table} ORDER BY id");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&rig.pool).await.expect("list")
}

async fn plain(rig: &Rig, worker: WorkerId, state: JobState) -> JobId {
    let job = new_job(&[]);
    job_insert(&rig.fleet.db, std::slice::from_ref(&job)).await.expect("insert");
    let attempt = claim(rig, worker, job.id, &[]).await;
    let end = Finish { job: job.id, attempt, state, deployment: None, code: None, reason: None };
    assert_eq!(job_finish(&rig.fleet.db, &[end]).await.expect("finish").len(), 1);
    job.id
}

/// An ended deployment with a line of log; with a release if wanted.
async fn ended(rig: &Rig, app: AppId, worker: WorkerId, state: JobState, release: bool) -> Created {
    let db = &rig.fleet.db;
    let created = deploy(rig, app, Trigger::Push).await;
    let attempt = claim(rig, worker, created.job, &[]).await;
    let line = LogLine { seq: 1, at: Timestamp::default(), level: "info".to_owned(), line: "x".to_owned() };
    log_append(db, created.job, attempt, &[line]).await.expect("append");
    if release {
        let new = NewRelease {
            app,
            deployment: created.deployment,
            image_digest: format!("sha256:{}", "0".repeat(64)),
            spec: serde_json::json!({}),
        };
        release_create(db, created.job, attempt, &new).await.expect("release");
    }
    let deployment = Some(DeploymentStatus::Failed);
    let end = Finish { job: created.job, attempt, state, deployment, code: None, reason: None };
    assert_eq!(job_finish(db, &[end]).await.expect("finish").len(), 1);
    created
}

#[tokio::test(flavor = "multi_thread")]
async fn only_old_ended_jobs_go_and_quarantined_ones_stay() {
    let rig = Rig::start().await;
    let worker = worker(&rig).await;
    let old = plain(&rig, worker, JobState::Succeeded).await;
    let young = plain(&rig, worker, JobState::Succeeded).await;
    let quarantined = plain(&rig, worker, JobState::Quarantined).await;
    let waiting = new_job(&[]);
    job_insert(&rig.fleet.db, std::slice::from_ref(&waiting)).await.expect("insert");
    for job in [old, quarantined] {
        age(&rig, "jobs", "finished_at", job.as_uuid()).await;
    }
    assert_eq!(retain_jobs(&rig.fleet.db, DAY * 20).await.expect("retain"), 0);
    assert_eq!(retain_jobs(&rig.fleet.db, DAY).await.expect("retain"), 1);
    assert_eq!(ids(&rig, "jobs").await, [young, quarantined, waiting.id].map(JobId::as_uuid));
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_deployments_go_with_all_that_is_theirs_but_not_the_released_and_quarantined() {
    let rig = Rig::start().await;
    let db = &rig.fleet.db;
    let owner = user(&rig, "owner").await;
    let shop = app(&rig, owner, "shop", &[]).await;
    let worker = worker(&rig).await;
    let old = ended(&rig, shop, worker, JobState::Failed, false).await;
    let young = ended(&rig, shop, worker, JobState::Failed, false).await;
    let released = ended(&rig, shop, worker, JobState::Failed, true).await;
    let quarantined = ended(&rig, shop, worker, JobState::Quarantined, false).await;
    let waiting = deploy(&rig, shop, Trigger::Push).await;
    for created in [&old, &released, &quarantined] {
        age(&rig, "deployments", "finished_at", created.deployment.as_uuid()).await;
        age(&rig, "jobs", "finished_at", created.job.as_uuid()).await;
    }
    assert_eq!(retain_jobs(db, DAY).await.expect("retain"), 0, "jobs of deployments go with them");
    assert_eq!(retain_deployments(db, DAY).await.expect("retain"), 1);
    let kept = [&young, &released, &quarantined, &waiting];
    assert_eq!(ids(&rig, "deployments").await, kept.map(|created| created.deployment.as_uuid()));
    assert_eq!(ids(&rig, "jobs").await, kept.map(|created| created.job.as_uuid()));
    // Their logs may go before them.
    assert_eq!(retain_logs(db, DAY * 20).await.expect("retain"), 0);
    assert_eq!(retain_logs(db, DAY).await.expect("retain"), 2);
    let logs: Vec<uuid::Uuid> = sqlx::query_scalar("SELECT deployment_id FROM deployment_logs")
        .fetch_all(&rig.pool)
        .await
        .expect("list");
    assert_eq!(logs, [young.deployment.as_uuid()]);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_go_when_no_abandoned_pop_can_feed_their_lists_any_more() {
    let rig = Rig::start().await;
    let db = &rig.fleet.db;
    let (alive, stopped, dead, young) =
        (worker(&rig).await, worker(&rig).await, worker(&rig).await, worker(&rig).await);
    worker_stop(db, stopped).await.expect("stop");
    worker_stop(db, young).await.expect("stop");
    worker_bury(db, dead, Duration::ZERO).await.expect("bury");
    for old in [stopped, dead] {
        age(&rig, "workers", "ended_at", old.as_uuid()).await;
    }
    // However short the setting, two days are kept.
    sqlx::query("UPDATE workers SET ended_at = now() - interval '47 hours' WHERE id = $1")
        .bind(young.as_uuid())
        .execute(&rig.pool)
        .await
        .expect("age");
    assert_eq!(retain_workers(db, Duration::ZERO).await.expect("retain"), 2);
    assert_eq!(ids(&rig, "workers").await, [alive, young].map(WorkerId::as_uuid));
    rig.finish().await;
}
