//! Redis forgets everything of the fleet while a canary is counted.

use deploymind_shared::domain::rollout::StrategyKind;
use deploymind_tests::delivery::Delivery;

use super::bench::{
    assert_nobody_lost, assert_settled, base, comes_to, containers, hasty, scheduler, shown, users, worker,
};
use crate::common::{SOON, Sample};

async fn forget(delivery: &Delivery) -> usize {
    let mut redis = delivery.rig.redis().await;
    let pattern = format!("{}*", delivery.rig.key(""));
    let keys: Vec<String> = redis::cmd("KEYS").arg(&pattern).query_async(&mut redis).await.expect("keys");
    let gone: usize = redis::cmd("DEL").arg(&keys).query_async(&mut redis).await.expect("forget");
    gone
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_goes_on_when_redis_has_forgotten_it() {
    let delivery = Delivery::on_docker().await;
    let mut settings = hasty(StrategyKind::Canary);
    settings.rollout.canary.window_s = 3;
    let sample = Sample::new(&delivery, "shop", settings).await;
    let _scheduler = scheduler(&delivery).ready().await;
    base(&sample).await;
    let load = users(&sample).await;
    let (_one, _two) = (worker(&delivery).ready().await, worker(&delivery).ready().await);
    let created = sample.push("v1", &[]).await;
    comes_to(&delivery, &created, "observe").await;
    let gone = forget(&delivery).await;
    assert!(gone > 0, "there was nothing to forget");
    let ended = delivery.ended(&created, SOON).await;
    assert_eq!(ended.status(), "DEPLOYED", "{}", shown(&ended));
    assert_settled("after Redis had forgotten it", &sample, "v1", created.deployment).await;
    let slots = containers(&sample);
    assert_eq!(slots.len(), 2, "one effective roll-out makes one new slot: {slots:?}");
    let overtaken = ended.text().contains("another worker goes on");
    println!("{gone} keys forgotten; taken up anew: {overtaken}");
    assert_nobody_lost(load).await;
    delivery.finish().await;
}
