//! Elements in a worker's list that the worker does not know of: what an abandoned `BRPOPLPUSH` leaves.

use std::time::{Duration, Instant};

use deploymind_shared::db::jobs::{NewJob, job_insert};
use deploymind_shared::domain::job::Priority;
use deploymind_shared::ids::{JobId, WorkerId};
use deploymind_tests::rig::{Node, Rig, request};
use deploymind_tests::script::{Script, Step};
use deploymind_tests::wait_for;
use redis::AsyncTypedCommands as _;

use super::{RECOVERY, SOON, job, wait_running};

/// Of the rig's settings.
const OWN_LIST_PERIOD: Duration = Duration::from_millis(400);

async fn listed(rig: &Rig, list: &str, id: JobId) -> bool {
    let elements = rig.redis().await.lrange(rig.key(list), 0, -1).await.expect("LRANGE");
    elements.contains(&id.to_string())
}

fn list_of(worker: WorkerId) -> String {
    format!("processing:{worker}")
}

/// Commits a job and leaves it where an abandoned pop does: in line, then moved to this worker's list. In one
/// transaction, so that no other pop can have it.
async fn moved_behind_its_back(rig: &Rig, worker: WorkerId) -> JobId {
    let wish = request(&Script::effect());
    let new = NewJob {
        id: JobId::generate(),
        kind: wish.kind,
        environment: wish.environment,
        priority: Priority::Normal,
        payload: wish.payload,
        targets: Vec::new(),
        delay: Duration::ZERO,
        trace: None,
    };
    job_insert(&rig.fleet.db, std::slice::from_ref(&new)).await.expect("insert")[0].as_ref().expect("taken");
    let element = new.id.to_string();
    let mut redis = rig.redis().await;
    redis::pipe()
        .atomic()
        .rpush(rig.key("queue:production"), &element)
        .hset(rig.key("place"), &element, "queued production 0 1 -")
        .rpoplpush(rig.key("queue:production"), rig.key(&list_of(worker)))
        .exec_async(&mut redis)
        .await
        .expect("move");
    new.id
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_moved_behind_a_workers_back_is_run() {
    let rig = Rig::start().await;
    // No scheduler: the worker finds it alone.
    let worker = rig.worker(4).ready().await;
    let id = worker.worker_id().await;
    let (mut waits, mut jobs) = (Vec::new(), Vec::new());
    for _ in 0..12 {
        let job = moved_behind_its_back(&rig, id).await;
        let moved = Instant::now();
        rig.wait_ended(&[job], SOON).await;
        waits.push(moved.elapsed());
        jobs.push(job);
    }
    waits.sort();
    let (middle, longest) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    println!(
        "12 jobs moved behind the worker's back ended after {} ms (median), {} ms (longest); the period is {} ms",
        middle.as_millis(),
        longest.as_millis(),
        OWN_LIST_PERIOD.as_millis()
    );
    // The slack is for the wait's own step (100 ms) and a busy machine.
    assert!(longest < OWN_LIST_PERIOD * 2 + Duration::from_millis(700), "{waits:?}");
    rig.verdict(&jobs).await.assert_clean();
    rig.finish().await;
}

/// A worker that never has a free place must not keep it either.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_moved_behind_a_busy_workers_back_is_run() {
    let rig = Rig::start().await;
    let _scheduler = rig.scheduler().ready().await;
    let worker = rig.worker(1).ready().await;
    let id = worker.worker_id().await;
    let busy = Script::new([Step::Sleep { ms: 30 }]);
    let mut jobs = Vec::new();
    for _ in 0..20 {
        jobs.push(rig.submit(&busy).await);
    }
    let stray = moved_behind_its_back(&rig, id).await;
    let moved = Instant::now();
    wait_for("the stray one to end", SOON, async || {
        // More than it can do, so that the line is never empty.
        for _ in 0..5 {
            jobs.push(rig.submit(&busy).await);
        }
        let state = rig.state(stray).await;
        if state == "succeeded" { Ok(()) } else { Err(state) }
    })
    .await;
    let took = moved.elapsed();
    let mut left = 0;
    for id in &jobs {
        left += usize::from(rig.state(*id).await == "queued");
    }
    println!("moved behind a busy worker's back: ended after {} ms, {left} others in line", took.as_millis());
    assert!(left > 0, "the worker was not busy, so this proved nothing");
    assert!(took < OWN_LIST_PERIOD * 2 + Duration::from_millis(700), "{took:?}");
    jobs.push(stray);
    rig.wait_ended(&jobs, SOON).await;
    rig.verdict(&jobs).await.assert_clean();
    rig.finish().await;
}

