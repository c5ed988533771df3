//! New workers for old under load: what a release of DeployMind itself does to its users.

use deploymind_shared::ids::JobId;
use deploymind_tests::rig::{Node, Rig, request};
use deploymind_tests::script::{Row, Script, Step};
use deploymind_tests::wait_for;
use tokio::task::JoinSet;

use super::SOON;

const JOBS: usize = 600;
const REPLACEMENTS: usize = 4;

/// Jobs of 50 to 200 ms, a third of which lock a target when they are taken.
async fn submit_all(rig: &Rig) -> Vec<JobId> {
    let targets = rig.targets(6).await;
    let mut clients = JoinSet::new();
    for client in 0..10 {
        let (submitter, targets) = (rig.submitter.clone(), targets.clone());
        clients.spawn(async move {
            let mut jobs = Vec::new();
            for number in (client..JOBS).step_by(10) {
                let target = (number % 3 == 0).then(|| targets[number % targets.len()].clone());
                let ms = 50 + (number as u64 * 37) % 150;
                let apply = Step::Effect { name: "apply".to_owned(), target: target.clone() };
                let mut wish = request(&Script::new([Step::Sleep { ms }, apply]));
                wish.targets = target.into_iter().collect();
                jobs.push(submitter.submit(wish).await.expect("accepted"));
            }
            jobs
        });
    }
    clients.join_all().await.concat()
}

async fn wait_finished(rig: &Rig, least: i64) {
    wait_for("some jobs to end", SOON * 2, async || {
        let ended: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs WHERE finished_at IS NOT NULL")
            .fetch_one(&rig.pool)
            .await
            .map_err(|error| error.to_string())?;
        if ended >= least { Ok(()) } else { Err(format!("{ended} of {least}")) }
    })
    .await;
}

/// Replaces one worker after another while the jobs run; answers the jobs and how many attempts were wasted.
async fn replace(rig: &Rig, mut retire: impl AsyncFnMut(&mut Node)) -> (Vec<JobId>, i64) {
    let mut workers = vec![rig.worker(8).ready().await, rig.worker(8).ready().await];
    let jobs = submit_all(rig).await;
    for round in 0..REPLACEMENTS {
        wait_finished(rig, (round * JOBS / (REPLACEMENTS + 2) + 40) as i64).await;
        workers.push(rig.worker(8).ready().await);
        let mut old = workers.remove(0);
        retire(&mut old).await;
    }
    rig.wait_ended(&jobs, SOON * 2).await;
    let wasted: i64 = sqlx::query_scalar("SELECT sum(attempt - 1) FROM jobs")
        .fetch_one(&rig.pool)
        .await
        .expect("count attempts");
    (jobs, wasted)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_replacement_loses_nothing_and_wastes_no_attempt() {
    let rig = Rig::start().await;
    let _scheduler = rig.scheduler().ready().await;
    let mut in_hand = Vec::new();
    let (jobs, wasted) = replace(&rig, async |old| {
        old.process.sigterm();
        assert_eq!(old.process.wait_exit(SOON).await.code(), Some(0));
        in_hand.push(draining(old));
    })
    .await;
    println!("{REPLACEMENTS} workers replaced with {in_hand:?} jobs in hand: {wasted} attempts wasted");
    assert!(in_hand.iter().sum::<u64>() > 0, "no worker held a job when it was told to go");
    assert_eq!(wasted, 0, "{:#?}", repeated(&rig).await);
    let verdict = rig.verdict(&jobs).await;
    verdict.assert_clean();
    assert_eq!(verdict.outcomes.get("succeeded"), Some(&JOBS));
    rig.finish().await;
}

/// The control: without a drain attempts are wasted (and still nothing is lost).
#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_by_force_wastes_attempts_and_loses_nothing() {
    let rig = Rig::start().await;
    let _scheduler = rig.scheduler().ready().await;
    let (jobs, wasted) = replace(&rig, async |old| {
        old.process.kill9();
    })
    .await;
    println!("{REPLACEMENTS} workers killed: {wasted} attempts wasted");
    assert!(wasted > 0, "the load is too small for the test above to prove anything");
    rig.verdict(&jobs).await.assert_clean();
    rig.finish().await;
}

/// What happened to the jobs that ran more than once.
async fn repeated(rig: &Rig) -> Vec<Row> {
    let again: Vec<uuid::Uuid> = sqlx::query_scalar("SELECT id FROM jobs WHERE attempt > 1")
        .fetch_all(&rig.pool)
        .await
        .expect("read jobs");
    rig.rows().await.into_iter().filter(|row| again.contains(&row.job)).collect()
}

/// How many jobs it held when it was told to go.
fn draining(worker: &Node) -> u64 {
    let log = worker.process.log();
    let line =
        log.lines().find(|line| line.contains("\"message\":\"draining\"")).expect("it said that it drains");
    let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
    line["jobs"].as_u64().expect("a number")
}
