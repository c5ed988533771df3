//! Good histories pass; each kind of wrong one is seen, and seen as what it is.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use uuid::Uuid;

use super::{Effect, Event, History, Job, Kind, Verdict, Violation, check};

fn job(number: u128) -> Job {
    Uuid::from_u128(number)
}

/// A history written as `(job, attempt, kind)`; the place in the list is the order number.
fn events(list: impl IntoIterator<Item = (u128, i32, Kind)>) -> Vec<Event> {
    (1..)
        .zip(list)
        .map(|(at, (number, attempt, kind))| Event {
            at,
            job: job(number),
            attempt,
            worker: format!("worker-{number}-{attempt}"),
            kind,
        })
        .collect()
}

fn judge<const N: usize>(accepted: impl IntoIterator<Item = u128>, list: [(u128, i32, Kind); N]) -> Verdict {
    check(&History::new(accepted.into_iter().map(job), events(list)))
}

fn locked(target: &str, epoch: i64) -> Kind {
    Kind::Locked(BTreeMap::from([(target.to_owned(), epoch)]))
}

fn unlocked(target: &str) -> Kind {
    Kind::Unlocked(BTreeSet::from([target.to_owned()]))
}

fn accepted(target: &str, epoch: i64) -> Kind {
    Kind::EffectAccepted(Effect::on("apply", target, epoch))
}

fn refused(target: &str, epoch: i64) -> Kind {
    Kind::EffectRefused(Effect::on("apply", target, epoch))
}

fn finished() -> Kind {
    Kind::FinishAccepted { outcome: "DEPLOYED".to_owned() }
}

#[test]
fn a_run_without_faults_is_clean() {
    let verdict = judge(
        [1, 2],
        [
            (1, 1, Kind::Started),
            (2, 1, Kind::Started),
            (1, 1, locked("a", 1)),
            (1, 1, accepted("a", 1)),
            (1, 1, unlocked("a")),
            (2, 1, locked("a", 2)),
            (1, 1, finished()),
            (2, 1, accepted("a", 2)),
            (2, 1, unlocked("a")),
            (2, 1, finished()),
        ],
    );
    verdict.assert_clean();
    assert_eq!((verdict.accepted, verdict.finished, verdict.recovered), (2, 2, 0));
    assert_eq!(verdict.outcomes["DEPLOYED"], 2);
}

#[test]
fn a_dead_worker_whose_job_is_taken_up_again_is_clean() {
    let verdict = judge(
        [1, 2],
        [
            (1, 1, Kind::Started),
            (1, 1, locked("a", 1)),
            (2, 1, Kind::Started),
            (2, 1, locked("a", 2)),
            (2, 1, accepted("a", 2)),
            // The first attempt of job 1 was only frozen; the fences stop it.
            (1, 1, refused("a", 1)),
            (2, 1, unlocked("a")),
            (2, 1, finished()),
            (1, 2, Kind::Started),
            (1, 2, locked("a", 3)),
            (1, 1, Kind::FinishRefused),
            (1, 2, accepted("a", 3)),
            (1, 2, unlocked("a")),
            (1, 2, finished()),
        ],
    );
    verdict.assert_clean();
    assert_eq!((verdict.finished, verdict.recovered), (2, 1));
    assert_eq!((verdict.refused_effects, verdict.refused_finishes), (1, 1));
}

#[test]
fn an_accepted_job_without_an_accepted_finish_is_lost() {
    let verdict = judge([1, 2], [(1, 1, finished()), (2, 1, Kind::Started), (2, 1, Kind::FinishRefused)]);
    assert_eq!(verdict.violations, [Violation::Lost { job: job(2) }]);
}

#[test]
fn a_job_nobody_was_promised_is_unexpected() {
    let verdict = judge([1], [(1, 1, finished()), (9, 1, finished())]);
    assert_eq!(verdict.violations, [Violation::Unexpected { job: job(9), at: 2 }]);
}

