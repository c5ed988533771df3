//! After the last action: the routes are read back, and releases that nobody may want again are taken away.

use std::cmp::Reverse;
use std::time::Duration;

use deploymind_shared::domain::rollout::{RolloutOutcome, Warm};
use deploymind_shared::retry::Stop;

use super::call::{Break, Manner, once};
use super::crew::{Crew, READ};
use super::{Book, News, Place, Saved};
use crate::rollout::contract::Ending;
use crate::runtime::{SlotName, Standing};

const END: Duration = Duration::from_secs(30);

impl Crew {
    pub(super) async fn finish(
        &self,
        ending: &Ending,
        known: &Saved,
        manner: &Manner,
        hurried: bool,
        book: &dyn Book,
    ) -> Result<(), Break> {
        self.tell_failing(known, manner, book).await?;
        let weight = match ending.outcome {
            RolloutOutcome::Done | RolloutOutcome::Kept => 100,
            RolloutOutcome::Withdrawn | RolloutOutcome::Reverted if known.machine.reached() > 0 => 0,
            _ => return Ok(()),
        };
        for target in 0..self.places.len() {
            self.correct(target, weight, known, manner, book).await?;
        }
        if ending.outcome == RolloutOutcome::Done && !hurried {
            for place in &self.places {
                match prune(place, known).await {
                    // What could not be taken away is collected later.
                    Err(Break::Refused(error) | Break::Stop(Stop::Retryable { error, .. })) => {
                        tracing::warn!(error = error.chain(), "cannot take earlier releases away");
                    }
                    other => other?,
                }
            }
        }
        Ok(())
    }

    /// A call that was given up at its deadline may have taken effect after the next one.
    async fn correct(
        &self,
        target: usize,
        weight: u8,
        known: &Saved,
        manner: &Manner,
        book: &dyn Book,
    ) -> Result<(), Break> {
        let Some(place) = self.places.get(target) else { return Ok(()) };
        let Some((route, port)) = Crew::last_route(place, weight, &known.machine) else { return Ok(()) };
        let scene = manner.look(READ, || place.runtime.inspect(&place.new.app)).await?;
        let stands = match &scene.route {
            Some(Standing { old, new, weight, .. }) => {
                reached(old, new, *weight) == reached(&route.old, &route.new, route.weight)
            }
            None => route.old.is_none() && route.new.is_none(),
        };
        if stands {
            return Ok(());
        }
        self.set(target, &route, port, manner).await?;
        let most = Duration::from_secs(known.machine.task().settings.drain_s.into());
        manner.look(most + READ, || place.runtime.drained(most)).await?;
        let news = News::Corrected { target: place.fence.target.clone() };
        Ok(super::tell(book, &news).await?)
    }
}

/// The slot that gets every user, and the one that is named beside it. `None`: users are shared.
fn reached<'a>(
    old: &'a Option<SlotName>,
    new: &'a Option<SlotName>,
    weight: u8,
) -> Option<(&'a Option<SlotName>, &'a Option<SlotName>)> {
    match weight {
        0 => Some((old, new)),
        100 => Some((new, old)),
        _ => None,
    }
}

/// Keeps as many earlier slots as the settings say, the one that served before first and then the newest.
async fn prune(place: &Place, known: &Saved) -> Result<(), Break> {
    let settings = &known.machine.task().settings;
    let scene = once(READ, place.runtime.inspect(&place.new.app)).await?;
    let serving = scene.route.into_iter().flat_map(|standing| [standing.old, standing.new]);
    let serving: Vec<_> = serving.flatten().collect();
    let mut earlier: Vec<_> = scene
        .slots
        .into_iter()
        .filter(|slot| slot.name != place.new.slot && !serving.contains(&slot.name))
        .collect();
    let before = place.old.as_ref().map(|old| &old.slot);
    earlier.sort_by_key(|slot| (Some(&slot.name) != before, Reverse(slot.epoch)));
    for (index, slot) in earlier.iter().enumerate() {
        let most = END + Duration::from_secs(place.new.spec.run.stop.grace_s.into());
        if index >= usize::from(settings.keep) {
            once(most, place.runtime.retire(&place.fence, &slot.name)).await?;
        } else if slot.copies.iter().any(|copy| copy.running)
            && !(index == 0 && settings.warm == Warm::Running)
        {
            once(most, place.runtime.stop(&place.fence, &slot.name)).await?;
        }
    }
    Ok(())
}
