//! Pause, resume, promote and abort, in the phases of a real roll-out.

use std::time::Duration;

use deploymind_shared::db::deployments::Created;
use deploymind_shared::domain::rollout::RolloutCommand::{Abort, Pause, Promote, Resume};
use deploymind_shared::domain::rollout::{RolloutCommand, StrategyKind};
use deploymind_tests::delivery::{Delivery, Ended};
use deploymind_tests::wait_for;
use tokio::task::JoinSet;

use super::follow::{
    ask, assert_deployed, assert_ended, between, canary, copies, count, rollout, running, said, said_times,
    users,
};
use super::visitor::visit;
use crate::common::{SOON, Sample, quick};

const STAGE: &str = "stage 1 of 2";

/// Twice is the same as once.
async fn twice(delivery: &Delivery, created: &Created, command: RolloutCommand) {
    for _ in 0..2 {
        assert!(ask(delivery, created, command).await, "{command}: it is in progress");
    }
}

/// Waits until what was asked is in the state: its worker has heard of it.
async fn heard(delivery: &Delivery, created: &Created, asked: i64) {
    wait_for("the worker to hear", SOON, async || {
        let state = rollout(delivery, created).await.state;
        if state["asked"].as_i64() >= Some(asked) { Ok(()) } else { Err(state.to_string()) }
    })
    .await;
}

async fn last_ask(delivery: &Delivery, created: &Created) -> i64 {
    let (pool, id) = (&delivery.rig.pool, created.deployment.as_uuid());
    sqlx::query_scalar("SELECT max(id) FROM rollout_commands WHERE deployment_id = $1")
        .bind(id)
        .fetch_one(pool)
        .await
        .expect("read commands")
}

async fn ended(delivery: &Delivery, created: &Created) -> Ended {
    let ended = delivery.ended(created, SOON).await;
    for command in [Pause, Resume, Promote, Abort] {
        assert!(!ask(delivery, created, command).await, "{command} of what has ended");
    }
    ended
}

#[tokio::test(flavor = "multi_thread")]
async fn before_any_traffic_and_in_a_stage() {
    let delivery = Delivery::on_docker().await;
    let sample = Sample::new(&delivery, "asked", canary(&[20, 100], 60, 100)).await;
    let _nodes = delivery.nodes().await;
    assert_deployed(&sample.deploy("v1", &[]).await);
    let first = running(sample.app);
    let load = users(&sample.url()).start().await;

    // Aborted while it starts: as if it had never been.
    let created = sample.push("v2", &[("START_MS", "60000")]).await;
    assert!(!ask(&delivery, &created, Abort).await, "nothing is rolled out yet");
    said(&delivery, &created, "starting the new release").await;
    twice(&delivery, &created, Abort).await;
    let aborted = ended(&delivery, &created).await;
    assert_ended(&aborted, "CANCELLED", "DM-4809");
    assert_eq!(count(&aborted.log, "going back"), 1, "{}", aborted.text());
    assert_eq!(copies(sample.app), std::slice::from_ref(&first));

    // Paused while it starts: it stands before its first route.
    let created = sample.push("v3", &[("START_MS", "1500")]).await;
    said(&delivery, &created, "starting the new release").await;
    twice(&delivery, &created, Pause).await;
    said(&delivery, &created, "held: ").await;
    heard(&delivery, &created, last_ask(&delivery, &created).await).await;
    let held = delivery.log(created.deployment).await;
    assert_eq!((count(&held, "held: "), count(&held, "% of the requests")), (1, 0), "{held:#?}");
    twice(&delivery, &created, Resume).await;

    // Paused in its first stage: the share stays. Promoted out of the pause: no window is waited for.
    said(&delivery, &created, STAGE).await;
    twice(&delivery, &created, Pause).await;
    said_times(&delivery, &created, "held: ", 2).await;
    let seen = users(&sample.url()).lasts(Duration::from_secs(1)).start().await.over().await;
    assert!(seen.of("v3") > 0 && seen.of("v1") > seen.of("v3"), "{seen:#?}");
    twice(&delivery, &created, Promote).await;
    let promoted = ended(&delivery, &created).await;
    assert_deployed(&promoted);
    assert_eq!(count(&promoted.log, "held: "), 2, "{}", promoted.text());
    sample.assert_answers("v3").await;

    // Aborted in its first stage.
    let created = sample.push("v4", &[]).await;
    said(&delivery, &created, STAGE).await;
    twice(&delivery, &created, Abort).await;
    let aborted = ended(&delivery, &created).await;
    assert_ended(&aborted, "ROLLED_BACK", "DM-4809");
    println!(
        "aborted in a stage: back after {:?}",
        between(&aborted.log, "going back", "0 % of the requests")
    );
    sample.assert_answers("v3").await;
    load.finish().await.assert_nothing_lost();
    // What a person ended is no automatic way back.
    assert_deployed_soon(&sample).await;
    delivery.finish().await;
}