#[test]
fn a_job_whose_caller_got_no_answer_may_finish_or_not() {
    let mut history = History::new([job(1)], events([(1, 1, finished()), (8, 1, finished())]));
    history.uncertain = BTreeSet::from([job(8), job(9)]);
    check(&history).assert_clean();
}

#[test]
fn two_accepted_finishes_are_seen() {
    let (job, first, at) = (job(1), 1, 2);
    let verdict = judge([1], [(1, 1, finished()), (1, 1, finished())]);
    assert_eq!(verdict.violations, [Violation::DuplicateFinish { job, first, at }]);
    assert_eq!(verdict.finished, 1);
}

#[test]
fn an_effect_done_twice_is_seen() {
    let twice = [
        (1, 1, Kind::EffectAccepted(Effect::new("notify"))),
        (1, 1, Kind::EffectAccepted(Effect::new("notify"))),
        (1, 1, finished()),
    ];
    let effect = "notify".to_owned();
    let (job, first, at) = (job(1), 1, 2);
    assert_eq!(judge([1], twice).violations, [Violation::RepeatedEffect { job, effect, first, at }]);
}

#[test]
fn a_retry_may_repeat_an_effect_only_where_that_is_allowed() {
    let retried = events([
        (1, 1, Kind::EffectAccepted(Effect::new("notify"))),
        (1, 2, Kind::EffectAccepted(Effect::new("notify"))),
        (1, 2, finished()),
    ]);
    let mut history = History::new([job(1)], retried);
    assert!(matches!(check(&history).violations[..], [Violation::RepeatedEffect { .. }]));
    history.retries_may_repeat_effects = true;
    check(&history).assert_clean();
    // Within one attempt it stays a violation.
    history.events[1].attempt = 1;
    assert!(matches!(check(&history).violations[..], [Violation::RepeatedEffect { .. }]));
}

#[test]
fn an_effect_of_an_older_attempt_is_stale() {
    let verdict = judge(
        [1],
        [
            (1, 2, Kind::EffectAccepted(Effect::new("build"))),
            (1, 1, Kind::EffectAccepted(Effect::new("notify"))),
            (1, 2, finished()),
        ],
    );
    let stale = Violation::Stale { job: job(1), attempt: 1, accepted: 2, at: 2 };
    assert_eq!(verdict.violations, [stale]);
}

#[test]
fn a_finish_of_an_older_attempt_is_stale() {
    let verdict = judge([1], [(1, 2, Kind::EffectAccepted(Effect::new("build"))), (1, 1, finished())]);
    assert!(matches!(verdict.violations[..], [Violation::Stale { attempt: 1, accepted: 2, at: 2, .. }]));
}

#[test]
fn an_effect_after_the_end_is_seen() {
    let verdict = judge([1], [(1, 1, finished()), (1, 1, Kind::EffectAccepted(Effect::new("late")))]);
    let (job, finish, at) = (job(1), 1, 2);
    assert_eq!(verdict.violations, [Violation::EffectAfterFinish { job, finish, at }]);
}

#[test]
fn an_epoch_that_goes_back_is_seen_on_its_target_only() {
    let verdict = judge(
        [1, 2, 3],
        [
            (1, 1, accepted("a", 5)),
            (2, 1, accepted("b", 1)),
            (3, 1, accepted("a", 4)),
            (1, 1, finished()),
            (2, 1, finished()),
            (3, 1, finished()),
        ],
    );
    let went_back = Violation::EpochWentBack { target: "a".to_owned(), before: 5, after: 4, at: 3 };
    assert_eq!(verdict.violations, [went_back]);
}

#[test]
fn an_epoch_given_to_two_attempts_is_seen() {
    let verdict = judge(
        [1, 2],
        [
            (1, 1, locked("a", 1)),
            (1, 1, unlocked("a")),
            (2, 1, locked("a", 1)),
            (2, 1, unlocked("a")),
            (1, 1, finished()),
            (2, 1, finished()),
        ],
    );
    assert!(matches!(verdict.violations[..], [Violation::EpochReused { epoch: 1, at: 3, .. }]));
}

