//! Canaries that fail by a known share of their answers, and canaries that nobody asks.

use std::time::Duration;

use deploymind_shared::domain::rollout::{OnInsufficient, RolloutCommand};
use deploymind_tests::delivery::Delivery;

use super::follow::{
    ask, assert_deployed, assert_ended, between, by_hand, canary, count, pushed, rollout, said, users,
    verdict,
};
use crate::common::{SOON, Sample};

const STAGE: &str = "stage 1 of 2";

/// The limit is 5 %. A row of three ways back ends with a person, not with a fourth push.
#[tokio::test(flavor = "multi_thread")]
async fn the_share_of_errors_decides() {
    let delivery = Delivery::on_docker().await;
    let sample = Sample::new(&delivery, "errors", canary(&[80, 100], 1, 1000)).await;
    let _nodes = delivery.nodes().await;
    assert_deployed(&sample.deploy("v1", &[]).await);
    let load = users(&sample.url()).rate(400.0).posts(0.0).start().await;
    for (version, percent) in [("v2", "10"), ("v3", "50"), ("v4", "5.1")] {
        let ended = sample.deploy(version, &[("ERROR_PERCENT", percent)]).await;
        assert_ended(&ended, "ROLLED_BACK", "DM-4807");
        let took = between(&ended.log, STAGE, "going back");
        println!("{percent} % errors: back {took:?} after the stage began; {}", verdict(&ended));
        sample.assert_answers("v1").await;
    }
    sample.commit("v5", &[("ERROR_PERCENT", "4.9")]);
    let refused = pushed(&delivery, sample.app, None).await.expect_err("three ways back in a row");
    assert_eq!(refused.code().as_str(), "DM-4812", "{refused}");
    let ended = by_hand(&delivery, sample.app).await;
    assert_deployed(&ended);
    println!(
        "4.9 % errors: promoted {:?} after the stage began; {}",
        between(&ended.log, STAGE, "100 % of"),
        verdict(&ended)
    );
    let seen = load.finish().await;
    println!("{} requests, {} with an error of a canary's own", seen.requests, seen.non_2xx);
    assert_eq!(seen.failures, seen.non_2xx, "{seen:#?}");
    // The row is over.
    let again = pushed(&delivery, sample.app, None).await.expect("pushes deploy again");
    delivery.rig.fleet.cancel(again.job).await.expect("it has just begun");
    delivery.ended(&again, SOON).await;
    delivery.finish().await;
}

/// Also not by waiting: it goes back or stands until somebody says what is to be done.
#[tokio::test(flavor = "multi_thread")]
async fn without_requests_nothing_is_promoted() {
    let delivery = Delivery::on_docker().await;
    let mut settings = canary(&[20, 100], 1, 1000);
    settings.rollout.canary.hold_s = 1;
    settings.rollout.canary.on_insufficient = OnInsufficient::Rollback;
    let sample = Sample::new(&delivery, "nobody", settings.clone()).await;
    settings.run.routes.port = Some(sample.port);
    let _nodes = delivery.nodes().await;
    assert_deployed(&sample.deploy("v1", &[]).await);

    let ended = sample.deploy("v2", &[]).await;
    assert_ended(&ended, "ROLLED_BACK", "DM-4808");
    assert_eq!(count(&ended.log, "100 % of the requests"), 0, "{}", ended.text());
    println!(
        "nobody asks: back {:?} after the stage began; {}",
        between(&ended.log, STAGE, "going back"),
        verdict(&ended)
    );

    settings.rollout.canary.on_insufficient = OnInsufficient::Pause;
    delivery.settings(sample.app, &settings).await;
    for (version, command, status, code) in [
        ("v3", RolloutCommand::Promote, "DEPLOYED", "none"),
        ("v4", RolloutCommand::Abort, "ROLLED_BACK", "DM-4809"),
    ] {
        let created = sample.push(version, &[]).await;
        said(&delivery, &created, "held: ").await;
        let before = rollout(&delivery, &created).await;
        // Fewer than it needs: that somebody comes at last changes nothing by itself.
        let seen = users(&sample.url()).rate(50.0).lasts(Duration::from_secs(3)).start().await.over().await;
        seen.assert_nothing_lost();
        println!(
            "held without requests: {} of {} answers from the new release",
            seen.of(version),
            seen.requests
        );
        assert!(seen.of(version) > 0 && seen.of(version) < seen.requests / 2, "{seen:#?}");
        let after = rollout(&delivery, &created).await;
        assert_eq!((before.seq, before.outcome), (after.seq, after.outcome));
        assert!(ask(&delivery, &created, command).await);
        let ended = delivery.ended(&created, SOON).await;
        assert_ended(&ended, status, code);
        assert!(!ask(&delivery, &created, command).await, "nothing is in progress any more");
        sample.assert_answers("v3").await;
    }
    delivery.finish().await;
}
