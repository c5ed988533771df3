//! A failure at every point of every step takes back what was made, also when the worker dies while it does so.

use std::time::{Duration, Instant};

use deploymind_shared::db::steps::StepState;
use deploymind_shared::error::Code;
use deploymind_tests::registry::Registry;
use deploymind_worker::pipeline::STEPS;

use super::bench::{Bench, POINTS, point, steps, table};
use crate::common::SOON;

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_at_any_point_of_any_step_unwinds_clean() {
    let registry = Registry::start().await;
    let cases = steps().flat_map(|step| POINTS.map(|at| (step, at)));
    table("refused, until nothing is left", cases, async |(step, at)| {
        let took = refused(&registry, step, at).await;
        (point(step, at), took)
    })
    .await;
}

async fn refused(registry: &Registry, step: &str, at: &str) -> Duration {
    let bench = Bench::small(registry).await;
    let delivery = &bench.delivery;
    let at_point = point(step, at);
    let _worker = bench.unswept().set("FAULT_REFUSE_AT", &at_point).ready().await;
    let began = Instant::now();
    let created = delivery.deploy(bench.app).await;
    let ended = delivery.ended(&created, SOON).await;
    let took = began.elapsed();
    assert_eq!(
        (ended.status(), ended.code()),
        ("FAILED", Code::JobFailed.as_str()),
        "{at_point}: {}",
        ended.text()
    );
    // The deployment's own worker has done it by now: no sweep comes within the hour.
    assert!(delivery.folders().is_empty(), "{at_point}: {:?}", delivery.folders());
    let released = ended.deployment.release.is_some();
    assert_eq!(released, step == "release" && at != "started", "{at_point}");
    assert_eq!(bench.images(&created).len(), usize::from(released), "{at_point}");
    let journal = bench.journal(&created).await;
    assert_eq!(journal["checkout"].state, StepState::Undone, "{at_point}");
    if let Some(build) = journal.get("build") {
        let state = if released { StepState::Done } else { StepState::Undone };
        assert_eq!(build.state, state, "{at_point}");
    }
    if !["checkout", "build"].contains(&step) {
        let state = if at == "done" { StepState::Done } else { StepState::Failed };
        assert_eq!(journal[step].state, state, "{at_point}");
    }
    bench.finish().await;
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unwinding_that_dies_half_way_is_ended_by_the_sweep_of_another_worker() {
    let registry = Registry::start().await;
    table("killed while unwinding, until swept", STEPS.iter().copied(), async |step| {
        let bench = Bench::small(&registry).await;
        let undoing = point(step, "undoing");
        let node = bench.unswept().set("FAULT_REFUSE_AT", "pipeline.release.started");
        let created = bench.dies_at(node, &undoing).await;
        // The first step is the last to be undone, and has made nothing.
        assert_eq!(bench.delivery.folders().is_empty(), step == "validate", "{undoing}: it died too late");
        // So that nobody runs it again.
        bench.delivery.rig.fleet.cancel(created.job).await.expect("cancel");
        let ended = bench.delivery.ended(&created, SOON).await;
        assert_eq!(ended.status(), "CANCELLED");
        let began = Instant::now();
        let _second = bench.worker().ready().await;
        bench.delivery.assert_clean(SOON).await;
        assert!(bench.images(&created).is_empty(), "{undoing}");
        let took = began.elapsed();
        bench.finish().await;
        (undoing, took)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_whose_unwinding_died_goes_on_when_the_failure_was_the_workers_own() {
    let registry = Registry::start().await;
    let bench = Bench::small(&registry).await;
    let node = bench.worker().set("FAULT_REFUSE_AT", "pipeline.release.started");
    let created = bench.dies_at(node, "pipeline.checkout.undoing").await;
    assert!(bench.images(&created).is_empty(), "the build is undone before the checkout");
    let _second = bench.worker().ready().await;
    bench.released(&created).await;
    bench.delivery.assert_clean(SOON).await;
    bench.assert_one_image(&created).await;
    bench.finish().await;
}
