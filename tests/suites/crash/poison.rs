//! A job that kills every worker it meets: put aside after three recoveries, while everything else goes on.

use std::time::{Duration, Instant};

use deploymind_shared::db::deployments::{Trigger, deployment_get, deployment_job};
use deploymind_shared::db::jobs::job_quarantined;
use deploymind_shared::domain::deployment::DeploymentStatus;
use deploymind_shared::domain::job::{JobState, MAX_RECOVERIES, Priority};
use deploymind_shared::error::Code;
use deploymind_shared::fleet::Why;
use deploymind_shared::ids::JobId;
use deploymind_tests::rig::{Node, Rig};
use deploymind_tests::script::{Script, Step};
use deploymind_tests::wait_for;
use redis::AsyncTypedCommands as _;

use super::{SOON, app, ends, job, wait_killed_at};

/// Two workers, started again when they die, as an orchestrator would.
struct Fleet {
    workers: Vec<Node>,
    deaths: usize,
}

impl Fleet {
    fn start(rig: &Rig) -> Self {
        Self { workers: (0..2).map(|_| rig.worker(4).spawn()).collect(), deaths: 0 }
    }

    fn tend(&mut self, rig: &Rig) {
        for worker in &mut self.workers {
            if worker.process.exit().is_some() {
                *worker = rig.worker(4).spawn();
                self.deaths += 1;
            }
        }
    }

