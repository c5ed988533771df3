//! How users are shared between two releases, and who may choose.

use std::collections::BTreeMap;
use std::time::Duration;

use deploymind_shared::domain::rollout::RolloutCommand;
use deploymind_tests::delivery::Delivery;

use super::follow::{ask, assert_deployed, canary, said, users};
use super::visitor::{version, visit};
use crate::common::{SOON, Sample};

const HEADER: &str = "X-DeployMind-Slot";
const VISITS: usize = 20;

/// Four standard deviations of the binomial distribution: wrong once in 16,000 runs.
fn tolerance(requests: u64, share: f64) -> f64 {
    4.0 * (share * (1.0 - share) / requests as f64).sqrt()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_gives_its_share_and_a_header_chooses() {
    let delivery = Delivery::on_docker().await;
    let mut settings = canary(&[10, 50, 100], 60, 100_000);
    settings.rollout.canary.header = true;
    let sample = Sample::new(&delivery, "share", settings).await;
    let _nodes = delivery.nodes().await;
    assert_deployed(&sample.deploy("v1", &[]).await);
    let created = sample.push("v2", &[("START_MS", "1500")]).await;
    said(&delivery, &created, "starting the new release").await;
    // Before its first route nobody reaches it, whatever they ask for.
    assert_eq!(version(sample.port, &[(HEADER, "new")]).await, "v1");
    said(&delivery, &created, "stage 1 of 3").await;

    let load = users(&sample.url()).rate(400.0).lasts(Duration::from_secs(4));
    let seen = load.start().await.over().await;
    seen.assert_nothing_lost();
    let share = seen.of("v2") as f64 / seen.requests as f64;
    println!(
        "a stage of 10 %: {} of {} answers are new, {:.2} %",
        seen.of("v2"),
        seen.requests,
        share * 100.0
    );
    assert!((share - 0.1).abs() < tolerance(seen.requests, 0.1), "{seen:#?}");

    for (asked, expected) in [("new", "v2"), ("old", "v1")] {
        for _ in 0..VISITS {
            assert_eq!(version(sample.port, &[(HEADER, asked)]).await, expected);
        }
    }
    // What is neither is nobody's wish.
    let mut others = BTreeMap::new();
    for _ in 0..VISITS * 2 {
        *others.entry(version(sample.port, &[(HEADER, "newest")]).await).or_insert(0) += 1;
    }
    println!("with a header that means nothing: {others:?}");
    assert!(others.get("v1").is_some_and(|count| *count > VISITS), "{others:?}");

    assert!(ask(&delivery, &created, RolloutCommand::Promote).await);
    assert_deployed(&delivery.ended(&created, SOON).await);
    assert_eq!(version(sample.port, &[(HEADER, "old")]).await, "v2", "the old one is gone");
    delivery.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_stays_with_the_release_that_answered_first() {
    let delivery = Delivery::on_docker().await;
    let mut settings = canary(&[50, 100], 60, 100_000);
    settings.rollout.canary.sticky = true;
    let sample = Sample::new(&delivery, "sticky", settings).await;
    let _nodes = delivery.nodes().await;
    assert_deployed(&sample.deploy("v1", &[]).await);
    let created = sample.push("v2", &[]).await;
    said(&delivery, &created, "stage 1 of 2").await;
    let mut visitors = Vec::new();
    let mut firsts = BTreeMap::new();
    for _ in 0..VISITS * 2 {
        let first = visit(sample.port, "/", &[]).await.expect("an answer");
        *firsts.entry(first.version.clone()).or_insert(0) += 1;
        visitors.push((first.cookie.expect("a cookie"), first.version));
    }
    println!("{} visitors without a cookie: {firsts:?}", visitors.len());
    assert_eq!(firsts.len(), 2, "with half of the requests each, 40 alike come once in 5e11 runs");
    for (cookie, first) in &visitors {
        for _ in 0..3 {
            assert_eq!(version(sample.port, &[("Cookie", cookie)]).await, *first);
        }
    }
    // One who keeps to a release that is gone, or made the cookie up, is served as anybody.
    let made_up = visitors[0].0.split('=').next().expect("a name").to_owned() + "=dm-nobody-1";
    assert!(["v1", "v2"].contains(&version(sample.port, &[("Cookie", &made_up)]).await.as_str()));

    assert!(ask(&delivery, &created, RolloutCommand::Promote).await);
    assert_deployed(&delivery.ended(&created, SOON).await);
    for (cookie, _) in &visitors {
        assert_eq!(version(sample.port, &[("Cookie", cookie)]).await, "v2");
    }
    delivery.finish().await;
}
