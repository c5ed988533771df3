//! `kill -9` after every recorded action of every strategy, and before it is recorded; another worker goes on.

use std::time::{Duration, Instant};

use deploymind_shared::db::deployments::Created;
use deploymind_shared::domain::rollout::{RolloutOutcome, StrategyKind};
use deploymind_shared::ids::ReleaseId;
use deploymind_tests::delivery::Delivery;
use deploymind_tests::load::Load;

use super::bench::{assert_settled, base, deployed, died, hasty, patient, rollout, seconds, shown};
use crate::common::{SOON, Sample};

/// Recorded and the next action not begun; done and not recorded.
const POINTS: [&str; 2] = ["rollout.saved", "rollout.saving"];

/// How much of all points a run takes.
#[derive(Debug, Clone, Copy)]
enum Extent {
    Every,
    /// Each so many-th, from this one on; the two points take turns.
    Some {
        first: usize,
        step: usize,
    },
}

/// What is rolled out again and again.
#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    strategy: StrategyKind,
    /// How the version behaves.
    env: &'static [(&'static str, &'static str)],
    good: bool,
    /// Users all the while.
    load: bool,
}

const ROLLING: Case =
    Case { name: "rolling", strategy: StrategyKind::Rolling, env: &[], good: true, load: true };
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
    let _scheduler = delivery.rig.scheduler().ready().await;
    base(&sample).await;
    let load = match case.load {
        true => Some(Load::of(&sample.url()).rate(30.0).connections(4).posts(0.0).start().await),
        false => None,
    };
    let (mut serving, mut rows) = ("v0".to_owned(), Vec::new());
    for (round, (point, nth)) in points(extent).enumerate() {
        let version = format!("v{}", round + 1);
        let what = format!("{}: {point} {nth}", case.name);
        let Some((took, outcome)) = killed(&sample, &case, (point, nth), &version, &mut serving).await else {
            break;
        };
        rows.push(format!("  {what:<60} {outcome:<10} {}", seconds(took)));
    }
    println!("{}: {} kills, until another worker has ended it\n{}", case.name, rows.len(), rows.join("\n"));
    assert!(rows.len() >= 3, "{}: it died {} times only", case.name, rows.len());
    if let Some(load) = load {
        let report = load.finish().await;
        println!("{}: {} requests, {} failed", case.name, report.requests, report.failures);
        // Its own answers are errors where it is made to; nothing else may be lost.
        let lost =
            if case.name == CANARY_BAD.name { report.failures - report.non_2xx } else { report.failures };
        assert!(lost == 0 && report.requests > 0, "{}: {report:#?}", case.name);
    }
    delivery.finish().await;
}

fn points(extent: Extent) -> Box<dyn Iterator<Item = (&'static str, usize)> + Send> {
    match extent {
        Extent::Every => Box::new((0..).flat_map(|nth| POINTS.map(|point| (point, nth)))),
        Extent::Some { first, step } => {
            Box::new((first..).step_by(step).enumerate().map(|(i, nth)| (POINTS[i % 2], nth)))
        }
    }
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
    let mut first = patient(delivery.worker()).kill_at(point, nth).ready().await;
    let created = sample.push(version, case.env).await;
    if !died(delivery, &mut first, &created).await {
        return None;
    }
    assert!(first.process.stderr().contains(&format!("killed at {point}\n")), "{what}: it died elsewhere");
    let died = Instant::now();
    let _second = patient(delivery.worker()).ready().await;
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
    let _scheduler = delivery.rig.scheduler().ready().await;
    let first = base(&sample).await;
    let second = {
        let _worker = delivery.worker().ready().await;
        let load = Load::of(&sample.url()).rate(30.0).connections(4).start().await;
        let second = deployed(&sample, "v1").await;
        load.finish().await.assert_nothing_lost();
        second
    };
    let load = Load::of(&sample.url()).rate(30.0).connections(4).start().await;
    let mut ways: [(ReleaseId, &str); 2] = [(first, "v0"), (second, "v1")];
    let mut rows = Vec::new();
    for (point, nth) in points(extent) {
        let what = format!("rollback: {point} {nth}");
        let (release, version) = ways[0];
        let mut node = patient(delivery.worker()).kill_at(point, nth).ready().await;
        let created = delivery.rig.fleet.rollback(sample.app, Some(release), None).await.expect("rollback");
        if !died(&delivery, &mut node, &created).await {
            break;
        }
        let died = Instant::now();
        let _second = patient(delivery.worker()).ready().await;
        let ended = delivery.ended(&created, SOON).await;
        rows.push(format!("  {what:<60} {}", seconds(died.elapsed())));
        assert_eq!(ended.status(), "DEPLOYED", "{what}: {}", shown(&ended));
        assert_settled(&what, &sample, version, created.deployment).await;
        ways.swap(0, 1);
    }
    println!("rollback: {} kills, until another worker has ended it\n{}", rows.len(), rows.join("\n"));
    assert!(rows.len() >= 3, "rollback: it died {} times only", rows.len());
    load.finish().await.assert_nothing_lost();
    delivery.finish().await;
}

const SPREAD: Extent = Extent::Some { first: 1, step: 3 };

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_rolls() {
    run(ROLLING, SPREAD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_canary_is_watched() {
    run(CANARY, SPREAD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_canary_goes_back() {
    run(CANARY_BAD, SPREAD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_blue_turns_green() {
    run(BLUE_GREEN, SPREAD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_green_turns_blue_again() {
    run(BLUE_GREEN_BAD, SPREAD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_on_the_way_back_that_a_person_asked_for() {
    run_back(SPREAD).await;
}

/// Every point, a quarter of an hour: the tests above take some of each.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a quarter of an hour"]
async fn killed_at_every_point_of_every_strategy() {
    for pair in [[ROLLING, ROLLING_BAD], [CANARY, CANARY_BAD], [BLUE_GREEN, BLUE_GREEN_BAD]] {
        let [first, second] = pair;
        tokio::join!(run(first, Extent::Every), run(second, Extent::Every));
    }
    tokio::join!(run(CANARY_SICK, Extent::Every), run_back(Extent::Every));
}
