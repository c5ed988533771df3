//! Targets that fail, hang and come late; workers that come late.

use super::*;
use crate::runtime::simulated::{At, Fault, Weather, When};
use deploymind_shared::error::Code;

#[tokio::test(start_paused = true)]
async fn a_target_out_of_reach_is_waited_for_and_then_the_job_comes_back_later() {
    for call in [Call::Launch, Call::Probe, Call::Route, Call::Record] {
        for (times, waited) in [(3, true), (usize::MAX, false)] {
            let bench = Bench::new(plan(StrategyKind::BlueGreen), Behaviour::default()).await;
            let from = if call == Call::Record { 2 } else { 0 };
            let away = At::Kind { call, from, times };
            let process = Process::new(1).with(away, Fault::Unreachable(When::Before));
            let ending = match bench.run(&process, 2).await {
                Run::Ended(ending) if waited => ending,
                Run::Stopped(Stop::Retryable { error, .. }) if !waited => {
                    assert_eq!(error.code(), Code::EngineUnavailable);
                    bench.run(&Process::new(2), 3).await.ending()
                }
                other => panic!("{call:?} {times}: {other:?}"),
            };
            assert_eq!(ending.outcome, RolloutOutcome::Done);
            bench.check(&ending, &format!("{call:?}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_is_made_again() {
    for call in
        [Call::Provide, Call::Launch, Call::Probe, Call::Route, Call::Drained, Call::Stop, Call::Inspect]
    {
        for when in [When::Before, When::After] {
            let bench = Bench::new(plan(StrategyKind::Rolling), Behaviour::default()).await;
            let process = Process::new(1).with(At::Kind { call, from: 0, times: 1 }, Fault::Hang(when));
            let ending = match bench.run(&process, 2).await {
                Run::Ended(ending) => ending,
                // Only what may take long by itself is not made again in the same run.
                Run::Stopped(Stop::Retryable { .. }) if matches!(call, Call::Provide) => {
                    bench.run(&Process::new(2), 3).await.ending()
                }
                other => panic!("{call:?} {when:?}: {other:?}"),
            };
            assert_eq!(ending.outcome, RolloutOutcome::Done);
            bench.check(&ending, &format!("{call:?} {when:?}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_leads_back() {
    for (call, code) in [
        (Call::Provide, Code::ImagePlatform),
        (Call::Launch, Code::SlotRefused),
        (Call::Launch, Code::NameTaken),
        (Call::Route, Code::EdgeConfig),
    ] {
        for strategy in StrategyKind::ALL {
            let bench =
                Bench::new(Plan { targets: two_targets(), ..plan(*strategy) }, Behaviour::default()).await;
            let process = Process::new(1).with(At::Kind { call, from: 1, times: 1 }, Fault::Refuse(code));
            let ending = bench.run(&process, 2).await.ending();
            bench.check(&ending, &format!("{strategy} {call:?}"));
            assert_ne!(ending.outcome, RolloutOutcome::Done);
            assert_eq!(bench.failed_requests(), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_that_comes_late_is_corrected() {
    let bench = Bench::new(plan(StrategyKind::Rolling), Behaviour::default()).await;
    // Given up when the abort has waited for it, it takes effect while the new release's slot ends.
    let process = Process::new(1)
        .with(At::Kind { call: Call::Route, from: 0, times: 1 }, Fault::Late(ms(7000)))
        .with(At::Kind { call: Call::Retire, from: 0, times: 1 }, Fault::Slow(ms(5000)));
    let asking = async {
        bench.heard(|news| matches!(news, News::Healthy { .. })).await;
        bench.ask(Ask::Abort);
    };
    let (run, ()) = futures::join!(bench.run(&process, 2), asking);
    let ending = run.ending();
    assert_eq!(ending.outcome, RolloutOutcome::Reverted);
    assert!(bench.news().iter().any(|news| matches!(news, News::Corrected { .. })), "{:#?}", bench.news());
    let standing = bench.world.standing(&bench.plan.targets[0], &bench.plan.app).unwrap();
    assert_eq!((standing.new, standing.weight), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn neither_side_healthy_leaves_users_where_they_are() {
    let bench = Bench::new(plan(StrategyKind::BlueGreen), Behaviour::default()).await;
    let old = bench.plan.old.unwrap();
    let breaking = async {
        bench.heard(|news| matches!(news, News::Routed { weight: 100, .. })).await;
        let broken = Behaviour { ready_after: None, ..Behaviour::default() };
        bench.world.behave(bench.plan.new, broken.clone());
        bench.world.behave(old, broken);
        bench.world.routings().len()
    };
    let process = Process::new(1);
    let (run, routings) = futures::join!(bench.run(&process, 2), breaking);
    let ending = run.ending();
    assert_eq!(ending.outcome, RolloutOutcome::Left);
    assert_eq!(bench.world.routings().len(), routings);
    assert!(bench.news().contains(&News::NeitherHealthy));
    bench.check(&ending, "left");
}

/// A worker that stands still at a call, and wakes up when its successor is done or has begun.
#[tokio::test(start_paused = true)]
async fn a_zombie_changes_nothing() {
    let acting = [Call::Launch, Call::Route, Call::Stop, Call::Retire];
    let mut frozen = 0;
    for strategy in StrategyKind::ALL {
        for error_share in [0.0, 0.9] {
            let behaviour = Behaviour { error_share, ..Behaviour::default() };
            let probe = Bench::new(plan(*strategy), behaviour.clone()).await;
            let process = Process::new(1);
            probe.run(&process, 2).await.ending();
            for (number, call) in process.made().into_iter().enumerate() {
                if !acting.contains(&call) && call != Call::Record {
                    continue;
                }
                for fenced in [true, false] {
                    let bench = Bench::new(plan(*strategy), behaviour.clone()).await;
                    bench.record.lock().unwrap().owner = fenced.then_some(2);
                    let zombie = Process::new(1).with(At::Number(number), Fault::Freeze(When::Before));
                    let what = format!("{strategy} {call:?} {number}");
                    let (before, world) = futures::join!(bench.run(&zombie, 2), async {
                        zombie.frozen().await;
                        bench.record.lock().unwrap().owner = fenced.then_some(3);
                        let ending = bench.run(&Process::new(2), 3).await.ending();
                        bench.check(&ending, &what);
                        let world = (bench.world.routings(), bench.world.slots(&bench.plan.targets[0]));
                        zombie.thaw();
                        world
                    });
                    frozen += 1;
                    let now = (bench.world.routings(), bench.world.slots(&bench.plan.targets[0]));
                    assert_eq!(world, now, "{what}");
                    // Where nothing is left to be done there is nothing to be refused.
                    let refused = matches!(before, Run::Stopped(Stop::ClaimLost));
                    assert!(refused || (!fenced && matches!(before, Run::Ended(_))), "{what}: {before:?}");
                    if acting.contains(&call) {
                        assert!(refused, "{what}: {before:?}");
                    }
                }
            }
        }
    }
    println!("zombies: {frozen}");
}

#[tokio::test(start_paused = true)]
async fn in_bad_weather_everything_still_ends_well() {
    for seed in 0..60 {
        let strategy = StrategyKind::ALL[seed as usize % 3];
        let error_share = if seed % 2 == 0 { 0.0 } else { 0.8 };
        let bench = Bench::new(
            Plan { targets: two_targets(), seed, ..plan(strategy) },
            Behaviour { error_share, ..Behaviour::default() },
        )
        .await;
        let weather = Weather { unreachable: 0.08, hang: 0.01, latency: ms(80) };
        let mut epoch = 2;
        let ending = loop {
            match bench.run(&Process::new(seed).in_weather(weather), epoch).await {
                Run::Ended(ending) => break ending,
                Run::Stopped(Stop::Retryable { .. }) => epoch += 1,
                other => panic!("{seed}: {other:?}"),
            }
        };
        bench.check(&ending, &format!("seed {seed}"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_slot_that_vanished_is_made_again_for_the_way_back() {
    for gone in [true, false] {
        let mut plan = plan(StrategyKind::BlueGreen);
        plan.settings.observe_s = 30;
        let bench =
            Bench::new(plan, Behaviour { sickens_after: Some(ms(8000)), ..Behaviour::default() }).await;
        let target = bench.plan.targets[0].clone();
        let by_hand = async {
            bench.heard(|news| matches!(news, News::Routed { weight: 100, .. })).await;
            // Somebody on the host, without a fence of his own: the one that the target knows.
            let runtime = SimulatedRuntime::new(&bench.world, target.clone(), &Process::new(9));
            let fence = Fence { target, epoch: Epoch(2) };
            let old = bench.state().places[0].old.clone().unwrap().slot;
            if gone {
                runtime.retire(&fence, &old).await.unwrap()
            } else {
                runtime.stop(&fence, &old).await.unwrap()
            }
        };
        let process = Process::new(1);
        let (run, ()) = futures::join!(bench.run(&process, 2), by_hand);
        let ending = run.ending();
        assert_eq!(ending.outcome, RolloutOutcome::Reverted);
        let old = bench.state().places[0].old.clone().unwrap().slot;
        assert_eq!(bench.world.healthy(&bench.plan.targets[0], &old), Some(true));
        // The only laws that were broken are those that the hand on the host broke: routed to, and not drained.
        assert_eq!(bench.world.violations().len(), 2, "{:?}", bench.world.violations());
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_that_had_to_wait_is_not_set_to_what_is_sick_by_then() {
    for strategy in StrategyKind::ALL {
        let sickens = Behaviour { sickens_after: Some(ms(5000)), ..Behaviour::default() };
        let bench = Bench::new(plan(*strategy), sickens).await;
        let hangs = At::Kind { call: Call::Route, from: 0, times: 1 };
        let ending = bench.run(&Process::new(1).with(hangs, Fault::Hang(When::Before)), 2).await.ending();
        assert_eq!(ending.outcome, RolloutOutcome::Reverted);
        bench.check(&ending, strategy.as_str());
        assert_eq!(bench.failed_requests(), 0);
        let new = Some(bench.state().places[0].new.clone());
        assert!(bench.world.routings().iter().all(|routing| routing.standing.new != new));
    }
}