/// A push is not refused.
async fn assert_deployed_soon(sample: &Sample<'_>) {
    let created = sample.push("last", &[]).await;
    said(sample.delivery, &created, STAGE).await;
    assert!(ask(sample.delivery, &created, Promote).await);
    assert_deployed(&sample.delivery.ended(&created, SOON).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_is_watched_and_while_the_old_one_drains() {
    let delivery = Delivery::on_docker().await;
    let mut settings = quick();
    settings.rollout.strategy = StrategyKind::BlueGreen;
    settings.rollout.observe_s = 60;
    settings.rollout.drain_s = 60;
    let sample = Sample::new(&delivery, "watched", settings).await;
    let _nodes = delivery.nodes().await;
    // The first one has nothing to be watched beside.
    assert_deployed(&sample.deploy("v1", &[]).await);
    let load = users(&sample.url()).start().await;

    let created = sample.push("v2", &[]).await;
    said(&delivery, &created, "100 % of the requests").await;
    twice(&delivery, &created, Abort).await;
    let aborted = ended(&delivery, &created).await;
    assert_ended(&aborted, "ROLLED_BACK", "DM-4809");
    println!(
        "aborted while it was watched: back after {:?}",
        between(&aborted.log, "going back", "0 % of the requests")
    );
    sample.assert_answers("v1").await;

    // Paused while it is watched, promoted while it is held, and aborted while the old one drains.
    let slow = sample.port;
    let mut under_way = JoinSet::new();
    under_way.spawn(async move { visit(slow, "/slow?ms=6000", &[]).await });
    let created = sample.push("v3", &[]).await;
    said(&delivery, &created, "100 % of the requests").await;
    twice(&delivery, &created, Pause).await;
    said(&delivery, &created, "held: ").await;
    sample.assert_answers("v3").await;
    twice(&delivery, &created, Promote).await;
    let done = ended(&delivery, &created).await;
    assert_deployed(&done);
    let slow = under_way.join_next().await.expect("it is one").expect("no panic").expect("an answer");
    assert_eq!((slow.status, slow.version.as_str()), (200, "v1"), "{slow:?}");

    let slow = sample.port;
    under_way.spawn(async move { visit(slow, "/slow?ms=8000", &[]).await });
    let created = sample.push("v4", &[]).await;
    said(&delivery, &created, "100 % of the requests").await;
    twice(&delivery, &created, Promote).await;
    draining(&delivery, &created).await;
    // Nothing can be hurried there; a pause waits for the end of it; the way back is open.
    twice(&delivery, &created, Promote).await;
    twice(&delivery, &created, Pause).await;
    heard(&delivery, &created, last_ask(&delivery, &created).await).await;
    draining(&delivery, &created).await;
    twice(&delivery, &created, Abort).await;
    let aborted = ended(&delivery, &created).await;
    assert_ended(&aborted, "ROLLED_BACK", "DM-4809");
    sample.assert_answers("v3").await;
    let slow = under_way.join_next().await.expect("it is one").expect("no panic").expect("an answer");
    assert_eq!((slow.status, slow.version.as_str()), (200, "v3"), "{slow:?}");
    load.finish().await.assert_nothing_lost();
    delivery.finish().await;
}

async fn draining(delivery: &Delivery, created: &Created) {
    wait_for("the old one to drain", SOON, async || {
        let state = rollout(delivery, created).await.state;
        let machine = &state["machine"];
        if machine["moves"][0]["move"] == "drain" { Ok(()) } else { Err(machine.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_hides_no_failure_and_does_not_last_for_ever() {
    let delivery = Delivery::on_docker().await;
    let mut settings = canary(&[50, 100], 60, 100_000);
    let sample = Sample::new(&delivery, "paused", settings.clone()).await;
    settings.run.routes.port = Some(sample.port);
    let _nodes = delivery.nodes().await;
    assert_deployed(&sample.deploy("v1", &[]).await);
    for (version, env, says) in
        [("v2", ("HEALTH", "fail-after 4000"), "503"), ("v3", ("DIES_AFTER_MS", "4000"), "exit code 3")]
    {
        let created = sample.push(version, &[env]).await;
        said(&delivery, &created, STAGE).await;
        assert!(ask(&delivery, &created, Pause).await);
        let held = said(&delivery, &created, "held: ").await;
        let back = ended(&delivery, &created).await;
        assert_ended(&back, "ROLLED_BACK", "DM-4806");
        let turned = said(&delivery, &created, "going back").await;
        println!("{env:?}: back {} ms after the hold began", (turned - held).num_milliseconds());
        assert!(back.text().contains(says), "{}", back.text());
        sample.assert_answers("v1").await;
    }
    settings.rollout.pause_max_s = 2;
    delivery.settings(sample.app, &settings).await;
    let created = sample.push("v4", &[]).await;
    said(&delivery, &created, STAGE).await;
    assert!(ask(&delivery, &created, Pause).await);
    let back = ended(&delivery, &created).await;
    assert_ended(&back, "ROLLED_BACK", "DM-4809");
    let took = between(&back.log, "held: ", "going back");
    println!("a pause of at most 2 s: back after {took:?}");
    assert!((2..15).contains(&took.as_secs()), "{took:?}");
    sample.assert_answers("v1").await;
    delivery.finish().await;
}
