//! The requests of users: how many, to which slot, and how they end.

use std::time::Duration;

use rand::RngExt as _;
use tokio::time::Instant;

use super::world::{Routed, State};
use crate::runtime::{SlotName, Tally};

/// Users notice a change of the world after at most this long.
const GRAIN: Duration = Duration::from_millis(50);

impl State {
    /// Lets users come until `now`.
    pub(super) fn count(&mut self, now: Instant) {
        if self.users.per_second <= 0.0 || self.hosts.values().all(|host| host.routes.is_empty()) {
            self.counted = self.counted.max(now);
        }
        while self.counted < now {
            let until = now.min(self.counted + GRAIN);
            let requests = self.users.per_second * (until - self.counted).as_secs_f64();
            self.counted = until;
            let targets: Vec<_> = self.hosts.keys().cloned().collect();
            for target in targets {
                let Some(host) = self.hosts.get_mut(&target) else { continue };
                let mut routes = std::mem::take(&mut host.routes);
                for routed in routes.values_mut() {
                    routed.carry += requests;
                    while routed.carry >= 1.0 {
                        routed.carry -= 1.0;
                        self.request(&target, routed, until);
                    }
                }
                if let Some(host) = self.hosts.get_mut(&target) {
                    host.routes = routes;
                }
            }
        }
    }

    fn request(&mut self, target: &deploymind_shared::ids::TargetName, routed: &mut Routed, at: Instant) {
        let standing = &routed.standing;
        let new = self.rng.random_range(0..100) < standing.weight;
        let (chosen, other) = if new || standing.old.is_none() {
            (&standing.new, &standing.old)
        } else {
            (&standing.old, &None)
        };
        let Some(chosen) = chosen else { return };
        let answers = |slot: &SlotName| self.healthy_at(target, slot, at);
        let slot = match other {
            // What cannot be delivered to the new side goes to the old one.
            Some(other) if !answers(chosen) && answers(other) => other.clone(),
            _ => chosen.clone(),
        };
        let well = answers(&slot);
        let shared = self
            .outages
            .iter()
            .filter(|outage| (self.begun + outage.from..self.begun + outage.until).contains(&at))
            .map(|outage| outage.share)
            .fold(0.0, f64::max);
        let Some(held) = self.hosts.get_mut(target).and_then(|host| host.slots.get_mut(&slot)) else {
            return;
        };
        let behaviour = self.behaviours.get(&held.release).cloned().unwrap_or_default();
        let failed =
            !well || self.rng.random::<f64>() < shared || self.rng.random::<f64>() < behaviour.error_share;
        held.requests += 1;
        held.errors += u64::from(failed);
        let latency = [(bucket(behaviour.latency), 1)].into();
        let one = Tally { requests: 1, errors: u64::from(failed), latency };
        routed.tallies.entry(slot).or_default().add(&one);
    }
}

/// The bucket of [`Tally::latency`] that holds it.
#[expect(clippy::cast_possible_truncation, reason = "at most 4 * log2 of a duration in ms: below 400")]
fn bucket(latency: Duration) -> i16 {
    let ms = latency.as_secs_f64() * 1000.0;
    (4.0 * ms.max(1.0).log2()).ceil() as i16
}
