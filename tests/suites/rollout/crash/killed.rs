//! `kill -9` after every recorded action of every strategy, and before it is recorded; another worker goes on.

use std::time::{Duration, Instant};

use deploymind_shared::db::deployments::Created;
use deploymind_shared::domain::rollout::{RolloutOutcome, StrategyKind};
use deploymind_shared::ids::ReleaseId;
use deploymind_tests::delivery::Delivery;

use super::bench::{
    assert_nobody_lost, assert_settled, base, deployed, died, hasty, rollout, scheduler, seconds, shown,
    users, worker,
};
use crate::common::{SOON, Sample};

/// Recorded and the next action not begun; done and not recorded.
const POINTS: [&str; 2] = ["rollout.saved", "rollout.saving"];

/// A point and how often it is passed before.
type At = (&'static str, usize);
const SAVED: &str = POINTS[0];
const SAVING: &str = POINTS[1];

/// Which points a run takes.
#[derive(Debug, Clone, Copy)]
enum Extent {
    /// Until one is not reached any more.
    Every,
    /// These, which all are reached.
    Some(&'static [At]),
}

/// What is rolled out again and again.
#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    strategy: StrategyKind,
    /// How the version behaves.
    env: &'static [(&'static str, &'static str)],
    good: bool,
}

const ROLLING: Case = Case { name: "rolling", strategy: StrategyKind::Rolling, env: &[], good: true };
const ROLLING_BAD: Case =
    Case { name: "rolling, never healthy", env: &[("HEALTH", "fail")], good: false, ..ROLLING };
const CANARY: Case = Case { name: "canary", strategy: StrategyKind::Canary, ..ROLLING };
const CANARY_SICK: Case =
    Case { name: "canary, never healthy", strategy: StrategyKind::Canary, ..ROLLING_BAD };
const CANARY_BAD: Case =
    Case { name: "canary, all errors", env: &[("ERROR_PERCENT", "100")], good: false, ..CANARY };
const BLUE_GREEN: Case = Case { name: "blue-green", strategy: StrategyKind::BlueGreen, ..ROLLING };
const BLUE_GREEN_BAD: Case = Case {
    name: "blue-green, ill after a while",
    env: &[("HEALTH", "fail-after 1500")],
    good: false,
    ..BLUE_GREEN
};

/// Kills at one point after another until one is not reached any more. Answers how many were.
async fn run(case: Case, extent: Extent) {
    let delivery = Delivery::on_docker().await;
    let sample = Sample::new(&delivery, "shop", hasty(case.strategy)).await;
    let _scheduler = scheduler(&delivery).ready().await;
    base(&sample).await;
    let load = users(&sample).await;
    let (mut serving, mut kills) = ("v0".to_owned(), 0);
    for (round, (point, nth)) in points(extent).enumerate() {
        let version = format!("v{}", round + 1);
        let what = format!("{}: {point} {nth}", case.name);
        let Some((took, outcome)) = killed(&sample, &case, (point, nth), &version, &mut serving).await else {
            break;
        };
        kills += 1;
        println!("killed, until another worker has ended it: {what:<50} {outcome:<10} {}", seconds(took));
    }
    sum_up(case.name, extent, kills);
    if case.name == CANARY_BAD.name {
        // Its own answers are errors; nothing else may be lost.
        let report = load.finish().await;
        assert_eq!(
            report.resets + report.cut + report.timeouts + report.refused,
            0,
            "{}: {report:#?}",
            case.name
        );
    } else {
        assert_nobody_lost(load).await;
    }
    delivery.finish().await;
}

fn points(extent: Extent) -> Box<dyn Iterator<Item = At> + Send> {
    match extent {
        Extent::Every => Box::new((0..).flat_map(|nth| POINTS.map(|point| (point, nth)))),
        Extent::Some(points) => Box::new(points.iter().copied()),
    }
}

/// What a run came to.
fn sum_up(name: &str, extent: Extent, kills: usize) {
    println!("{name}: {kills} kills");
    let least = match extent {
        Extent::Every => 6,
        Extent::Some(points) => points.len(),
    };
    assert!(kills >= least, "{name}: it died {kills} times only");
}

/// One deployment whose worker dies there. `None`: it was over before.
async fn killed(
    sample: &Sample<'_>,
    case: &Case,
    (point, nth): (&str, usize),
    version: &str,
    serving: &mut String,
) -> Option<(Duration, String)> {
    let delivery = sample.delivery;
    let what = format!("{}: {point} {nth}", case.name);
    sqlx::query("UPDATE apps SET automatic_rollbacks = 0").execute(&delivery.rig.pool).await.expect("forget");
    let mut first = worker(delivery).kill_at(point, nth).ready().await;
    let created = sample.push(version, case.env).await;
    if !died(delivery, &mut first, &created).await {
        return None;
    }
    assert!(first.process.stderr().contains(&format!("killed at {point}\n")), "{what}: it died elsewhere");
    let died = Instant::now();
    let _second = worker(delivery).ready().await;
    let ended = delivery.ended(&created, SOON).await;
    let took = died.elapsed();
    let outcome = outcome(sample, &created).await;
    let right = match (case.good, outcome) {
        (true, RolloutOutcome::Done) => "DEPLOYED",
        (false, RolloutOutcome::Withdrawn) => "FAILED",
        (false, RolloutOutcome::Reverted) => "ROLLED_BACK",
        _ => "another outcome",
    };
    assert_eq!(ended.status(), right, "{what}: {outcome} {}", shown(&ended));
    if case.good {
        version.clone_into(serving);
    }
    assert_settled(&what, sample, serving, created.deployment).await;
    Some((took, outcome.to_string()))
}

async fn outcome(sample: &Sample<'_>, created: &Created) -> RolloutOutcome {
    let rollout = rollout(sample.delivery, created.deployment).await.expect("it began a roll-out");
    rollout.outcome.expect("it ended its roll-out")
}

/// A way back between two releases that are both still there.
async fn run_back(extent: Extent) {
    let delivery = Delivery::on_docker().await;
    let sample = Sample::new(&delivery, "shop", hasty(StrategyKind::Canary)).await;
    let _scheduler = scheduler(&delivery).ready().await;
    let first = base(&sample).await;
    let second = {
        let _worker = worker(&delivery).ready().await;
        let load = users(&sample).await;
        let second = deployed(&sample, "v1").await;
        assert_nobody_lost(load).await;
        second
    };
    let load = users(&sample).await;
    let mut ways: [(ReleaseId, &str); 2] = [(first, "v0"), (second, "v1")];
    let mut kills = 0;
    for (point, nth) in points(extent) {
        let what = format!("rollback: {point} {nth}");
        let (release, version) = ways[0];
        let mut node = worker(&delivery).kill_at(point, nth).ready().await;
        let created = delivery.rig.fleet.rollback(sample.app, Some(release), None).await.expect("rollback");
        if !died(&delivery, &mut node, &created).await {
            break;
        }
        let died = Instant::now();
        let _second = worker(&delivery).ready().await;
        let ended = delivery.ended(&created, SOON).await;
        kills += 1;
        println!("killed, until another worker has ended it: {what:<61} {}", seconds(died.elapsed()));
        assert_eq!(ended.status(), "DEPLOYED", "{what}: {}", shown(&ended));
        assert_settled(&what, &sample, version, created.deployment).await;
        ways.swap(0, 1);
    }
    sum_up("rollback", extent, kills);
    assert_nobody_lost(load).await;
    delivery.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_rolls() {
    run(ROLLING, Extent::Some(&[(SAVING, 3), (SAVED, 5)])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_canary_is_watched() {
    run(CANARY, Extent::Some(&[(SAVED, 4), (SAVING, 7)])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_canary_goes_back() {
    run(CANARY_BAD, Extent::Some(&[(SAVED, 4), (SAVING, 6)])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_blue_turns_green() {
    run(BLUE_GREEN, Extent::Some(&[(SAVED, 3), (SAVING, 5)])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_green_turns_blue_again() {
    run(BLUE_GREEN_BAD, Extent::Some(&[(SAVING, 3), (SAVED, 5)])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_on_the_way_back_that_a_person_asked_for() {
    run_back(Extent::Some(&[(SAVED, 2), (SAVING, 4)])).await;
}

/// Every point, a quarter of an hour: the tests above take some of each.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a quarter of an hour"]
async fn killed_at_every_point_of_every_strategy() {
    tokio::join!(
        run(ROLLING, Extent::Every),
        run(ROLLING_BAD, Extent::Every),
        run(CANARY, Extent::Every),
        run(CANARY_SICK, Extent::Every),
        run(CANARY_BAD, Extent::Every),
        run(BLUE_GREEN, Extent::Every),
        run(BLUE_GREEN_BAD, Extent::Every),
        run_back(Extent::Every),
    );
}
