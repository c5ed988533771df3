//! `kill -9` of the worker alone in the middle of real work: what it had started must not outlive the deployment.

use std::time::{Duration, Instant};

use deploymind_tests::git::Fault;
use deploymind_tests::registry::Registry;
use serde_json::json;

use super::bench::{Bench, SleepyScanner, asleep, assert_awake, kill_alone, nap, working_in};
use crate::common::SOON;

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_git_server_hangs() {
    let registry = Registry::start().await;
    for fault in [Fault::Hang, Fault::HangPack] {
        let bench = Bench::small(&registry).await;
        bench.delivery.git.fault(Some(fault.clone()));
        let mut first = bench.worker().ready().await;
        let created = bench.delivery.deploy(bench.app).await;
        deploymind_tests::wait_for("git to be at work", SOON, async || {
            // Of a pack that never begins, the references are asked for before.
            let least = if fault == Fault::Hang { 1 } else { 3 };
            if bench.delivery.git.seen().len() >= least && !working_in(bench.delivery.work.path()).is_empty()
            {
                Ok(())
            } else {
                Err("not yet".to_owned())
            }
        })
        .await;
        kill_alone(&mut first).await;
        assert!(!working_in(bench.delivery.work.path()).is_empty(), "git died with its worker");
        bench.delivery.git.fault(None);
        let began = Instant::now();
        let _second = bench.worker().ready().await;
        bench.released(&created).await;
        println!("killed while git hung ({fault:?}): ended after {:.1} s", began.elapsed().as_secs_f64());
        assert_eq!(working_in(bench.delivery.work.path()), Vec::<String>::new());
        bench.delivery.assert_clean(SOON).await;
        bench.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_step_of_the_build_runs() {
    for builder in ["classic", "buildkit"] {
        let nap = nap();
        let bench = Bench::sleeping(nap).await;
        let node = || {
            let node = bench.worker().set("DEPLOYMIND_BUILDER", builder);
            node.set("DEPLOYMIND_BUILD_REQUIRE_CAPS", "false")
        };
        let mut first = node().ready().await;
        let created = bench.delivery.deploy(bench.app).await;
        asleep(nap).await;
        kill_alone(&mut first).await;
        let began = Instant::now();
        assert_awake(nap, Duration::from_secs(20)).await;
        println!(
            "killed in a RUN ({builder}): its process was gone after {:.1} s",
            began.elapsed().as_secs_f64()
        );
        assert_eq!(bench.delivery.containers(&nap.to_string()), Vec::<String>::new());
        bench.nap(0).await;
        let asked = bench.delivery.git.seen().len();
        let _second = node().ready().await;
        bench.released(&created).await;
        println!("killed in a RUN ({builder}): ended after {:.1} s", began.elapsed().as_secs_f64());
        assert_eq!(bench.delivery.git.seen().len(), asked, "the checkout was still good");
        bench.delivery.assert_clean(SOON).await;
        bench.assert_one_image(&created).await;
        bench.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_scan_runs() {
    let registry = Registry::start().await;
    for (kind, step) in [("fs", "scan_source"), ("image", "scan_image")] {
        let bench = Bench::small(&registry).await;
        bench.delivery.policy(&json!({ "mode": "required" })).await;
        let scanner = SleepyScanner::new(kind);
        let mut first = scanner.worker(bench.worker()).ready().await;
        let created = bench.delivery.deploy(bench.app).await;
        asleep(scanner.nap).await;
        kill_alone(&mut first).await;
        asleep(scanner.nap).await;
        scanner.let_go();
        let began = Instant::now();
        let _second = scanner.worker(bench.worker()).ready().await;
        bench.released(&created).await;
        println!("killed in {step}: ended after {:.1} s", began.elapsed().as_secs_f64());
        assert_awake(scanner.nap, Duration::ZERO).await;
        assert_eq!(working_in(bench.delivery.work.path()), Vec::<String>::new());
        bench.delivery.assert_clean(SOON).await;
        bench.assert_one_image(&created).await;
        bench.finish().await;
    }
}

/// What a dead worker's scanner does when nobody takes its deployment over.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_worker_left_running_ends_with_a_deployment_that_nobody_goes_on_with() {
    let registry = Registry::start().await;
    let bench = Bench::small(&registry).await;
    bench.delivery.policy(&json!({ "mode": "required" })).await;
    let scanner = SleepyScanner::new("fs");
    let mut first = scanner.worker(bench.worker()).ready().await;
    let created = bench.delivery.deploy(bench.app).await;
    asleep(scanner.nap).await;
    kill_alone(&mut first).await;
    bench.delivery.rig.fleet.cancel(created.job).await.expect("cancel");
    assert_eq!(bench.delivery.ended(&created, SOON).await.status(), "CANCELLED");
    asleep(scanner.nap).await;
    let _second = bench.worker().ready().await;
    bench.delivery.assert_clean(SOON).await;
    assert_awake(scanner.nap, Duration::ZERO).await;
    bench.finish().await;
}

/// Killed before the journal knew of the image, and the second build makes another one.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_images_of_one_deployment_only_the_released_one_stays() {
    let bench = Bench::sleeping(0).await;
    let created = bench.dies_at(bench.worker(), "pipeline.build.worked").await;
    let first = bench.images(&created);
    assert_eq!(first.len(), 1);
    bench.nap(1).await;
    let _second = bench.worker().ready().await;
    bench.released(&created).await;
    bench.assert_one_image(&created).await;
    assert_ne!(bench.images(&created), first);
    bench.delivery.assert_clean(SOON).await;
    bench.finish().await;
}
