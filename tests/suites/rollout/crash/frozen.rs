//! A worker that is stopped in its tracks right before it sends users elsewhere, and wakes up when others have gone on.

use std::time::Duration;

use deploymind_shared::domain::rollout::StrategyKind;
use deploymind_tests::delivery::{Delivery, docker};
use deploymind_tests::proxy::{FaultProxy, Mode};
use deploymind_tests::wait_for;

use super::bench::{assert_settled, base, edge_name, hasty, scheduler, shown, standing, until, worker};
use crate::common::{SOON, Sample};

/// The save before the first change of routes: to launch, to wait for health, to route.
const BEFORE_ROUTE: &str = "2";
const HELD: Duration = Duration::from_secs(5);

/// The edge's script by hand: the app's own file with one word changed, under an epoch.
fn put(sample: &Sample<'_>, epoch: u64) -> std::process::Output {
    let app = sample.app;
    let text = format!(
        "f=/var/lib/deploymind-edge/apps/{app}.conf; l=$(sed -n 's/^# log //p' $f); \
         {{ sed \"s,$l,@LOG@,g; /^# end$/d\" $f; echo '# by hand'; echo '# end'; }} \
         | /opt/deploymind-edge/dm-edge put docker://local {epoch} {app}"
    );
    let edge = edge_name(sample.delivery);
    std::process::Command::new("docker").args(["exec", &edge, "sh", "-c", &text]).output().expect("docker")
}

fn file(sample: &Sample<'_>) -> String {
    let path = format!("/var/lib/deploymind-edge/apps/{}.conf", sample.app);
    docker(&["exec", &edge_name(sample.delivery), "cat", &path])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_frozen_worker_sends_late_is_refused_at_the_edge() {
    let delivery = Delivery::on_docker().await;
    let sample = Sample::new(&delivery, "shop", hasty(StrategyKind::Rolling)).await;
    let _scheduler = scheduler(&delivery).ready().await;
    base(&sample).await;
    // Woken up, it does not learn from the stores that its time is over: only the target can tell.
    let (redis, postgres) = (
        FaultProxy::before(&delivery.rig.stores.redis).await,
        FaultProxy::before(&delivery.rig.stores.database).await,
    );
    let mut frozen = worker(&delivery)
        .set("DEPLOYMIND_REDIS_URL", &redis.url(&delivery.rig.stores.redis))
        .set("DEPLOYMIND_DATABASE_URL", &postgres.url(&delivery.rig.stores.database))
        .set("DEPLOYMIND_REDIS_RESPONSE_TIMEOUT", "20s")
        .set("DEPLOYMIND_DATABASE_STATEMENT_TIMEOUT", "20s")
        .set("DEPLOYMIND_DATABASE_ACQUIRE_TIMEOUT", "20s")
        .set("FAULT_PAUSE_SKIP", BEFORE_ROUTE)
        .pause_at("rollout.saved", HELD)
        .ready()
        .await;
    let created = sample.push("v1", &[]).await;
    until(&delivery, &created, "the worker to be about to route", |now| {
        now.state["machine"]["moves"][0]["move"] == "route"
    })
    .await;
    frozen.process.sigstop();
    redis.set(Mode::Swallow).await;
    postgres.set(Mode::Swallow).await;
    assert!(standing(&sample).expect("the edge answers")["epoch"].as_u64() > Some(0));

    let _successor = worker(&delivery).ready().await;
    let ended = delivery.ended(&created, SOON).await;
    assert_eq!(ended.status(), "DEPLOYED", "{}", shown(&ended));
    let before = file(&sample);

    frozen.process.sigcont();
    wait_for("the late call to be refused", SOON, async || {
        let log = frozen.process.log();
        if log.contains("DM-4905") { Ok(()) } else { Err(log.lines().last().unwrap_or_default().to_owned()) }
    })
    .await;
    let log = frozen.process.log();
    println!(
        "the frozen worker: {}",
        log.lines().find(|line| line.contains("DM-4905")).expect("it was there")
    );
    assert_eq!(file(&sample), before);
    assert_settled("after the late call", &sample, "v1", created.deployment).await;

    // What refuses is the epoch, and nothing else: the same call by hand, with it and without.
    let epoch = standing(&sample).expect("the edge answers")["epoch"].as_u64().expect("an epoch");
    let refused = put(&sample, epoch - 1);
    assert_eq!(refused.status.code(), Some(10), "{refused:?}");
    assert_eq!(file(&sample), before);
    let accepted = put(&sample, epoch);
    assert!(accepted.status.success(), "{accepted:?}");
    assert!(file(&sample).contains("# by hand"), "{}", file(&sample));
    drop(frozen);
    delivery.finish().await;
}
