//! Told to stop in the middle: by a user, by a newer push, or because the worker leaves.

use std::time::{Duration, Instant};

use deploymind_shared::db::deployments::Created;
use deploymind_shared::db::environments::environment_put;
use deploymind_shared::domain::app::AppSettings;
use deploymind_shared::domain::overlap::OverlapPolicy;
use deploymind_tests::git::Fault;
use deploymind_tests::registry::Registry;
use deploymind_tests::rig::{NodeBuilder, production};
use deploymind_tests::wait_for;
use serde_json::json;

use super::bench::{
    Bench, POINTS, SleepyScanner, asleep, assert_awake, nap, point, steps, table, working_in,
};
use crate::common::SOON;

/// What the user is promised.
const PROMISE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(2);

impl Bench {
    /// Stops it, and waits for that: within the promise, with nothing running afterwards and nothing left.
    async fn stop(&self, what: &str, created: &Created) -> Duration {
        let began = Instant::now();
        self.delivery.rig.fleet.cancel(created.job).await.expect("cancel");
        let ended = self.delivery.ended(created, SOON).await;
        let took = began.elapsed();
        // The last step may be over before the word arrives: then it got there.
        let too_late = what.starts_with("pipeline.release.") && ended.deployment.release.is_some();
        if too_late && ended.status() != "CANCELLED" {
            ended.assert_released();
        } else {
            assert_eq!(ended.status(), "CANCELLED", "{what}: {} {}", ended.code(), ended.text());
        }
        self.assert_stopped(what, created, took).await;
        took
    }

