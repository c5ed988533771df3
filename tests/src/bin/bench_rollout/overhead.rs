//! A rolling deployment of an image that is built already, against the same image started by hand.

use std::time::Duration;

use deploymind_tests::figures::{figure, median, round};
use deploymind_tests::load::Lookout;
use deploymind_tests::rolling::{SOON, Sample};
use deploymind_tests::sample;
use serde_json::json;

use crate::by_hand::Container;
use crate::shop::{Shop, release, settings};
use crate::timeline::Timeline;

const TARGET_S: f64 = 2.0;
const EVERY: Duration = Duration::from_millis(5);
/// How long the app needs until it listens.
const START_MS: &str = "1000";

pub async fn measure(rounds: usize) {
    eprintln!("overhead");
    let shop = Shop::open().await;
    let app = Sample::new(&shop.delivery, "shop", settings()).await;
    release(&app, "first").await;
    // Built, and known to the engine's cache, by now: what follows deploys the same commits.
    let env = [("START_MS", START_MS)];
    let (mut from_claim, mut from_release, mut by_hand) = (Vec::new(), Vec::new(), Vec::new());
    let image = sample::image("by-hand", &[("VERSION", "by-hand"), env[0]]);
    for number in 0..rounds {
        let version = if number % 2 == 0 { "even" } else { "odd" };
        let lookout = Lookout::start(&app.url(), None, version, EVERY, SOON);
        let created = app.push(version, &env).await;
        let sighting = lookout.sighting().await;
        let ended = shop.delivery.ended(&created, SOON).await;
        assert_eq!(ended.status(), "DEPLOYED", "{}", ended.text());
        assert!(sighting.at.is_some(), "nobody saw {version}: {sighting:?}");
        let seen = Timeline::of(&shop.delivery.rig.pool, created.deployment).await;
        let released = seen.released.expect("a deployment makes a release");
        let (_container, alone) = Container::run(&image).await;
        eprintln!(
            "  claim to release {:.3} s, to 100 % {:.3} s; by hand {alone:.3} s",
            released - seen.claimed,
            seen.routed - released
        );
        // The first two find nothing built.
        if number >= 2 {
            from_claim.push(seen.routed - seen.claimed);
            from_release.push(seen.routed - released);
            by_hand.push(alone);
        }
    }
    shop.close().await;
    let floor = median(by_hand.iter().copied());
    let overhead =
        |seconds: &[f64]| median(seconds.iter().zip(&by_hand).map(|(seconds, by_hand)| seconds - by_hand));
    let ready = overhead(&from_release);
    let all = |samples: &[f64]| samples.iter().copied().map(round).collect::<Vec<_>>();
    let more = json!({
        "target": TARGET_S,
        "met": ready <= TARGET_S,
        "start_to_healthy_s": round(floor),
        "rounds": all(&from_release),
        "by_hand_rounds": all(&by_hand),
    });
    figure("rollout_overhead_s", ready, "s", None, &more);
    figure("rollout_ready_to_100_s", median(from_release.iter().copied()), "s", Some(floor), &json!({}));
    let claim = overhead(&from_claim);
    let more = json!({ "overhead_s": round(claim), "rounds": all(&from_claim) });
    figure("rollout_claim_to_100_s", median(from_claim.iter().copied()), "s", Some(floor), &more);
}