#[test]
fn two_owners_at_once_are_seen() {
    let overlap = Violation::Overlap { target: "a".to_owned(), first: job(1), second: job(2), at: 2 };
    let by_unlock = judge(
        [1, 2],
        [
            (1, 1, locked("a", 1)),
            (2, 1, locked("a", 2)),
            (1, 1, unlocked("a")),
            (2, 1, unlocked("a")),
            (1, 1, finished()),
            (2, 1, finished()),
        ],
    );
    assert_eq!(by_unlock.violations, std::slice::from_ref(&overlap));
    // The first never gives the lock back; that it acted as its owner is enough.
    let by_effect = judge(
        [1, 2],
        [
            (1, 1, locked("a", 1)),
            (2, 1, locked("a", 2)),
            (1, 1, accepted("a", 1)),
            (1, 1, finished()),
            (2, 1, finished()),
        ],
    );
    assert_eq!(by_effect.violations, [overlap]);
}

#[test]
fn a_long_hold_hides_no_overlap_behind_a_short_one() {
    let verdict = judge(
        [1, 2, 3],
        [
            (1, 1, locked("a", 1)),
            (2, 1, locked("a", 2)),
            (2, 1, unlocked("a")),
            (3, 1, locked("a", 3)),
            (3, 1, unlocked("a")),
            (1, 1, unlocked("a")),
            (1, 1, finished()),
            (2, 1, finished()),
            (3, 1, finished()),
        ],
    );
    assert_eq!(verdict.violations.len(), 2, "{verdict}");
}

#[test]
fn different_targets_do_not_overlap() {
    let verdict = judge(
        [1, 2],
        [
            (1, 1, locked("a", 1)),
            (2, 1, locked("b", 1)),
            (1, 1, unlocked("a")),
            (2, 1, unlocked("b")),
            (1, 1, finished()),
            (2, 1, finished()),
        ],
    );
    verdict.assert_clean();
}

#[test]
#[should_panic(expected = "proves nothing")]
fn an_empty_history_proves_nothing() {
    judge([], []).assert_clean();
}

#[test]
#[should_panic(expected = "lost: 00000000-0000-0000-0000-000000000001")]
fn a_failed_assertion_names_the_job() {
    judge([1], []).assert_clean();
}

/// Two targets, each job on one of them; a step moves one job on, or kills its worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Queued,
    Started,
    Locked,
    Acted,
    Finished,
}

#[derive(Default)]
struct Sim {
    events: Vec<(u128, i32, Kind)>,
    jobs: BTreeMap<u128, (State, i32)>,
    acted: BTreeSet<u128>,
    holders: BTreeMap<String, u128>,
    epochs: BTreeMap<String, i64>,
}

impl Sim {
    fn step(&mut self, number: u128, dies: bool) {
        let target = if number.is_multiple_of(2) { "a" } else { "b" };
        let (state, attempt) = self.jobs.get(&number).copied().unwrap_or_default();
        if dies && !matches!(state, State::Queued | State::Finished) {
            if self.holders.get(target) == Some(&number) {
                self.holders.remove(target);
            }
            self.jobs.insert(number, (State::Queued, attempt));
            // Its last words, from behind the fence.
            self.events.push((number, attempt, Kind::FinishRefused));
            return;
        }
        let (next, attempt, kind) = match state {
            State::Queued => (State::Started, attempt + 1, Some(Kind::Started)),
            State::Started if self.holders.contains_key(target) => return,
            State::Started => {
                self.holders.insert(target.to_owned(), number);
                let epoch = self.epochs.entry(target.to_owned()).or_default();
                *epoch += 1;
                (State::Locked, attempt, Some(locked(target, *epoch)))
            }
            State::Locked => {
                let effect = accepted(target, self.epochs[target]);
                (State::Acted, attempt, self.acted.insert(number).then_some(effect))
            }
            State::Acted => {
                self.holders.remove(target);
                self.events.push((number, attempt, unlocked(target)));
                (State::Finished, attempt, Some(finished()))
            }
            State::Finished => return,
        };
        self.jobs.insert(number, (next, attempt));
        self.events.extend(kind.map(|kind| (number, attempt, kind)));
    }