    async fn wait_state(&mut self, rig: &Rig, jobs: &[JobId], wanted: &str) {
        wait_for(&format!("all to be {wanted}"), Duration::from_secs(40), async || {
            self.tend(rig);
            let ends = ends(rig, jobs).await;
            if ends.get(wanted) == Some(&jobs.len()) { Ok(()) } else { Err(format!("{ends:?}")) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_kills_its_workers_is_put_aside_and_the_others_end() {
    let rig = Rig::start().await;
    let _scheduler = rig.scheduler().ready().await;
    let mut fleet = Fleet::start(&rig);
    let started = Instant::now();
    let attempts = MAX_RECOVERIES + 1;
    // Kills once more after its second chance, which must not put it aside again at once.
    let killer = Script::new([
        Step::KillUntil { attempt: attempts + 2 },
        Step::Effect { name: "apply".to_owned(), target: None },
    ]);
    let (mut others, mut poison) = (Vec::new(), None);
    for number in 0..50 {
        if number == 20 {
            poison = Some(rig.submit(&killer).await);
        }
        let pause = Step::Sleep { ms: if number % 5 == 0 { 300 } else { 0 } };
        let effect = Step::Effect { name: "apply".to_owned(), target: None };
        others.push(rig.submit(&Script::new([pause, effect])).await);
    }
    let poison = poison.expect("submitted");
    fleet.wait_state(&rig, &others, "succeeded").await;
    let others_ended = started.elapsed();
    fleet.wait_state(&rig, &[poison], "quarantined").await;
    let put_aside = started.elapsed();
    println!(
        "poison: 50 others ended after {} ms, put aside after {} ms and {} deaths",
        others_ended.as_millis(),
        put_aside.as_millis(),
        fleet.deaths
    );
    let worst: i32 = sqlx::query_scalar("SELECT max(recoveries) FROM jobs WHERE id <> $1")
        .bind(poison.as_uuid())
        .fetch_one(&rig.pool)
        .await
        .expect("read recoveries");
    println!("poison: the unluckiest neighbour was recovered {worst} times");
    assert!(worst < MAX_RECOVERIES, "one death more and it had been put aside too");
    let record = job(&rig, poison).await;
    assert_eq!((record.recoveries, record.attempt.0), (MAX_RECOVERIES, attempts));
    assert_eq!(record.code.as_deref(), Some(Code::Quarantined.as_str()));
    assert_eq!(job_quarantined(&rig.fleet.db, None, 10).await.expect("list"), [poison]);
    let why = rig.fleet.why(poison).await.expect("why");
    assert!(matches!(&why, Why::Ended { state: JobState::Quarantined, reason: Some(_) }), "{why}");
    println!("poison: {why}");
    let late = rig.fleet.cancel(poison).await.expect_err("it has ended");
    assert_eq!(late.code(), Code::JobEnded);

    assert_eq!(rig.fleet.quarantine_retry(poison).await.expect("retry"), poison);
    fleet.wait_state(&rig, &[poison], "succeeded").await;
    let record = job(&rig, poison).await;
    assert_eq!((record.recoveries, record.attempt.0), (1, attempts + 2), "a fresh count");
    let again = rig.fleet.quarantine_retry(poison).await.expect_err("not in quarantine");
    assert_eq!(again.code(), Code::JobNotQuarantined);
    rig.finish().await;
}

/// The jobs that a worker ran beside the killer die with it. They are not the killers: after the second death no worker
/// has two of the suspects at a time.
#[tokio::test(flavor = "multi_thread")]
async fn its_neighbours_are_not_put_aside_with_it() {
    // Negative control: when Redis is made to forget who is suspected, they all go down together.
    let (kept, forgotten) = tokio::join!(neighbours(false), neighbours(true));
    println!("neighbours: 3 {kept}; without suspicion: 3 {forgotten}");
    assert_eq!((kept.as_str(), forgotten.as_str()), ("succeeded", "quarantined"));
}

/// How the three jobs ended that shared the only worker with a killer.
async fn neighbours(forget: bool) -> String {
    let rig = Rig::start().await;
    let _scheduler = rig.scheduler().ready().await;
    let effect = || Step::Effect { name: "apply".to_owned(), target: None };
    let killer = rig.submit(&Script::new([Step::Sleep { ms: 200 }, Step::KillWorker])).await;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(rig.submit(&Script::new([Step::Sleep { ms: 1_000 }, effect()])).await);
    }
    let mut fleet = Fleet { workers: Vec::new(), deaths: 0 };
    let mut redis = rig.redis().await;
    wait_for("the killer to be put aside and the others to end", Duration::from_secs(40), async || {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs WHERE finished_at IS NULL")
            .fetch_one(&rig.pool)
            .await
            .map_err(|error| error.to_string())?;
        fleet.workers.retain_mut(|worker| worker.process.exit().is_none());
        let queued = redis.llen(rig.key("queue:production")).await.map_err(|error| error.to_string())? as i64;
        // Started when all that is left is back in line, so that it may take them together.
        if fleet.workers.is_empty() && queued == left && left > 0 {
            if forget {
                redis.del(rig.key("suspects")).await.map_err(|error| error.to_string())?;
            }
            fleet.workers.push(rig.worker(4).spawn());
        }
        if left == 0 { Ok(()) } else { Err(format!("{left} left, {queued} in line")) }
    })
    .await;
    assert_eq!(rig.state(killer).await, "quarantined");
    let mut states = ends(&rig, &others).await.into_iter();
    let (Some((state, 3)), None) = (states.next(), states.next()) else { panic!("they ended differently") };
    rig.finish().await;
    state
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_kills_its_workers_fails_and_can_be_tried_again() {
    let rig = Rig::start().await;
    let app = app(&rig, "shop", &rig.targets(1).await).await;
    let _scheduler = rig.scheduler().ready().await;
    let created = rig.fleet.deploy(app, Trigger::Push, None, None, Priority::Normal).await.expect("deploy");
    for _ in 0..=MAX_RECOVERIES {
        let mut worker = rig.worker(1).kill_at("worker.before_run", 0).spawn();
        wait_killed_at(&mut worker, "worker.before_run").await;
    }
    wait_for("the job to be put aside", SOON, || async {
        let state = rig.state(created.job).await;
        if state == "quarantined" { Ok(()) } else { Err(state) }
    })
    .await;
    let failed = deployment_get(&rig.fleet.db, created.deployment).await.expect("read").expect("there");
    assert_eq!(failed.status, DeploymentStatus::Failed);
    assert_eq!(failed.code.as_deref(), Some(Code::Quarantined.as_str()));
    println!("deployment: {} {}", failed.status, failed.reason.as_deref().unwrap_or_default());

    let _worker = rig.worker(1).set("FAULT_DEPLOY_TARGETS", "docker://host-0").ready().await;
    let next = rig.fleet.quarantine_retry(created.job).await.expect("retry");
    assert_ne!(next, created.job);
    rig.wait_ended(&[next], SOON).await;
    let record = job(&rig, next).await;
    assert_eq!((record.state, record.recoveries), (JobState::Succeeded, 0));
    let new = record.deployment.expect("a deployment's job");
    assert_ne!(new, created.deployment);
    let done = deployment_get(&rig.fleet.db, new).await.expect("read").expect("there");
    assert_eq!((done.status, done.trigger), (DeploymentStatus::Deployed, Trigger::Retry));
    // What was is left as it was, with its reason.
    let old = deployment_job(&rig.fleet.db, created.deployment).await.expect("read").expect("there");
    assert_eq!((old.state, old.code.as_deref()), (JobState::Failed, Some(Code::Quarantined.as_str())));
    let kept = deployment_get(&rig.fleet.db, created.deployment).await.expect("read").expect("there");
    assert_eq!((kept.status, kept.code), (failed.status, failed.code));
    rig.finish().await;
}
