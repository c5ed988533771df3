//! Users are never moved to a release that is not healthy at that moment.

use deploymind_shared::db::events::event_list;
use deploymind_shared::db::rollouts::serving_list;
use deploymind_shared::domain::rollout::{RolloutCommand, RolloutOutcome};
use deploymind_tests::delivery::Delivery;
use deploymind_tests::{http, wait_for};

use super::follow::{
    Copy, address, ask, assert_deployed, assert_ended, canary, copies, rollout, running, said, users,
};
use crate::common::{SOON, Sample};

const STAGE: &str = "stage 1 of 2";
/// Longer than a deployment takes.
const WELL_FOR: (&str, &str) = ("HEALTH", "fail-after 15000");

/// Waits until a copy says of itself that it is not well.
async fn sick(copy: &Copy) {
    let url = format!("http://{}:8080/health", address(&copy.id));
    wait_for("the release to fail its check", SOON, async || match http::get(&url).await {
        Ok(answer) if answer.status == 503 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_new_one_stays_where_the_old_one_is_not_well() {
    let delivery = Delivery::on_docker().await;
    let mut settings = canary(&[50, 100], 60, 100_000);
    settings.run.health.start_period_s = 3;
    let sample = Sample::new(&delivery, "kept", settings).await;
    let _nodes = delivery.nodes().await;
    assert_deployed(&sample.deploy("v1", &[WELL_FOR]).await);
    let first = running(sample.app);
    let created = sample.push("v2", &[]).await;
    said(&delivery, &created, STAGE).await;
    let load = users(&sample.url()).start().await;
    sick(&first).await;
    assert!(ask(&delivery, &created, RolloutCommand::Abort).await);
    let ended = delivery.ended(&created, SOON).await;
    assert_ended(&ended, "FAILED", "DM-4806");
    assert_eq!(rollout(&delivery, &created).await.outcome, Some(RolloutOutcome::Kept));
    let why = ended.deployment.reason.clone().expect("a reason");
    println!("kept: {why}");
    assert!(why.contains("is not healthy") && why.contains("DM-4809"), "{why}");
    let serving = serving_list(&delivery.rig.fleet.db, sample.app).await.expect("read serving");
    assert_eq!(serving[0].release, ended.deployment.release.expect("a release"));
    load.finish().await.assert_nothing_lost();
    let seen = users(&sample.url()).lasts(std::time::Duration::from_secs(1)).start().await.over().await;
    assert_eq!(seen.of("v2"), seen.requests, "{seen:#?}");
    delivery.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_neither_is_well_users_stay_where_they_are() {
    let delivery = Delivery::on_docker().await;
    let mut settings = canary(&[50, 100], 60, 100_000);
    settings.run.health.start_period_s = 3;
    let sample = Sample::new(&delivery, "left", settings).await;
    let _nodes = delivery.nodes().await;
    assert_deployed(&sample.deploy("v1", &[WELL_FOR]).await);
    let first = running(sample.app);
    let created = sample.push("v2", &[WELL_FOR]).await;
    said(&delivery, &created, STAGE).await;
    // The way back begins by itself when the new one fails, which it does last.
    sick(&first).await;
    let ended = delivery.ended(&created, SOON).await;
    assert_ended(&ended, "FAILED", "DM-4810");
    assert_eq!(rollout(&delivery, &created).await.outcome, Some(RolloutOutcome::Left));
    assert!(ended.text().contains("traffic was left where it was"), "{}", ended.text());
    println!("left: {:?}", ended.deployment.reason);
    let events = event_list(&delivery.rig.fleet.db, created.deployment, 0, 1000).await.expect("read events");
    assert!(events.iter().any(|event| event.body.to_string().contains("neither_healthy")), "{events:#?}");
    let seen = users(&sample.url()).lasts(std::time::Duration::from_secs(1)).start().await.over().await;
    seen.assert_nothing_lost();
    println!("left: {} and {} answers of both", seen.of("v1"), seen.of("v2"));
    assert!(seen.of("v1") > 0 && seen.of("v2") > 0, "{seen:#?}");

    // A good one mends it.
    let created = sample.push("v3", &[]).await;
    said(&delivery, &created, "starting the new release").await;
    let mended = wait_for("the mended one to be judged or done", SOON, async || {
        let log = delivery.log(created.deployment).await;
        let staged = log.iter().any(|line| line.line.contains(STAGE));
        let over = delivery.get(created.deployment).await.status.is_terminal();
        if staged || over { Ok(staged) } else { Err(format!("{log:#?}")) }
    })
    .await;
    if mended {
        assert!(ask(&delivery, &created, RolloutCommand::Promote).await);
    }
    assert_deployed(&delivery.ended(&created, SOON).await);
    let seen = users(&sample.url()).lasts(std::time::Duration::from_secs(1)).start().await.over().await;
    assert_eq!(seen.of("v3"), seen.requests, "{seen:#?}");
    println!("after a good one: {:?}", copies(sample.app));
    delivery.finish().await;
}
