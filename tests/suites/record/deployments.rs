//! Deployments and all that hangs on them: releases, steps, logs, events. Everything is fenced by the attempt.

use deploymind_shared::clock::Timestamp;
use deploymind_shared::db::deployments::{
    NewDeployment, Trigger, deployment_advance, deployment_create, deployment_get, deployment_job,
};
use deploymind_shared::db::events::{event_append, event_list};
use deploymind_shared::db::jobs::{Finish, job_finish, job_get};
use deploymind_shared::db::logs::{LogLine, log_append, log_list};
use deploymind_shared::db::releases::{NewRelease, release_create, release_get};
use deploymind_shared::db::steps::{Step, StepState, step_list, step_write};
use deploymind_shared::domain::deployment::DeploymentStatus;
use deploymind_shared::domain::job::{Deploy, JobKind as _, JobState, Locking, Priority};
use deploymind_shared::error::{Code, Result};
use deploymind_shared::ids::{AppId, Attempt, DeploymentId, Epoch, JobId, ReleaseId};
use deploymind_tests::rig::Rig;
use futures::future::join_all;

use super::{app, claim, deploy, refused_by, user, worker};

/// A claimed deployment.
pub struct Claimed {
    pub app: AppId,
    pub deployment: DeploymentId,
    pub job: JobId,
    pub attempt: Attempt,
}

impl Claimed {
    pub async fn start(rig: &Rig) -> Self {
        let owner = user(rig, "owner").await;
        let app = app(rig, owner, "shop", &rig.targets(2).await).await;
        let created = deploy(rig, app, Trigger::Push).await;
        let worker = worker(rig).await;
        let attempt = claim(rig, worker, created.job, &[]).await;
        Self { app, deployment: created.deployment, job: created.job, attempt }
    }

    /// Attempts that are not the present one.
    pub fn others(&self) -> [Attempt; 2] {
        [Attempt(self.attempt.0 - 1), Attempt(self.attempt.0 + 1)]
    }

    pub async fn end(&self, rig: &Rig) {
        let finish = Finish {
            job: self.job,
            attempt: self.attempt,
            state: JobState::Failed,
            deployment: Some(DeploymentStatus::Failed),
            code: Some(Code::JobFailed),
            reason: Some("told\0 to".to_owned() + &"o".repeat(5_000)),
        };
        assert_eq!(job_finish(&rig.fleet.db, &[finish]).await.expect("finish").len(), 1);
    }
}

