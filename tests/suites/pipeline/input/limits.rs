//! Input that is too much: too large, too long, too hungry.

use std::time::Duration;

use deploymind_tests::delivery::Delivery;
use deploymind_tests::git::Entry;
use deploymind_tests::wait_for;

use super::{Case, dockerfile};
use crate::common::SOON;

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_is_refused_by_its_limit() {
    let delivery = Delivery::start().await;
    let bookworm = "FROM debian:bookworm-slim\n";

    let blob = vec![Entry::file("Dockerfile", bookworm), Entry::file("dump.img", vec![0; 256 * MIB])];
    let (huge, _) = delivery.app("huge", &blob).await;
    let context = vec![
        Entry::file("Dockerfile", bookworm),
        Entry::file("data/largest.bin", vec![1; 12 * MIB]),
        Entry::file("data/second.bin", vec![2; 5 * MIB]),
        Entry::file("small.txt", "x"),
    ];
    let (wide, _) = delivery.app("wide", &context).await;
    // The word is in the command of its container, so that it can be looked for.
    let word = format!("marker-{}", delivery.rig.name);
    let endless = format!("{bookworm}RUN : {word}; while :; do sleep 1; done\n");
    let (endless, _) = delivery.app("endless", &dockerfile(endless)).await;
    let (hog, _) = delivery.app("hog", &dockerfile(format!("{bookworm}RUN exec tail /dev/zero\n"))).await;

    let _scheduler = delivery.rig.scheduler().ready().await;
    let worker = delivery
        .worker()
        .set("DEPLOYMIND_CHECKOUT_MAX_MB", "64")
        .set("DEPLOYMIND_BUILD_MAX_CONTEXT_MB", "8")
        .set("DEPLOYMIND_BUILD_DEADLINE", "15s")
        .set("DEPLOYMIND_BUILD_MEMORY_MB", "64")
        .ready()
        .await;
    let created = delivery.deploy(endless).await;
    let cases = [
        Case {
            name: "a blob of 256 MiB",
            created: delivery.deploy(huge).await,
            code: "DM-4108",
            says: &["limit", "64"],
        },
        Case {
            name: "a context of 17 MiB",
            created: delivery.deploy(wide).await,
            code: "DM-4302",
            says: &["data/largest.bin", "12.0 MiB", ".dockerignore"],
        },
        Case { name: "a build without end", created, code: "DM-4304", says: &["15 s", "which step"] },
        Case {
            name: "a hog",
            created: delivery.deploy(hog).await,
            code: "DM-4307",
            says: &["64.0 MiB", "memory"],
        },
    ];
    wait_for("the endless step to run", SOON, async || {
        if delivery.containers(&word).is_empty() { Err("no container".to_owned()) } else { Ok(()) }
    })
    .await;
    let (mut fattest, mut ended) = (0, 0);
    wait_for("all to end", SOON, async || {
        fattest = fattest.max(size(delivery.work.path()));
        ended = 0;
        for case in &cases {
            ended += usize::from(delivery.get(case.created.deployment).await.status.is_terminal());
        }
        if ended == cases.len() { Ok(()) } else { Err(format!("{ended} ended")) }
    })
    .await;
    for case in &cases {
        case.assert(&delivery).await;
    }
    // The blob was fetched, packed, and never written out.
    assert!(fattest < 100 * MIB as u64, "{fattest} bytes in the work folder");
    wait_for("the endless step's container to go", Duration::from_secs(15), async || {
        let left = delivery.containers(&word);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    delivery.assert_clean(SOON).await;
    drop(worker);
    delivery.finish().await;
}

/// What the files below a folder take, while others come and go.
fn size(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => size(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}