/// Freezes the worker while it is blocked in its pop, and submits a job, which Redis then moves to its list.
async fn moved_to_frozen(rig: &Rig, worker: &mut Node, wish: &Script) -> JobId {
    let list = list_of(worker.worker_id().await);
    for _ in 0..20 {
        worker.process.sigstop();
        let id = rig.submit(wish).await;
        if listed(rig, &list, id).await {
            return id;
        }
        // It was between two pops.
        worker.process.sigcont();
        rig.wait_ended(&[id], SOON).await;
    }
    panic!("the worker was never blocked in its pop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_worker_that_thaws_runs_what_it_was_given() {
    let rig = Rig::start().await;
    let mut worker = rig.worker(2).ready().await;
    let id = moved_to_frozen(&rig, &mut worker, &Script::effect()).await;
    // Negative control: while it is frozen nobody runs it, though another worker is idle.
    let _idle = rig.worker(2).ready().await;
    let passed = rig.submit(&Script::effect()).await;
    rig.wait_ended(&[passed], SOON).await;
    assert_eq!(rig.state(id).await, "queued");
    worker.process.sigcont();
    let thawed = Instant::now();
    rig.wait_ended(&[id], SOON).await;
    println!("given to a frozen worker: ended {} ms after the thaw", thawed.elapsed().as_millis());
    assert_eq!(job(&rig, id).await.attempt.0, 1);
    rig.verdict(&[id, passed]).await.assert_clean();
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_worker_that_dies_gives_back_what_it_was_given() {
    let rig = Rig::start().await;
    let mut worker = rig.worker(2).ready().await;
    let list = list_of(worker.worker_id().await);
    let id = moved_to_frozen(&rig, &mut worker, &Script::effect()).await;
    worker.process.kill9();
    let died = Instant::now();
    let _other = rig.worker(2).ready().await;
    // Negative control: without a scheduler it lies there.
    let passed = rig.submit(&Script::effect()).await;
    rig.wait_ended(&[passed], SOON).await;
    assert!(listed(&rig, &list, id).await && rig.state(id).await == "queued");
    let _scheduler = rig.scheduler().spawn();
    rig.wait_ended(&[id], SOON).await;
    println!("given to a worker that died frozen: ended {} ms after its death", died.elapsed().as_millis());
    assert!(died.elapsed() < RECOVERY);
    wait_for("the dead worker's list to be cleared", SOON, || async {
        if listed(&rig, &list, id).await { Err("still there".to_owned()) } else { Ok(()) }
    })
    .await;
    rig.verdict(&[id, passed]).await.assert_clean();
    rig.finish().await;
}

/// The reconciler cannot see that a job it finds in no queue lies in the list of a frozen worker, and puts it in line
/// again. The second copy must not disturb the first one's run when its worker thaws.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_copy_does_not_touch_the_locks_of_the_first() {
    let rig = Rig::start().await;
    let targets = rig.targets(1).await;
    let mut frozen = rig.worker(2).ready().await;
    let list = list_of(frozen.worker_id().await);
    let mut wish = request(&Script::new([
        Step::Sleep { ms: 3_000 },
        Step::Effect { name: "roll out".to_owned(), target: Some(targets[0].clone()) },
    ]));
    wish.targets = targets.clone();
    let id = loop {
        frozen.process.sigstop();
        let id = rig.submitter.submit(wish.clone()).await.expect("submit");
        if listed(&rig, &list, id).await {
            break id;
        }
        frozen.process.sigcont();
        rig.wait_ended(&[id], SOON).await;
    };
    // One that never buries anybody, so that the element stays in the frozen worker's list.
    let _scheduler = rig.scheduler().set("DEPLOYMIND_QUEUE_WORKER_TTL", "60s").spawn();
    let other = rig.worker(2).ready().await;
    wait_running(&rig, id, 1).await;
    assert!(listed(&rig, &list, id).await, "both workers have it");
    // Waits behind the lock, and must not get it early.
    let mut next = request(&Script::new([Step::Effect {
        name: "roll out".to_owned(),
        target: Some(targets[0].clone()),
    }]));
    next.targets = targets.clone();
    let next = rig.submitter.submit(next).await.expect("submit");
    frozen.process.sigcont();
    wait_for("the second copy to be put away", SOON, || async {
        if listed(&rig, &list, id).await { Err("still there".to_owned()) } else { Ok(()) }
    })
    .await;
    let lock = rig.redis().await.get(rig.key(&format!("lock:instance:{}", targets[0]))).await.expect("GET");
    assert_eq!(lock, Some(format!("{id}:{}", other.worker_id().await)), "the lock is still the first's");
    rig.wait_ended(&[id, next], SOON).await;
    assert_eq!(other.metric("deploymind_lease_losses_total").await, 0.0);
    let record = job(&rig, id).await;
    assert_eq!((record.state.as_str(), record.attempt.0), ("succeeded", 1));
    let all: Vec<JobId> = accepted(&rig).await;
    rig.verdict(&all).await.assert_clean();
    rig.finish().await;
}

async fn accepted(rig: &Rig) -> Vec<JobId> {
    let ids: Vec<uuid::Uuid> =
        sqlx::query_scalar("SELECT id FROM jobs").fetch_all(&rig.pool).await.expect("read jobs");
    ids.into_iter().map(JobId::from_uuid).collect()
}
