//! From the call of a rollback to the first answer of the old release, flipping between two.

use std::time::Duration;

use deploymind_shared::domain::rollout::Warm;
use deploymind_shared::ids::ReleaseId;
use deploymind_tests::figures::{figure, median, percentile, round};
use deploymind_tests::load::Lookout;
use deploymind_tests::rolling::{SOON, Sample};
use deploymind_tests::sample;
use serde_json::json;

use crate::by_hand::Container;
use crate::shop::{Shop, now, release, settings};
use crate::timeline::Timeline;

const TARGET_P95_S: f64 = 1.5;
/// How often somebody new asks meanwhile; the figure is exact to that.
const EVERY: Duration = Duration::from_millis(5);
const VERSIONS: [&str; 2] = ["v1", "v2"];
const PARTS: [&str; 6] = ["accepted", "claimed", "launching", "healthy", "answered", "routed"];

pub async fn measure(flips: usize) {
    eprintln!("rollback");
    let by_hand = by_hand(5).await;
    for (name, warm) in [("rollback", Warm::Stopped), ("rollback_running", Warm::Running)] {
        let floor = (warm == Warm::Stopped).then_some(by_hand);
        let shop = Shop::open().await;
        let mut settings = settings();
        settings.rollout.warm = warm;
        let sample = Sample::new(&shop.delivery, "shop", settings).await;
        let mut releases = Vec::new();
        for version in VERSIONS {
            releases.push(release(&sample, version).await);
        }
        let mut flipped = Vec::new();
        for number in 0..flips {
            let to = number % 2;
            flipped.push(flip(&sample, VERSIONS[to], releases[to]).await);
        }
        let answered = || flipped.iter().map(Flip::seconds);
        let more = json!({
            "flips": flips,
            "warm": warm,
            "max": round(percentile(answered(), 100)),
            "target": TARGET_P95_S,
            "met": percentile(answered(), 95) <= TARGET_P95_S,
        });
        figure(&format!("{name}_p50_s"), median(answered()), "s", floor, &more);
        figure(&format!("{name}_p95_s"), percentile(answered(), 95), "s", floor, &more);
        // When each was reached since the call.
        for (index, part) in PARTS.iter().enumerate() {
            let at = || flipped.iter().map(|flip| flip.reached[index]);
            let more = json!({ "p95": round(percentile(at(), 95)) });
            figure(&format!("{name}_{part}_at_s"), median(at()), "s", None, &more);
        }
        shop.close().await;
    }
}

/// When each of the parts was reached, in seconds since the call.
struct Flip {
    reached: [f64; PARTS.len()],
}

impl Flip {
    fn seconds(&self) -> f64 {
        self.reached[4]
    }
}

async fn flip(sample: &Sample<'_>, version: &str, release: ReleaseId) -> Flip {
    let lookout = Lookout::start(&sample.url(), None, version, EVERY, SOON);
    // So that it looks before it is asked.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let called = now();
    let created =
        sample.delivery.rig.fleet.rollback(sample.app, Some(release), None).await.expect("a way back");
    let accepted = now();
    let sighting = lookout.sighting().await;
    let at = sighting.at.unwrap_or_else(|| panic!("nobody saw {version}: {sighting:?}"));
    assert!(sighting.others.values().sum::<u64>() > 0, "it looked too late: {sighting:?}");
    let ended = sample.delivery.ended(&created, SOON).await;
    assert_eq!(ended.status(), "DEPLOYED", "{}", ended.text());
    let seen = Timeline::of(&sample.delivery.rig.pool, created.deployment).await;
    let answered = at.unix_us as f64 / 1e6;
    let moments = [accepted, seen.claimed, seen.launching, seen.healthy, answered, seen.routed];
    let flip = Flip { reached: moments.map(|moment| moment - called) };
    eprintln!("  {version}: {:.3} s", flip.seconds());
    flip
}

/// A container that was stopped, started by hand until it is healthy: what the engine costs.
async fn by_hand(rounds: usize) -> f64 {
    let image = sample::image("by-hand", &[("VERSION", "by-hand")]);
    let (container, _) = Container::run(&image).await;
    let mut seconds = Vec::new();
    for _ in 0..rounds {
        container.stop();
        seconds.push(container.start().await);
    }
    median(seconds)
}
