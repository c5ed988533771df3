//! A user cancels the deployment, in each phase of its roll-out.

use std::time::{Duration, Instant};

use deploymind_shared::domain::app::AppSettings;
use deploymind_shared::domain::rollout::{RolloutOutcome, StrategyKind};
use deploymind_shared::ids::DeploymentId;
use deploymind_tests::delivery::Delivery;
use deploymind_tests::load::Load;
use deploymind_tests::wait_for;

use super::bench::{
    LEFT, assert_nobody_lost, base, comes_to, differs, hasty, rollout, scheduler, shown, users, worker,
};
use crate::common::{SOON, Sample};

/// What the user is promised.
const PROMISE: Duration = Duration::from_secs(10);
/// Longer than the whole test.
const LONG_S: u32 = 600;

struct Phase {
    name: &'static str,
    /// The move that the roll-out is at.
    step: &'static str,
    env: &'static [(&'static str, &'static str)],
    settings: AppSettings,
    moved: bool,
}

fn phases() -> [Phase; 5] {
    let rolling = hasty(StrategyKind::Rolling);
    let (mut slow, mut watching, mut canary) =
        (rolling.clone(), rolling.clone(), hasty(StrategyKind::Canary));
    slow.run.health.start_period_s = LONG_S;
    watching.rollout.verify_s = LONG_S;
    canary.rollout.canary.window_s = LONG_S;
    let mut draining = rolling.clone();
    draining.rollout.drain_s = LONG_S;
    let slow_start: &[_] = &[("START_MS", "300000")];
    let phase = |name, step, env, settings, moved| Phase { name, step, env, settings, moved };
    [
        phase("launching", "launch", slow_start, slow.clone(), false),
        phase("checking", "await_healthy", slow_start, slow, false),
        phase("observing", "observe", &[], canary, true),
        phase("watching", "watch", &[], watching, true),
        phase("draining", "drain", &[], draining, true),
    ]
}

/// A job that was cancelled has little time: a container that does not end in it is stopped, and left to the next collection.
async fn brought_back(sample: &Sample<'_>, deployment: DeploymentId) {
    wait_for("users to be brought back", SOON, async || match differs(sample, "v0", deployment).await {
        Err(left) if left.starts_with(LEFT) && left.contains("running: false") => Ok(()),
        seen => seen,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_in_any_phase_leaves_users_on_the_old_version() {
    let delivery = Delivery::on_docker().await;
    let sample = Sample::new(&delivery, "shop", hasty(StrategyKind::Rolling)).await;
    let _scheduler = scheduler(&delivery).ready().await;
    base(&sample).await;
    let _worker = worker(&delivery).ready().await;
    let load = users(&sample).await;
    for (round, mut phase) in phases().into_iter().enumerate() {
        phase.settings.run.routes.port = Some(sample.port);
        delivery.settings(sample.app, &phase.settings).await;
        // Something for the old version to finish.
        let slow = match phase.step {
            "drain" => {
                let slow = Load::of(&sample.url()).rate(1.0).connections(1);
                Some(slow.slow(1, Duration::from_secs(30)).lasts(Duration::from_secs(15)).start().await)
            }
            _ => None,
        };
        let created = sample.push(&format!("v{}", round + 1), phase.env).await;
        comes_to(&delivery, &created, phase.step).await;
        let began = Instant::now();
        delivery.rig.fleet.cancel(created.job).await.expect("cancel");
        let ended = delivery.ended(&created, SOON).await;
        let took = began.elapsed();
        let at_once = differs(&sample, "v0", created.deployment).await;
        brought_back(&sample, created.deployment).await;
        println!(
            "cancelled while {}: {} after {:.1} s{}",
            phase.name,
            ended.status(),
            took.as_secs_f64(),
            at_once.err().map_or_else(String::new, |left| format!("; for a while after that: {left}")),
        );
        assert!(took < PROMISE, "{}: {took:?} {}", phase.name, shown(&ended));
        let outcome = rollout(&delivery, created.deployment).await.expect("a roll-out").outcome;
        let expected = if phase.moved {
            ("ROLLED_BACK", Some(RolloutOutcome::Reverted))
        } else {
            ("CANCELLED", Some(RolloutOutcome::Withdrawn))
        };
        assert_eq!((ended.status(), outcome), expected, "{}: {}", phase.name, shown(&ended));
        if let Some(slow) = slow {
            slow.over().await.assert_nothing_lost();
        }
    }
    assert_nobody_lost(load).await;
    delivery.finish().await;
}