    async fn assert_stopped(&self, what: &str, created: &Created, took: Duration) {
        assert!(took < PROMISE, "{what}: stopped after {took:?}");
        let id = created.deployment.to_string();
        assert!(!self.delivery.folders().contains(&id), "{what}: its folder is still there");
        let folder = self.delivery.work.path().join(&self.delivery.rig.name).join(&id);
        assert_eq!(working_in(&folder), Vec::<String>::new(), "{what}");
        let released = self.delivery.get(created.deployment).await.release.is_some();
        assert_eq!(self.images(created).len(), usize::from(released), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_at_any_point_of_any_step() {
    let registry = Registry::start().await;
    let cases = steps().flat_map(|step| POINTS.map(|at| (step, at)));
    table("cancelled, of which up to 2 s is the pause at the point", cases, async |(step, at)| {
        let at = point(step, at);
        let bench = Bench::small(&registry).await;
        let _worker = bench.unswept().pause_at(&at, PAUSE).ready().await;
        let created = bench.delivery.deploy(bench.app).await;
        bench.begun(&created, step).await;
        let took = bench.stop(&at, &created).await;
        bench.finish().await;
        (at, took)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn superseded_in_any_step() {
    let registry = Registry::start().await;
    table("superseded, of which up to 2 s is the pause in the step", steps(), async |step| {
        let bench = Bench::small(&registry).await;
        let db = &bench.delivery.rig.fleet.db;
        environment_put(db, &production(), OverlapPolicy::Override).await.expect("set policy");
        let _worker = bench.unswept().pause_at(&point(step, "started"), PAUSE).ready().await;
        let created = bench.delivery.deploy(bench.app).await;
        bench.begun(&created, step).await;
        let began = Instant::now();
        let newer = bench.delivery.deploy(bench.app).await;
        let ended = bench.delivery.ended(&created, SOON).await;
        let took = began.elapsed();
        assert_eq!(ended.status(), "SUPERSEDED", "{step}: {} {}", ended.code(), ended.text());
        bench.assert_stopped(step, &created, took).await;
        bench.released(&newer).await;
        bench.delivery.assert_clean(SOON).await;
        bench.finish().await;
        (step.to_owned(), took)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_while_a_git_server_hangs() {
    let registry = Registry::start().await;
    for fault in [Fault::Hang, Fault::HangPack, Fault::Drip(Duration::from_secs(1))] {
        let bench = Bench::small(&registry).await;
        bench.delivery.git.fault(Some(fault.clone()));
        let _worker = bench.unswept().ready().await;
        let created = bench.delivery.deploy(bench.app).await;
        wait_for("git to be at work", SOON, async || {
            if bench.delivery.git.seen().is_empty() { Err("not yet".to_owned()) } else { Ok(()) }
        })
        .await;
        let took = bench.stop("checkout", &created).await;
        println!("cancelled while git hung ({fault:?}): {:.1} s", took.as_secs_f64());
        bench.finish().await;
    }
}

fn with(builder: &str, node: NodeBuilder) -> NodeBuilder {
    node.set("DEPLOYMIND_BUILDER", builder).set("DEPLOYMIND_BUILD_REQUIRE_CAPS", "false")
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_while_a_step_of_the_build_runs() {
    for builder in ["classic", "buildkit"] {
        let nap = nap();
        let bench = Bench::sleeping(nap).await;
        let _worker = with(builder, bench.unswept()).ready().await;
        let created = bench.delivery.deploy(bench.app).await;
        asleep(nap).await;
        let took = bench.stop(builder, &created).await;
        // The engine ends it beside us.
        assert_awake(nap, PROMISE.saturating_sub(took)).await;
        assert_eq!(bench.delivery.containers(&nap.to_string()), Vec::<String>::new());
        println!("cancelled in a RUN ({builder}): {:.1} s", took.as_secs_f64());
        bench.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn superseded_while_a_step_of_the_build_runs() {
    let nap = nap();
    let bench = Bench::sleeping(nap).await;
    environment_put(&bench.delivery.rig.fleet.db, &production(), OverlapPolicy::Override)
        .await
        .expect("set policy");
    let _worker = bench.unswept().ready().await;
    let created = bench.delivery.deploy(bench.app).await;
    asleep(nap).await;
    bench.nap(0).await;
    let began = Instant::now();
    let newer = bench.delivery.deploy(bench.app).await;
    assert_eq!(bench.delivery.ended(&created, SOON).await.status(), "SUPERSEDED");
    let took = began.elapsed();
    bench.assert_stopped("build", &created, took).await;
    assert_awake(nap, PROMISE.saturating_sub(took)).await;
    println!("superseded in a RUN: {:.1} s", took.as_secs_f64());
    bench.released(&newer).await;
    bench.delivery.assert_clean(SOON).await;
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_while_a_scan_runs_also_beside_a_build() {
    for kind in ["fs", "image"] {
        let built = if kind == "fs" { nap() } else { 0 };
        let bench = Bench::sleeping(built).await;
        bench.delivery.policy(&json!({ "mode": "required" })).await;
        let scanner = SleepyScanner::new(kind);
        let _worker = scanner.worker(bench.unswept()).ready().await;
        let created = bench.delivery.deploy(bench.app).await;
        asleep(scanner.nap).await;
        if built > 0 {
            asleep(built).await;
        }
        let took = bench.stop(kind, &created).await;
        assert_awake(scanner.nap, Duration::ZERO).await;
        if built > 0 {
            assert_awake(built, PROMISE.saturating_sub(took)).await;
        }
        println!("cancelled in a scan ({kind}): {:.1} s", took.as_secs_f64());
        bench.finish().await;
    }
}

/// A registry that takes the connection and never says a word.
#[tokio::test(flavor = "multi_thread")]
async fn cancelled_while_a_registry_hangs() {
    let registry = Registry::start().await;
    let bench = Bench::small(&registry).await;
    let silent = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
    let name = format!("{}/shop", silent.local_addr().expect("an address"));
    bench.delivery.settings(bench.app, &AppSettings { registry: Some(name), ..AppSettings::default() }).await;
    let _worker = bench.unswept().ready().await;
    let created = bench.delivery.deploy(bench.app).await;
    let connection =
        tokio::time::timeout(SOON, silent.accept()).await.expect("a push").expect("a connection");
    let took = bench.stop("push", &created).await;
    println!("cancelled while a registry hung: {:.1} s", took.as_secs_f64());
    drop(connection);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_leaves_hands_the_deployment_back_and_another_ends_it() {
    let nap = nap();
    let bench = Bench::sleeping(nap).await;
    let mut first = bench.worker().set("DEPLOYMIND_WORKER_DRAIN_GRACE", "500ms").ready().await;
    let created = bench.delivery.deploy(bench.app).await;
    asleep(nap).await;
    let asked = bench.delivery.git.seen().len();
    let began = Instant::now();
    first.process.sigterm();
    let exit = first.process.wait_exit(SOON).await;
    println!("told to leave in a RUN: left after {:.1} s", began.elapsed().as_secs_f64());
    assert!(exit.success(), "{exit}");
    assert_awake(nap, PROMISE).await;
    assert!(!bench.delivery.get(created.deployment).await.status.is_terminal());
    assert!(
        bench.delivery.folders().contains(&created.deployment.to_string()),
        "the checkout stays for the next"
    );
    bench.nap(0).await;
    let _second = bench.worker().ready().await;
    bench.released(&created).await;
    println!("told to leave in a RUN: ended by another after {:.1} s", began.elapsed().as_secs_f64());
    assert_eq!(bench.journal(&created).await["build"].attempt.0, 2);
    assert_eq!(bench.delivery.git.seen().len(), asked, "the checkout was still good");
    bench.delivery.assert_clean(SOON).await;
    bench.finish().await;
}
