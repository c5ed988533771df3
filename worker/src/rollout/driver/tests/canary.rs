//! What a canary makes of its numbers, and how soon.

use super::*;
use crate::rollout::contract::Why;
use crate::runtime::simulated::{At, Fault, Outage, Users, When};
use deploymind_shared::domain::rollout::OnInsufficient;
use deploymind_shared::error::Code;

/// The defaults of the product: 10, 50, 100; 5 minutes; 100 requests; 5 %.
fn canary(error_percent: f64) -> (Plan, Behaviour) {
    let mut plan = plan(StrategyKind::Canary);
    plan.settings.canary = CanarySettings::default();
    (plan, Behaviour { error_share: error_percent / 100.0, ..Behaviour::default() })
}

#[tokio::test(start_paused = true)]
async fn a_canary_fails_by_its_errors_and_soon_when_they_are_plain() {
    let mut table = String::new();
    for percent in [0.0, 4.9, 5.1, 10.0, 50.0] {
        let (mut passed, mut seconds) = (0, Vec::new());
        for seed in 0..10 {
            let (plan, behaviour) = canary(percent);
            let bench = Bench::new(Plan { seed, ..plan }, behaviour).await;
            let begun = tokio::time::Instant::now();
            let ending = bench.run(&Process::new(seed), 2).await.ending();
            bench.check(&ending, "canary");
            match (ending.outcome, ending.why) {
                (RolloutOutcome::Done, None) => passed += 1,
                (RolloutOutcome::Reverted, Some(Why::Verdict { .. })) => {
                    seconds.push(begun.elapsed().as_secs());
                }
                other => panic!("{other:?}"),
            }
        }
        seconds.sort_unstable();
        let median = seconds.get(seconds.len() / 2);
        table += &format!("{percent} %: passed {passed}/10, median to the way back {median:?} s\n");
        match percent {
            0.0 => assert_eq!(passed, 10, "{table}"),
            10.0 => assert!(passed == 0 && seconds.iter().all(|s| *s < 300), "{table}{seconds:?}"),
            50.0 => assert!(passed == 0 && seconds.iter().all(|s| *s < 60), "{table}{seconds:?}"),
            // At the limit it is a draw.
            _ => {}
        }
    }
    println!("{table}");
}

#[tokio::test(start_paused = true)]
async fn without_users_nothing_is_promoted() {
    for (policy, per_second) in
        [(OnInsufficient::Rollback, 0.0), (OnInsufficient::Pause, 0.0), (OnInsufficient::Pause, 0.1)]
    {
        let (mut plan, behaviour) = canary(0.0);
        plan.settings.canary.on_insufficient = policy;
        let bench = Bench::new(plan, behaviour).await;
        bench.world.visit(Users { per_second, longest: ms(100) });
        let ending = bench.run(&Process::new(1), 2).await.ending();
        bench.check(&ending, policy.as_str());
        assert_eq!(ending.outcome, RolloutOutcome::Reverted);
        let most = bench
            .world
            .routings()
            .iter()
            .filter_map(|r| r.standing.old.as_ref().and(Some(r.standing.weight)))
            .max();
        assert_eq!(most, Some(10));
        match policy {
            OnInsufficient::Rollback => assert!(matches!(ending.why, Some(Why::Insufficient { .. }))),
            OnInsufficient::Pause => assert_eq!(ending.why, Some(Why::PauseTooLong)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn numbers_that_cannot_be_read_promote_nothing() {
    let (plan, behaviour) = canary(0.0);
    let bench = Bench::new(plan, behaviour).await;
    let unreadable = At::Kind { call: Call::Traffic, from: 0, times: usize::MAX };
    let process = Process::new(1).with(unreadable, Fault::Unreachable(When::Before));
    let ending = bench.run(&process, 2).await.ending();
    bench.check(&ending, "unreadable");
    // Not known is another thing than none.
    let unknown =
        |news: &News| matches!(news, News::Held { reason } if reason.contains("could not be counted"));
    assert!(bench.news().iter().any(unknown), "{:?}", bench.news());
    assert_eq!((ending.outcome, ending.why), (RolloutOutcome::Reverted, Some(Why::PauseTooLong)));
}

#[tokio::test(start_paused = true)]
async fn a_gap_in_the_reading_loses_no_request() {
    let (mut plan, behaviour) = canary(0.0);
    plan.settings.canary.stages = vec![50, 100];
    let bench = Bench::new(plan, behaviour).await;
    let gap = At::Kind { call: Call::Traffic, from: 20, times: 150 };
    let process = Process::new(1).with(gap, Fault::Unreachable(When::After));
    let ending = bench.run(&process, 2).await.ending();
    assert_eq!(ending.outcome, RolloutOutcome::Done);
    let counted = bench.news().into_iter().find_map(|news| match news {
        News::Verdict { new: Some(new), old: Some(old), .. } => Some(new.requests + old.requests),
        _ => None,
    });
    // 300 s of 40 requests a second, and the tick in which the window ends.
    assert!((11_950..=12_050).contains(&counted.unwrap_or(0)), "{counted:?}");
}

#[tokio::test(start_paused = true)]
async fn what_both_sides_suffer_is_not_the_canarys_fault() {
    let (plan, behaviour) = canary(0.0);
    let bench = Bench::new(plan, behaviour).await;
    bench.world.fail(Outage { from: ms(30_000), until: ms(200_000), share: 0.6 });
    let ending = bench.run(&Process::new(1), 2).await.ending();
    bench.check(&ending, "outage");
    assert!(!matches!(ending.why, Some(Why::Verdict { .. })), "{ending:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_canary_fails_where_latency_is_judged() {
    let (mut plan, _) = canary(0.0);
    plan.settings.canary.max_p95_ms = Some(500);
    let bench = Bench::new(plan, Behaviour { latency: ms(900), ..Behaviour::default() }).await;
    let ending = bench.run(&Process::new(1), 2).await.ending();
    bench.check(&ending, "slow");
    assert!(matches!(ending.why, Some(Why::Verdict { .. })), "{ending:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_route_turns_back() {
    for (from, outcome) in [(0, RolloutOutcome::Reverted), (1, RolloutOutcome::Reverted)] {
        let bench =
            Bench::new(Plan { targets: two_targets(), ..plan(StrategyKind::Canary) }, Behaviour::default())
                .await;
        let refused = At::Kind { call: Call::Route, from, times: 1 };
        let process = Process::new(1).with(refused, Fault::Refuse(Code::EdgePortTaken));
        let ending = bench.run(&process, 2).await.ending();
        bench.check(&ending, "refused");
        assert_eq!(ending.outcome, outcome);
        assert!(
            matches!(&ending.why, Some(Why::Refused { code, .. }) if code == Code::EdgePortTaken.as_str())
        );
    }
}
