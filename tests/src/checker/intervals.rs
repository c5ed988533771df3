//! What concerns one target: the order of its epochs, and who held it when.

use std::collections::BTreeMap;

use super::{Epoch, Event, Job, Kind, Target, Violation};

/// Both rules on epochs. `events` are in order.
pub(super) fn epochs(events: &[&Event]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut highest: BTreeMap<&Target, Epoch> = BTreeMap::new();
    let mut owners: BTreeMap<(&Target, Epoch), (Job, i32)> = BTreeMap::new();
    for event in events {
        let at = event.at;
        if let Kind::EffectAccepted(effect) = &event.kind
            && let Some((target, after)) = &effect.fence
        {
            let before = *highest.get(target).unwrap_or(after);
            if *after < before {
                let (target, after) = (target.clone(), *after);
                violations.push(Violation::EpochWentBack { target, before, after, at });
            }
            highest.insert(target, before.max(*after));
        }
        if let Kind::Locked(taken) = &event.kind {
            for (target, epoch) in taken {
                let owner = (event.job, event.attempt);
                if *owners.entry((target, *epoch)).or_insert(owner) != owner {
                    let (target, epoch) = (target.clone(), *epoch);
                    violations.push(Violation::EpochReused { target, epoch, at });
                }
            }
        }
    }
    violations
}

#[derive(Clone, Copy)]
struct Interval {
    owner: (Job, i32),
    from: i64,
    to: i64,
}

/// Two attempts that held one target at one time. `events` are in order.
pub(super) fn overlaps(events: &[&Event]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (target, intervals) in intervals(events) {
        // In order of their start; the one that ends last is the only one a later start can fall into unseen.
        let mut holder: Option<Interval> = None;
        for next in intervals {
            if let Some(held) = holder
                && held.owner != next.owner
                && next.from < held.to
            {
                violations.push(Violation::Overlap {
                    target: target.clone(),
                    first: held.owner.0,
                    second: next.owner.0,
                    at: next.from,
                });
            }
            if holder.is_none_or(|held| held.to <= next.to) {
                holder = Some(next);
            }
        }
    }
    violations
}

/// Per target, in order of their start.
fn intervals<'a>(events: &[&'a Event]) -> BTreeMap<&'a Target, Vec<Interval>> {
    let mut all: BTreeMap<&Target, Vec<Interval>> = BTreeMap::new();
    // Where in `all` the interval is that an attempt has open on a target.
    let mut open: BTreeMap<(&Target, Job, i32), usize> = BTreeMap::new();
    for event in events {
        let Event { at, job, attempt, .. } = **event;
        match &event.kind {
            Kind::Locked(taken) => {
                for target in taken.keys() {
                    let intervals = all.entry(target).or_default();
                    open.insert((target, job, attempt), intervals.len());
                    intervals.push(Interval { owner: (job, attempt), from: at, to: at });
                }
            }
            Kind::EffectAccepted(effect) => {
                if let Some((target, _)) = &effect.fence
                    && let Some(index) = open.get(&(target, job, attempt))
                    && let Some(intervals) = all.get_mut(target)
                {
                    intervals[*index].to = at;
                }
            }
            Kind::Unlocked(given) => {
                for target in given {
                    if let Some(index) = open.remove(&(target, job, attempt))
                        && let Some(intervals) = all.get_mut(target)
                    {
                        intervals[index].to = at;
                    }
                }
            }
            Kind::Started | Kind::EffectRefused(_) | Kind::FinishAccepted { .. } | Kind::FinishRefused => {}
        }
    }
    all
}
