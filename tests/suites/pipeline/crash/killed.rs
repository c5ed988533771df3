//! `kill -9` at every point of every step; another worker ends the deployment.

use std::time::{Duration, Instant};

use deploymind_shared::db::steps::StepState;
use deploymind_tests::registry::Registry;

use super::bench::{Bench, POINTS, gone, point, steps, table};
use crate::common::SOON;

/// Who goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Successor {
    /// Started when the first is dead, on the same machine.
    After,
    /// There while the first still works.
    Beside,
    /// One that does not see the first one's files.
    Elsewhere,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_at_any_point_of_any_step_is_succeeded_by_another() {
    let registry = Registry::start().await;
    let mut cases = vec![("validate", "worker.before_run".to_owned(), Successor::After)];
    for step in steps() {
        for at in POINTS {
            let successor = if at == "worked" { Successor::Beside } else { Successor::After };
            cases.push((step, point(step, at), successor));
        }
        cases.push((step, point(step, "done"), Successor::Elsewhere));
    }
    table("killed, until another worker has ended it", cases, async |(step, at, successor)| {
        let took = killed(&registry, &at, successor).await;
        (format!("{step:<12} {at} {successor:?}"), took)
    })
    .await;
}

async fn killed(registry: &Registry, at: &str, successor: Successor) -> Duration {
    let bench = Bench::small(registry).await;
    let delivery = &bench.delivery;
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let mut first = bench.worker().kill_at(at, 0).ready().await;
    let created = delivery.deploy(bench.app).await;
    let mut second = None;
    if successor == Successor::Beside {
        bench.begun(&created, "validate").await;
        second = Some(bench.worker().ready().await);
    }
    gone(&mut first, at).await;
    let died = Instant::now();
    // Only one that comes later leaves time to look.
    let before = (second.is_none()).then_some(bench.journal(&created).await);
    let asked = delivery.git.seen().len();
    let images = bench.images(&created);
    let second = match second {
        Some(second) => second,
        None if successor == Successor::Elsewhere => {
            bench.worker().set("DEPLOYMIND_WORK_DIR", &elsewhere.path().display().to_string()).ready().await
        }
        None => bench.worker().ready().await,
    };
    bench.released(&created).await;
    let took = died.elapsed();

    let after = bench.journal(&created).await;
    for step in steps() {
        // Its folder goes with the end of the deployment.
        let state = if step == "checkout" { StepState::Undone } else { StepState::Done };
        assert_eq!(after[step].state, state, "{at}: {step}");
    }
    let anew = |step: &str| step == "checkout" && successor == Successor::Elsewhere;
    for (name, step) in before.iter().flatten().filter(|(_, step)| step.state == StepState::Done) {
        // Detection is cheap and depends on the worker; it is never taken over.
        if !["validate", "checkout", "detect"].contains(&name.as_str()) {
            assert_eq!(
                (after[name].attempt, &after[name].output),
                (step.attempt, &step.output),
                "{at}: {name} ran again"
            );
        }
        if name == "checkout" && !anew(name) {
            assert_eq!(delivery.git.seen().len(), asked, "{at}: the repository was fetched again");
        }
        if name == "build" {
            assert_eq!(bench.images(&created), images, "{at}: the image was built again");
        }
    }
    // What it left on its own machine goes when a worker is there again.
    let _returned = match successor {
        Successor::Elsewhere => Some(bench.worker().ready().await),
        Successor::After | Successor::Beside => None,
    };
    delivery.assert_clean(SOON).await;
    bench.assert_one_image(&created).await;
    if successor == Successor::Elsewhere {
        assert!(folders(elsewhere.path()).is_empty(), "{at}: the second worker left its folder");
    }
    drop(second);
    bench.finish().await;
    took
}

fn folders(root: &std::path::Path) -> Vec<String> {
    let fleets = std::fs::read_dir(root).expect("a folder").flatten();
    let found = fleets.flat_map(|fleet| std::fs::read_dir(fleet.path()).expect("a folder").flatten());
    found.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