pub fn lost<T: std::fmt::Debug>(result: Result<T>) {
    assert_eq!(result.expect_err("fenced").code(), Code::ClaimLost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_comes_with_its_job_and_moves_by_its_holder_only() {
    let rig = Rig::start().await;
    let db = &rig.fleet.db;
    let held = Claimed::start(&rig).await;
    let read = deployment_get(db, held.deployment).await.expect("read").expect("there");
    assert_eq!((read.app, read.trigger, read.status), (held.app, Trigger::Push, DeploymentStatus::Queued));
    assert_eq!((read.commit.as_deref(), read.started_at), (Some("a".repeat(40).as_str()), None));
    let job = deployment_job(db, held.deployment).await.expect("read").expect("its job");
    assert_eq!((job.id, job.deployment, job.app), (held.job, Some(held.deployment), Some(held.app)));
    assert!(job.targets.is_empty(), "it builds before it locks");
    assert!(read.agrees_with(job.state));
    let advance = |attempt, to| deployment_advance(db, held.job, attempt, to);
    advance(held.attempt, DeploymentStatus::Cloning).await.expect("advance");
    for attempt in held.others() {
        lost(advance(attempt, DeploymentStatus::Building).await);
    }
    let error = advance(held.attempt, DeploymentStatus::Deployed).await.expect_err("a leap");
    assert_eq!(error.code(), Code::StatusTransition);
    held.end(&rig).await;
    lost(advance(held.attempt, DeploymentStatus::Building).await);
    let ended = deployment_get(db, held.deployment).await.expect("read").expect("there");
    assert_eq!(
        (ended.status, ended.code.as_deref()),
        (DeploymentStatus::Failed, Some(Code::JobFailed.as_str()))
    );
    let reason = ended.reason.clone().expect("a reason");
    assert!(reason.starts_with("told to") && reason.chars().count() == 4_000, "NULs and length are seen to");
    assert!(ended.finished_at >= ended.started_at && ended.started_at.is_some());
    assert!(ended.agrees_with(job_get(db, held.job).await.expect("read").expect("there").state));
    assert!(deployment_get(db, DeploymentId::generate()).await.expect("read").is_none());
    assert!(deployment_job(db, DeploymentId::generate()).await.expect("read").is_none());
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_knows_its_targets_at_once_and_an_unknown_app_is_refused() {
    let rig = Rig::start().await;
    let db = &rig.fleet.db;
    let owner = user(&rig, "owner").await;
    let targets = rig.targets(2).await;
    let shop = app(&rig, owner, "shop", &targets).await;
    let back = deploy(&rig, shop, Trigger::Rollback).await;
    assert_eq!(job_get(db, back.job).await.expect("read").expect("there").targets, targets);
    let unknown = NewDeployment {
        app: AppId::generate(),
        trigger: Trigger::Manual,
        requested_by: Some(owner),
        commit: None,
        release: None,
        kind: Deploy::KIND,
        locking: Locking::WhenAsked,
        priority: Priority::High,
        trace: None,
    };
    assert_eq!(deployment_create(db, &unknown).await.expect_err("unknown").code(), Code::AppUnknown);
    let bad = NewDeployment { app: shop, commit: Some("HEAD".to_owned()), ..unknown.clone() };
    assert!(deployment_create(db, &bad).await.is_err(), "a commit is a hash");
    let good = deployment_create(db, &NewDeployment { app: shop, ..unknown }).await.expect("create");
    assert_eq!(job_get(db, good.job).await.expect("read").expect("there").priority, Priority::High);
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM deployments").fetch_one(&rig.pool).await.expect("count");
    assert_eq!(rows, 2, "what was refused left nothing");
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_made_once_and_never_changed() {
    let rig = Rig::start().await;
    let db = &rig.fleet.db;
    let held = Claimed::start(&rig).await;
    let new = NewRelease {
        app: held.app,
        deployment: held.deployment,
        image_digest: format!("sha256:{}", "0".repeat(64)),
        spec: serde_json::json!({ "port": 8080 }),
    };
    for attempt in held.others() {
        lost(release_create(db, held.job, attempt, &new).await);
    }
    let id = release_create(db, held.job, held.attempt, &new).await.expect("create");
    let other = NewRelease { image_digest: format!("sha256:{}", "1".repeat(64)), ..new.clone() };
    assert_eq!(release_create(db, held.job, held.attempt, &other).await.expect("again"), id);
    let read = release_get(db, id).await.expect("read").expect("there");
    assert_eq!((read.id, read.app, read.deployment), (id, held.app, held.deployment));
    assert_eq!((read.image_digest, read.spec), (new.image_digest.clone(), new.spec.clone()));
    assert!(release_get(db, ReleaseId::generate()).await.expect("read").is_none());
    let linked: Option<uuid::Uuid> = sqlx::query_scalar("SELECT release_id FROM deployments WHERE id = $1")
        .bind(held.deployment.as_uuid())
        .fetch_one(&rig.pool)
        .await
        .expect("read");
    assert_eq!(linked, Some(id.as_uuid()));
    for change in ["UPDATE releases SET spec = '{}'", "UPDATE releases SET created_at = now()"] {
        assert_eq!(refused_by(sqlx::query(change).execute(&rig.pool).await), "releases_immutable");
    }
    held.end(&rig).await;
    lost(release_create(db, held.job, held.attempt, &new).await);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_are_journalled_by_the_present_attempt() {
    let rig = Rig::start().await;
    let db = &rig.fleet.db;
    let held = Claimed::start(&rig).await;
    let step = |name: &str, state, output| Step {
        step: name.to_owned(),
        state,
        attempt: held.attempt,
        epoch: Some(Epoch(7)),
        output,
    };
    let done = Some(serde_json::json!({ "digest": "x" }));
    for (name, state, output) in [
        ("clone", StepState::Started, None),
        ("clone", StepState::Done, done.clone()),
        ("build", StepState::Started, None),
        ("build", StepState::Failed, None),
        ("build", StepState::Undone, None),
        ("build", StepState::Started, None),
    ] {
        step_write(db, held.job, held.attempt, &step(name, state, output)).await.expect("write");
    }
    for attempt in held.others() {
        lost(step_write(db, held.job, attempt, &step("clone", StepState::Undone, None)).await);
    }
    let list = step_list(db, held.deployment).await.expect("list");
    let read: Vec<_> =
        list.iter().map(|step| (step.step.as_str(), step.state, step.attempt, step.epoch)).collect();
    let (attempt, epoch) = (held.attempt, Some(Epoch(7)));
    assert_eq!(
        read,
        [("clone", StepState::Done, attempt, epoch), ("build", StepState::Started, attempt, epoch)]
    );
    assert_eq!(list[0].output, done);
    assert!(
        step_write(db, held.job, held.attempt, &step("Not a step", StepState::Done, None)).await.is_err()
    );
    held.end(&rig).await;
    lost(step_write(db, held.job, held.attempt, &step("clone", StepState::Undone, None)).await);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_are_appended_once_and_never_changed() {
    let rig = Rig::start().await;
    let db = &rig.fleet.db;
    let held = Claimed::start(&rig).await;
    let line = |seq: i64, text: &str| LogLine {
        seq,
        at: Timestamp::default(),
        level: "info".to_owned(),
        line: text.to_owned(),
    };
    let batch: Vec<LogLine> = (1..=500).map(|seq| line(seq, &format!("line {seq} \0"))).collect();
    log_append(db, held.job, held.attempt, &[]).await.expect("nothing");
    log_append(db, held.job, held.attempt, &batch).await.expect("append");
    log_append(db, held.job, held.attempt, &batch[..100]).await.expect("a repeated batch");
    log_append(db, held.job, held.attempt, &[line(1, "another"), line(501, "last")])
        .await
        .expect("overlapping");
    for attempt in held.others() {
        lost(log_append(db, held.job, attempt, &[line(502, "late")]).await);
    }
    let list = log_list(db, held.deployment, 0, 1_000).await.expect("list");
    let seqs: Vec<i64> = list.iter().map(|line| line.seq).collect();
    assert_eq!(seqs, (1..=501).collect::<Vec<_>>());
    assert_eq!((list[0].line.as_str(), list[500].line.as_str()), ("line 1 \u{fffd}", "last"));
    let page = log_list(db, held.deployment, 499, 1).await.expect("page");
    assert_eq!(page.iter().map(|line| line.seq).collect::<Vec<_>>(), [500]);
    let changed = sqlx::query("UPDATE deployment_logs SET line = '' WHERE seq = 1").execute(&rig.pool).await;
    assert_eq!(refused_by(changed), "deployment_logs_append_only");
    held.end(&rig).await;
    lost(log_append(db, held.job, held.attempt, &[line(502, "late")]).await);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_numbered_without_gaps_however_many_write() {
    const WRITERS: i64 = 8;
    const EACH: i64 = 12;
    let rig = Rig::start().await;
    let db = &rig.fleet.db;
    let held = Claimed::start(&rig).await;
    let write = |writer: i64| {
        let held = &held;
        async move {
            let mut seqs = Vec::new();
            for number in 0..EACH {
                let body = serde_json::json!({ "writer": writer, "number": number });
                let event = event_append(db, held.job, held.attempt, "status", &body).await.expect("append");
                assert_eq!(event.body, body);
                seqs.push(event.seq);
            }
            assert!(seqs.is_sorted());
            seqs
        }
    };
    let mut told: Vec<i64> = join_all((0..WRITERS).map(write)).await.into_iter().flatten().collect();
    told.sort_unstable();
    let all: Vec<i64> = (1..=WRITERS * EACH).collect();
    assert_eq!(told, all);
    let list = event_list(db, held.deployment, 0, 1_000).await.expect("list");
    assert_eq!(list.iter().map(|event| event.seq).collect::<Vec<_>>(), all);
    let page = event_list(db, held.deployment, 90, 3).await.expect("page");
    assert_eq!(page.iter().map(|event| event.seq).collect::<Vec<_>>(), [91, 92, 93]);
    println!("{WRITERS} writers, {} events, numbered 1 to {}", told.len(), list.len());
    for attempt in held.others() {
        lost(event_append(db, held.job, attempt, "late", &serde_json::json!({})).await);
    }
    let changed = sqlx::query("UPDATE events SET kind = 'other' WHERE seq = 1").execute(&rig.pool).await;
    assert_eq!(refused_by(changed), "events_append_only");
    held.end(&rig).await;
    lost(event_append(db, held.job, held.attempt, "late", &serde_json::json!({})).await);
    rig.finish().await;
}
