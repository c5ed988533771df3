//! Leaving while a store is slow, silent or gone: never for ever, and never with a job lost.

use std::time::{Duration, Instant};

use deploymind_tests::proxy::{FaultProxy, Mode};
use deploymind_tests::redis::TestRedis;
use deploymind_tests::rig::{Node, NodeBuilder, Rig, Stores};

use super::{CANCEL_GRACE, LAST_WRITES, SOON, counts, sleep, wait_running, worker_state};

const GRACE: Duration = Duration::from_secs(1);

fn leaving(rig: &Rig, stores: &Stores) -> NodeBuilder {
    rig.node("worker", stores)
        .set("DEPLOYMIND_ENVIRONMENTS", "production")
        .set("DEPLOYMIND_WORKER_CONCURRENCY", "4")
        .set("DEPLOYMIND_WORKER_DRAIN_GRACE", "1s")
}

/// Its exit code.
async fn leave(what: &str, worker: &mut Node) -> Option<i32> {
    worker.process.sigterm();
    let told = Instant::now();
    let code = worker.process.wait_exit(SOON).await.code();
    println!("{what}: gone after {} ms with {code:?}", told.elapsed().as_millis());
    let bound = GRACE + CANCEL_GRACE + LAST_WRITES;
    assert!(told.elapsed() < bound + Duration::from_secs(1), "{what}: {:?} of {bound:?}", told.elapsed());
    code
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_it_leaves_in_order() {
    let mut redis = TestRedis::start().await;
    let rig = Rig::with_redis(&redis.url()).await;
    let mut worker = leaving(&rig, &rig.stores).ready().await;
    let (short, long) = (rig.submit(&sleep(700)).await, rig.submit(&sleep(4_000)).await);
    wait_running(&rig, &[short, long]).await;
    redis.stop().await;
    let code = leave("Redis gone", &mut worker).await;
    // The record was there all the time, so everything could be written down.
    assert_eq!(code, Some(0));
    assert_eq!(counts(&rig, short).await, ("succeeded".to_owned(), 1, 0, 0));
    assert_eq!(counts(&rig, long).await, ("queued".to_owned(), 1, 0, 0));
    assert_eq!(worker_state(&rig, &worker).await, "stopped");
    redis.restart().await;
    let (_scheduler, _worker) = (rig.scheduler().spawn(), rig.worker(2).ready().await);
    rig.wait_ended(&[short, long], SOON).await;
    rig.verdict(&[short, long]).await.assert_clean();
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_silent_redis_it_leaves_in_bounded_time() {
    let rig = Rig::start().await;
    let proxy = FaultProxy::before(&rig.stores.redis).await;
    let stores = Stores { redis: proxy.url(&rig.stores.redis), ..rig.stores.clone() };
    let mut worker = leaving(&rig, &stores).ready().await;
    let (short, long) = (rig.submit(&sleep(700)).await, rig.submit(&sleep(4_000)).await);
    wait_running(&rig, &[short, long]).await;
    proxy.set(Mode::Swallow).await;
    let code = leave("Redis silent", &mut worker).await;
    assert_eq!(code, Some(0));
    assert_eq!(counts(&rig, short).await, ("succeeded".to_owned(), 1, 0, 0));
    assert_eq!(counts(&rig, long).await, ("queued".to_owned(), 1, 0, 0));
    proxy.set(Mode::Pass).await;
    let (_scheduler, _worker) = (rig.scheduler().spawn(), rig.worker(2).ready().await);
    rig.wait_ended(&[short, long], SOON).await;
    rig.verdict(&[short, long]).await.assert_clean();
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_record_it_leaves_in_bounded_time_and_says_that_it_left_work() {
    let rig = Rig::start().await;
    let proxy = FaultProxy::before(&rig.stores.database).await;
    let stores = Stores { database: proxy.url(&rig.stores.database), ..rig.stores.clone() };
    let mut worker = leaving(&rig, &stores).ready().await;
    let job = rig.submit(&sleep(700)).await;
    wait_running(&rig, &[job]).await;
    proxy.set(Mode::Cut).await;
    // How the job ended cannot be written down: that is no orderly end.
    assert_eq!(leave("Postgres gone", &mut worker).await, Some(1));
    assert_eq!(counts(&rig, job).await.0, "running");
    let (_scheduler, _worker) = (rig.scheduler().spawn(), rig.worker(2).ready().await);
    rig.wait_ended(&[job], SOON).await;
    assert_eq!(counts(&rig, job).await, ("succeeded".to_owned(), 2, 1, 0));
    rig.verdict(&[job]).await.assert_clean();
    rig.finish().await;
}

/// The job is on its way from Redis to the worker when the signal comes: it is in nobody's hands, and yet taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_arrives_with_the_signal_is_handed_back_too() {
    let rig = Rig::start().await;
    let proxy = FaultProxy::before(&rig.stores.redis).await;
    let stores = Stores { redis: proxy.url(&rig.stores.redis), ..rig.stores.clone() };
    let mut worker = leaving(&rig, &stores).set("DEPLOYMIND_QUEUE_BLOCK", "1500ms").ready().await;
    // Less than half of the response timeout, so that every command succeeds, late.
    proxy.set(Mode::Delay(Duration::from_millis(200))).await;
    let mut handed_back = 0;
    let job = rig.submit(&sleep(60_000)).await;
    // Moved to the worker's list; the answer is under way.
    deploymind_tests::wait_for("the job to be popped", SOON, async || {
        let place =
            deploymind_shared::queue::line::depth(&rig.fleet.queue, &[deploymind_tests::rig::production()])
                .await;
        match place.map(|depth| depth.queues[0]) {
            Ok((0, 0)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let code = leave("a job on its way", &mut worker).await;
    let now = counts(&rig, job).await;
    println!("the job is {now:?}");
    handed_back += usize::from(now.0 == "queued");
    assert_eq!((code, now.2, handed_back), (Some(0), 0, 1), "handed back by the worker itself");
    rig.fleet.cancel(job).await.expect("cancel");
    let _scheduler = rig.scheduler().spawn();
    rig.wait_ended(&[job], SOON).await;
    rig.finish().await;
}
