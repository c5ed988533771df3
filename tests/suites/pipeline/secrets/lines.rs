//! A build that says a hundred thousand lines.

use deploymind_tests::delivery::{Delivery, Ended};
use deploymind_tests::git::Entry;

use crate::common::SOON;

const LINES: usize = 100_000;

/// The most memory a process has had, in MiB.
fn peak(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    kib.trim().trim_end_matches("kB").trim().parse::<f64>().expect("a number") / 1024.0
}

/// BuildKit itself clips a step that says more than 100 KiB a second or 1 MiB in all, so this one keeps below.
fn dockerfile() -> String {
    let step = "RUN i=0; while [ $i -lt 100 ]; do seq -f n%.0f $((i * 1000 + 1)) $((i * 1000 + 1000)); i=$((i + 1)); sleep 0.1; done";
    format!("FROM debian:bookworm-slim\nRUN echo {}\n{step}\nUSER 1000\n", uuid::Uuid::new_v4())
}

async fn said(builder: &str) {
    let delivery = Delivery::start().await;
    let (app, _) = delivery.app("talkative", &[Entry::file("Dockerfile", dockerfile())]).await;
    let (small, _) = delivery.app("warm", &crate::common::small()).await;
    let _scheduler = delivery.rig.scheduler().ready().await;
    let worker = delivery
        .worker()
        .set("DEPLOYMIND_BUILDER", builder)
        .set("DEPLOYMIND_BUILD_REQUIRE_CAPS", "false")
        .ready()
        .await;
    let warm = delivery.deploy(small).await;
    delivery.ended(&warm, SOON).await.assert_released();
    let before = peak(worker.process.pid());
    let created = delivery.deploy(app).await;
    let ended = delivery.ended(&created, SOON).await;
    let after = peak(worker.process.pid());
    println!(
        "{builder}: {} lines; worker's peak {before:.1} MiB before, {after:.1} MiB after",
        ended.log.len()
    );
    ended_whole(&ended);
    assert!(after - before < 64.0, "the peak grew from {before:.1} to {after:.1} MiB");
    delivery.assert_clean(SOON).await;
    delivery.finish().await;
}

fn ended_whole(ended: &Ended) {
    assert!(ended.deployment.release.is_some(), "{}: {:?}", ended.code(), ended.deployment.reason);
    for (line, number) in ended.log.iter().zip(1..) {
        assert_eq!(line.seq, number, "a gap");
    }
    let mut payload: Vec<usize> = ended
        .log
        .iter()
        .filter_map(|line| line.line.rsplit(' ').next()?.strip_prefix('n')?.parse().ok())
        .collect();
    assert!(payload.is_sorted(), "out of order");
    let all = payload.len();
    payload.dedup();
    assert_eq!((all, payload.len(), payload.first(), payload.last()), (LINES, LINES, Some(&1), Some(&LINES)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_lines_of_a_classic_build() {
    said("classic").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_lines_of_buildkit() {
    said("buildkit").await;
}
