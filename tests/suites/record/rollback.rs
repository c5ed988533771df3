//! Ways back, and what keeps a bad version from coming again: which release is chosen, which pushes are refused.

use deploymind_shared::db::apps::app_plan;
use deploymind_shared::db::deployments::{
    Created, NewDeployment, Trigger, deployment_create, deployment_fates, deployment_get,
};
use deploymind_shared::db::inventory::{inventory_apps, inventory_releases};
use deploymind_shared::db::jobs::job_get;
use deploymind_shared::db::pins::{app_host_mounts_put, app_pin, app_unpin, bad_commit_forget};
use deploymind_shared::db::releases::{release_before, release_serves, releases_deployed};
use deploymind_shared::db::rollouts::{NewRollout, RolloutEnd, rollout_finish, rollout_open};
use deploymind_shared::db::targets::{
    TargetConnection, target_connection, target_connection_put, target_environment, target_uncollected,
};
use deploymind_shared::domain::deployment::DeploymentStatus;
use deploymind_shared::domain::job::{Deploy, JobKind as _, Locking, Priority, Rollback};
use deploymind_shared::domain::rollout::{RolloutOutcome, StrategyKind};
use deploymind_shared::error::{Code, Result};
use deploymind_shared::ids::{AppId, DeploymentId, ReleaseId, TargetName, UserId, WorkerId};
use deploymind_shared::queue::line;
use deploymind_shared::secret::{KeyId, Sealed};
use deploymind_tests::rig::{Rig, target};
use serde_json::json;
use std::time::Duration;

use super::rollout::{end, release, served};
use super::{app, claim, user, worker};

struct Shop {
    rig: Rig,
    owner: UserId,
    app: AppId,
    worker: WorkerId,
}

impl Shop {
    async fn open() -> Self {
        let rig = Rig::start().await;
        let owner = user(&rig, "owner").await;
        let app = app(&rig, owner, "shop", &rig.targets(2).await).await;
        let worker = worker(&rig).await;
        Self { rig, owner, app, worker }
    }

    async fn push(&self, trigger: Trigger, commit: char) -> Result<Created> {
        let new = NewDeployment {
            app: self.app,
            trigger,
            requested_by: None,
            commit: Some(commit.to_string().repeat(40)),
            release: None,
            kind: Deploy::KIND,
            locking: Locking::WhenAsked,
            priority: Priority::Normal,
            trace: None,
        };
        deployment_create(&self.rig.fleet.db, &new).await
    }

    /// Brings a commit to users, or tries to.
    async fn release(&self, commit: char, status: DeploymentStatus, serves: &[usize]) -> ReleaseId {
        let (db, created) = (&self.rig.fleet.db, self.push(Trigger::Manual, commit).await.expect("create"));
        let attempt = claim(&self.rig, self.worker, created.job, &[]).await;
        let made = release(&self.rig, self.app, created.job, attempt, created.deployment, commit).await;
        let new = NewRollout {
            deployment: created.deployment,
            app: self.app,
            release: made,
            previous: None,
            strategy: StrategyKind::Rolling,
            slots: json!([]),
            state: json!({}),
        };
        rollout_open(db, created.job, attempt, &new).await.expect("open");
        let epoch =
            job_get(db, created.job).await.expect("read").expect("there").created_at.timestamp_micros();
        let outcome = if serves.is_empty() { RolloutOutcome::Reverted } else { RolloutOutcome::Done };
        let ended = RolloutEnd {
            outcome,
            reason: None,
            state: json!({}),
            serving: serves.iter().map(|number| served(*number, made, created.deployment, epoch)).collect(),
            unserved: Vec::new(),
            automatic: outcome == RolloutOutcome::Reverted,
            succeeded: outcome == RolloutOutcome::Done,
            pin: None,
            bad_commit: (outcome == RolloutOutcome::Reverted)
                .then(|| (commit.to_string().repeat(40), "it died".to_owned())),
        };
        rollout_finish(db, created.job, attempt, created.deployment, &ended).await.expect("finish");
        end(&self.rig, created.job, attempt, status).await;
        made
    }

