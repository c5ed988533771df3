//! Users, apps, environments, targets, the audit log, workers, leases, the clock.

use std::time::Duration;

use deploymind_shared::db::apps::{NewApp, app_create, app_get};
use deploymind_shared::db::audit::{audit_append, audit_list};
use deploymind_shared::db::environments::{environment_list, environment_policy, environment_put};
use deploymind_shared::db::leases::{lease_release, lease_take};
use deploymind_shared::db::targets::{target_claim, target_create, target_get};
use deploymind_shared::db::users::{user_create, user_get};
use deploymind_shared::db::workers::{worker_beat, worker_bury, worker_list, worker_silent, worker_stop};
use deploymind_shared::db::{migrate_url, migration_sources};
use deploymind_shared::domain::overlap::OverlapPolicy;
use deploymind_shared::error::Code;
use deploymind_shared::ids::{AppId, Attempt, EnvironmentName, Epoch, JobId, TargetName, UserId, WorkerId};
use deploymind_tests::rig::{Rig, production};
use futures::future::join_all;
use uuid::Uuid;

use super::{app, claim, deploy, refused_by, user, worker};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_user_is_the_admin_and_nobody_else_even_at_once() {
    let rig = Rig::start().await;
    let db = &rig.fleet.db;
    // Each insert takes its time, so that all eight look before one of them is there.
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.1); RETURN NEW; END $$;
                CREATE TRIGGER slow BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION slow();";
    sqlx::raw_sql(slow).execute(&rig.pool).await.expect("make inserts slow");
    let made = join_all((0..8).map(|number| async move {
        user_create(db, &format!("user-{number}"), Some(number)).await.expect("create user")
    }))
    .await;
    let admins: Vec<&str> = made.iter().filter(|user| user.admin).map(|user| user.login.as_str()).collect();
    println!("8 users created at once, admins: {admins:?}");
    assert_eq!(admins.len(), 1, "{admins:?}");
    for user in &made {
        let read = user_get(db, user.id).await.expect("read").expect("there");
        assert_eq!((read.login, read.admin), (user.login.clone(), user.admin));
    }
    assert!(user_get(db, UserId::generate()).await.expect("read").is_none());
    // One GitHub account is one user.
    let error = user_create(db, "again", Some(3)).await.expect_err("known");
    assert_eq!(error.code(), Code::StoreUnexpected);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_its_owners_alone_and_bad_ones_are_refused_with_a_code() {
    let rig = Rig::start().await;
    let db = &rig.fleet.db;
    let (owner, other) = (user(&rig, "owner").await, user(&rig, "other").await);
    let targets = rig.targets(2).await;
    let id = app(&rig, owner, "shop", &targets).await;
    let read = app_get(db, owner, id).await.expect("read").expect("the owner's");
    assert_eq!((read.id, read.owner, read.name.as_str(), &read.targets), (id, owner, "shop", &targets));
    assert_eq!((read.branch.as_str(), read.environment), ("main", production()));
    assert!(app_get(db, other, id).await.expect("read").is_none(), "another's app");
    assert!(app_get(db, owner, AppId::generate()).await.expect("read").is_none());
    let base = NewApp {
        owner,
        name: "next".to_owned(),
        repository: "r".to_owned(),
        branch: "b".to_owned(),
        environment: production(),
        targets: Vec::new(),
    };
    let nowhere = EnvironmentName::parse("nowhere").expect("a good name");
    let unknown = TargetName::parse("docker://unknown").expect("a good name");
    for (bad, code) in [
        (NewApp { environment: nowhere, ..base.clone() }, Code::EnvironmentUnknown),
        (NewApp { targets: vec![targets[0].clone(), unknown], ..base.clone() }, Code::TargetUnknown),
        (NewApp { name: "Shop".to_owned(), ..base.clone() }, Code::FieldTooLong),
        (NewApp { name: "a".repeat(64), ..base.clone() }, Code::FieldTooLong),
        (NewApp { repository: "r".repeat(2049), ..base.clone() }, Code::FieldTooLong),
        (NewApp { branch: String::new(), ..base.clone() }, Code::FieldTooLong),
    ] {
        assert_eq!(app_create(db, &bad).await.expect_err("refused").code(), code, "{bad:?}");
    }
    // A refused one left nothing of itself.
    let apps: i64 =
        sqlx::query_scalar("SELECT count(*) FROM apps").fetch_one(&rig.pool).await.expect("count");
    assert_eq!(apps, 1);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn environments_keep_their_policy_and_targets_their_epoch() {
    let rig = Rig::start().await;
    let db = &rig.fleet.db;
    let canary = EnvironmentName::parse("canary").expect("a good name");
    assert_eq!(environment_policy(db, &canary).await.expect("read"), None);
    for policy in OverlapPolicy::ALL {
        environment_put(db, &canary, *policy).await.expect("put");
        assert_eq!(environment_policy(db, &canary).await.expect("read"), Some(*policy));
    }
    let names: Vec<String> =
        environment_list(db).await.expect("list").iter().map(ToString::to_string).collect();
    assert_eq!(names, ["canary", "preview", "production", "staging"]);

    let target = rig.targets(1).await.remove(0);
    let owner = user(&rig, "owner").await;
    let id = app(&rig, owner, "shop", std::slice::from_ref(&target)).await;
    let created = deploy(&rig, id, deploymind_shared::db::deployments::Trigger::Rollback).await;
    let worker = worker(&rig).await;
    let attempt = claim(&rig, worker, created.job, std::slice::from_ref(&target)).await;
    let claimed = target_get(db, &target).await.expect("read").expect("there");
    assert_eq!((claimed.epoch, claimed.claimed_by), (Epoch(1), Some(created.job)));
    assert!(claimed.claimed_at.is_some());
    let raised = target_claim(db, created.job, attempt, std::slice::from_ref(&target)).await.expect("claim");
    assert_eq!(raised, [(target.clone(), Epoch(2))]);
    target_create(db, &target).await.expect("create again");
    assert_eq!(target_get(db, &target).await.expect("read").expect("there").epoch, Epoch(2));
    // Fenced: another attempt, another job, a target that does not exist.
    for (job, attempt) in [(created.job, Attempt(attempt.0 + 1)), (JobId::generate(), attempt)] {
        let error = target_claim(db, job, attempt, std::slice::from_ref(&target)).await.expect_err("fenced");
        assert_eq!(error.code(), Code::ClaimLost);
    }
    let unknown = TargetName::parse("docker://unknown").expect("a good name");
    let error = target_claim(db, created.job, attempt, &[target.clone(), unknown.clone()]).await;
    assert_eq!(error.expect_err("unknown").code(), Code::TargetUnknown);
    assert!(target_get(db, &unknown).await.expect("read").is_none());
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_is_newest_first_and_is_never_changed() {
    let rig = Rig::start().await;
    let db = &rig.fleet.db;
    let actor = user(&rig, "actor").await;
    for number in 0..5 {
        let actor = (number % 2 == 0).then_some(actor);
        let detail = serde_json::json!({ "number": number });
        audit_append(db, actor, "job.cancel", "job:1", &detail).await.expect("append");
    }
    audit_append(db, None, "job.cancel", "job:2", &serde_json::json!({})).await.expect("append");
    let list = audit_list(db, "job:1", 3).await.expect("list");
    let numbers: Vec<i64> = list.iter().filter_map(|entry| entry.detail["number"].as_i64()).collect();
    assert_eq!(numbers, [4, 3, 2]);
    assert_eq!((list[0].actor, list[1].actor), (Some(actor), None));
    let changed = sqlx::query("UPDATE audit_log SET action = 'nothing'").execute(&rig.pool).await;
    assert_eq!(refused_by(changed), "audit_log_append_only");
    assert!(audit_append(db, None, "Not An Action", "x", &serde_json::json!({})).await.is_err());
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_live_fall_silent_are_buried_and_rise_again() {
    let rig = Rig::start().await;
    let db = &rig.fleet.db;
    let (silent, stopped) = (worker(&rig).await, worker(&rig).await);
    let second = Duration::from_secs(1);
    assert_eq!(worker_silent(db, second, 10).await.expect("list"), []);
    sqlx::query("UPDATE workers SET last_seen = now() - interval '1 minute'")
        .execute(&rig.pool)
        .await
        .expect("age");
    assert!(worker_beat(db, stopped).await.expect("beat"), "alive");
    assert_eq!(worker_silent(db, second, 10).await.expect("list"), [silent]);
    assert!(!worker_bury(db, stopped, second).await.expect("bury"), "it has just beaten");
    assert!(worker_bury(db, silent, second).await.expect("bury"));
    assert!(worker_bury(db, silent, second).await.expect("bury again"), "its list still deserves a look");
    assert_eq!(worker_silent(db, second, 10).await.expect("list"), [silent]);
    assert!(!worker_beat(db, silent).await.expect("beat"), "it hears that it was declared dead");
    assert!(worker_beat(db, silent).await.expect("beat"), "and lives on");
    worker_stop(db, stopped).await.expect("stop");
    worker_beat(db, stopped).await.expect("beat");
    let list = worker_list(db, 10).await.expect("list");
    let states: Vec<(WorkerId, &str)> =
        list.iter().map(|worker| (worker.id, worker.state.as_str())).collect();
    assert_eq!(states, [(stopped, "stopped"), (silent, "alive")]);
    assert_eq!((list[0].hostname.len(), list[0].running, list[0].concurrency), (255, 0, 4));
    assert!(!worker_beat(db, WorkerId::generate()).await.expect("beat of an unknown one"));
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_has_one_holder_and_a_new_term_for_each() {
    let rig = Rig::start().await;
    let db = &rig.fleet.db;
    let (one, two) = (Uuid::new_v4(), Uuid::new_v4());
    let long = Duration::from_secs(60);
    assert_eq!(lease_take(db, "x", one, long).await.expect("take"), Some(1));
    assert_eq!(lease_take(db, "x", two, long).await.expect("take"), None);
    assert_eq!(lease_take(db, "x", one, long).await.expect("renew"), Some(1));
    assert_eq!(lease_take(db, "y", two, long).await.expect("take another"), Some(1));
    lease_release(db, "x", two).await.expect("not the holder");
    assert_eq!(lease_take(db, "x", two, long).await.expect("take"), None);
    lease_release(db, "x", one).await.expect("release");
    assert_eq!(lease_take(db, "x", two, Duration::ZERO).await.expect("take"), Some(2));
    assert_eq!(lease_take(db, "x", one, long).await.expect("expired at once"), Some(3));
    // However many ask at once, one gets it.
    let asked = join_all((0..16).map(|_| lease_take(db, "z", Uuid::new_v4(), long))).await;
    let got = asked.into_iter().filter(|answer| matches!(answer, Ok(Some(_)))).count();
    println!("16 asked at once, {got} got the lease");
    assert_eq!(got, 1);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_run_twice_and_by_many_at_once_and_the_clock_is_the_databases() {
    let rig = Rig::start().await;
    let db = &rig.fleet.db;
    let all =
        join_all((0..4).map(|_| async { tokio::join!(db.migrate(), migrate_url(&rig.stores.database)) }))
            .await;
    all.into_iter().for_each(|(one, two)| one.and(two).expect("migrates"));
    for source in migration_sources() {
        let again = sqlx::raw_sql(sqlx::AssertSqlSafe(source)).execute(&rig.pool).await;
        again.expect("each file runs a second time");
    }
    let (first, second) = (db.now().await.expect("now"), db.now().await.expect("now"));
    assert!(first <= second);
    rig.finish().await;
}
