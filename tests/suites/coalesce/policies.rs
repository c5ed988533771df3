//! What each overlap policy does with a stream of pushes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use deploymind_shared::db::deployments::{Created, Trigger, deployment_get};
use deploymind_shared::domain::deployment::DeploymentStatus;
use deploymind_shared::domain::overlap::{MAX_OVERRIDES, OverlapPolicy};
use futures::future::join_all;
use tokio::time::sleep_until;

use super::{Shop, overlap, phase};

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_pushes_the_newest_is_deployed_and_hardly_any_other_runs() {
    let shop = Shop::open(OverlapPolicy::Newest, 1_000, 0, false).await;
    let began = Instant::now();
    let mut pushes = Vec::new();
    for _ in 0..100 {
        pushes.push(shop.push().await);
    }
    let took = began.elapsed();
    let ends = shop.ends(&pushes).await;
    let begun = shop.begun().await;
    println!(
        "100 pushes in {} ms: {} ran, ends {ends:?}, {} ms in all",
        took.as_millis(),
        begun.len(),
        began.elapsed().as_millis()
    );
    assert!((1..=3).contains(&begun.len()), "{begun:?}");
    let newest = &pushes[99];
    assert_eq!(shop.status(newest.deployment).await, DeploymentStatus::Deployed);
    let expected =
        BTreeMap::from([("DEPLOYED".to_owned(), begun.len()), ("SUPERSEDED".to_owned(), 100 - begun.len())]);
    assert_eq!(ends, expected);
    says_by_whom(&shop, &pushes).await;
    shop.close().await;
}

