//! A scheduler that is killed (-9) in the middle of burying a worker. The second one leads within the lease's time and does it again.

use std::time::Instant;

use deploymind_tests::rig::{Node, Rig, request};
use deploymind_tests::script::{Script, Step};
use deploymind_tests::wait_for;

use super::{RECOVERY, SOON, mix, wait_killed_at, wait_rows};

pub(super) const POINTS: &[&str] = &["scheduler.buried", "scheduler.reaped_in_record"];

#[tokio::test(flavor = "multi_thread")]
async fn dies_while_it_buries() {
    tokio::join!(dies(POINTS[0]), dies(POINTS[1]));
}

async fn wait_leads(scheduler: &Node) {
    wait_for("the scheduler to lead", SOON, || async {
        let status = scheduler.get("/status").await?.body;
        if status.contains("\"leader\":true") { Ok(()) } else { Err(status) }
    })
    .await;
}

async fn dies(point: &str) {
    let rig = Rig::start().await;
    let targets = rig.targets(5).await;
    let mut first = rig.scheduler().kill_at(point, 0).ready().await;
    wait_leads(&first).await;
    let second = rig.scheduler().ready().await;
    let mut doomed = rig.worker(6).ready().await;
    // In hand when the worker dies: one that locked at claim, one that locked later, one without a target.
    let on =
        |number: usize| Step::Effect { name: "roll out".to_owned(), target: Some(targets[number].clone()) };
    let there = || Step::Note { label: "there".to_owned() };
    let mut early = request(&Script::new([there(), Step::Sleep { ms: 700 }, on(3)]));
    early.targets = vec![targets[3].clone()];
    let lock = Step::Lock { targets: vec![targets[4].clone()] };
    let held = [
        rig.submitter.submit(early).await.expect("submit"),
        rig.submit(&Script::new([lock, there(), Step::Sleep { ms: 700 }, on(4)])).await,
        rig.submit(&Script::new([there(), Step::Sleep { ms: 700 }])).await,
    ];
    for job in held {
        wait_rows(&rig, job, "note", 1).await;
    }
    let mut jobs = mix(&rig, &targets[..3]).await;
    jobs.extend(held);
    doomed.process.kill9();
    let died = Instant::now();
    let _survivor = rig.worker(6).ready().await;
    wait_killed_at(&mut first, point).await;
    let scheduler_died = died.elapsed();
    rig.wait_ended(&jobs, SOON).await;
    println!(
        "{point}: worker died at 0 ms, scheduler at {} ms, last end at {} ms",
        scheduler_died.as_millis(),
        died.elapsed().as_millis()
    );
    assert!(died.elapsed() < RECOVERY);
    wait_leads(&second).await;
    rig.verdict(&jobs).await.assert_clean();
    rig.finish().await;
}
