//! What should not be in the queue or in the record: put aside, dropped, given back or failed; never in the way.

use std::time::{Duration, Instant};

use deploymind_shared::error::Code;
use deploymind_shared::fleet::{Cancel, JobRequest};
use deploymind_shared::ids::JobId;
use deploymind_tests::rig::{Rig, request};
use deploymind_tests::script::Script;
use deploymind_tests::wait_for;
use redis::AsyncTypedCommands as _;

use super::{SOON, job};

#[tokio::test(flavor = "multi_thread")]
async fn elements_that_are_no_ids_are_put_aside_and_the_others_run() {
    let rig = Rig::start().await;
    let worker = rig.worker(4).spawn();
    let mut redis = rig.redis().await;
    let bad: Vec<Vec<u8>> = vec![
        vec![0xff, 0xfe, 0x00, 0x0a, 0xff],
        vec![b'x'; 1 << 20],
        JobId::generate().to_string().to_uppercase().into_bytes(),
        Vec::new(),
        b"{\"job\":1}".to_vec(),
    ];
    // Well-formed, and nobody ever accepted it.
    let stranger = JobId::generate();
    let mut jobs = Vec::new();
    for element in bad.iter().cloned().chain([stranger.to_string().into_bytes()]) {
        jobs.push(rig.submit(&Script::effect()).await);
        redis.lpush(rig.key("queue:production"), element).await.expect("LPUSH");
        jobs.push(rig.submit(&Script::effect()).await);
    }
    worker.wait_ready(SOON).await;
    rig.wait_ended(&jobs, SOON).await;
    // Again, one by one, to a worker that is blocked in its pop.
    for element in &bad {
        redis.lpush(rig.key("queue:production"), element.as_slice()).await.expect("LPUSH");
        jobs.push(rig.submit(&Script::effect()).await);
    }
    rig.wait_ended(&jobs, SOON).await;
    wait_for("all of them in quarantine", SOON, async || {
        let mut kept: Vec<Vec<u8>> = redis::cmd("LRANGE")
            .arg(rig.key("quarantine"))
            .arg(0)
            .arg(-1)
            .query_async(&mut redis)
            .await
            .map_err(|error| error.to_string())?;
        let mut wanted: Vec<Vec<u8>> = bad.iter().chain(&bad).cloned().collect();
        kept.sort();
        wanted.sort();
        if kept == wanted { Ok(()) } else { Err(format!("{} of {}", kept.len(), wanted.len())) }
    })
    .await;
    let counted = worker.metric("deploymind_undecodable_total").await;
    println!("{} undecodable elements, {} counted, {} good jobs ended", bad.len() * 2, counted, jobs.len());
    assert_eq!(counted, 10.0);
    // Negative control: good jobs were not counted among them, and the stranger left no trace (`finish` looks).
    assert_eq!(worker.metric("deploymind_jobs_finished_total{kind=\"script\",outcome=\"done\"}").await, 17.0);
    rig.verdict(&jobs).await.assert_clean();
    rig.finish().await;
}

