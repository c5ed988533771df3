//! Who gets a target next, and what happens when that one is cancelled in the meantime.

use std::time::{Duration, Instant};

use deploymind_shared::db::deployments::Trigger;
use deploymind_shared::domain::job::Priority;
use deploymind_shared::fleet::{Cancel, Waiting, Why};
use deploymind_shared::ids::JobId;
use deploymind_tests::rig::{Rig, request};
use deploymind_tests::script::{Script, Step};
use deploymind_tests::wait_for;

use super::{SOON, effects, order, submit_locking, wait_locked, wait_parked};
use crate::lua;
use crate::record::{app, user};

const LONG: u64 = 100_000;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_waits_for_is_handed_the_target_first() {
    let rig = Rig::start().await;
    let targets = rig.targets(1).await;
    let _scheduler = rig.scheduler().spawn();
    let _worker = rig.worker(6).ready().await;
    let holder = submit_locking(&rig, &targets, LONG, false).await;
    wait_locked(&rig, holder).await;
    let mut jobs = Vec::new();
    for high in [false, false, true, true] {
        let job = submit_locking(&rig, &targets, 0, high).await;
        wait_parked(&rig, &[job]).await;
        jobs.push(job);
    }
    let owner = user(&rig, "owner").await;
    let shop = app(&rig, owner, "shop", &targets).await;
    let back =
        rig.fleet.deploy(shop, Trigger::Rollback, Some(owner), None, Priority::High).await.expect("deploy");
    wait_parked(&rig, &[back.job]).await;
    rig.fleet.cancel(holder).await.expect("cancel");
    let all = [holder, jobs[2], jobs[3], back.job, jobs[0], jobs[1]];
    rig.wait_ended(&all, SOON).await;
    assert_eq!(order(&rig.rows().await), all, "high ones first, each class in its order");
    rig.verdict(&all).await.assert_clean();
    rig.finish().await;
}

/// The value of the target's lock: "<job>:<owner>".
async fn lock(rig: &Rig, target: &deploymind_shared::ids::TargetName) -> Option<String> {
    let mut redis = lua::connect(&rig.stores.redis).await;
    redis::cmd("GET").arg(rig.fleet.queue.keys().lock(target)).query_async(&mut redis).await.expect("GET")
}

async fn wait_granted(rig: &Rig, target: &deploymind_shared::ids::TargetName, job: JobId) {
    wait_for("the target to be handed on", SOON, async || {
        let value = lock(rig, target).await;
        if value == Some(format!("{job}:granted")) { Ok(()) } else { Err(format!("{value:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_passes_the_target_on_wherever_it_waits() {
    let rig = Rig::start().await;
    let targets = rig.targets(1).await;
    let _scheduler = rig.scheduler().spawn();
    let mut worker = rig.worker(6).ready().await;
    let holder = submit_locking(&rig, &targets, LONG, false).await;
    wait_locked(&rig, holder).await;
    let mut parked = Vec::new();
    for _ in 0..4 {
        parked.push(submit_locking(&rig, &targets, 0, false).await);
        wait_parked(&rig, &parked[parked.len() - 1..]).await;
    }
    // Parked: the one behind it moves up.
    assert_eq!(rig.fleet.cancel(parked[0]).await.expect("cancel"), Cancel::Ended);
    let ahead = match rig.fleet.why(parked[1]).await.expect("why") {
        Why::Waiting { what: Waiting::Target { ahead, .. }, .. } => ahead,
        other => panic!("{other:?}"),
    };
    assert_eq!(ahead, Some(0));
    // No worker: what a dead one held is kept for it; cancelled, it goes to the next, and on to the next.
    worker.process.kill9();
    wait_granted(&rig, &targets[0], holder).await;
    for (job, next) in [(holder, parked[1]), (parked[1], parked[2])] {
        let asked = Instant::now();
        assert_eq!(rig.fleet.cancel(job).await.expect("cancel"), Cancel::Ended);
        wait_granted(&rig, &targets[0], next).await;
        println!("handed on {} ms after the cancel", asked.elapsed().as_millis());
    }
    let _worker = rig.worker(6).ready().await;
    rig.wait_ended(&parked, SOON).await;
    let mut states = Vec::new();
    for job in [&[holder], &parked[..]].concat() {
        states.push(rig.state(job).await);
    }
    assert_eq!(states, ["cancelled", "cancelled", "cancelled", "succeeded", "succeeded"]);
    assert_eq!(lock(&rig, &targets[0]).await, None);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_job_holds_nothing_and_its_cancel_is_at_once() {
    let rig = Rig::start().await;
    let targets = rig.targets(1).await;
    let _scheduler = rig.scheduler().spawn();
    let _worker = rig.worker(6).ready().await;
    let mut later = request(&Script::new(effects(&targets)));
    later.targets.clone_from(&targets);
    later.delay = Duration::from_secs(600);
    let later = rig.submitter.submit(later).await.expect("submit");
    let now = submit_locking(&rig, &targets, 0, false).await;
    rig.wait_ended(&[now], SOON).await;
    assert!(matches!(rig.fleet.why(later).await, Ok(Why::Waiting { what: Waiting::Until { .. }, .. })));
    assert_eq!(rig.fleet.cancel(later).await.expect("cancel"), Cancel::Ended);
    // One that failed for now lets go of its target while it waits for its next try.
    let mut steps = effects(&targets);
    steps.extend([Step::Sleep { ms: 200 }, Step::RetryUntil { attempt: 3 }]);
    let mut retried = request(&Script::new(steps));
    retried.targets.clone_from(&targets);
    let retried = rig.submitter.submit(retried).await.expect("submit");
    wait_locked(&rig, retried).await;
    let behind = submit_locking(&rig, &targets, 0, false).await;
    wait_parked(&rig, &[behind]).await;
    rig.wait_ended(&[retried, behind], SOON).await;
    let order = order(&rig.rows().await);
    assert_eq!(order, [now, retried, behind, retried, retried], "the one behind ran between two tries");
    assert_eq!(
        (rig.state(retried).await.as_str(), rig.state(later).await.as_str()),
        ("succeeded", "cancelled")
    );
    rig.verdict(&[now, later, retried, behind]).await.assert_clean();
    rig.finish().await;
}
