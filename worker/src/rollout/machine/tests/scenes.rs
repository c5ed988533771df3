//! Single lives, told from begin to end: what a person would draw on a board.

use super::*;

/// Does what goes well until this is in hand.
fn until(machine: &mut Machine, phase: PhaseName) {
    for _ in 0..100 {
        if machine.phase().name == phase {
            return;
        }
        let seen = good(&machine.action());
        assert!(machine.observe(&seen).is_yes(), "{:?}", machine.action());
    }
    panic!("{phase} does not come: {:?}", machine.action());
}

/// What is done from here on when all goes well.
fn rest(machine: &mut Machine) -> Vec<Action> {
    let mut actions = vec![machine.action()];
    while machine.ended().is_none() {
        let seen = good(&machine.action());
        assert!(machine.observe(&seen).is_yes());
        actions.push(machine.action());
    }
    actions
}

fn ending(machine: &Machine) -> (RolloutOutcome, Option<Why>) {
    let ending = machine.ended().expect("has ended");
    (ending.outcome, ending.why.clone())
}

fn bad(last: bool) -> Observation {
    sample(1, Some(tally(0, 0)), Some(finding(last)))
}

fn yes(changed: Changed) {
    assert!(changed.is_yes());
}

fn taken(answer: Answer) {
    assert_eq!(answer, Answer::Taken);
}

#[test]
fn a_canary_climbs_and_says_where_it_is() {
    let mut machine = Machine::begin(task(StrategyKind::Canary));
    let mut seen = Vec::new();
    while machine.ended().is_none() {
        let phase = machine.phase();
        seen.push(format!("{} {:?} {}", phase.name, phase.stage, phase.weight));
        yes(machine.observe(&good(&machine.action())));
    }
    assert_eq!(
        seen,
        [
            "launching None 0",
            "checking None 0",
            "routing Some(0) 0",
            "observing Some(0) 10",
            "routing Some(1) 10",
            "observing Some(1) 50",
            "routing Some(2) 50",
            "watching Some(2) 100",
            "draining Some(2) 100",
            "retiring Some(2) 100",
        ]
    );
    assert_eq!(ending(&machine), (RolloutOutcome::Done, None));
}

#[test]
fn a_release_that_does_not_become_healthy_is_taken_away_and_nobody_met_it() {
    let mut machine = Machine::begin(task(StrategyKind::Rolling));
    until(&mut machine, PhaseName::Checking);
    yes(machine.observe(&Observation::Unhealthy(finding(false))));
    let away = Action::Retire { side: Side::New, targets: vec![0, 1], keep: false };
    assert_eq!(machine.action(), away);
    yes(machine.observe(&Observation::Done));
    let why = Why::Unhealthy { finding: finding(false), after_traffic: false };
    assert_eq!(ending(&machine), (RolloutOutcome::Withdrawn, Some(why)));
}

#[test]
fn the_second_batch_takes_the_first_back_with_it() {
    let mut machine = Machine::begin(task(StrategyKind::Rolling));
    until(&mut machine, PhaseName::Routing);
    yes(machine.observe(&Observation::Done));
    assert_eq!((machine.weights(), machine.weight()), (&[100, 100, 0][..], 66));
    until(&mut machine, PhaseName::Checking);
    yes(machine.observe(&Observation::Unhealthy(finding(true))));
    assert_eq!(machine.action(), Action::Look);
    yes(machine.observe(&Observation::Looked { old: true, new: false }));
    assert_eq!(machine.action(), Action::Route { weight: 0, targets: vec![0, 1, 2] });
    rest(&mut machine);
    assert_eq!((machine.weight(), ending(&machine).0), (0, RolloutOutcome::Reverted));
}

