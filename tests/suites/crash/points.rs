//! A worker that is killed (-9) at each line between two stores. Another one, started afterwards or beside it, ends all its jobs.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use deploymind_tests::rig::Rig;
use deploymind_tests::wait_for;

use super::{RECOVERY, SOON, ends, mix, round, wait_killed_at};

macro_rules! killed_at {
    ($($test:ident = $point:literal, after $skip:literal;)*) => {
        const POINTS: &[&str] = &[$($point),*];
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                tokio::join!(dies($point, $skip, false), dies($point, $skip, true));
            }
        )*
    };
}

killed_at! {
    popped = "worker.popped", after 0;
    taken = "worker.taken", after 3;
    claimed = "worker.claimed", after 3;
    before_run = "worker.before_run", after 3;
    after_run = "worker.after_run", after 3;
    locked = "worker.locked", after 0;
    parked_in_record = "worker.parked_in_record", after 0;
    requeued_in_record = "worker.requeued_in_record", after 0;
    finished_in_record = "worker.finished_in_record", after 2;
    finished = "worker.finished", after 2;
}

/// A, with four places, dies at `point`. B, with four as well, works beside it, or starts when it is dead.
async fn dies(point: &str, skip: usize, beside: bool) {
    let rig = Rig::start().await;
    let targets = rig.targets(3).await;
    let _scheduler = rig.scheduler().ready().await;
    let mut doomed = rig.worker(4).kill_at(point, skip).ready().await;
    let mut survivor = None;
    if beside {
        survivor = Some(rig.worker(4).ready().await);
    }
    let mut jobs = mix(&rig, &targets).await;
    // The other one may have been quicker each time it mattered: then there is more to do.
    wait_for(point, SOON, async || {
        if doomed.process.exit().is_none() {
            jobs.extend(round(&rig, &targets, jobs.len()).await);
            return Err("still alive".to_owned());
        }
        Ok(())
    })
    .await;
    wait_killed_at(&mut doomed, point).await;
    let died = Instant::now();
    let _survivor = match survivor {
        Some(survivor) => survivor,
        None => rig.worker(4).ready().await,
    };
    rig.wait_ended(&jobs, SOON).await;
    let recovery = died.elapsed();
    let recovered = recoveries(&rig).await;
    println!(
        "{point} ({}): {} ms from the death to the last of {} ends, {recovered} jobs recovered",
        if beside { "B beside" } else { "B after" },
        recovery.as_millis(),
        jobs.len(),
    );
    assert!(recovery < RECOVERY, "{point}: {recovery:?}");
    let ends = ends(&rig, &jobs).await;
    assert_eq!((ends.get("failed"), ends.get("succeeded")), (Some(&1), Some(&(jobs.len() - 1))));
    rig.verdict(&jobs).await.assert_clean();
    rig.finish().await;
}

async fn recoveries(rig: &Rig) -> i64 {
    sqlx::query_scalar("SELECT coalesce(sum(recoveries), 0)::bigint FROM jobs")
        .fetch_one(&rig.pool)
        .await
        .expect("count recoveries")
}

/// A new line between two stores needs its test: every fail point of the product is named in this suite.
#[test]
fn no_fail_point_is_forgotten() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = BTreeSet::new();
    for package in ["shared", "worker", "scheduler", "gateway"] {
        collect(&root.join(package).join("src"), &mut found);
    }
    // Those need a host to roll out to, and have a suite of their own.
    found.retain(|point| !point.starts_with("rollout."));
    let tested: BTreeSet<String> = POINTS
        .iter()
        .chain(super::scheduler::POINTS)
        .chain(super::client::POINTS)
        .map(|point| (*point).to_owned())
        .collect();
    assert_eq!(found, tested);
}

fn collect(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, found);
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let uses = text.split("fail_point!(\"").skip(1);
            found.extend(uses.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    }
}
