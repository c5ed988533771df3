//! One request after another through the edge, against the app reached directly.

use std::time::Duration;

use deploymind_tests::figures::{figure, median, round};
use deploymind_tests::load::{Latency, latency};
use deploymind_tests::rolling::Sample;
use serde_json::json;

use crate::shop::{Shop, release, settings};

const REQUESTS: u64 = 2000;
const DEADLINE: Duration = Duration::from_secs(60);

pub async fn measure(rounds: usize) {
    eprintln!("edge");
    let shop = Shop::open().await;
    let sample = Sample::new(&shop.delivery, "shop", settings()).await;
    release(&sample, "v1").await;
    let [direct] = shop.direct().try_into().expect("one slot runs");
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for number in 0..rounds * 2 {
        // Both in turn, each first as often as second.
        let (url, into) = if (number / 2 + number) % 2 == 0 {
            (sample.url(), &mut ours)
        } else {
            (direct.clone(), &mut floor)
        };
        let found = latency(&url, None, REQUESTS, DEADLINE).await;
        assert_eq!(found.failures, 0, "{found:?}");
        into.push(found);
    }
    shop.close().await;
    show("edge_p50_us", &ours, &floor, |found| found.p50_us);
    show("edge_p99_us", &ours, &floor, |found| found.p99_us);
}

fn show(name: &str, ours: &[Latency], floor: &[Latency], of: impl Fn(&Latency) -> u64) {
    let all = |found: &[Latency]| found.iter().map(&of).collect::<Vec<u64>>();
    let (ours, floor) = (all(ours), all(floor));
    let middle = |found: &[u64]| median(found.iter().map(|us| *us as f64));
    let (value, by) = (middle(&ours), middle(&floor));
    let more = json!({
        "difference_us": round(value - by),
        "requests_a_round": REQUESTS,
        "rounds": ours,
        "floor_rounds": floor,
    });
    figure(name, value, "us", Some(by), &more);
}