    /// Accepted, looked at, and taken back.
    async fn back(&self, wanted: Option<ReleaseId>) -> Result<Option<ReleaseId>> {
        let fleet = &self.rig.fleet;
        let created = fleet.rollback(self.app, wanted, Some(self.owner)).await?;
        let read = deployment_get(&fleet.db, created.deployment).await.expect("read").expect("there");
        assert_eq!((read.trigger, read.commit.map(|commit| commit.len())), (Trigger::Rollback, Some(40)));
        let job = job_get(&fleet.db, created.job).await.expect("read").expect("there");
        assert_eq!((job.kind.as_str(), job.priority), (Rollback::KIND, Priority::High));
        assert_eq!(job.targets, [target(0), target(1)], "it locks at once");
        let plan = app_plan(&fleet.db, created.deployment).await.expect("read").expect("plan");
        assert_eq!((plan.trigger, plan.release), (Trigger::Rollback, read.release));
        fleet.cancel(created.job).await.expect("cancel");
        Ok(read.release)
    }

    async fn refused(&self, wanted: Option<ReleaseId>) -> Code {
        self.back(wanted).await.expect_err("refused").code()
    }
}

const BOTH: &[usize] = &[0, 1];

#[tokio::test(flavor = "multi_thread")]
async fn the_way_back_leads_to_the_release_before_the_one_that_serves() {
    use DeploymentStatus as S;
    let shop = Shop::open().await;
    let db = &shop.rig.fleet.db;
    assert_eq!(shop.refused(None).await, Code::NoWayBack);
    let first = shop.release('1', S::Deployed, BOTH).await;
    assert_eq!(shop.refused(None).await, Code::NoWayBack);
    assert_eq!(shop.refused(Some(first)).await, Code::NoWayBack);
    assert!(release_serves(db, first).await.expect("read"));
    let second = shop.release('2', S::Deployed, BOTH).await;
    let failed = shop.release('3', S::RolledBack, &[]).await;
    let fourth = shop.release('4', S::Deployed, BOTH).await;
    assert!(!release_serves(db, second).await.expect("read"));
    // Never to one that users were taken back from; by name to any.
    assert_eq!(release_before(db, shop.app).await.expect("read"), Some(second));
    assert_eq!(shop.back(None).await.expect("accepted"), Some(second));
    assert_eq!(shop.back(Some(first)).await.expect("accepted"), Some(first));
    assert_eq!(shop.back(Some(failed)).await.expect("accepted"), Some(failed));
    assert_eq!(shop.refused(Some(ReleaseId::generate())).await, Code::ReleaseUnknown);
    let other = app(&shop.rig, shop.owner, "blog", &[]).await;
    let strange = shop.rig.fleet.rollback(other, Some(first), None).await.expect_err("another app's");
    assert_eq!(strange.code(), Code::ReleaseUnknown);

    // On one target only: there is still something to do. What serves elsewhere decides about the one before.
    let fifth = shop.release('5', S::Deployed, &[0]).await;
    assert_eq!(shop.back(Some(fifth)).await.expect("accepted"), Some(fifth));
    assert_eq!(shop.back(None).await.expect("accepted"), Some(second));
    let listed = releases_deployed(db, shop.app, 3).await.expect("list");
    let ids: Vec<ReleaseId> = listed.iter().map(|one| one.release.id).collect();
    assert_eq!(ids, [fifth, fourth, second]);
    assert!(listed.iter().all(|one| one.release.app == shop.app && one.deployed_at > one_hour_ago()));

    let all = inventory_releases(db, &[shop.app, other]).await.expect("inventory");
    let read: Vec<_> = all.iter().map(|one| (one.release, one.rank, one.serving, one.busy)).collect();
    assert_eq!(
        read,
        [
            (first, Some(3), false, false),
            (second, Some(2), false, false),
            (failed, None, false, false),
            (fourth, Some(1), true, false),
            (fifth, Some(0), true, false),
        ]
    );
    // While it is asked for, it is busy.
    let created = shop.rig.fleet.rollback(shop.app, Some(first), None).await.expect("accepted");
    assert!(inventory_releases(db, &[shop.app]).await.expect("inventory")[0].busy);
    assert!(inventory_releases(db, &[other]).await.expect("inventory").is_empty());
    let mut apps = vec![shop.app, other];
    apps.sort();
    assert_eq!(inventory_apps(db).await.expect("apps"), apps);
    // A way back has made nothing itself.
    assert!(!deployment_fates(db, &[created.deployment]).await.expect("fates")[0].released);
    // One that ended and is asked for again stays a way back.
    shop.rig.fleet.cancel(created.job).await.expect("cancel");
    let again = shop.rig.fleet.deployment_retry(created.deployment).await.expect("retry");
    let again_read = deployment_get(db, again.deployment).await.expect("read").expect("there");
    assert_eq!((again_read.trigger, again_read.release), (Trigger::Rollback, Some(first)));
    shop.rig.fleet.cancel(again.job).await.expect("cancel");
    shop.rig.finish().await;
}