#[test]
fn one_bad_look_is_not_enough_and_a_last_one_is() {
    let mut machine = Machine::begin(task(StrategyKind::BlueGreen));
    until(&mut machine, PhaseName::Watching);
    for _ in 0..2 {
        assert_eq!(machine.observe(&bad(false)), Changed::No);
        assert_eq!(machine.observe(&bad(false)), Changed::No);
        // A good one in between begins the count anew; a window is not over while the last look was bad.
        assert_eq!(machine.observe(&sample(1, None, None)), Changed::No);
    }
    assert_eq!(machine.observe(&sample(9999, None, Some(finding(false)))), Changed::No);
    let mut ended = machine.clone();
    yes(ended.observe(&bad(true)));
    assert_eq!(ended.action(), Action::Look);
    assert_eq!(machine.observe(&bad(false)), Changed::No);
    yes(machine.observe(&bad(false)));
    assert_eq!(machine.turning(), Some(&Why::Unhealthy { finding: finding(false), after_traffic: true }));
}

#[test]
fn a_hold_does_not_hide_that_the_release_died() {
    let mut machine = Machine::begin(task(StrategyKind::Canary));
    until(&mut machine, PhaseName::Observing);
    taken(machine.ask(Ask::Pause));
    assert_eq!(machine.phase().name, PhaseName::Held);
    let failing = sample(1, Some(tally(40, 40)), None);
    let mut errors = machine.clone();
    yes(errors.observe(&failing));
    assert!(matches!(errors.turning(), Some(Why::Verdict { .. })));
    yes(machine.observe(&bad(true)));
    assert_eq!((machine.action(), machine.phase().paused), (Action::Look, false));
    // Before it had any user there is nothing to save: it is asked again when it goes on.
    let mut before = Machine::begin(task(StrategyKind::Canary));
    until(&mut before, PhaseName::Checking);
    taken(before.ask(Ask::Pause));
    assert_eq!(before.observe(&bad(true)), Changed::No);
    taken(before.ask(Ask::Resume));
    assert_eq!(before.phase().name, PhaseName::Checking);
}

#[test]
fn a_pause_waits_for_what_is_in_hand_and_ends_by_itself() {
    let mut machine = Machine::begin(task(StrategyKind::Canary));
    let launch = machine.action();
    taken(machine.ask(Ask::Pause));
    assert_eq!((machine.action(), machine.phase().paused), (launch, true));
    yes(machine.observe(&Observation::Done));
    assert!(matches!(machine.action(), Action::Hold { .. }));
    assert_eq!(machine.observe(&sample(3599, None, None)), Changed::No);
    yes(machine.observe(&sample(3600, None, None)));
    rest(&mut machine);
    assert_eq!(ending(&machine), (RolloutOutcome::Withdrawn, Some(Why::PauseTooLong)));
}

#[test]
fn nobody_came_so_a_person_is_asked_or_it_goes_back() {
    for policy in OnInsufficient::ALL {
        let mut task = task(StrategyKind::Canary);
        task.settings.canary.on_insufficient = *policy;
        let mut machine = Machine::begin(task);
        until(&mut machine, PhaseName::Observing);
        assert_eq!(machine.observe(&sample(599, Some(tally(99, 0)), None)), Changed::No);
        yes(machine.observe(&sample(600, Some(tally(99, 0)), None)));
        if *policy == OnInsufficient::Rollback {
            assert!(matches!(machine.turning(), Some(Why::Insufficient { .. })));
            continue;
        }
        assert_eq!(machine.weight(), 10);
        assert!(matches!(machine.action(), Action::Hold { reason } if reason.starts_with("99 requests")));
        assert_eq!(machine.ask(Ask::Pause), Answer::Nothing);
        // The stage once more, or no more stages.
        let mut again = machine.clone();
        taken(again.ask(Ask::Resume));
        assert_eq!(again.action(), Action::Observe { stage: 0 });
        taken(machine.ask(Ask::Promote));
        let health = Action::AwaitHealthy { side: Side::New, targets: vec![0, 1, 2] };
        let to_all = Action::Route { weight: 100, targets: vec![0, 1, 2] };
        assert_eq!(rest(&mut machine)[..4], [health.clone(), to_all, health, Action::Drain]);
        assert_eq!(ending(&machine), (RolloutOutcome::Done, None));
    }
}

