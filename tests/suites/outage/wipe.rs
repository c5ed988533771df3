//! Redis forgets everything in the middle of a thousand jobs. The record puts it back.

use std::time::{Duration, Instant};

use deploymind_shared::domain::job::Priority;
use deploymind_shared::fleet::{JobRequest, Waiting, Why};
use deploymind_shared::ids::{JobId, TargetName, WorkerId};
use deploymind_shared::queue::recovery;
use deploymind_tests::redis::{RedisOptions, TestRedis};
use deploymind_tests::rig::{Node, Rig, production, request};
use deploymind_tests::script::{Script, Step};
use deploymind_tests::wait_for;
use tokio::task::JoinSet;

use super::meter::{Moments, now};

const JOBS: usize = 1_000;
const TARGETS: usize = 8;
/// Within this much everything has to be over; a failure names what is stuck.
const DEADLINE: Duration = Duration::from_secs(60);

/// Plain ones, ones that lock when they are taken, ones that lock late, and urgent ones that come back after a retry.
fn wish(number: usize, targets: &[TargetName]) -> JobRequest {
    let target = targets[number % targets.len()].clone();
    let other = targets[(number / 7) % targets.len()].clone();
    let sleep = Step::Sleep { ms: 15 };
    let apply = |target| Step::Effect { name: "apply".to_owned(), target };
    match number % 10 {
        5 | 6 => {
            let mut early = request(&Script::new([sleep, apply(Some(target.clone()))]));
            early.targets = if number.is_multiple_of(4) { vec![target, other] } else { vec![target] };
            early
        }
        7 | 8 => {
            let lock = Step::Lock { targets: vec![target.clone()] };
            request(&Script::new([sleep.clone(), lock, sleep, apply(Some(target))]))
        }
        9 => {
            let mut urgent = request(&Script::new([Step::RetryUntil { attempt: 2 }, apply(None)]));
            urgent.priority = Priority::High;
            urgent
        }
        _ => request(&Script::new([sleep, apply(None)])),
    }
}

async fn submit_all(rig: &Rig) -> Vec<JobId> {
    let targets = rig.targets(TARGETS).await;
    let mut clients = JoinSet::new();
    for client in 0..20 {
        let (submitter, targets) = (rig.submitter.clone(), targets.clone());
        clients.spawn(async move {
            let mut jobs = Vec::new();
            for number in (client..JOBS).step_by(20) {
                jobs.push(submitter.submit(wish(number, &targets)).await.expect("accepted"));
            }
            jobs
        });
    }
    clients.join_all().await.concat()
}

async fn count(rig: &Rig, condition: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM jobs WHERE {condition}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&rig.pool).await.expect("count jobs")
}

async fn wait_finished(rig: &Rig, least: i64) {
    wait_for("some jobs to end", DEADLINE, async || {
        let ended = count(rig, "finished_at IS NOT NULL").await;
        if ended >= least { Ok(()) } else { Err(format!("{ended} of {least} ended")) }
    })
    .await;
}

async fn workers(rig: &Rig) -> [Node; 2] {
    [rig.worker(16).ready().await, rig.worker(16).ready().await]
}

