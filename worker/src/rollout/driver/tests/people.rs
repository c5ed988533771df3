//! What people, and the job's own stop, ask for, at every moment of a roll-out.

use super::*;
use crate::rollout::contract::Why;
use crate::runtime::simulated::{At, Fault, Users, When};

/// Asks after every so many milliseconds of a roll-out, one moment per run, until the roll-out is over by then.
async fn at_every_moment(strategy: StrategyKind, asks: &[Ask], check: impl Fn(&Bench, &Ending, Duration)) {
    for moment in 0.. {
        let at = ms(moment * 250);
        let mut plan = Plan { targets: two_targets(), ..plan(strategy) };
        plan.settings.pause_max_s = 20;
        let bench = Bench::new(plan, Behaviour::default()).await;
        let asking = async {
            tokio::time::sleep(at).await;
            for ask in asks {
                bench.ask(*ask);
                tokio::time::sleep(ms(1200)).await;
            }
        };
        let begun = tokio::time::Instant::now();
        let process = Process::new(1);
        let run = async {
            let ending = bench.run(&process, 2).await.ending();
            (ending, begun.elapsed())
        };
        let ((ending, took), ()) = futures::join!(run, asking);
        bench.check(&ending, &format!("{strategy} {asks:?} at {at:?}"));
        assert_eq!(bench.failed_requests(), 0);
        if took < at {
            assert!(moment > 4, "it was over before anything was asked");
            return;
        }
        check(&bench, &ending, took - at);
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_at_any_moment_leads_back() {
    for strategy in StrategyKind::ALL {
        for asks in [&[Ask::Abort][..], &[Ask::Pause, Ask::Abort], &[Ask::Abort, Ask::Promote, Ask::Resume]] {
            at_every_moment(*strategy, asks, |bench, ending, took| {
                let late = ending.outcome == RolloutOutcome::Done;
                assert!(late || ending.why == Some(Why::Aborted), "{ending:?}");
                assert!(took < ms(12_000), "{took:?} {:?}", bench.news());
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_at_any_moment_stands_still_and_goes_on() {
    for strategy in StrategyKind::ALL {
        at_every_moment(*strategy, &[Ask::Pause, Ask::Resume], |_, ending, _| {
            assert_eq!(ending.outcome, RolloutOutcome::Done);
        })
        .await;
        at_every_moment(*strategy, &[Ask::Pause], |_, ending, _| {
            let late = ending.outcome == RolloutOutcome::Done;
            assert!(late || ending.why == Some(Why::PauseTooLong), "{ending:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_promotion_at_any_moment_arrives_sooner() {
    for strategy in StrategyKind::ALL {
        at_every_moment(*strategy, &[Ask::Promote], |_, ending, took| {
            assert_eq!(ending.outcome, RolloutOutcome::Done);
            assert!(took < ms(6000), "{took:?}");
        })
        .await;
    }
}

/// Fires the job's token at a moment; gives how long the run took from then on, and how long until users were back.
async fn cancelled_at(bench: &Bench, process: &Process, at: Duration) -> (Run, Duration) {
    let cancel = CancellationToken::new();
    let begun = tokio::time::Instant::now();
    let firing = async {
        tokio::time::sleep(at).await;
        cancel.cancel();
    };
    let run = bench.run_with(process, 2, &cancel, StopKind::ForGood);
    let run = async { (run.await, begun.elapsed()) };
    let ((run, took), ()) = futures::join!(run, firing);
    (run, took.saturating_sub(at))
}

#[tokio::test(start_paused = true)]
async fn a_stop_of_the_job_at_any_moment_leads_back_quickly() {
    for strategy in StrategyKind::ALL {
        for moment in 0..40 {
            let mut plan = plan(*strategy);
            plan.settings.drain_s = 60;
            let bench = Bench::new(plan, Behaviour { stops_in: ms(9000), ..Behaviour::default() }).await;
            bench.world.visit(Users { per_second: 40.0, longest: ms(40_000) });
            let (run, took) = cancelled_at(&bench, &Process::new(1), ms(moment * 250)).await;
            let ending = run.ending();
            assert_eq!(bench.world.violations(), Vec::<String>::new());
            if ending.outcome != RolloutOutcome::Done {
                assert_eq!(ending.why, Some(Why::Cancelled));
                // The cut drain and the slots that end slowly are most of it.
                assert!(took < ms(8000), "{strategy} {moment}: {took:?} {:#?}", bench.news());
                let standing = bench.world.standing(&bench.plan.targets[0], &bench.plan.app).unwrap();
                assert!(standing.weight == 0 || standing.old.is_none(), "{standing:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn users_are_back_soon_although_the_new_side_hangs() {
    let bench = Bench::new(plan(StrategyKind::Canary), Behaviour::default()).await;
    // From the first share on, looks of the new side never return; those of the old one come after them.
    let process = Process::new(1);
    let cancel = CancellationToken::new();
    let at_share = async {
        bench.heard(|news| matches!(news, News::Routed { weight: 20, .. })).await;
        bench.world.behave(bench.plan.new, Behaviour { ready_after: None, ..Behaviour::default() });
        cancel.cancel();
        let asked = tokio::time::Instant::now();
        bench.heard(|news| matches!(news, News::Routed { weight: 0, .. })).await;
        asked.elapsed()
    };
    let (run, took) = futures::join!(bench.run_with(&process, 2, &cancel, StopKind::ForGood), at_share);
    bench.check(&run.ending(), "hang");
    assert!(took < ms(2000), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_leaves_touches_nothing_and_its_successor_goes_on() {
    for strategy in StrategyKind::ALL {
        for moment in 0..36 {
            let bench = Bench::new(plan(*strategy), Behaviour::default()).await;
            let cancel = CancellationToken::new();
            let process = Process::new(1);
            let leaving = async {
                tokio::time::sleep(ms(moment * 250)).await;
                cancel.cancel();
                let calls = process.calls();
                tokio::time::sleep(ms(10_000)).await;
                process.calls() - calls
            };
            let run = bench.run_with(&process, 2, &cancel, StopKind::GoodBye);
            let (run, calls) = futures::join!(run, leaving);
            let ending = match run {
                Run::Ended(ending) => ending,
                Run::Stopped(Stop::Cancelled) => {
                    assert_eq!(calls, 0, "{strategy} {moment}");
                    bench.run(&Process::new(2), 3).await.ending()
                }
                other => panic!("{other:?}"),
            };
            bench.check(&ending, strategy.as_str());
            assert_eq!(ending.outcome, RolloutOutcome::Done);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_ends_even_a_call_that_hangs() {
    for call in [Call::Provide, Call::Launch, Call::Probe, Call::Route, Call::Drained, Call::Traffic] {
        let bench = Bench::new(plan(StrategyKind::Canary), Behaviour::default()).await;
        let process = Process::new(1).with(At::Kind { call, from: 0, times: 1 }, Fault::Hang(When::Before));
        let asking = async {
            tokio::time::sleep(ms(1500)).await;
            bench.ask(Ask::Abort);
        };
        let begun = tokio::time::Instant::now();
        let run = async { (bench.run(&process, 2).await.ending(), begun.elapsed()) };
        let ((ending, took), ()) = futures::join!(run, asking);
        bench.check(&ending, &format!("{call:?}"));
        assert_ne!(ending.outcome, RolloutOutcome::Done);
        // The drain of the way back is what hangs in one of them.
        let most = if call == Call::Drained { ms(60_000) } else { ms(12_000) };
        assert!(took < most, "{call:?} {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_healthy_before_a_pause_is_asked_again_after_it() {
    for strategy in StrategyKind::ALL {
        // Slow to start, so that the pause falls into the wait for its health.
        let slow = Behaviour { ready_after: Some(ms(2000)), ..Behaviour::default() };
        let bench = Bench::new(plan(*strategy), slow).await;
        let person = async {
            bench.heard(|news| matches!(news, News::Launching { .. })).await;
            bench.ask(Ask::Pause);
            bench.heard(|news| matches!(news, News::Held { .. })).await;
            tokio::time::sleep(ms(5000)).await;
            bench.world.behave(bench.plan.new, Behaviour { ready_after: None, ..Behaviour::default() });
            bench.ask(Ask::Resume);
        };
        let process = Process::new(1);
        let (run, ()) = futures::join!(bench.run(&process, 2), person);
        let ending = run.ending();
        bench.check(&ending, strategy.as_str());
        assert_ne!(ending.outcome, RolloutOutcome::Done);
        assert!(bench.news().contains(&News::Resumed));
        let new = Some(bench.state().places[0].new.clone());
        let routings = bench.world.routings();
        assert!(routings.iter().all(|r| r.standing.new != new), "{routings:?} {:?}", bench.news());
    }
}