    /// Any steps, then the faults stop and everything is brought to its end.
    fn run(jobs: u128, steps: &[(u128, bool)]) -> History {
        let mut sim = Self::default();
        for (number, dies) in steps {
            sim.step(number % jobs, *dies);
        }
        while !(0..jobs)
            .all(|number| sim.jobs.get(&number).is_some_and(|(state, _)| *state == State::Finished))
        {
            for number in 0..jobs {
                sim.step(number, false);
            }
        }
        History::new((0..jobs).map(job), events(sim.events))
    }
}

fn runs() -> impl Strategy<Value = History> {
    let steps = prop::collection::vec((any::<u128>(), prop::bool::weighted(0.2)), 0..120);
    (1_u128..8, steps).prop_map(|(jobs, steps)| Sim::run(jobs, &steps))
}

fn pick(history: &History, which: prop::sample::Index, wanted: impl Fn(&Kind) -> bool) -> usize {
    let places: Vec<usize> =
        (0..history.events.len()).filter(|place| wanted(&history.events[*place].kind)).collect();
    places[which.index(places.len())]
}

fn is_finish(kind: &Kind) -> bool {
    matches!(kind, Kind::FinishAccepted { .. })
}

fn is_effect(kind: &Kind) -> bool {
    matches!(kind, Kind::EffectAccepted(_))
}

proptest! {
    #[test]
    fn every_correct_run_is_clean_in_whatever_order_it_is_read(history in runs().prop_flat_map(|history| {
        let events = Just(history.events.clone()).prop_shuffle();
        (Just(history), events)
    })) {
        let (history, shuffled) = history;
        let verdict = check(&history);
        prop_assert!(verdict.is_clean(), "{verdict}");
        prop_assert_eq!(verdict.finished, history.accepted.len());
        prop_assert_eq!(verdict, check(&History { events: shuffled, ..history }));
    }

    #[test]
    fn a_finish_taken_away_is_a_lost_job(mut history in runs(), which: prop::sample::Index) {
        let gone = pick(&history, which, is_finish);
        let job = history.events.remove(gone).job;
        prop_assert_eq!(check(&history).violations, [Violation::Lost { job }]);
    }

    #[test]
    fn a_finish_said_again_is_seen(mut history in runs(), which: prop::sample::Index) {
        let mut again = history.events[pick(&history, which, is_finish)].clone();
        let (job, first, at) = (again.job, again.at, 1_000_000);
        again.at = at;
        history.events.push(again);
        prop_assert_eq!(check(&history).violations, [Violation::DuplicateFinish { job, first, at }]);
    }

    #[test]
    fn an_effect_said_again_is_seen(mut history in runs(), which: prop::sample::Index) {
        let mut again = history.events[pick(&history, which, is_effect)].clone();
        again.at = 1_000_000;
        history.events.push(again);
        let violations = check(&history).violations;
        let seen = violations.iter().any(|one| matches!(one, Violation::RepeatedEffect { at: 1_000_000, .. }));
        prop_assert!(seen, "{violations:?}");
    }

    #[test]
    fn a_lock_taken_inside_another_is_seen(mut history in runs(), which: prop::sample::Index) {
        let held = pick(&history, which, |kind| matches!(kind, Kind::Unlocked(_)));
        let release = history.events[held].clone();
        let Kind::Unlocked(targets) = &release.kind else { unreachable!("picked as one") };
        let taken = targets.iter().map(|target| (target.clone(), 1_000_000)).collect();
        for event in &mut history.events {
            event.at *= 2;
        }
        let intruder = Event { at: release.at * 2 - 1, job: job(999), kind: Kind::Locked(taken), ..release };
        let at = intruder.at;
        history.events.push(intruder);
        let violations = check(&history).violations;
        let seen = violations.iter().any(|one| matches!(one, Violation::Overlap { at: seen, .. } if *seen == at));
        prop_assert!(seen, "{violations:?}");
    }
}
