//! `kill -9` of everything in the edge's container, in the middle of changes.

use std::time::Duration;

use deploymind_shared::ids::Epoch;

use super::super::{Settings, render::render};
use super::stage::{Slot, Stage, app, free_port, route};

async fn rounds(rounds: usize) -> String {
    let slots = [Slot::start("dm-shop-1").await, Slot::start("dm-shop-2").await];
    let (shop, port) = (app(), free_port());
    let file = |slot: &Slot| {
        let upstream = Some(&slot.upstream);
        let route = route(&shop, port, None, upstream, 100);
        render(&Settings::default(), Epoch(1), &route, None, upstream).expect("good").expect("file")
    };
    let files = [
        ("/opt/1.conf", file(&slots[0])),
        ("/opt/2.conf", file(&slots[1])),
        ("/opt/kill", include_str!("kill.sh").to_owned()),
    ];
    let (rounds, port, app) = (rounds.to_string(), port.to_string(), shop.id.to_string());
    let stage = Stage::create(&["DM_EDGE_CLOSING=0"], &files, Some(&["/opt/kill", &rounds, &port, &app]));
    stage.docker(&["start"]);
    let end = tokio::time::Instant::now() + Duration::from_secs(240);
    loop {
        let log = stage.docker(&["logs"]);
        if log.contains("DONE") || log.contains("BAD") {
            return log;
        }
        assert!(tokio::time::Instant::now() < end, "{log}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// In two containers at once.
async fn kills(all: usize) {
    let logs: [String; 2] = tokio::join!(rounds(all / 2), rounds(all / 2)).into();
    for log in logs {
        println!("{log}");
        assert!(log.contains("DONE"), "{log}");
        // Both outcomes were met, or the kills came always too early or too late.
        assert!(!log.contains(": 0 at 1") && !log.contains(", 0 at 2"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_change_leaves_the_old_routes_or_the_new_ones() {
    kills(40).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes more than a minute"]
async fn two_hundred_killed_changes() {
    kills(200).await;
}
