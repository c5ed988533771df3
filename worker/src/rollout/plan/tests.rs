use deploymind_shared::domain::rollout::{CanarySettings, RolloutSettings};

use super::*;

fn task(strategy: StrategyKind) -> Task {
    let settings = RolloutSettings { strategy, batch: 2, ..RolloutSettings::default() };
    Task { settings, targets: 3, has_old: true, may_overlap: true, direct: false }
}

/// One letter and number a move; the targets only where they are not all three.
fn short(moves: &[Move]) -> String {
    let side = |side: &Side| if *side == Side::New { "new" } else { "old" };
    let on = |targets: &Vec<usize>| if targets.len() == 3 { String::new() } else { format!("{targets:?}") };
    let words = moves.iter().map(|step| match step {
        Launch { side: s, targets } => format!("launch {}{}", side(s), on(targets)),
        AwaitHealthy { side: s, targets } => format!("healthy {}{}", side(s), on(targets)),
        Look => "look".to_owned(),
        Route { weight, targets } => format!("route {weight}{}", on(targets)),
        Observe { stage } => format!("observe {stage}"),
        Watch { for_s } => format!("watch {for_s}"),
        Drain => "drain".to_owned(),
        Retire { side: s, targets, keep } => {
            format!("{} {}{}", if *keep { "stop" } else { "remove" }, side(s), on(targets))
        }
    });
    words.collect::<Vec<_>>().join(", ")
}

#[test]
fn each_strategy_is_its_list() {
    assert_eq!(
        short(&moves(&task(StrategyKind::Rolling))),
        "launch new[0, 1], healthy new[0, 1], route 100[0, 1], launch new[2], healthy new[2], route 100[2], watch 10, \
         drain, stop old"
    );
    assert_eq!(
        short(&moves(&task(StrategyKind::Canary))),
        "launch new, healthy new, route 10, observe 0, route 50, observe 1, route 100, watch 10, drain, stop old"
    );
    assert_eq!(
        short(&moves(&task(StrategyKind::BlueGreen))),
        "launch new, healthy new, route 100, watch 120, drain, stop old"
    );
}

#[test]
fn without_an_old_one_or_directly_there_are_no_steps() {
    for strategy in StrategyKind::ALL {
        let first = Task { has_old: false, ..task(*strategy) };
        assert_eq!(short(&moves(&first)), "launch new, healthy new, route 100, watch 10");
        let exclusive_first = Task { may_overlap: false, ..first };
        assert_eq!(short(&moves(&exclusive_first)), "launch new, healthy new, route 100, watch 10");
        let direct = Task { direct: true, ..task(*strategy) };
        assert_eq!(short(&moves(&direct)), "launch new, healthy new, route 100, watch 10, drain, stop old");
        let exclusive = Task { may_overlap: false, ..task(*strategy) };
        assert_eq!(short(&moves(&exclusive)), "stop old, launch new, healthy new, route 100, watch 10");
    }
}

#[test]
fn an_old_one_that_stays_warm_runs_on_and_is_drained_all_the_same() {
    let mut task = task(StrategyKind::BlueGreen);
    task.settings.warm = Warm::Running;
    assert_eq!(short(&moves(&task)), "launch new, healthy new, route 100, watch 120, drain");
}

#[test]
fn a_window_of_no_time_is_left_out() {
    let mut task = task(StrategyKind::Rolling);
    task.settings.verify_s = 0;
    task.settings.batch = 64;
    assert_eq!(short(&moves(&task)), "launch new, healthy new, route 100, drain, stop old");
}

#[test]
fn without_windows_health_is_asked_instead() {
    let task = task(StrategyKind::Canary);
    let moves = moves(&task);
    let rest = "healthy new, route 100, healthy new, drain, stop old";
    assert_eq!(short(&without_windows(&task, &moves)), format!("launch new, {rest}"));
    // In the first stage.
    assert_eq!(short(&without_windows(&task, &moves[3..])), rest);
    assert_eq!(short(&without_windows(&task, &moves[7..])), "healthy new, drain, stop old");
}

#[test]
fn a_canary_of_one_stage_is_a_switch() {
    let mut task = task(StrategyKind::Canary);
    task.settings.canary = CanarySettings { stages: vec![100], ..CanarySettings::default() };
    assert_eq!(short(&moves(&task)), "launch new, healthy new, route 100, watch 10, drain, stop old");
}

#[test]
fn the_ways_back() {
    let task = task(StrategyKind::Rolling);
    let reach = Reach { launched: 2, had_traffic: false, old_ended: false };
    let way = |task: &Task, reach| {
        let (moves, outcome) = back(task, reach);
        (short(&moves), outcome)
    };
    let nothing = Reach { launched: 0, ..reach };
    assert_eq!(way(&task, nothing), (String::new(), RolloutOutcome::Withdrawn));
    assert_eq!(way(&task, reach), ("remove new[0, 1]".to_owned(), RolloutOutcome::Withdrawn));
    let served = Reach { had_traffic: true, ..reach };
    assert_eq!(way(&task, served), ("look".to_owned(), RolloutOutcome::Reverted));
    assert_eq!(short(&to_old(&task, served)), "route 0, drain, remove new[0, 1]");
    assert_eq!(
        short(&to_old_again(&task, served)),
        "launch old, healthy old, route 0, drain, remove new[0, 1]"
    );
    assert_eq!(short(&to_new(&task, served)), "launch new[2], healthy new, route 100, drain");
    assert_eq!(short(&to_new(&task, Reach { launched: 3, ..served })), "healthy new, route 100, drain");

    let first = Task { has_old: false, ..task.clone() };
    let all = Reach { launched: 3, ..served };
    assert_eq!(way(&first, all), ("route 0, drain, remove new".to_owned(), RolloutOutcome::Reverted));

    let exclusive = Task { may_overlap: false, ..task };
    let stopped = Reach { old_ended: true, ..reach };
    assert_eq!(way(&exclusive, Reach { launched: 0, ..stopped }).0, "launch old, healthy old, route 0");
    assert_eq!(way(&exclusive, stopped).0, "remove new[0, 1], launch old, healthy old, route 0");
    assert_eq!(
        way(&exclusive, Reach { had_traffic: true, launched: 3, old_ended: true }),
        (
            "stop new, launch old, healthy old, route 0, drain, remove new".to_owned(),
            RolloutOutcome::Reverted
        )
    );
    assert_eq!(short(&to_new(&exclusive, all)), "stop old, launch new, healthy new, route 100, drain");
}
