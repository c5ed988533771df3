//! A job that needs two targets, each of them always wanted by others as well, comes to its turn.

use std::collections::VecDeque;
use std::time::Duration;

use deploymind_shared::ids::{JobId, TargetName, WorkerId};
use deploymind_tests::redis::{base_redis_url, unique_fleet};
use deploymind_tests::rig::{Rig, target};
use deploymind_tests::wait_for;
use redis::aio::MultiplexedConnection;

use super::{order, submit_locking, wait_parked};
use crate::lua;

/// Hand-overs of either target that may pass before the job that needs both has them: three turns in which it is passed
/// over, each behind the few that wait at that target.
const BOUND: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_job_for_two_busy_targets_runs_within_a_bounded_number_of_hand_overs() {
    const AHEAD: usize = 4;
    let rig = Rig::start().await;
    let targets = rig.targets(2).await;
    let _scheduler = rig.scheduler().spawn();
    let _worker = rig.worker(8).ready().await;
    let mut streams = [Vec::new(), Vec::new()];
    let mut both: Option<JobId> = None;
    // Tops both lines up, always; the job that needs both comes when they are busy.
    wait_for("the job for both targets to end", Duration::from_secs(40), async || {
        for (target, stream) in targets.iter().zip(&mut streams) {
            let ids: Vec<uuid::Uuid> = stream.iter().map(|job: &JobId| job.as_uuid()).collect();
            let waiting: i64 =
                sqlx::query_scalar("SELECT count(*) FROM jobs WHERE id = ANY ($1) AND finished_at IS NULL")
                    .bind(&ids)
                    .fetch_one(&rig.pool)
                    .await
                    .expect("count");
            for _ in waiting..i64::try_from(AHEAD).expect("small") {
                stream.push(submit_locking(&rig, std::slice::from_ref(target), 25, false).await);
            }
        }
        match both {
            None => {
                if streams[0].len() > AHEAD * 3 {
                    let job = submit_locking(&rig, &targets, 0, false).await;
                    wait_parked(&rig, &[job]).await;
                    both = Some(job);
                }
                Err("not submitted yet".to_owned())
            }
            Some(job) => match rig.state(job).await.as_str() {
                "succeeded" => Ok(()),
                state => Err(format!("{state} after {} jobs of others", streams[0].len() + streams[1].len())),
            },
        }
    })
    .await;
    let both = both.expect("submitted");
    let all: Vec<JobId> = streams.iter().flatten().copied().chain([both]).collect();
    rig.wait_ended(&all, Duration::from_secs(20)).await;
    let order = order(&rig.rows().await);
    let created: f64 =
        sqlx::query_scalar("SELECT extract(epoch FROM created_at)::float8 FROM jobs WHERE id = $1")
            .bind(both.as_uuid())
            .fetch_one(&rig.pool)
            .await
            .expect("read");
    let rows = rig.rows().await;
    let started = super::starts(&rows);
    let between = order
        .iter()
        .filter(|job| started[&job.as_uuid()] > created && started[&job.as_uuid()] < started[&both.as_uuid()])
        .count();
    println!("{between} hand-overs before it ran, {} jobs of others in all", all.len() - 1);
    assert!(between <= BOUND, "{between} hand-overs");
    rig.verdict(&all).await.assert_clean();
    rig.finish().await;
}

/// The two lines by the scripts alone: at each turn one of two targets is let go while the other is held, so that
/// whoever needs both always finds one of them taken.
struct Alternating {
    redis: MultiplexedConnection,
    prefix: String,
    worker: WorkerId,
    mistakes: Vec<(&'static str, &'static str)>,
    targets: [TargetName; 2],
}

impl Alternating {
    async fn run(&mut self, script: &str, mistakes: bool, arguments: &[String]) -> Vec<String> {
        let mistakes = if mistakes { &self.mistakes[..] } else { &[] };
        let script = lua::script(script, mistakes);
        let mut call = script.key(&self.prefix);
        arguments.iter().for_each(|argument| {
            call.arg(argument);
        });
        let answer: redis::Value = call.invoke_async(&mut self.redis).await.expect("run");
        redis::from_redis_value(answer).unwrap_or_default()
    }

    async fn enqueue(&mut self, needs: &[&TargetName]) -> String {
        let job = JobId::generate().to_string();
        let needs: Vec<&str> = needs.iter().map(|target| target.as_str()).collect();
        let arguments = [job.clone(), "production".into(), "0".into(), needs.join("\n"), "0".into()];
        self.run("enqueue", false, &arguments).await;
        job
    }

    /// Takes all there is; answers the jobs that came with their locks.
    async fn take(&mut self) -> Vec<String> {
        let arguments = [self.worker.to_string(), "production".into(), "50".into(), "600000".into()];
        let answer = self.run("take", true, &arguments).await;
        answer.chunks(2).map(|pair| pair[0].clone()).collect()
    }

    async fn finish(&mut self, job: &str, needs: &str) {
        let worker = self.worker.to_string();
        let arguments =
            [worker, job.to_owned(), "gone".into(), "production".into(), "0".into(), needs.to_owned()];
        self.run("finish", true, &arguments).await;
    }

    /// How many hand-overs pass until a job for both targets has them; `None` when it still waits after `most`.
    async fn hand_overs(&mut self, most: usize) -> Option<usize> {
        let targets = self.targets.clone();
        let mut holders: VecDeque<(String, usize)> = VecDeque::new();
        for (index, target) in targets.iter().enumerate() {
            for _ in 0..2 {
                let job = self.enqueue(&[target]).await;
                if self.take().await.contains(&job) {
                    holders.push_back((job, index));
                }
            }
        }
        let both = self.enqueue(&[&targets[0], &targets[1]]).await;
        assert!(self.take().await.is_empty(), "both targets are held");
        for turn in 0..most {
            let Some((job, index)) = holders.pop_front() else { panic!("nobody holds anything") };
            self.enqueue(&[&targets[index]]).await;
            self.take().await;
            self.finish(&job, targets[index].as_str()).await;
            for taken in self.take().await {
                if taken == both {
                    return Some(turn + 1);
                }
                holders.push_back((taken, index));
            }
        }
        None
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_reservation_it_would_starve() {
    const MOST: usize = 400;
    let mut counts = Vec::new();
    for mistakes in [vec![], vec![("local PATIENCE = 3", "local PATIENCE = 1000000000")]] {
        let mut line = Alternating {
            redis: lua::connect(&base_redis_url()).await,
            prefix: format!("{{{}}}:", unique_fleet()),
            worker: WorkerId::generate(),
            mistakes,
            targets: [target(0), target(1)],
        };
        counts.push(line.hand_overs(MOST).await);
        let mut redis = line.redis.clone();
        let keys: Vec<String> =
            redis::cmd("KEYS").arg(format!("{}*", line.prefix)).query_async(&mut redis).await.expect("KEYS");
        if !keys.is_empty() {
            let _: i64 = redis::cmd("DEL").arg(keys).query_async(&mut redis).await.expect("DEL");
        }
    }
    println!(
        "hand-overs until it ran: with the reservation {:?}, without {:?} (of {MOST})",
        counts[0], counts[1]
    );
    assert!(counts[0].is_some_and(|count| count <= BOUND), "{counts:?}");
    assert_eq!(counts[1], None, "it starves");
}
