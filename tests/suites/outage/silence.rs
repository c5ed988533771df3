//! A Redis that says nothing is worse than one that is gone: every question costs its whole timeout.

use std::time::{Duration, Instant};

use deploymind_shared::fleet::Submitter;
use deploymind_tests::proxy::{FaultProxy, Mode};
use deploymind_tests::rig::{Rig, Stores, client, request};
use deploymind_tests::script::{Script, Step};
use deploymind_tests::wait_for;
use tokio::task::JoinSet;

/// `DEPLOYMIND_QUEUE_LOCK_TTL` of a rig.
const LOCK_TTL: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_secs(20);

/// Past its lock's time another may have the target: work that goes on until then is work for nothing, or worse.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_lock_cannot_be_renewed_is_stopped_before_the_lock_expires() {
    let rig = Rig::start().await;
    let proxy = FaultProxy::before(&rig.stores.redis).await;
    let stores = Stores { redis: proxy.url(&rig.stores.redis), ..rig.stores.clone() };
    let targets = rig.targets(32).await;
    let _worker = rig
        .node("worker", &stores)
        .set("DEPLOYMIND_ENVIRONMENTS", "production")
        .set("DEPLOYMIND_WORKER_CONCURRENCY", "32")
        .ready()
        .await;
    // Each asks for a lock of its own at once, so that the pool holds all the connections it may.
    let mut jobs = Vec::new();
    for target in targets.iter().cycle().take(200) {
        let lock = Step::Lock { targets: vec![target.clone()] };
        jobs.push(rig.submit(&Script::new([Step::Sleep { ms: 200 }, lock])).await);
    }
    rig.wait_ended(&jobs, SOON).await;
    let holder = rig
        .submit(&Script::new([
            Step::Lock { targets: vec![targets[0].clone()] },
            Step::Sleep { ms: 3_000 },
            Step::Effect { name: "apply".to_owned(), target: Some(targets[0].clone()) },
        ]))
        .await;
    wait_for("the lock to be taken", SOON, async || {
        let locked = rig.rows().await.iter().any(|row| row.kind == "locked" && row.job == holder.as_uuid());
        if locked { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    proxy.set(Mode::Swallow).await;
    let silent = Instant::now();
    wait_for("the job to be stopped", SOON, async || {
        let state = rig.state(holder).await;
        if state == "running" { Err(state) } else { Ok(()) }
    })
    .await;
    let stopped = silent.elapsed();
    println!(
        "{} ms after Redis fell silent the holder of a lock was stopped; the lock lives 2000 ms",
        stopped.as_millis()
    );
    assert_eq!(rig.state(holder).await, "queued", "it is handed back, not ended");
    proxy.set(Mode::Pass).await;
    let _scheduler = rig.scheduler().spawn();
    jobs.push(holder);
    rig.wait_ended(&jobs, SOON).await;
    rig.verdict(&jobs).await.assert_clean();
    rig.finish().await;
    assert!(stopped < LOCK_TTL, "it ran on for {stopped:?}");
}

/// A job that is written down is accepted; whoever brought it (GitHub gives us ten seconds) must not wait for Redis.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_redis_does_not_keep_a_caller_waiting() {
    let rig = Rig::start().await;
    let proxy = FaultProxy::before(&rig.stores.redis).await;
    let stores = Stores { redis: proxy.url(&rig.stores.redis), ..rig.stores.clone() };
    let submitter = Submitter::start(&rig.lifecycle, &client(&stores, &rig.name));
    let mut jobs = submit_many(&submitter, 50).await.0;
    proxy.set(Mode::Swallow).await;
    let (more, slowest) = submit_many(&submitter, 50).await;
    println!("with a silent Redis the slowest of 50 callers had its answer after {} ms", slowest.as_millis());
    jobs.extend(more);
    proxy.set(Mode::Pass).await;
    let (_scheduler, _worker) = (rig.scheduler().spawn(), rig.worker(8).ready().await);
    rig.wait_ended(&jobs, SOON).await;
    rig.verdict(&jobs).await.assert_clean();
    rig.finish().await;
    assert!(slowest < Duration::from_secs(5), "a caller waited {slowest:?}");
}

async fn submit_many(submitter: &Submitter, count: usize) -> (Vec<deploymind_shared::ids::JobId>, Duration) {
    let mut callers = JoinSet::new();
    for _ in 0..count {
        let submitter = submitter.clone();
        callers.spawn(async move {
            let asked = Instant::now();
            let job = submitter.submit(request(&Script::effect())).await.expect("accepted");
            (job, asked.elapsed())
        });
    }
    let (jobs, took): (Vec<_>, Vec<_>) = callers.join_all().await.into_iter().unzip();
    (jobs, took.into_iter().max().unwrap_or_default())
}
