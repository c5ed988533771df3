//! One target is locked for long and hundreds wait for it. Jobs for other targets must not notice.

use std::time::{Duration, Instant};

use deploymind_shared::ids::{JobId, TargetName};
use deploymind_tests::rig::Rig;
use deploymind_tests::script::{Script, Step};
use futures::future::join_all;
use tokio::time::sleep_until;

use super::{starts, submit_locking, wait_locked};

const LOCKED: Duration = Duration::from_secs(30);
const PARKED: usize = 500;
const OTHERS: usize = 50;
/// Between two jobs of the stream.
const PACE: Duration = Duration::from_millis(100);

/// `first` jobs for the first target, behind them in line one for each other target, and then, for `time`, one each
/// [`PACE`] for one of the others. Answers both kinds.
async fn stream(rig: &Rig, targets: &[TargetName], first: usize, time: Duration) -> (Vec<JobId>, Vec<JobId>) {
    let (one, targets) = targets.split_at(1);
    let wanted = (0..first).map(|_| &one[0]).chain(targets);
    let submit = wanted.map(|target| submit_locking(rig, std::slice::from_ref(target), 0, false));
    let mut parked = join_all(submit).await;
    let mut jobs = parked.split_off(first);
    let began = Instant::now();
    while began.elapsed() < time {
        let target = &targets[jobs.len() % targets.len()];
        jobs.push(submit_locking(rig, std::slice::from_ref(target), 0, false).await);
        sleep_until((Instant::now() + PACE).into()).await;
    }
    (parked, jobs)
}

struct Waits {
    sorted: Vec<f64>,
}

impl Waits {
    async fn of(rig: &Rig, jobs: &[JobId]) -> Self {
        let created: Vec<(uuid::Uuid, f64)> =
            sqlx::query_as("SELECT id, extract(epoch FROM created_at)::float8 FROM jobs")
                .fetch_all(&rig.pool)
                .await
                .expect("read");
        let created: std::collections::HashMap<_, _> = created.into_iter().collect();
        let starts = starts(&rig.rows().await);
        let wait = |job: &JobId| (starts[&job.as_uuid()] - created[&job.as_uuid()]) * 1_000.0;
        let mut sorted: Vec<f64> = jobs.iter().map(wait).collect();
        sorted.sort_by(f64::total_cmp);
        Self { sorted }
    }

    fn quantile(&self, part: f64) -> f64 {
        let index = (self.sorted.len() as f64 * part).ceil() as usize;
        self.sorted[index.clamp(1, self.sorted.len()) - 1]
    }

    fn print(&self, what: &str) {
        println!(
            "{what}: {} jobs, submit to start p50 {:.0} ms, p99 {:.0} ms, longest {:.0} ms",
            self.sorted.len(),
            self.quantile(0.5),
            self.quantile(0.99),
            self.quantile(1.0)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_parked_behind_a_locked_target_do_not_delay_others() {
    let alone = {
        let rig = Rig::start().await;
        let targets = rig.targets(OTHERS + 1).await;
        let _scheduler = rig.scheduler().spawn();
        let _workers = tokio::join!(rig.worker(6).ready(), rig.worker(6).ready());
        let (_, jobs) = stream(&rig, &targets, 0, Duration::from_secs(8)).await;
        rig.wait_ended(&jobs, Duration::from_secs(30)).await;
        let waits = Waits::of(&rig, &jobs).await;
        // The control: with every place of both workers taken, others do wait, and the measure shows it.
        let sleep = Script::new([Step::Sleep { ms: 1_500 }]);
        let busy = join_all((0..12).map(|_| rig.submit(&sleep))).await;
        let late = submit_locking(&rig, &targets[1..2], 0, false).await;
        rig.wait_ended(&[&busy[..], &[late]].concat(), Duration::from_secs(30)).await;
        let control = Waits::of(&rig, &[late]).await;
        control.print("control: all places taken for 1500 ms");
        assert!(control.quantile(1.0) > 1_000.0);
        rig.finish().await;
        waits
    };
    let rig = Rig::start().await;
    let targets = rig.targets(OTHERS + 1).await;
    let _scheduler = rig.scheduler().spawn();
    let _workers = tokio::join!(rig.worker(6).ready(), rig.worker(6).ready());
    let held = u64::try_from(LOCKED.as_millis()).expect("fits");
    let holder = submit_locking(&rig, &targets[..1], held, false).await;
    wait_locked(&rig, holder).await;
    let locked = Instant::now();
    let (parked, jobs) = stream(&rig, &targets, PARKED, LOCKED - Duration::from_secs(2)).await;
    let still = rig.state(holder).await;
    let measured = locked.elapsed();
    let all: Vec<JobId> = [&[holder], &jobs[..], &parked[..]].concat();
    rig.wait_ended(&all, Duration::from_secs(60)).await;
    let waits = Waits::of(&rig, &jobs).await;
    alone.print("nothing parked");
    waits.print(&format!("{PARKED} parked, one target locked for {} s", LOCKED.as_secs()));
    rig.verdict(&all).await.assert_clean();
    assert_eq!(still, "running", "the lock was held all the time ({measured:?})");
    let starts = starts(&rig.rows().await);
    let first = starts[&parked[0].as_uuid()];
    assert!(
        jobs.iter().all(|job| starts[&job.as_uuid()] < first),
        "all of them ran before the first parked one"
    );
    // On a machine that is busy with other tests the run without a locked target is slow too.
    let bound = 2_000.0_f64.max(alone.quantile(0.99) * 2.0);
    assert!(waits.quantile(0.99) < bound, "p99 {:.0} ms, bound {bound:.0} ms", waits.quantile(0.99));
    rig.finish().await;
}