/// The same in the list of a worker that died with them.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_worker_left_is_sorted_out() {
    let rig = Rig::start().await;
    let mut worker = rig.worker(1).ready().await;
    let list = rig.key(&format!("processing:{}", worker.worker_id().await));
    worker.process.kill9();
    let mut redis = rig.redis().await;
    let good = rig.submit(&Script::effect()).await;
    let stranger = JobId::generate();
    // The same id in capitals is no second name for a job.
    let bad = [vec![0xff; 3], Vec::new(), good.to_string().to_uppercase().into_bytes()];
    for element in bad.iter().cloned().chain([stranger.to_string().into_bytes()]) {
        redis.lpush(&list, element).await.expect("LPUSH");
    }
    redis.rpoplpush(rig.key("queue:production"), &list).await.expect("RPOPLPUSH");
    let scheduler = rig.scheduler().ready().await;
    let _next = rig.worker(1).ready().await;
    rig.wait_ended(&[good], SOON).await;
    wait_for("the list to be empty", SOON, async || {
        let left = redis.llen(&list).await.map_err(|error| error.to_string())?;
        if left == 0 { Ok(()) } else { Err(format!("{left} left")) }
    })
    .await;
    let mut kept: Vec<Vec<u8>> = redis::cmd("LRANGE")
        .arg(rig.key("quarantine"))
        .arg(0)
        .arg(-1)
        .query_async(&mut redis)
        .await
        .expect("LRANGE");
    let mut wanted = bad.to_vec();
    kept.sort();
    wanted.sort();
    assert_eq!(kept, wanted);
    assert_eq!(scheduler.metric("deploymind_undecodable_total").await, 3.0);
    rig.verdict(&[good]).await.assert_clean();
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_kind_waits_without_spinning_and_a_wrong_payload_fails() {
    let rig = Rig::start().await;
    let _scheduler = rig.scheduler().ready().await;
    let worker = rig.worker(4).ready().await;
    let base = request(&Script::effect());
    let strange = JobRequest { kind: "no_such_kind".to_owned(), ..base.clone() };
    let started = Instant::now();
    let (one, two) = (
        rig.submitter.submit(strange.clone()).await.expect("submit"),
        rig.submitter.submit(strange).await.expect("submit"),
    );
    let misfit = JobRequest { payload: serde_json::json!({ "stops": 1 }), ..base };
    let misfit = rig.submitter.submit(misfit).await.expect("submit");
    rig.wait_ended(&[misfit], SOON).await;
    let record = job(&rig, misfit).await;
    assert_eq!(
        (record.state.as_str(), record.code.as_deref()),
        ("failed", Some(Code::PayloadInvalid.as_str()))
    );
    // The worker is not in their way: others run while they wait, and are claimed again and again.
    let mut others = Vec::new();
    let mut delayed = 0;
    let mut redis = rig.redis().await;
    wait_for("a second try of both", SOON, async || {
        others.push(rig.submit(&Script::effect()).await);
        let mut waiting = 0;
        for id in [one, two] {
            waiting += usize::from(
                redis
                    .zscore(rig.key("delayed"), id.to_string())
                    .await
                    .map_err(|error| error.to_string())?
                    .is_some(),
            );
        }
        delayed = delayed.max(waiting);
        let (first, second) = (job(&rig, one).await, job(&rig, two).await);
        let states = [first.state.as_str(), second.state.as_str()];
        assert!(states.iter().all(|state| ["queued", "running"].contains(state)), "{states:?}");
        if first.attempt.0.min(second.attempt.0) >= 2 {
            Ok(())
        } else {
            Err(format!("attempts {} and {}", first.attempt.0, second.attempt.0))
        }
    })
    .await;
    let waited = started.elapsed();
    let attempts = job(&rig, one).await.attempt.0;
    assert_eq!((attempts, delayed), (2, 2), "given back, and waiting for its time");
    assert!(waited >= Duration::from_secs(5), "two tries within {waited:?} is spinning");
    let counted = worker.metric("deploymind_unknown_kind_total{kind=\"no_such_kind\"}").await;
    let complaints = worker.process.stderr().matches("no code here for this kind").count();
    println!(
        "unknown kind: 2 tries each in {} ms, {counted} counted, {complaints} log line",
        waited.as_millis()
    );
    assert_eq!((counted, complaints), (4.0, 1));
    for id in [one, two] {
        wait_for("it to wait again", SOON, async || {
            let state = rig.state(id).await;
            if state == "queued" { Ok(()) } else { Err(state) }
        })
        .await;
        assert_eq!(rig.fleet.cancel(id).await.expect("cancel"), Cancel::Ended);
        assert_eq!(rig.state(id).await, "cancelled");
    }
    rig.wait_ended(&others, SOON).await;
    rig.finish().await;
}