fn one_hour_ago() -> deploymind_shared::clock::Timestamp {
    deploymind_shared::clock::Clock::system().now() - Duration::from_secs(3600)
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_wait_for_a_person_where_they_would_bring_back_what_failed() {
    use DeploymentStatus as S;
    let shop = Shop::open().await;
    let db = &shop.rig.fleet.db;
    let code = async |trigger, commit| shop.push(trigger, commit).await.map_err(|error| error.code());
    shop.release('1', S::Deployed, BOTH).await;
    shop.release('2', S::RolledBack, &[]).await;
    assert_eq!(code(Trigger::Push, '2').await.expect_err("bad"), Code::CommitBad);
    let kept = code(Trigger::Push, '3').await.expect("another commit");
    assert!(bad_commit_forget(db, shop.app, &"2".repeat(40)).await.expect("forget"));
    code(Trigger::Push, '2').await.expect("forgotten");

    let sentence = async |trigger| shop.push(trigger, '4').await.expect_err("refused");
    app_pin(db, shop.owner, shop.app, "a freeze").await.expect("pin");
    let pinned = sentence(Trigger::Push).await;
    assert_eq!(pinned.code(), Code::AppPinned);
    assert!(pinned.sentence().contains("a freeze"), "{pinned}");
    code(Trigger::Retry, '4').await.expect("asked for");
    app_unpin(db, shop.owner, shop.app).await.expect("unpin");
    let third = code(Trigger::Push, '4').await.expect("let in");
    assert!(third.deployment > kept.deployment);

    // Three in a row, then a person must act: letting pushes in, or deploying by hand.
    let loops = async |count: i32| {
        sqlx::query("UPDATE apps SET automatic_rollbacks = $1")
            .bind(count)
            .execute(&shop.rig.pool)
            .await
            .expect("set")
    };
    loops(2).await;
    code(Trigger::Push, '5').await.expect("not yet");
    loops(3).await;
    assert_eq!(sentence(Trigger::Push).await.code(), Code::RollbackLoop);
    code(Trigger::Retry, '5').await.expect("asked for");
    assert_eq!(sentence(Trigger::Push).await.code(), Code::RollbackLoop);
    code(Trigger::Manual, '5').await.expect("asked for");
    let last = code(Trigger::Push, '5').await.expect("a person has acted");
    let plan = app_plan(db, last.deployment).await.expect("read").expect("plan");
    assert_eq!(
        (plan.trigger, plan.release, plan.auto_deploy, plan.host_mounts),
        (Trigger::Push, None, true, false)
    );
    assert!(app_host_mounts_put(db, shop.app, true).await.expect("put"));
    assert!(!app_host_mounts_put(db, AppId::generate(), true).await.expect("put"));
    assert!(app_plan(db, last.deployment).await.expect("read").expect("plan").host_mounts);
    // They were never put in line; nothing is left to clean up there.
    let unknown = shop.rig.fleet.deployment_retry(DeploymentId::generate()).await.expect_err("gone");
    assert_eq!(unknown.code(), Code::JobUnknown);
    line::withdraw(&shop.rig.fleet.queue, &[last.job]).await.expect("withdraw");
    shop.rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_keeps_how_it_is_reached() {
    let shop = Shop::open().await;
    let db = &shop.rig.fleet.db;
    let plain = TargetConnection { address: None, sealed: None };
    assert_eq!(target_connection(db, &target(0)).await.expect("read"), Some(plain.clone()));
    let sealed = Sealed { key_id: KeyId::parse("main").expect("id"), bytes: vec![1; 100] };
    target_connection_put(db, &target(0), Some("tcp://a:2376"), Some(&sealed)).await.expect("put");
    let full = TargetConnection { address: Some("tcp://a:2376".to_owned()), sealed: Some(sealed.clone()) };
    assert_eq!(target_connection(db, &target(0)).await.expect("read"), Some(full));
    target_connection_put(db, &target(0), None, None).await.expect("put");
    assert_eq!(target_connection(db, &target(0)).await.expect("read"), Some(plain));
    let nowhere = TargetName::parse("docker://nowhere").expect("name");
    assert_eq!(target_connection(db, &nowhere).await.expect("read"), None);
    let unknown = target_connection_put(db, &nowhere, None, None).await.expect_err("unknown");
    assert_eq!(unknown.code(), Code::TargetUnknown);
    let long = "x".repeat(3000);
    let large = Sealed { bytes: vec![1; 80_000], ..sealed };
    for put in [
        target_connection_put(db, &target(0), Some(&long), None).await,
        target_connection_put(db, &target(0), Some(""), None).await,
        target_connection_put(db, &target(0), None, Some(&large)).await,
    ] {
        assert_eq!(put.expect_err("out of bounds").code(), Code::FieldTooLong);
    }
    let half = sqlx::query("UPDATE targets SET key_id = 'k'").execute(&shop.rig.pool).await;
    assert_eq!(super::refused_by(half), "targets_sealed_has_key");
    shop.rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_cleaned_up_when_something_was_rolled_out_there_and_nobody_has_lately() {
    let shop = Shop::open().await;
    let (fleet, hour) = (&shop.rig.fleet, Duration::from_secs(3600));
    let due = async |every| target_uncollected(&fleet.db, every, 10).await.expect("list");
    assert_eq!(due(Duration::ZERO).await, [], "nothing was rolled out");
    shop.release('1', DeploymentStatus::Deployed, BOTH).await;
    let names: Vec<TargetName> = due(hour).await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [target(0), target(1)]);
    let job = fleet.collect(&target(0), true).await.expect("collect");
    let read = job_get(&fleet.db, job).await.expect("read").expect("there");
    assert_eq!((read.targets, read.environment.as_str()), (vec![target(0)], "production"));
    assert_eq!(due(Duration::ZERO).await.len(), 1, "one is under way");
    fleet.cancel(job).await.expect("cancel");
    assert_eq!(due(hour).await.len(), 1, "one was lately");
    assert_eq!(due(Duration::ZERO).await.len(), 2);
    let nowhere = TargetName::parse("docker://nowhere").expect("name");
    assert_eq!(target_environment(&fleet.db, &nowhere).await.expect("read"), None);
    assert_eq!(fleet.collect(&nowhere, true).await.expect_err("no app").code(), Code::TargetUnknown);
    shop.rig.finish().await;
}
