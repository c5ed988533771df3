//! A deployment that ended without its roll-out: a worker is sent to bring users back.

use deploymind_shared::db::deployments::Created;
use deploymind_shared::domain::rollout::{RolloutOutcome, StrategyKind};
use deploymind_tests::delivery::Delivery;
use deploymind_tests::wait_for;

use super::bench::{
    assert_nobody_lost, base, died, hasty, left_half_way, rollout, settles, shown, users, watchful, worker,
};
use crate::common::{SOON, Sample};

/// A worker settles what is left; users are on what served before.
async fn brought_back(what: &str, sample: &Sample<'_>, created: &Created) {
    let delivery = sample.delivery;
    let before = rollout(delivery, created.deployment).await.expect("a roll-out");
    assert_eq!(before.outcome, None, "{what}: it was not left half way");
    let began = std::time::Instant::now();
    let _worker = worker(delivery).ready().await;
    settles(sample, "v0", created.deployment).await;
    let after = rollout(delivery, created.deployment).await.expect("a roll-out");
    assert_eq!(after.outcome, Some(RolloutOutcome::Reverted), "{what}");
    println!("{what}: users were back {:.1} s after a worker was there", began.elapsed().as_secs_f64());
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_while_its_worker_is_dead() {
    let delivery = Delivery::on_docker().await;
    let sample = Sample::new(&delivery, "shop", hasty(StrategyKind::Canary)).await;
    let _scheduler = watchful(&delivery).ready().await;
    base(&sample).await;
    let load = users(&sample).await;
    let created = left_half_way(&sample, "v1").await;
    delivery.rig.fleet.cancel(created.job).await.expect("cancel");
    let ended = delivery.ended(&created, SOON).await;
    assert_eq!(ended.status(), "CANCELLED", "{}", shown(&ended));
    brought_back("cancelled", &sample, &created).await;
    assert_nobody_lost(load).await;
    delivery.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn put_in_quarantine_after_four_deaths() {
    let delivery = Delivery::on_docker().await;
    let sample = Sample::new(&delivery, "shop", hasty(StrategyKind::Canary)).await;
    let _scheduler = watchful(&delivery).ready().await;
    base(&sample).await;
    let load = users(&sample).await;
    let created = left_half_way(&sample, "v1").await;
    for _ in 0..3 {
        let mut next = worker(&delivery).kill_at("rollout.saved", 0).ready().await;
        assert!(died(&delivery, &mut next, &created).await, "it did not die");
    }
    let ended = delivery.ended(&created, SOON).await;
    assert_eq!(ended.status(), "FAILED", "{}", shown(&ended));
    assert_eq!(delivery.rig.state(created.job).await, "quarantined");
    brought_back("quarantined", &sample, &created).await;
    assert_nobody_lost(load).await;
    delivery.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_by_a_panic() {
    let delivery = Delivery::on_docker().await;
    let sample = Sample::new(&delivery, "shop", hasty(StrategyKind::Canary)).await;
    let scheduler = watchful(&delivery).ready().await;
    base(&sample).await;
    let load = users(&sample).await;
    let created = left_half_way(&sample, "v1").await;
    let panics = worker(&delivery).set("FAULT_REFUSE_AT", "rollout.saving").ready().await;
    let attempt = || async {
        let sql = "SELECT attempt FROM jobs WHERE id = $1";
        let query = sqlx::query_scalar::<_, i32>(sql).bind(created.job.as_uuid());
        query.fetch_one(&delivery.rig.pool).await.expect("read job")
    };
    wait_for("the second worker to take it", SOON, async || match attempt().await {
        1 => Err("not yet".to_owned()),
        _ => Ok(()),
    })
    .await;
    // The panicking one is not to be sent to settle it, too.
    drop(scheduler);
    let ended = delivery.ended(&created, SOON).await;
    drop(panics);
    assert_eq!(ended.status(), "FAILED", "{}", shown(&ended));
    println!("panicked: {} {:?}", ended.code(), ended.deployment.reason);
    let _scheduler = watchful(&delivery).ready().await;
    brought_back("panicked", &sample, &created).await;
    assert_nobody_lost(load).await;
    delivery.finish().await;
}
