//! Judges a recorded run: was every accepted job finished once, and did no two attempts act on one target?
//!
//! After Jepsen's total-queue checker (`jepsen/src/jepsen/checker.clj`), with fencing added.
//!
//! Assumptions, for whoever records the events:
//! - `at` comes from one sequence of one Postgres, taken inside the transaction that accepts or refuses.
//! - `Locked` is recorded after the lock is taken and `Unlocked` before it is given back, so that the recorded interval lies inside the
//!   real one and an overlap on paper was an overlap in fact.
//! - `Unlocked` is recorded only by an attempt that still owns the lock: one that was fenced off touches nothing.
//!
//! Caveat: a worker that dies records no `Unlocked`. Its interval then ends with its last accepted effect on that target: the last moment
//! at which it is known to have acted as the owner.

mod history;
mod intervals;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeMap;

pub use history::{Effect, Epoch, Event, History, Job, Kind, Target};
pub use verdict::{Verdict, Violation};

/// What has been accepted of one job so far.
#[derive(Default)]
struct Record {
    first_attempt: Option<i32>,
    highest_accepted: Option<i32>,
    finish: Option<(i64, i32)>,
    /// Effect name to when and by which attempt.
    effects: BTreeMap<String, (i64, i32)>,
}

/// # Panics
/// Never; what is wrong with the history is in the verdict.
#[must_use]
pub fn check(history: &History) -> Verdict {
    let mut events: Vec<&Event> = history.events.iter().collect();
    events.sort_by_key(|event| event.at);
    let mut verdict = Verdict { accepted: history.accepted.len(), ..Verdict::default() };
    let mut records: BTreeMap<Job, Record> = BTreeMap::new();
    for event in &events {
        let record = records.entry(event.job).or_default();
        record.first_attempt.get_or_insert(event.attempt);
        judge(history, event, record, &mut verdict);
    }
    for job in &history.accepted {
        match records.get(job).and_then(|record| Some((record, record.finish?))) {
            None => verdict.violations.push(Violation::Lost { job: *job }),
            Some((record, (_, attempt))) => {
                verdict.finished += 1;
                verdict.recovered += usize::from(record.first_attempt != Some(attempt));
            }
        }
    }
    verdict.violations.extend(intervals::epochs(&events));
    verdict.violations.extend(intervals::overlaps(&events));
    verdict
}

fn judge(history: &History, event: &Event, record: &mut Record, verdict: &mut Verdict) {
    let Event { job, at, attempt, .. } = *event;
    match &event.kind {
        Kind::EffectAccepted(effect) => {
            known(history, event, verdict);
            not_stale(event, record, verdict);
            if let Some((finish, _)) = record.finish {
                verdict.violations.push(Violation::EffectAfterFinish { job, finish, at });
            }
            if let Some((first, by)) = record.effects.insert(effect.name.clone(), (at, attempt))
                && !(history.retries_may_repeat_effects && by < attempt)
            {
                let effect = effect.name.clone();
                verdict.violations.push(Violation::RepeatedEffect { job, effect, first, at });
            }
        }
        Kind::FinishAccepted { outcome } => {
            known(history, event, verdict);
            not_stale(event, record, verdict);
            if let Some((first, _)) = record.finish {
                verdict.violations.push(Violation::DuplicateFinish { job, first, at });
            } else {
                record.finish = Some((at, attempt));
                *verdict.outcomes.entry(outcome.clone()).or_default() += 1;
            }
        }
        Kind::EffectRefused(_) => verdict.refused_effects += 1,
        Kind::FinishRefused => verdict.refused_finishes += 1,
        Kind::Started | Kind::Locked(_) | Kind::Unlocked(_) => {}
    }
}

fn known(history: &History, event: &Event, verdict: &mut Verdict) {
    if !history.accepted.contains(&event.job) && !history.uncertain.contains(&event.job) {
        let (job, at) = (event.job, event.at);
        verdict.violations.push(Violation::Unexpected { job, at });
    }
}

fn not_stale(event: &Event, record: &mut Record, verdict: &mut Verdict) {
    let accepted = *record.highest_accepted.get_or_insert(event.attempt);
    record.highest_accepted = Some(accepted.max(event.attempt));
    if event.attempt < accepted {
        verdict.violations.push(Violation::Stale {
            job: event.job,
            attempt: event.attempt,
            accepted,
            at: event.at,
        });
    }
}
