//! Wall clocks that are wrong, and one that jumps: nothing that matters looks at them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use deploymind_shared::ids::JobId;
use deploymind_tests::rig::{Node, NodeBuilder, Rig, request};
use deploymind_tests::script::{Script, Step};

use super::{SOON, ends, job, wait_rows};

/// Debian's package `faketime`; `scripts/env.sh` installs it.
fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").expect("/usr/lib").flatten().map(|entry| entry.path());
    folders
        .map(|folder| folder.join("faketime/libfaketimeMT.so.1"))
        .find(|file| file.is_file())
        .expect("libfaketime is missing: run `make test`, or install the package faketime")
}

fn faked(node: NodeBuilder) -> NodeBuilder {
    // A jump of the wall clock leaves the monotonic one alone.
    node.set("LD_PRELOAD", library().to_str().expect("a path in UTF-8"))
        .set("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}

fn off_by(node: NodeBuilder, offset: &str) -> NodeBuilder {
    faked(node).set("FAKETIME", offset)
}

/// Its clock is whatever the file says at each moment.
fn jumping(node: NodeBuilder, file: &Path) -> NodeBuilder {
    faked(node)
        .set("FAKETIME_TIMESTAMP_FILE", file.to_str().expect("a path in UTF-8"))
        .set("FAKETIME_NO_CACHE", "1")
}

/// The day it writes into its log shows that its clock is really wrong.
async fn assert_believes(rig: &Rig, node: &Node, days: i32) {
    let day: String = sqlx::query_scalar(
        "SELECT to_char((now() + make_interval(days => $1)) AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
    )
    .bind(days)
    .fetch_one(&rig.pool)
    .await
    .expect("a date");
    let log = node.process.stderr();
    assert!(log.contains(&day), "it does not believe in {day}:\n{}", log.lines().last().unwrap_or_default());
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_clocks_harm_nothing() {
    let rig = Rig::start().await;
    let targets = rig.targets(6).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("clock");
    std::fs::write(&file, "+0").expect("write the clock");
    // Two schedulers a day apart in both directions, so that either may lead.
    let schedulers =
        [off_by(rig.scheduler(), "+1d").ready().await, off_by(rig.scheduler(), "-1d").ready().await];
    let mut ahead = off_by(rig.worker(2), "+1d").ready().await;
    let behind = off_by(rig.worker(2), "-1d").ready().await;
    let mut jumper = jumping(rig.worker(2), &file).ready().await;
    for (node, days) in [(&schedulers[0], 1), (&ahead, 1), (&schedulers[1], -1), (&behind, -1), (&jumper, 0)]
    {
        assert_believes(&rig, node, days).await;
    }
    // Longer than a lock lives without renewal (2 s) and a worker without heartbeat (1.5 s), on all six places.
    let mut jobs = Vec::new();
    for target in &targets {
        let mut wish = request(&Script::new([
            Step::Note { label: "there".to_owned() },
            Step::Sleep { ms: 4_000 },
            Step::Effect { name: "roll out".to_owned(), target: Some(target.clone()) },
        ]));
        wish.targets = vec![target.clone()];
        jobs.push(rig.submitter.submit(wish).await.expect("submit"));
    }
    for id in &jobs {
        wait_rows(&rig, *id, "note", 1).await;
    }
    for jump in ["+1d", "-1d", "+400d"] {
        std::fs::write(&file, jump).expect("write the clock");
        // Others for the same targets wait behind the locks, from a client whose clock is wrong too.
        let script = serde_json::to_string(&Script::new([Step::Lock { targets: targets[..2].to_vec() }]))
            .expect("a script can be written down");
        let mut client = off_by(rig.client(), jump).set("FAULT_SCRIPT", &script).spawn();
        assert!(client.process.wait_exit(SOON).await.success(), "{}", client.process.stderr());
        jobs.push(client.process.stdout().trim().parse::<JobId>().expect("the client says its job"));
    }
    rig.wait_ended(&jobs, SOON).await;
    let (mut tries, mut recoveries) = (0, 0);
    for id in &jobs[..6] {
        let record = job(&rig, *id).await;
        tries += record.attempt.0;
        recoveries += record.recoveries;
    }
    let mut losses = 0.0;
    for worker in [&ahead, &behind, &jumper] {
        losses += worker.metric("deploymind_lease_losses_total").await;
        assert!(worker.is_ready().await);
    }
    println!(
        "wrong clocks: {:?}, 6 long jobs in {tries} attempts, {recoveries} recoveries, {losses} locks lost",
        ends(&rig, &jobs).await
    );
    assert_eq!((tries, recoveries, losses), (6, 0, 0.0), "nobody was reaped while it lived, every lock held");
    jumper.process.sigterm();
    assert!(jumper.process.wait_exit(SOON).await.success());
    assert_believes(&rig, &jumper, 400).await;
    // Negative control: a worker that really dies is reaped by the same schedulers.
    ahead.process.kill9();
    let silent = rig.submit(&Script::new([Step::Sleep { ms: 100 }])).await;
    jobs.push(silent);
    rig.wait_ended(&jobs, SOON).await;
    deploymind_tests::wait_for("the dead worker to be buried", Duration::from_secs(10), async || {
        let dead: i64 = sqlx::query_scalar("SELECT count(*) FROM workers WHERE state = 'dead'")
            .fetch_one(&rig.pool)
            .await
            .map_err(|error| error.to_string())?;
        if dead == 1 { Ok(()) } else { Err(format!("{dead} dead")) }
    })
    .await;
    rig.verdict(&jobs).await.assert_clean();
    rig.finish().await;
}