#[test]
fn a_promoted_release_that_is_not_healthy_goes_back() {
    let mut machine = Machine::begin(task(StrategyKind::Canary));
    until(&mut machine, PhaseName::Observing);
    taken(machine.ask(Ask::Promote));
    yes(machine.observe(&Observation::Unhealthy(finding(false))));
    assert_eq!(machine.action(), Action::Look);
}

#[test]
fn an_abort_at_the_very_end_starts_the_old_one_again() {
    let mut machine = Machine::begin(task(StrategyKind::BlueGreen));
    until(&mut machine, PhaseName::Retiring);
    taken(machine.ask(Ask::Abort));
    assert_eq!(machine.phase().name, PhaseName::Retiring, "what is in hand is finished");
    yes(machine.observe(&Observation::Done));
    assert_eq!(machine.action(), Action::Look);
    // It may still pass while it is being stopped: it is launched in any case.
    yes(machine.observe(&Observation::Looked { old: true, new: true }));
    assert!(matches!(machine.action(), Action::Launch { side: Side::Old, .. }));
    rest(&mut machine);
    assert_eq!(ending(&machine), (RolloutOutcome::Reverted, Some(Why::Aborted)));
}

#[test]
fn an_abort_in_the_last_drain_goes_back_at_once() {
    let mut machine = Machine::begin(task(StrategyKind::Rolling));
    until(&mut machine, PhaseName::Draining);
    taken(machine.ask(Ask::Cancel));
    assert_eq!(machine.action(), Action::Look);
    yes(machine.observe(&Observation::Looked { old: true, new: true }));
    assert!(matches!(machine.action(), Action::Route { weight: 0, .. }));
}

#[test]
fn where_the_old_one_is_gone_the_new_one_stays_and_where_both_are_bad_nothing_moves() {
    for (new, outcome) in [(true, RolloutOutcome::Kept), (false, RolloutOutcome::Left)] {
        let mut machine = Machine::begin(task(StrategyKind::Canary));
        until(&mut machine, PhaseName::Observing);
        taken(machine.ask(Ask::Abort));
        yes(machine.observe(&Observation::Looked { old: false, new: true }));
        assert!(matches!(machine.action(), Action::Launch { side: Side::Old, .. }));
        yes(machine.observe(&Observation::Done));
        yes(machine.observe(&Observation::Unhealthy(finding(true))));
        assert_eq!(machine.action(), Action::Look, "both are asked again");
        yes(machine.observe(&Observation::Looked { old: false, new }));
        rest(&mut machine);
        assert_eq!(ending(&machine), (outcome, Some(Why::Aborted)));
        assert_eq!(machine.weight(), if new { 100 } else { 10 });
    }
}

#[test]
fn an_old_copy_that_cannot_be_stopped_does_not_undo_a_good_release() {
    let mut machine = Machine::begin(task(StrategyKind::Rolling));
    until(&mut machine, PhaseName::Retiring);
    yes(machine.observe(&cannot()));
    let (outcome, why) = ending(&machine);
    assert!(outcome == RolloutOutcome::Done && matches!(why, Some(Why::Refused { .. })));
    assert!(!machine.phase().reverting);
}

#[test]
fn a_successor_asks_for_health_before_it_repeats_a_route() {
    let mut machine = Machine::begin(task(StrategyKind::Canary));
    until(&mut machine, PhaseName::Routing);
    let route = machine.action();
    machine.resumed();
    assert_eq!(machine.phase().name, PhaseName::Checking);
    yes(machine.observe(&Observation::Healthy));
    assert_eq!(machine.action(), route);
    // A way back that waited for the route begins: the targets refuse what the predecessor still had under way.
    taken(machine.ask(Ask::Abort));
    assert_eq!(machine.action(), route);
    machine.resumed();
    assert_eq!(machine.action(), Action::Look);
}
