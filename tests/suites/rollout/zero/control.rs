//! The negative control: without the wait for the edge's old workers, slow requests are lost.

use deploymind_shared::domain::rollout::StrategyKind;
use deploymind_tests::delivery::Delivery;
use deploymind_tests::load::{Load, Report};
use deploymind_tests::rolling::{SLOW, Sample, by};

/// In the driver, right before it waits for the edge to let go.
const DRAIN: &str = "rollout.drain";

/// Ends at once when it is told to, as many programs do: all that is under way then is lost.
const HARSH: &[(&str, &str)] = &[("ON_TERM", "exit")];

/// Two deployments with slow requests under way.
async fn two(sample: &Sample<'_>, prefix: &str) -> Report {
    // Long requests only, so that nothing else can be lost.
    let load = Load::of(&sample.url()).posts(0.0).slow(8, SLOW).start().await;
    for number in 0..2 {
        sample.deploy_well(&format!("{prefix}{number}"), HARSH).await;
    }
    let report = load.finish().await;
    println!(
        "{prefix}: {} requests, {} slow; failed: {} ({} with status {:?}, {} reset, {} cut)",
        report.requests,
        report.slow_done,
        report.failures,
        report.non_2xx,
        report.statuses,
        report.resets,
        report.cut
    );
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_wait_for_the_edges_old_workers_requests_are_lost() {
    let delivery = Delivery::on_docker().await;
    let sample = Sample::new(&delivery, "shop", by(StrategyKind::Rolling)).await;
    let (mut worker, _scheduler) = delivery.nodes().await;
    sample.deploy_well("v0", HARSH).await;
    let with = two(&sample, "with-").await;
    with.assert_nothing_lost();
    assert!(with.slow_done >= 8, "{with:#?}");

    worker.process.sigterm();
    worker.process.wait_exit(deploymind_tests::rolling::SOON).await;
    let _worker = delivery.worker().set("FAULT_REFUSE_AT", DRAIN).ready().await;
    let without = two(&sample, "without-").await;
    assert!(without.failures > 0, "nothing was lost: the test above shows nothing: {without:#?}");
    delivery.finish().await;
}
