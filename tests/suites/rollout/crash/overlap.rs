//! A newer deployment of the same app: beside a roll-out in progress, and beside one that was left half way.

use std::time::Duration;

use deploymind_shared::db::environments::environment_put;
use deploymind_shared::domain::overlap::OverlapPolicy;
use deploymind_shared::domain::rollout::{RolloutOutcome, StrategyKind};
use deploymind_tests::delivery::Delivery;
use deploymind_tests::rig::production;
use deploymind_tests::wait_for;

use super::bench::{
    assert_nobody_lost, assert_settled, base, comes_to, hasty, left_half_way, rollout, scheduler, settles,
    shown, users, watchful, worker,
};
use crate::common::{SOON, Sample};

async fn pushed_while_a_canary_is_counted(policy: OverlapPolicy) {
    let delivery = Delivery::on_docker().await;
    environment_put(&delivery.rig.fleet.db, &production(), policy).await.expect("set policy");
    let mut settings = hasty(StrategyKind::Canary);
    settings.rollout.canary.window_s = 4;
    let sample = Sample::new(&delivery, "shop", settings).await;
    let _scheduler = watchful(&delivery).ready().await;
    base(&sample).await;
    let load = users(&sample).await;
    let (_one, _two) = (worker(&delivery).ready().await, worker(&delivery).ready().await);
    let first = sample.push("v1", &[]).await;
    comes_to(&delivery, &first, "observe").await;
    let second = sample.push("v2", &[]).await;
    let mut least_apart = Duration::MAX;
    wait_for("the newer one to begin", SOON, async || {
        match (rollout(&delivery, first.deployment).await, rollout(&delivery, second.deployment).await) {
            (Some(first), Some(second)) => {
                // Read first the one that has to be over.
                let ended = first.finished_at.expect("two roll-outs of one app at once");
                least_apart =
                    (second.started_at - ended).to_std().expect("it began before the first had ended");
                Ok(())
            }
            _ => Err("not yet".to_owned()),
        }
    })
    .await;
    let (first, second) = (delivery.ended(&first, SOON).await, delivery.ended(&second, SOON).await);
    assert_eq!(first.status(), "DEPLOYED", "{}", shown(&first));
    assert_eq!(second.status(), "DEPLOYED", "{}", shown(&second));
    assert_settled(policy.as_str(), &sample, "v2", second.deployment.id).await;
    println!("{policy}: the newer roll-out began {} ms after the end of the first", least_apart.as_millis());
    assert_nobody_lost(load).await;
    delivery.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_push_waits_for_the_end_of_a_canary() {
    pushed_while_a_canary_is_counted(OverlapPolicy::Newest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_have_noticed_a_canary_so_it_is_not_overridden() {
    pushed_while_a_canary_is_counted(OverlapPolicy::Override).await;
}

/// The newer one comes first; what is settled later must not take users away from it.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_deployment_before_the_one_left_half_way_is_settled() {
    let delivery = Delivery::on_docker().await;
    let sample = Sample::new(&delivery, "shop", hasty(StrategyKind::Canary)).await;
    let late = scheduler(&delivery).set("DEPLOYMIND_SCHEDULER_SETTLE", "300s").ready().await;
    base(&sample).await;
    let load = users(&sample).await;
    let left = left_half_way(&sample, "v1").await;
    let newer = sample.push("v2", &[]).await;
    delivery.rig.fleet.cancel(left.job).await.expect("cancel");
    assert_eq!(delivery.ended(&left, SOON).await.status(), "CANCELLED");
    let _worker = worker(&delivery).ready().await;
    let newer = delivery.ended(&newer, SOON).await;
    assert_eq!(newer.status(), "DEPLOYED", "{}", shown(&newer));
    drop(late);
    assert_eq!(
        rollout(&delivery, left.deployment).await.expect("a roll-out").outcome,
        None,
        "settled too early"
    );
    let _scheduler = watchful(&delivery).ready().await;
    settles(&sample, "v2", left.deployment).await;
    let left = rollout(&delivery, left.deployment).await.expect("a roll-out");
    assert_eq!(left.outcome, Some(RolloutOutcome::Reverted));
    assert_settled("after the other was settled", &sample, "v2", newer.deployment.id).await;
    assert_nobody_lost(load).await;
    delivery.finish().await;
}
