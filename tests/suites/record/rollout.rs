//! Roll-outs: written by the holder of the claim only, ended once, and what users reach follows from their end.

use std::time::Duration;

use deploymind_shared::db::deployments::{Trigger, deployment_advance};
use deploymind_shared::db::jobs::{Finish, job_cancel, job_finish};
use deploymind_shared::db::pins::{app_pin, app_unpin, bad_commit_forget, commit_is_bad};
use deploymind_shared::db::releases::{NewRelease, release_create};
use deploymind_shared::db::rollouts::{
    NewRollout, RolloutEnd, Served, rollout_command_add, rollout_commands, rollout_finish, rollout_get,
    rollout_open, rollout_save, serving_list, serving_on,
};
use deploymind_shared::domain::deployment::DeploymentStatus;
use deploymind_shared::domain::job::{CancelReason, JobState};
use deploymind_shared::domain::rollout::{RolloutCommand, RolloutOutcome, StrategyKind};
use deploymind_shared::error::Code;
use deploymind_shared::ids::{AppId, Attempt, DeploymentId, Epoch, JobId, ReleaseId, UserId};
use deploymind_tests::rig::{Rig, target};
use deploymind_tests::wait_for;
use serde_json::json;

use super::deployments::{Claimed, lost};
use super::refused_by;

/// A claimed deployment whose release is made and whose roll-out is open.
pub struct Rolling {
    pub held: Claimed,
    pub release: ReleaseId,
}

impl Rolling {
    pub async fn start(rig: &Rig) -> Self {
        let held = Claimed::start(rig).await;
        let release = release(rig, held.app, held.job, held.attempt, held.deployment, 'a').await;
        rollout_open(&rig.fleet.db, held.job, held.attempt, &opening(&held, release)).await.expect("open");
        Self { held, release }
    }

    pub async fn end_deployment(&self, rig: &Rig, status: DeploymentStatus) {
        end(rig, self.held.job, self.held.attempt, status).await;
    }
}

/// The release of a claimed deployment, of the commit that has this digit only.
pub async fn release(
    rig: &Rig,
    app: AppId,
    job: JobId,
    attempt: Attempt,
    deployment: DeploymentId,
    commit: char,
) -> ReleaseId {
    let new = NewRelease {
        app,
        deployment,
        image_digest: format!("sha256:{}", "0".repeat(64)),
        spec: json!({ "commit": commit.to_string().repeat(40) }),
    };
    release_create(&rig.fleet.db, job, attempt, &new).await.expect("release")
}

/// Ends a deployment that has come to its roll-out.
pub async fn end(rig: &Rig, job: JobId, attempt: Attempt, status: DeploymentStatus) {
    let db = &rig.fleet.db;
    deployment_advance(db, job, attempt, DeploymentStatus::Deploying).await.expect("deploying");
    if status == DeploymentStatus::RolledBack {
        deployment_advance(db, job, attempt, DeploymentStatus::RollingBack).await.expect("rolling back");
    }
    let state = if status == DeploymentStatus::Deployed { JobState::Succeeded } else { JobState::Failed };
    let finish = Finish { job, attempt, state, deployment: Some(status), code: None, reason: None };
    assert_eq!(job_finish(db, &[finish]).await.expect("finish").len(), 1);
}

pub fn opening(held: &Claimed, release: ReleaseId) -> NewRollout {
    NewRollout {
        deployment: held.deployment,
        app: held.app,
        release,
        previous: None,
        strategy: StrategyKind::BlueGreen,
        slots: json!([{ "new": "dm-shop-1" }]),
        state: json!({ "phase": "launch" }),
    }
}

pub fn served(number: usize, release: ReleaseId, deployment: DeploymentId, epoch: i64) -> Served {
    let slot = format!("dm-shop-{epoch}");
    Served { target: target(number), release, deployment, slot, epoch: Epoch(epoch) }
}

pub fn done() -> RolloutEnd {
    RolloutEnd {
        outcome: RolloutOutcome::Done,
        reason: None,
        state: json!({ "phase": "end" }),
        serving: Vec::new(),
        unserved: Vec::new(),
        automatic: false,
        succeeded: true,
        pin: None,
        bad_commit: None,
    }
}

