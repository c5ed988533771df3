//! Whose fault it is: what both releases suffer alike, and what only the new one does.

use std::net::Ipv4Addr;

use deploymind_shared::domain::rollout::{OnInsufficient, RolloutCommand};
use deploymind_tests::delivery::{Delivery, docker};
use deploymind_tests::free_port;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::follow::{
    ask, assert_deployed, assert_ended, between, canary, count, inspected, rollout, running, said, users,
    verdict,
};
use crate::common::{SOON, Sample, quick};

const STAGE: &str = "stage 1 of 2";

/// Something that apps need; gone when dropped.
struct Dependency {
    _task: JoinSet<()>,
}

impl Dependency {
    async fn start(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await.expect("a port of ours");
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                drop(listener.accept().await);
            }
        });
        Self { _task: task }
    }

    async fn end(mut self) {
        self._task.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_both_suffer_is_not_blamed_on_the_canary() {
    let delivery = Delivery::on_docker().await;
    let mut settings = canary(&[50, 100], 3, 100);
    settings.rollout.canary.hold_s = 1;
    let sample = Sample::new(&delivery, "shared", quick()).await;
    settings.run.routes.port = Some(sample.port);
    let _nodes = delivery.nodes().await;
    assert_deployed(&sample.deploy("v0", &[]).await);
    // What slots reach of this machine is where their network ends.
    let gateway =
        inspected(&running(sample.app).id, "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}");
    let port = free_port();
    let needed = format!("http://{gateway}:{port}/");
    let env: &[(&str, &str)] = &[("DEPENDENCY", &needed)];
    let dependency = Dependency::start(port).await;
    assert_deployed(&sample.deploy("v1", env).await);

    // It stands, and what it stands for is said.
    delivery.settings(sample.app, &settings).await;
    let load = users(&sample.url()).posts(0.0).start().await;
    let created = sample.push("v2", env).await;
    said(&delivery, &created, STAGE).await;
    dependency.end().await;
    said(&delivery, &created, "held: ").await;
    let log = delivery.log(created.deployment).await;
    assert_eq!(count(&log, "so the fault may be elsewhere"), 2, "the verdict and the hold: {log:#?}");
    assert_eq!(count(&log, "100 % of the requests"), 0, "{log:#?}");
    let (of, serves) = (rollout(&delivery, &created).await, running_releases(&sample));
    assert_eq!((of.outcome, serves), (None, 2));
    println!("a dependency of both is down: held {:?} after the stage began", between(&log, STAGE, "held: "));

    // Once it is there again the canary is judged by what it answers from then on.
    let dependency = Dependency::start(port).await;
    assert!(ask(&delivery, &created, RolloutCommand::Resume).await);
    let ended = delivery.ended(&created, SOON).await;
    assert_deployed(&ended);
    println!("resumed: promoted {:?} later", between(&ended.log, "goes on", "100 % of"));

    // By the other policy it goes back, and not for errors of its own.
    settings.rollout.canary.on_insufficient = OnInsufficient::Rollback;
    delivery.settings(sample.app, &settings).await;
    let created = sample.push("v3", env).await;
    said(&delivery, &created, STAGE).await;
    dependency.end().await;
    let ended = delivery.ended(&created, SOON).await;
    assert_ended(&ended, "ROLLED_BACK", "DM-4808");
    println!(
        "by the policy: back {:?} after the stage began; {}",
        between(&ended.log, STAGE, "going back"),
        verdict(&ended)
    );
    load.finish().await;
    delivery.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_answers_and_a_plain_failure_are_the_canary_s_own() {
    let delivery = Delivery::on_docker().await;
    let mut settings = canary(&[50, 100], 2, 50);
    settings.rollout.canary.max_p95_ms = Some(100);
    let sample = Sample::new(&delivery, "slow", settings.clone()).await;
    settings.run.routes.port = Some(sample.port);
    let _nodes = delivery.nodes().await;
    assert_deployed(&sample.deploy("v1", &[]).await);
    let load = users(&sample.url()).start().await;
    let ended = sample.deploy("v2", &[("DELAY_MS", "250")]).await;
    assert_ended(&ended, "ROLLED_BACK", "DM-4807");
    println!("250 ms where 100 are allowed: {}", verdict(&ended));
    let ended = sample.deploy("v3", &[("DELAY_MS", "10")]).await;
    assert_deployed(&ended);
    println!("10 ms where 100 are allowed: {}", verdict(&ended));
    load.finish().await.assert_nothing_lost();

    settings.rollout.canary.window_s = 60;
    delivery.settings(sample.app, &settings).await;
    let load = users(&sample.url()).start().await;
    let ended = sample.deploy("v4", &[("ERROR_PERCENT", "100")]).await;
    assert_ended(&ended, "ROLLED_BACK", "DM-4807");
    let took = between(&ended.log, STAGE, "going back");
    let seen = load.finish().await;
    println!(
        "100 % errors in a window of 60 s: back {took:?} after the stage began, {} errors; {}",
        seen.non_2xx,
        verdict(&ended)
    );
    assert!(took.as_secs() < 20, "{took:?}");
    assert_eq!(seen.failures, seen.non_2xx, "{seen:#?}");
    sample.assert_answers("v3").await;
    delivery.finish().await;
}

/// How many of its releases run.
fn running_releases(sample: &Sample<'_>) -> usize {
    let filter = format!("label=deploymind.app={}", sample.app);
    docker(&["ps", "--quiet", "--filter", &filter]).lines().count()
}
