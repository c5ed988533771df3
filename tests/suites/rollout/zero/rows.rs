//! Deployments in a row under load, by each strategy; the benchmark does the same for longer.

use std::time::Duration;

use deploymind_shared::domain::rollout::StrategyKind;
use deploymind_tests::delivery::{Delivery, docker};
use deploymind_tests::http;
use deploymind_tests::load::{Load, Report};
use deploymind_tests::rolling::{BROKEN, Row, SLOW, Took, by, users};

use crate::common::{SOON, Sample};

fn told(what: &str, took: &Took, report: &Report) {
    let longest = took.well.iter().chain(&took.broken).max();
    println!(
        "{what}: {} good and {} broken deployments, the longest {:.1} s; {} requests ({} slow, {} posts, {} echoes) in {:.0} s, \
         {} failed, {} WebSockets opened anew, {} sent over another connection, p99 {} us",
        took.well.len(),
        took.broken.len(),
        longest.map_or(0.0, Duration::as_secs_f64),
        report.requests,
        report.slow_done,
        report.posts_done,
        report.ws_echoes,
        report.seconds,
        report.failures,
        report.ws_reopened,
        report.closed_before_sent,
        report.p99_us,
    );
}

async fn in_a_row(strategy: StrategyKind) {
    let delivery = Delivery::on_docker().await;
    let sample = Sample::new(&delivery, "shop", by(strategy)).await;
    let (_worker, _scheduler) = delivery.nodes().await;
    sample.deploy_well("v0", &[]).await;
    let good = Row { strategy, deployments: 3, broken: &[], prefix: "good-" };
    let (took, report) = good.prove(&sample).await;
    told(&format!("{strategy}, all of them good"), &took, &report);
    for number in 0..3 {
        assert!(report.of(&format!("good-{number}")) > 0, "users met each of them: {report:#?}");
    }
    let mixed = Row { strategy, deployments: 2 * BROKEN.len(), broken: &BROKEN, prefix: "mixed-" };
    let (took, report) = mixed.prove(&sample).await;
    told(&format!("{strategy}, every second one broken"), &took, &report);
    assert_eq!((took.broken.len(), took.well.len()), (BROKEN.len(), BROKEN.len()));
    delivery.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_loses_nothing() {
    in_a_row(StrategyKind::Rolling).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_loses_nothing() {
    in_a_row(StrategyKind::Canary).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blue_green_loses_nothing() {
    in_a_row(StrategyKind::BlueGreen).await;
}

/// The app's own count of what users asked it, read where it runs and not through the edge.
async fn hits(delivery: &Delivery, slot: &str) -> Option<u64> {
    // It may be gone between two looks.
    let names = docker(&["ps", "--format", "{{.Names}} {{.Label \"deploymind.address\"}}"]);
    let address = names.lines().find_map(|line| line.strip_prefix(slot)?.strip_prefix(' '))?;
    assert!(slot.starts_with(&delivery.rig.name));
    http::get(&format!("http://{address}:8080/hits")).await.ok()?.body.parse().ok()
}

fn slot_of(delivery: &Delivery, deployment: &str) -> Option<String> {
    let label = format!("label=deploymind.deployment={deployment}");
    let fleet = format!("label=deploymind.fleet={}", delivery.rig.name);
    let names = docker(&["ps", "--all", "--filter", &label, "--filter", &fleet, "--format", "{{.Names}}"]);
    names.lines().next().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_never_becomes_healthy_gets_no_request() {
    let delivery = Delivery::on_docker().await;
    let sample = Sample::new(&delivery, "shop", by(StrategyKind::Rolling)).await;
    let (_worker, _scheduler) = delivery.nodes().await;
    let first = sample.deploy_well("v1", &[]).await;
    let load = users(&sample.url()).start().await;
    // The count counts: the version that serves has one.
    let serving = slot_of(&delivery, &first.deployment.id.to_string()).expect("a slot");
    assert!(hits(&delivery, &serving).await.expect("a count") > 0);

    let bad = sample.push("bad", &[("HEALTH", "fail")]).await;
    let mut counts = Vec::new();
    let end = tokio::time::Instant::now() + SOON;
    while !delivery.get(bad.deployment).await.status.is_terminal() {
        assert!(tokio::time::Instant::now() < end, "it has not ended: {counts:?}");
        if let Some(slot) = slot_of(&delivery, &bad.deployment.to_string()) {
            counts.extend(hits(&delivery, &slot).await);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let ended = delivery.ended(&bad, SOON).await;
    assert_eq!((ended.status(), ended.code()), ("FAILED", "DM-4804"), "{}", ended.text());
    let report = load.finish().await;
    report.assert_nothing_lost();
    println!("asked {} times while it was checked, it had {:?} requests", counts.len(), counts.iter().max());
    assert!(counts.len() >= 10 && counts.iter().all(|count| *count == 0), "{counts:?}");
    assert_eq!((report.of("bad"), report.of("v1")), (0, report.requests), "{report:#?}");
    delivery.finish().await;
}

/// Without a time to settle it gets traffic, and dies under it; the old slot is kept beside it and takes what it cannot
/// answer. A request that may be asked twice is not lost by it; a POST that was under way at that moment may be, and a
/// WebSocket is cut, so there are none here.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_dies_under_traffic_is_stood_in_for_by_the_old_slot() {
    let delivery = Delivery::on_docker().await;
    let mut settings = by(StrategyKind::BlueGreen);
    settings.rollout.observe_s = 10;
    let sample = Sample::new(&delivery, "shop", settings).await;
    let (_worker, _scheduler) = delivery.nodes().await;
    sample.deploy_well("v1", &[]).await;
    let timeout = Duration::from_secs(15);
    let load = Load::of(&sample.url()).posts(0.0).slow(4, SLOW).timeout(timeout).start().await;
    let bad = sample.deploy("dies", &[("DIES_AFTER_MS", "3000")]).await;
    assert_eq!((bad.status(), bad.code()), ("ROLLED_BACK", "DM-4806"), "{}", bad.text());
    let report = load.finish().await;
    println!(
        "{} requests, {} of them answered by the one that died; {} failed; {}",
        report.requests,
        report.of("dies"),
        report.failures,
        bad.deployment.reason.as_deref().unwrap_or_default()
    );
    report.assert_nothing_lost();
    assert!(report.of("dies") > 0, "it had no traffic: {report:#?}");
    sample.assert_answers("v1").await;
    delivery.finish().await;
}
