//! A worker that is told to leave: what it finishes, what it hands back, and how long it may take.

mod replace;
mod stores;

use std::time::{Duration, Instant};

use deploymind_shared::fleet::{Waiting, Why};
use deploymind_shared::ids::JobId;
use deploymind_tests::rig::{Node, Rig, request};
use deploymind_tests::script::{Script, Step};
use deploymind_tests::wait_for;

const SOON: Duration = Duration::from_secs(20);
/// `DEPLOYMIND_QUEUE_LOCK_TTL` and `DEPLOYMIND_QUEUE_CANCEL_GRACE` of a rig.
const LOCK_TTL: Duration = Duration::from_secs(2);
const CANCEL_GRACE: Duration = Duration::from_secs(2);
/// What a worker is given to write down how its last jobs ended, and its supporting tasks to end.
const LAST_WRITES: Duration = Duration::from_secs(6);

fn sleep(ms: u64) -> Script {
    Script::new([Step::Sleep { ms }, Step::Effect { name: "apply".to_owned(), target: None }])
}

async fn wait_running(rig: &Rig, jobs: &[JobId]) {
    for job in jobs {
        wait_for("the job to run", SOON, async || {
            let state = rig.state(*job).await;
            if state == "running" { Ok(()) } else { Err(state) }
        })
        .await;
    }
}

/// State, attempt, recoveries, tries.
async fn counts(rig: &Rig, job: JobId) -> (String, i32, i32, i32) {
    sqlx::query_as("SELECT state, attempt, recoveries, tries FROM jobs WHERE id = $1")
        .bind(job.as_uuid())
        .fetch_one(&rig.pool)
        .await
        .expect("the job is in the record")
}

async fn worker_state(rig: &Rig, worker: &Node) -> String {
    let id = worker_id(worker).await;
    sqlx::query_scalar("SELECT state FROM workers WHERE id = $1")
        .bind(id)
        .fetch_one(&rig.pool)
        .await
        .expect("the worker is in the record")
}

/// From its log, so that it can be asked of one that is gone.
async fn worker_id(worker: &Node) -> uuid::Uuid {
    let log = worker.process.log();
    let line = log.lines().find(|line| line.contains("worker takes jobs")).expect("it said who it is");
    let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
    line["worker.id"].as_str().and_then(|id| id.parse().ok()).expect("an id")
}