/// Each replaced one names a newer one, and why.
async fn says_by_whom(shop: &Shop, pushes: &[Created]) {
    for push in pushes {
        let read = deployment_get(&shop.rig.fleet.db, push.deployment).await.expect("read").expect("there");
        if read.status == DeploymentStatus::Superseded {
            assert!(read.superseded_by.is_some_and(|by| by > read.id) && read.reason.is_some(), "{read:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_pushes_at_the_same_moment_the_last_accepted_is_left() {
    let shop = Shop::open(OverlapPolicy::Newest, 300, 0, false).await;
    let pushes = join_all((0..40).map(|_| shop.push())).await;
    let ends = shop.ends(&pushes).await;
    println!("40 pushes at once: {ends:?}");
    let newest = pushes.iter().max_by_key(|push| push.deployment).expect("pushed");
    assert_eq!(shop.status(newest.deployment).await, DeploymentStatus::Deployed);
    says_by_whom(&shop, &pushes).await;
    shop.close().await;
}

/// The control of the one above: where nothing is replaced, all run.
#[tokio::test(flavor = "multi_thread")]
async fn where_all_are_to_run_they_do_in_order_one_at_a_time() {
    let shop = Shop::open(OverlapPolicy::Queue, 150, 50, false).await;
    let mut pushes = Vec::new();
    for _ in 0..8 {
        pushes.push(shop.push().await);
    }
    let ends = shop.ends(&pushes).await;
    assert_eq!(ends, BTreeMap::from([("DEPLOYED".to_owned(), 8)]));
    let moves = shop.moves().await;
    let phases: Vec<(f64, f64)> =
        pushes.iter().map(|push| phase(&moves[&push.deployment.as_uuid()], "CLONING", "DEPLOYED")).collect();
    for pair in phases.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "one at a time, in order: {phases:?}");
    }
    println!("8 deployments one after the other in {:.0} ms", (phases[7].1 - phases[0].0) * 1_000.0);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_steady_stream_overrides_but_never_keeps_anything_from_being_deployed() {
    let shop = Shop::open(OverlapPolicy::Override, 500, 0, false).await;
    let mut pushes = Vec::new();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(6) {
        pushes.push(shop.push().await);
        sleep_until((Instant::now() + Duration::from_millis(120)).into()).await;
    }
    let during = shop.begun().await.iter().filter(|state| *state == "succeeded").count();
    let ends = shop.ends(&pushes).await;
    let begun = shop.begun().await;
    let mut row = 0;
    let mut longest = 0;
    for state in &begun {
        row = if state == "superseded" { row + 1 } else { 0 };
        longest = longest.max(row);
    }
    println!(
        "{} pushes: {} began, {during} deployed while the stream went on, at most {longest} stopped in a row, ends {ends:?}",
        pushes.len(),
        begun.len()
    );
    assert!(during >= 1, "a steady stream still deploys something");
    // Exactly: the rule was needed, and it was kept.
    assert_eq!(longest, usize::try_from(MAX_OVERRIDES).expect("small"));
    let last = pushes.last().expect("pushed");
    assert_eq!(shop.status(last.deployment).await, DeploymentStatus::Deployed);
    // Whoever was stopped had not begun to move traffic.
    for (deployment, moves) in shop.moves().await {
        let (_, end) = moves.last().expect("moved");
        let touched = moves.iter().any(|(_, status)| status == "DEPLOYING");
        assert_eq!(touched, end == "DEPLOYED", "{deployment}: {moves:?}");
    }
    says_by_whom(&shop, &pushes).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_moves_traffic_is_never_stopped() {
    let shop = Shop::open(OverlapPolicy::Override, 2_000, 6_000, false).await;
    let first = shop.push().await;
    shop.wait_status(first.deployment, DeploymentStatus::Deploying).await;
    let mut pushes = Vec::new();
    for _ in 0..5 {
        let push = shop.push().await;
        assert!(push.stopping.is_none(), "it moves traffic");
        pushes.push(push);
    }
    assert_eq!(shop.status(first.deployment).await, DeploymentStatus::Deploying);
    let ends = shop.ends(&[std::slice::from_ref(&first), &pushes[..]].concat()).await;
    assert_eq!(ends, BTreeMap::from([("DEPLOYED".to_owned(), 2), ("SUPERSEDED".to_owned(), 4)]));
    assert_eq!(shop.status(first.deployment).await, DeploymentStatus::Deployed);
    assert_eq!(shop.status(pushes[4].deployment).await, DeploymentStatus::Deployed);
    // The control: before traffic moves, the same push does stop it.
    let building = shop.push().await;
    shop.wait_status(building.deployment, DeploymentStatus::Building).await;
    let newer = shop.push().await;
    assert_eq!(newer.stopping.map(|(job, _)| job), Some(building.job));
    let ends = shop.ends(&[building, newer]).await;
    assert_eq!(ends, BTreeMap::from([("DEPLOYED".to_owned(), 1), ("SUPERSEDED".to_owned(), 1)]));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_never_replaced() {
    for policy in [OverlapPolicy::Newest, OverlapPolicy::Override] {
        let shop = Shop::open(policy, 500, 3_000, false).await;
        let running = shop.push().await;
        shop.wait_status(running.deployment, DeploymentStatus::Deploying).await;
        let waiting = shop.push().await;
        let back = shop.trigger(Trigger::Rollback).await;
        assert_eq!((back.superseded.len(), back.stopping), (0, None), "it replaces nothing by itself");
        let newer = shop.push().await;
        assert_eq!(newer.superseded, [waiting.job], "the waiting push, and not the rollback");
        // Nor is one that runs stopped.
        shop.wait_status(back.deployment, DeploymentStatus::Deploying).await;
        let newest = shop.push().await;
        assert_eq!((newest.superseded.as_slice(), newest.stopping), (&[newer.job][..], None));
        let all = [running.clone(), waiting.clone(), back.clone(), newer.clone(), newest.clone()];
        shop.ends(&all).await;
        let mut ends = Vec::new();
        for created in &all {
            ends.push(shop.status(created.deployment).await.to_string());
        }
        println!("{policy}: {ends:?}");
        assert_eq!(ends, ["DEPLOYED", "SUPERSEDED", "DEPLOYED", "SUPERSEDED", "DEPLOYED"]);
        let moves = shop.moves().await;
        let held = |created: &Created| phase(&moves[&created.deployment.as_uuid()], "DEPLOYING", "DEPLOYED");
        assert!(!overlap(held(&running), held(&back)) && !overlap(held(&back), held(&newest)));
        shop.close().await;
    }
}
