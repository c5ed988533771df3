//! Deployments in a row by each strategy, with users at work: what they lost.

use std::time::{Duration, Instant};

use deploymind_shared::domain::rollout::StrategyKind;
use deploymind_tests::figures::{figure, median, round};
use deploymind_tests::rolling::{BROKEN, Broken, Row, Sample, by, users};
use serde_json::{Value, json};

use crate::shop::Shop;

const STRATEGIES: [StrategyKind; 3] = [StrategyKind::Rolling, StrategyKind::Canary, StrategyKind::BlueGreen];

pub async fn measure(deployments: usize) {
    eprintln!("failed requests");
    let (mut failures, mut requests) = (0, 0);
    for (name, broken) in [("well", [].as_slice()), ("broken", BROKEN.as_slice())] {
        for strategy in STRATEGIES {
            let begun = Instant::now();
            let (lost, report) = row(strategy, deployments, broken).await;
            eprintln!("  {strategy} {name}: {lost} lost, {:.0} s", begun.elapsed().as_secs_f64());
            failures += lost;
            requests += report["requests"].as_u64().unwrap_or_default();
            let name = format!("failed_requests_{}_{name}", strategy.as_str().replace('-', "_"));
            figure(&name, lost as f64, "", None, &report);
        }
    }
    let more = json!({ "target": 0, "met": failures == 0, "requests": requests });
    figure("failed_requests", failures as f64, "", None, &more);
}

/// How many requests failed, or went to a version that was never to serve; and all that was counted.
async fn row(strategy: StrategyKind, deployments: usize, broken: &[Broken]) -> (u64, Value) {
    let shop = Shop::open().await;
    let sample = Sample::new(&shop.delivery, "shop", by(strategy)).await;
    sample.deploy_well("first", &[]).await;
    let load = users(&sample.url()).start().await;
    let row = Row { strategy, deployments, broken, prefix: "v" };
    let took = row.deploy(&sample).await;
    let report = load.finish().await;
    shop.close().await;
    assert!(report.slow_done > 0 && report.posts_done > 0 && report.ws_echoes > 0, "{report:#?}");
    let met: u64 = took.never.iter().map(|version| report.of(version)).sum();
    let middle = |all: &[Duration]| round(median(all.iter().map(Duration::as_secs_f64)));
    let more = json!({
        "target": 0,
        "deployments": deployments,
        "deployment_p50_s": middle(&took.well),
        "broken_deployment_p50_s": middle(&took.broken),
        "seconds": round(report.seconds),
        "requests": report.requests,
        "slow": report.slow_done,
        "posts": report.posts_done,
        "websocket_echoes": report.ws_echoes,
        "non_2xx": report.non_2xx,
        "resets": report.resets,
        "cut": report.cut,
        "timeouts": report.timeouts,
        "wrong_answers": report.wrong_answers,
        "refused": report.refused,
        "not_sent": report.not_sent,
        "websocket_lost": report.ws_lost,
        "of_broken_versions": met,
        "p50_us": report.p50_us,
        "p99_us": report.p99_us,
        "first_failures": report.first_failures,
    });
    (report.failures + met, more)
}