async fn wait_draining(worker: &Node) -> Duration {
    let asked = Instant::now();
    wait_for("readiness to go", SOON, async || {
        let answer = worker.get("/readyz").await?;
        let draining = answer.body.contains("\"draining\":true");
        if answer.status == 503 && draining { Ok(()) } else { Err(answer.body) }
    })
    .await;
    asked.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_takes_nothing_new_finishes_what_it_can_and_hands_back_the_rest() {
    let rig = Rig::start().await;
    let mut worker = rig.worker(2).set("DEPLOYMIND_WORKER_DRAIN_GRACE", "1500ms").ready().await;
    let short = rig.submit(&sleep(1_000)).await;
    let long = rig.submit(&sleep(60_000)).await;
    wait_running(&rig, &[short, long]).await;
    let waiting = rig.submit(&sleep(0)).await;
    worker.process.sigterm();
    let told = Instant::now();
    let red = wait_draining(&worker).await;
    assert_eq!(worker.get("/healthz").await.map(|answer| answer.status), Ok(200), "alive while it drains");
    let exit = worker.process.wait_exit(SOON).await;
    let took = told.elapsed();
    println!("not ready after {} ms, gone after {} ms (grace 1500 ms)", red.as_millis(), took.as_millis());
    assert_eq!(exit.code(), Some(0));
    assert!(took >= Duration::from_millis(1400), "the long job was given its grace");
    assert!(took < Duration::from_millis(1500) + Duration::from_secs(2), "{took:?}");
    assert_eq!(worker_state(&rig, &worker).await, "stopped");
    assert_eq!(counts(&rig, short).await, ("succeeded".to_owned(), 1, 0, 0));
    assert_eq!(
        counts(&rig, long).await,
        ("queued".to_owned(), 1, 0, 0),
        "handed back, and nothing is held against it"
    );
    assert_eq!(counts(&rig, waiting).await, ("queued".to_owned(), 0, 0, 0), "it takes nothing new");
    // Although it was submitted later than nothing, the one that was handed back is next.
    for (job, place) in [(long, 0), (waiting, 1)] {
        let why = rig.fleet.why(job).await.expect("why");
        println!("{why}");
        assert!(
            matches!(why, Why::Waiting { what: Waiting::Worker { ahead: Some(ahead), workers: 0, .. }, .. } if ahead == place),
            "{why:?}"
        );
    }
    rig.fleet.cancel(long).await.expect("cancel");
    let _next = rig.worker(1).ready().await;
    let all = [short, long, waiting];
    rig.wait_ended(&all, SOON).await;
    rig.verdict(&all).await.assert_clean();
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_hands_back_runs_on_another_worker_at_once() {
    // No scheduler: nobody but the leaving worker itself brings this about.
    let rig = Rig::start().await;
    let targets = rig.targets(1).await;
    let mut leaving = rig.worker(4).set("DEPLOYMIND_WORKER_DRAIN_GRACE", "300ms").ready().await;
    let mut jobs = Vec::new();
    for number in 0..4 {
        let mut wish = request(&sleep(3_000));
        if number == 0 {
            wish.targets = targets.clone();
        }
        jobs.push(rig.submitter.submit(wish).await.expect("submit"));
    }
    wait_running(&rig, &jobs).await;
    let _staying = rig.worker(4).ready().await;
    leaving.process.sigterm();
    assert_eq!(leaving.process.wait_exit(SOON).await.code(), Some(0));
    rig.wait_ended(&jobs, SOON).await;
    let rows = rig.rows().await;
    let mut slowest = 0.0_f64;
    for job in &jobs {
        let states: Vec<_> =
            rows.iter().filter(|row| row.job == job.as_uuid() && row.kind == "state").collect();
        let told: Vec<&str> = states.iter().filter_map(|row| row.detail["is"].as_str()).collect();
        assert_eq!(told, ["running", "queued", "running", "succeeded"]);
        slowest = slowest.max(states[2].clock - states[1].clock);
        assert_ne!(states[0].worker, states[2].worker);
        assert_eq!(counts(&rig, *job).await, ("succeeded".to_owned(), 2, 0, 0));
    }
    println!("handed back, the slowest of 4 was claimed again after {:.0} ms", slowest * 1e3);
    assert!(slowest < 1.0);
    rig.verdict(&jobs).await.assert_clean();
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_worker_keeps_the_locks_of_what_still_runs() {
    let rig = Rig::start().await;
    let targets = rig.targets(1).await;
    let key = rig.fleet.queue.keys().lock(&targets[0]);
    let mut redis = redis::Client::open(rig.stores.redis.as_str())
        .expect("an address")
        .get_multiplexed_async_connection()
        .await
        .expect("connect");
    let hold = |ms| {
        let apply = Step::Effect { name: "apply".to_owned(), target: Some(targets[0].clone()) };
        Script::new([Step::Lock { targets: targets.clone() }, Step::Sleep { ms }, apply])
    };
    let mut leaving = rig.worker(2).set("DEPLOYMIND_WORKER_DRAIN_GRACE", "20s").ready().await;
    let holder = rig.submit(&hold(5_000)).await;
    wait_locked(&rig, holder).await;
    let staying = rig.worker(2).ready().await;
    let next = rig.submit(&hold(0)).await;
    leaving.process.sigterm();
    let (mut looks, mut least) = (0, i64::MAX);
    wait_for("the holder to end", SOON, async || {
        let (owner, left): (Option<String>, i64) = redis::pipe()
            .get(&key)
            .pttl(&key)
            .query_async(&mut redis)
            .await
            .map_err(|error| error.to_string())?;
        let state = rig.state(holder).await;
        if state != "running" {
            return Ok(());
        }
        let owner = owner.unwrap_or_default();
        assert!(owner.starts_with(&holder.to_string()), "the lock is {owner:?}'s while {holder} runs");
        (looks, least) = (looks + 1, least.min(left));
        Err(format!("{state}, lock for {left} ms"))
    })
    .await;
    println!("draining, the lock (2000 ms) never had less than {least} ms left in {looks} looks over 5 s");
    assert!(least > 0 && looks > 20);
    assert_eq!(leaving.process.wait_exit(SOON).await.code(), Some(0));
    rig.wait_ended(&[holder, next], SOON).await;
    assert_eq!(counts(&rig, holder).await, ("succeeded".to_owned(), 1, 0, 0));
    rig.verdict(&[holder, next]).await.assert_clean();
    // The control: a lock that nobody renews is gone within its time.
    let mut doomed = staying;
    let orphan = rig.submit(&hold(60_000)).await;
    wait_locked(&rig, orphan).await;
    doomed.process.kill9();
    let killed = Instant::now();
    wait_for("the lock to expire", SOON, async || {
        let owner: Option<String> =
            redis::cmd("GET").arg(&key).query_async(&mut redis).await.map_err(|error| error.to_string())?;
        owner.map_or(Ok(()), Err)
    })
    .await;
    println!("control: without renewals the lock was gone after {} ms", killed.elapsed().as_millis());
    assert!(killed.elapsed() < LOCK_TTL + Duration::from_millis(300));
    let _scheduler = rig.scheduler().spawn();
    let _worker = rig.worker(1).ready().await;
    wait_locked_again(&rig, orphan).await;
    rig.fleet.cancel(orphan).await.expect("cancel");
    rig.wait_ended(&[orphan], SOON).await;
    rig.finish().await;
}

async fn wait_locked(rig: &Rig, job: JobId) {
    wait_locks(rig, job, 1).await;
}

async fn wait_locked_again(rig: &Rig, job: JobId) {
    wait_locks(rig, job, 2).await;
}

async fn wait_locks(rig: &Rig, job: JobId, times: usize) {
    wait_for("the lock to be taken", SOON, async || {
        let rows = rig.rows().await;
        let locks = rows.iter().filter(|row| row.kind == "locked" && row.job == job.as_uuid()).count();
        if locks >= times { Ok(()) } else { Err(format!("{locks} of {times}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let rig = Rig::start().await;
    let mut worker = rig.worker(1).set("DEPLOYMIND_WORKER_DRAIN_GRACE", "60s").ready().await;
    let job = rig.submit(&Script::new([Step::Stubborn { ms: 2_000 }])).await;
    wait_running(&rig, &[job]).await;
    worker.process.sigterm();
    wait_draining(&worker).await;
    worker.process.sigterm();
    let told = Instant::now();
    assert_eq!(worker.process.wait_exit(SOON).await.code(), Some(130));
    println!("gone {} ms after the second signal", told.elapsed().as_millis());
    assert!(told.elapsed() < Duration::from_secs(1));
    // What it left behind is the scheduler's.
    let (_scheduler, _worker) = (rig.scheduler().spawn(), rig.worker(1).ready().await);
    rig.wait_ended(&[job], SOON).await;
    assert_eq!(counts(&rig, job).await, ("succeeded".to_owned(), 2, 1, 0));
    rig.finish().await;
}