/// Waits for the end of all and prints how long the fleet took to find its feet.
async fn judge(what: &str, rig: &Rig, jobs: &[JobId], wiped: f64) {
    rig.wait_ended(jobs, DEADLINE).await;
    let (claims, ends) = (Moments::claims(rig).await, Moments::ends(rig).await);
    println!(
        "{what}: {} jobs had ended, {} ended after; for {:.0} ms nothing was claimed, all over after {:.0} ms",
        ends.between(0.0, wiped),
        ends.between(wiped, f64::MAX),
        claims.longest_pause(wiped) * 1e3,
        (ends.last() - wiped) * 1e3,
    );
    let verdict = rig.verdict(jobs).await;
    verdict.assert_clean();
    assert_eq!(verdict.outcomes.get("succeeded"), Some(&JOBS), "{verdict}");
    // Nothing of this was the fault of a worker.
    assert_eq!(count(rig, "recoveries > 0").await, 0, "a living worker's jobs were taken from it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_in_the_middle_of_a_thousand_jobs_loses_none() {
    let redis = TestRedis::start().await;
    let rig = Rig::with_redis(&redis.url()).await;
    let scheduler = rig.scheduler().ready().await;
    let workers = workers(&rig).await;
    let (jobs, wiped) = tokio::join!(submit_all(&rig), async {
        // Once while they are still being submitted, and once in the thick of it.
        wait_finished(&rig, 50).await;
        redis.flushall().await;
        wait_finished(&rig, 400).await;
        let wiped = now();
        redis.flushall().await;
        wiped
    });
    judge("FLUSHALL", &rig, &jobs, wiped).await;
    drop((scheduler, workers));
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_of_a_redis_that_writes_nothing_down_loses_no_job() {
    let options = RedisOptions { append_only: false, ..RedisOptions::default() };
    let mut redis = TestRedis::start_with(options).await;
    let rig = Rig::with_redis(&redis.url()).await;
    let scheduler = rig.scheduler().ready().await;
    let workers = workers(&rig).await;
    let jobs = submit_all(&rig).await;
    wait_finished(&rig, 300).await;
    let killed = Instant::now();
    redis.kill9();
    redis.restart().await;
    let wiped = now();
    println!("Redis was back, empty, {} ms after its kill", killed.elapsed().as_millis());
    judge("kill -9 of Redis", &rig, &jobs, wiped).await;
    drop((scheduler, workers));
    rig.finish().await;
}

/// The negative control of the two above: what brings the jobs back is the scheduler.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_scheduler_a_flush_leaves_jobs_waiting_and_why_says_so() {
    let redis = TestRedis::start().await;
    let rig = Rig::with_redis(&redis.url()).await;
    let workers = workers(&rig).await;
    let jobs = submit_all(&rig).await;
    wait_finished(&rig, 200).await;
    redis.flushall().await;
    wait_for("three quiet seconds", DEADLINE, async || {
        let quiet: Option<f64> = sqlx::query_scalar(
            "SELECT extract(epoch FROM clock_timestamp() - max(clock))::float8 FROM history",
        )
        .fetch_one(&rig.pool)
        .await
        .map_err(|error| error.to_string())?;
        if quiet > Some(3.0) { Ok(()) } else { Err(format!("the last change was {quiet:?} s ago")) }
    })
    .await;
    let stuck = count(&rig, "state = 'queued'").await;
    assert!(stuck > 0, "nothing was lost, so the tests with a scheduler prove nothing");
    assert_eq!(count(&rig, "state = 'running'").await, 0);
    let one: uuid::Uuid = sqlx::query_scalar("SELECT id FROM jobs WHERE state = 'queued' LIMIT 1")
        .fetch_one(&rig.pool)
        .await
        .expect("a stuck job");
    let why = rig.fleet.why(JobId::from_uuid(one)).await.expect("why");
    assert!(matches!(why, Why::Waiting { what: Waiting::Scheduler, .. }), "{why:?}");
    println!("without a scheduler {stuck} jobs are stuck; why: {why}");
    let started = now();
    let scheduler = rig.scheduler().spawn();
    judge("the scheduler's first steps", &rig, &jobs, started).await;
    drop((scheduler, workers));
    rig.finish().await;
}

/// What a wipe does to a holder, step by step: its lock is gone, another claims the target, and its next effect is
/// refused before any heartbeat could tell it. That is no failure of the job.
#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_was_overtaken_is_refused_and_runs_again() {
    let rig = Rig::start().await;
    let targets = rig.targets(1).await;
    let worker = rig.worker(4).ready().await;
    let job = rig
        .submit(&Script::new([
            Step::Lock { targets: targets.clone() },
            Step::Sleep { ms: 300 },
            Step::Effect { name: "apply".to_owned(), target: Some(targets[0].clone()) },
        ]))
        .await;
    wait_for("the lock to be taken", DEADLINE, async || {
        let locked = rig.rows().await.iter().any(|row| row.kind == "locked");
        if locked { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    sqlx::query("UPDATE targets SET epoch = epoch + 1").execute(&rig.pool).await.expect("another's claim");
    rig.wait_ended(&[job], DEADLINE).await;
    let verdict = rig.verdict(&[job]).await;
    verdict.assert_clean();
    assert_eq!((verdict.refused_effects, verdict.outcomes.get("succeeded")), (1, Some(&1)), "{verdict}");
    drop(worker);
    rig.finish().await;
}

/// A blocking pop moves a job before its worker knows of it. Whoever compares the record with Redis at that moment must not
/// put the job in line a second time: its copy would take the lock away from the first one.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_on_its_way_to_a_worker_is_not_put_in_line_again() {
    let rig = Rig::start().await;
    let job = rig.submit(&Script::effect()).await;
    let keys = rig.fleet.queue.keys();
    let list = keys.processing(WorkerId::generate());
    let mut redis = redis::Client::open(rig.stores.redis.as_str())
        .expect("an address")
        .get_multiplexed_async_connection()
        .await
        .expect("connect");
    let moved: Option<String> = redis::cmd("RPOPLPUSH")
        .arg(keys.queue(&production()))
        .arg(&list)
        .query_async(&mut redis)
        .await
        .expect("pop");
    assert_eq!(moved, Some(job.to_string()));
    let known = async || recovery::known(&rig.fleet.queue, &[job]).await.expect("look");
    assert_eq!(known().await, [true], "the first look may have come too early");
    assert_eq!(known().await, [false], "the second finds it lost");
    let _: () = redis::cmd("DEL").arg(&list).query_async(&mut redis).await.expect("delete");
    let (_scheduler, _worker) = (rig.scheduler().spawn(), rig.worker(1).ready().await);
    rig.wait_ended(&[job], DEADLINE).await;
    rig.verdict(&[job]).await.assert_clean();
    rig.finish().await;
}