/// `auto_deploy`, `pinned_reason` and `automatic_rollbacks`.
async fn pin(rig: &Rig) -> (bool, Option<String>, i32) {
    sqlx::query_as("SELECT auto_deploy, pinned_reason, automatic_rollbacks FROM apps")
        .fetch_one(&rig.pool)
        .await
        .expect("the one app")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_is_opened_once_and_written_by_the_holder_of_the_claim_only() {
    let rig = Rig::start().await;
    let held = Claimed::start(&rig).await;
    let (db, job, attempt, deployment) = (&rig.fleet.db, held.job, held.attempt, held.deployment);
    let release = release(&rig, held.app, job, attempt, deployment, 'a').await;
    let new = opening(&held, release);
    assert!(rollout_get(db, deployment).await.expect("read").is_none());
    for other in held.others() {
        lost(rollout_open(db, job, other, &new).await);
    }
    let early =
        rollout_save(db, job, attempt, deployment, &json!([]), &json!({})).await.expect_err("none yet");
    assert_eq!(early.code(), Code::StatusTransition);
    let opened = rollout_open(db, job, attempt, &new).await.expect("open");
    assert_eq!((opened.seq, opened.strategy, opened.outcome), (0, StrategyKind::BlueGreen, None));
    let (slots, state) = (json!([{ "new": "dm-shop-2" }]), json!({ "phase": "route" }));
    for other in held.others() {
        lost(rollout_save(db, job, other, deployment, &slots, &state).await);
    }
    for expected in 1..=3 {
        assert_eq!(rollout_save(db, job, attempt, deployment, &slots, &state).await.expect("save"), expected);
    }
    let again = rollout_open(db, job, attempt, &new).await.expect("open again");
    assert_eq!((again.seq, &again.slots, &again.state), (3, &slots, &state), "what is there stays");
    assert_eq!((again.app, again.release, again.previous), (held.app, release, None));
    // A job of another deployment has no business here, whatever its attempt.
    lost(
        rollout_open(db, job, attempt, &NewRollout { deployment: DeploymentId::generate(), ..new.clone() })
            .await,
    );
    let large = json!("x".repeat(300_000));
    assert!(rollout_save(db, job, attempt, deployment, &slots, &large).await.is_err(), "state has a limit");
    held.end(&rig).await;
    lost(rollout_save(db, job, attempt, deployment, &slots, &state).await);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_counts_once_and_says_what_users_reach() {
    let rig = Rig::start().await;
    let rolling = Rolling::start(&rig).await;
    let (db, held, release) = (&rig.fleet.db, &rolling.held, rolling.release);
    let (job, attempt, deployment) = (held.job, held.attempt, held.deployment);
    let ended = RolloutEnd {
        serving: vec![served(0, release, deployment, 5), served(1, release, deployment, 6)],
        ..done()
    };
    for other in held.others() {
        lost(rollout_finish(db, job, other, deployment, &ended).await);
    }
    assert_eq!(serving_list(db, held.app).await.expect("list"), []);
    rollout_finish(db, job, attempt, deployment, &ended).await.expect("finish");
    let read = rollout_get(db, deployment).await.expect("read").expect("there");
    assert_eq!((read.outcome, read.seq, read.reason), (Some(RolloutOutcome::Done), 1, None));
    assert!(read.finished_at >= Some(read.started_at) && read.state == json!({ "phase": "end" }));
    let serving = serving_list(db, held.app).await.expect("list");
    let rows: Vec<_> = serving.iter().map(|one| (one.target.clone(), one.release, one.epoch.0)).collect();
    assert_eq!(rows, [(target(0), release, 5), (target(1), release, 6)]);
    assert_eq!(serving_on(db, &target(1)).await.expect("list"), serving[1..]);
    assert_eq!(
        (serving[0].app, serving[0].deployment, serving[0].slot.as_str()),
        (held.app, deployment, "dm-shop-5")
    );

    // The same call again, and one that says otherwise: neither changes anything.
    let otherwise = RolloutEnd {
        outcome: RolloutOutcome::Left,
        unserved: vec![target(0)],
        automatic: true,
        succeeded: false,
        pin: Some("no".to_owned()),
        bad_commit: Some(("b".repeat(40), "no".to_owned())),
        ..done()
    };
    for repeated in [&ended, &otherwise] {
        rollout_finish(db, job, attempt, deployment, repeated).await.expect("again");
    }
    assert_eq!(serving_list(db, held.app).await.expect("list"), serving);
    assert_eq!(pin(&rig).await, (true, None, 0));
    assert_eq!(
        rollout_get(db, deployment).await.expect("read").expect("there").outcome,
        Some(RolloutOutcome::Done)
    );
    let saved = rollout_save(db, job, attempt, deployment, &json!([]), &json!({})).await.expect_err("ended");
    assert_eq!(saved.code(), Code::StatusTransition);
    rolling.end_deployment(&rig, DeploymentStatus::Deployed).await;
    lost(rollout_finish(db, job, attempt, deployment, &ended).await);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_moves_on_by_epoch_and_remembers_since_when() {
    let rig = Rig::start().await;
    let rolling = Rolling::start(&rig).await;
    let (db, held, release) = (&rig.fleet.db, &rolling.held, rolling.release);
    let (job, attempt, deployment) = (held.job, held.attempt, held.deployment);
    let first = RolloutEnd {
        serving: vec![served(0, release, deployment, 9), served(1, release, deployment, 9)],
        ..done()
    };
    rollout_finish(db, job, attempt, deployment, &first).await.expect("finish");
    let before = serving_list(db, held.app).await.expect("list");
    // As if the roll-out had not ended: the statement alone is looked at.
    let reopen = async || {
        sqlx::query("UPDATE rollouts SET outcome = NULL, finished_at = NULL")
            .execute(&rig.pool)
            .await
            .expect("reopen")
    };
    reopen().await;
    let mut same = served(0, release, deployment, 10);
    same.slot = before[0].slot.clone();
    let late = served(1, release, deployment, 8);
    let second = RolloutEnd { serving: vec![same, late], ..done() };
    rollout_finish(db, job, attempt, deployment, &second).await.expect("finish");
    let after = serving_list(db, held.app).await.expect("list");
    assert_eq!((after[0].epoch.0, after[0].since), (10, before[0].since), "the slot is the same");
    assert_eq!(after[1], before[1], "a lower epoch changes nothing");
    reopen().await;
    let third =
        RolloutEnd { serving: vec![served(0, release, deployment, 11)], unserved: vec![target(1)], ..done() };
    rollout_finish(db, job, attempt, deployment, &third).await.expect("finish");
    let last = serving_list(db, held.app).await.expect("list");
    assert_eq!((last.len(), last[0].slot.as_str()), (1, "dm-shop-11"));
    assert!(last[0].since > before[0].since);
    held.end(&rig).await;
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_automatic_way_back_is_counted_pins_the_app_and_remembers_the_commit() {
    let rig = Rig::start().await;
    let rolling = Rolling::start(&rig).await;
    let (db, held) = (&rig.fleet.db, &rolling.held);
    let owner: uuid::Uuid =
        sqlx::query_scalar("SELECT owner_id FROM apps").fetch_one(&rig.pool).await.expect("owner");
    let owner = UserId::from_uuid(owner);
    let back = RolloutEnd {
        outcome: RolloutOutcome::Reverted,
        reason: Some("it \0died".to_owned() + &"!".repeat(5000)),
        automatic: true,
        succeeded: false,
        pin: Some("it died\0".to_owned() + &"!".repeat(5000)),
        bad_commit: Some(("a".repeat(40), "it died".to_owned())),
        ..done()
    };
    rollout_finish(db, held.job, held.attempt, held.deployment, &back).await.expect("finish");
    let (auto, reason, count) = pin(&rig).await;
    assert_eq!((auto, count, reason.as_ref().map(|text| text.chars().count())), (false, 1, Some(1000)));
    assert!(reason.is_some_and(|text| text.starts_with("it died!")));
    assert_eq!(commit_is_bad(db, held.app, &"a".repeat(40)).await.expect("read"), Some("it died".to_owned()));
    assert_eq!(commit_is_bad(db, held.app, &"b".repeat(40)).await.expect("read"), None);
    assert_eq!(commit_is_bad(db, AppId::generate(), &"a".repeat(40)).await.expect("read"), None);
    let read = rollout_get(db, held.deployment).await.expect("read").expect("there");
    assert_eq!(read.reason.map(|text| text.chars().count()), Some(4000));

    let stranger = super::user(&rig, "stranger").await;
    assert!(!app_unpin(db, stranger, held.app).await.expect("not theirs"));
    assert!(app_unpin(db, owner, held.app).await.expect("unpin"));
    assert_eq!(pin(&rig).await, (true, None, 0));
    assert!(!app_pin(db, stranger, held.app, "mine").await.expect("not theirs"));
    assert!(app_pin(db, owner, held.app, "a freeze").await.expect("pin"));
    assert_eq!(pin(&rig).await, (false, Some("a freeze".to_owned()), 0));
    let long = app_pin(db, owner, held.app, &"x".repeat(2000)).await.expect_err("too long");
    assert_eq!(long.code(), Code::FieldTooLong);
    assert!(bad_commit_forget(db, held.app, &"a".repeat(40)).await.expect("forget"));
    assert!(!bad_commit_forget(db, held.app, &"a".repeat(40)).await.expect("forget"));
    held.end(&rig).await;
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_reach_a_rollout_in_progress_in_order_and_no_other() {
    let rig = Rig::start().await;
    let held = Claimed::start(&rig).await;
    let (db, deployment) = (&rig.fleet.db, held.deployment);
    let asked = async |command, by| rollout_command_add(db, deployment, command, by).await.expect("add");
    assert!(!asked(RolloutCommand::Pause, None).await, "not begun");
    let release = release(&rig, held.app, held.job, held.attempt, deployment, 'a').await;
    rollout_open(db, held.job, held.attempt, &opening(&held, release)).await.expect("open");
    let who = super::user(&rig, "tester").await;
    assert!(asked(RolloutCommand::Pause, Some(who)).await);
    assert!(rig.fleet.rollout_command(deployment, RolloutCommand::Resume, None).await.expect("add"));
    assert!(asked(RolloutCommand::Abort, None).await);
    let all = rollout_commands(db, deployment, 0).await.expect("list");
    let read: Vec<_> = all.iter().map(|(_, command, by)| (*command, *by)).collect();
    assert_eq!(
        read,
        [(RolloutCommand::Pause, Some(who)), (RolloutCommand::Resume, None), (RolloutCommand::Abort, None)]
    );
    assert_eq!(rollout_commands(db, deployment, all[1].0).await.expect("list"), all[2..]);
    assert!(rollout_commands(db, DeploymentId::generate(), 0).await.expect("list").is_empty());
    rollout_finish(db, held.job, held.attempt, deployment, &done()).await.expect("finish");
    assert!(!asked(RolloutCommand::Promote, None).await, "over");
    assert!(!rig.fleet.rollout_command(deployment, RolloutCommand::Promote, None).await.expect("add"));
    assert_eq!(rollout_commands(db, deployment, 0).await.expect("list").len(), 3);
    let odd = sqlx::query("UPDATE rollout_commands SET command = 'explode'").execute(&rig.pool).await;
    assert_eq!(refused_by(odd), "rollout_commands_command_known");
    held.end(&rig).await;
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_during_the_rollout_leaves_the_way_back_open_and_no_other() {
    let rig = Rig::start().await;
    let rolling = Rolling::start(&rig).await;
    let (db, held) = (&rig.fleet.db, &rolling.held);
    let advance = |to| deployment_advance(db, held.job, held.attempt, to);
    advance(DeploymentStatus::Deploying).await.expect("deploying");
    job_cancel(db, held.job, CancelReason::User).await.expect("cancel");
    lost(advance(DeploymentStatus::Deployed).await);
    for other in held.others() {
        lost(deployment_advance(db, held.job, other, DeploymentStatus::RollingBack).await);
    }
    advance(DeploymentStatus::RollingBack).await.expect("the way back");
    let finish = Finish {
        job: held.job,
        attempt: held.attempt,
        state: JobState::Cancelled,
        deployment: Some(DeploymentStatus::RolledBack),
        code: None,
        reason: None,
    };
    assert_eq!(job_finish(db, &[finish]).await.expect("finish").len(), 1);
    let status: String =
        sqlx::query_scalar("SELECT status FROM deployments").fetch_one(&rig.pool).await.expect("status");
    assert_eq!(status, "ROLLED_BACK");
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accepting_a_deployment_never_stands_in_the_way_of_the_worker_it_waits_for() {
    let rig = Rig::start().await;
    let held = Claimed::start(&rig).await;
    // As a worker that has locked its job and is about to write a row that names the app.
    let mut txn = rig.pool.begin().await.expect("begin");
    sqlx::query("SELECT 1 FROM jobs FOR UPDATE").execute(&mut *txn).await.expect("lock");
    let write = async {
        wait_for("the other to wait", Duration::from_secs(10), async || {
            let waiting: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
            )
            .fetch_one(&rig.pool)
            .await
            .map_err(|error| error.to_string())?;
            if waiting == 1 { Ok(()) } else { Err(format!("{waiting} wait")) }
        })
        .await;
        sqlx::query("SET LOCAL lock_timeout = '1s'").execute(&mut *txn).await.expect("set");
        sqlx::query("INSERT INTO bad_commits (app_id, commit_sha, reason) VALUES ($1, $2, 'r')")
            .bind(held.app.as_uuid())
            .bind("c".repeat(40))
            .execute(&mut *txn)
            .await
            .expect("the app's row may be named");
        txn.commit().await.expect("commit");
    };
    tokio::join!(super::deploy(&rig, held.app, Trigger::Retry), write);
    held.end(&rig).await;
    rig.finish().await;
}
