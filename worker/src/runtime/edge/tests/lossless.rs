//! A change of routes loses no request, and what makes it so.

use std::time::{Duration, Instant};

use super::load::{Load, Outcome, Plan};
use super::stage::{Slot, Stage, app, fence, free_port, get, route};

/// One load at a time: what it measures are milliseconds.
static LOAD: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Changes routes to and fro under load.
async fn flips(env: &[&str], count: u32, mut plan: Plan) -> Outcome {
    let _alone = LOAD.lock().await;
    let stage = Stage::started(env).await;
    let edge = &stage.edge;
    let slots = [Slot::start("dm-shop-1").await, Slot::start("dm-shop-2").await];
    let (shop, port) = (app(), free_port());
    plan.port = port;
    let to = async |number: usize| {
        let upstream = Some(&slots[number % 2].upstream);
        let start = Instant::now();
        edge.route(&fence(1), &route(&shop, port, None, upstream, 100), None, upstream)
            .await
            .expect("routed");
        start.elapsed()
    };
    to(0).await;
    let load = Load::start(plan).await;
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while slots[0].seen() < 100 {
        assert!(tokio::time::Instant::now() < end, "no load");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut took = Vec::new();
    for number in 1..=count as usize {
        took.push(to(number).await);
        let name = &slots[number % 2].upstream.slot.0;
        for _ in 0..5 {
            assert_eq!(&get(port, "/", "").await.body, name, "after the change, every request goes there");
        }
        // Time for users to keep connections again.
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    let outcome = load.end().await;
    assert!(edge.drained(Duration::from_secs(10)).await.expect("drained"), "nobody is left");
    took.sort();
    println!(
        "{count} changes, p50 {:?}, longest {:?}: {outcome:?}",
        took[took.len() / 2],
        took[took.len() - 1]
    );
    outcome
}

const PLAN: Plan = Plan { port: 0, kept: 40, slow: 8, upgraded: true };

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_when_routes_change() {
    let outcome = flips(&[], 10, PLAN).await;
    assert_eq!(outcome.bad, 0, "{outcome:?}");
    assert!(outcome.good > 1000, "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes more than a minute"]
async fn no_request_is_lost_when_routes_change_sixty_times() {
    let outcome = flips(&[], 60, PLAN).await;
    assert_eq!(outcome.bad, 0, "{outcome:?}");
}

/// The negative control: without the time in which answers close their connections, requests are lost. About eight of
/// the forty connections have a request on its way at any moment.
#[tokio::test(flavor = "multi_thread")]
async fn without_closing_first_requests_are_lost() {
    let outcome = flips(&["DM_EDGE_CLOSING=0"], 8, Plan { upgraded: false, slow: 0, ..PLAN }).await;
    assert!(outcome.bad > 0, "{outcome:?}");
}

/// Stops the old slot after a change, having waited for the edge to let go of it, or not.
async fn stopped_after(wait: bool) -> Outcome {
    let stage = Stage::started(&[]).await;
    let edge = &stage.edge;
    let (old, new) = (Slot::start("dm-shop-1").await, Slot::start("dm-shop-2").await);
    let (shop, port) = (app(), free_port());
    let to = async |slot: &Slot| {
        let upstream = Some(&slot.upstream);
        edge.route(&fence(1), &route(&shop, port, None, upstream, 100), None, upstream)
            .await
            .expect("routed");
    };
    to(&old).await;
    let load = Load::start(Plan { port, kept: 4, slow: 6, upgraded: false }).await;
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while old.seen() < 30 {
        assert!(tokio::time::Instant::now() < end, "no load");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    to(&new).await;
    if wait {
        assert!(edge.drained(Duration::from_secs(20)).await.expect("drained"));
    }
    drop(old);
    load.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_may_stop_once_the_edge_let_go_of_it_and_not_before() {
    let _alone = LOAD.lock().await;
    let (with, without) = tokio::join!(stopped_after(true), stopped_after(false));
    assert_eq!(with.bad, 0, "{with:?}");
    assert!(without.bad > 0, "{without:?}");
}
