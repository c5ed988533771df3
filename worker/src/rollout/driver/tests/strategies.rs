//! Every strategy, with a good release and with broken ones of each kind.

use deploymind_shared::domain::rollout::Warm;
use deploymind_shared::domain::slot::RestartPolicy;

use super::*;
use crate::rollout::contract::Why;
use crate::runtime::FindingCode;
use crate::runtime::simulated::{Death, Ended, Users};

pub(super) fn dies(after: u64, how: Ended) -> Behaviour {
    Behaviour { dies: Some(Death { after: ms(after), how }), ..Behaviour::default() }
}

#[tokio::test(start_paused = true)]
async fn a_good_release_gets_all_users_and_none_of_them_notices() {
    for strategy in StrategyKind::ALL {
        for targets in [two_targets()[..1].to_vec(), two_targets()] {
            let bench = Bench::new(Plan { targets, ..plan(*strategy) }, Behaviour::default()).await;
            let ending = bench.run(&Process::new(1), 2).await.ending();
            assert_eq!((ending.outcome, &ending.why), (RolloutOutcome::Done, &None));
            bench.check(&ending, strategy.as_str());
            assert_eq!(bench.failed_requests(), 0);
            assert!(matches!(bench.news().last(), Some(News::Ended { .. })));
            assert!(!bench.news().iter().any(|news| matches!(news, News::Corrected { .. })));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_release_and_one_that_may_not_overlap_and_one_without_a_port_arrive() {
    for strategy in StrategyKind::ALL {
        let first = Plan { old: None, ..plan(*strategy) };
        let mut alone = plan(*strategy);
        alone.run.volumes.push(exclusive());
        let mut worker = Plan { port: None, ..plan(*strategy) };
        worker.run.routes = Routes::default();
        for plan in [first, alone, worker] {
            let bench = Bench::new(plan, Behaviour::default()).await;
            if bench.plan.port.is_none() && *strategy == StrategyKind::Canary {
                // Nothing is ever counted for it: a person has to say that it is good.
                bench.ask(Ask::Promote);
            }
            let ending = bench.run(&Process::new(1), 2).await.ending();
            assert_eq!(ending.outcome, RolloutOutcome::Done);
            bench.check(&ending, strategy.as_str());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_that_is_never_healthy_gets_no_request() {
    let broken = [
        Behaviour { ready_after: None, ..Behaviour::default() },
        Behaviour { ready_after: None, until_ready: FindingCode::WrongAnswer, ..Behaviour::default() },
        Behaviour { ready_after: None, dies: dies(200, Ended::OutOfMemory).dies, ..Behaviour::default() },
    ];
    for strategy in StrategyKind::ALL {
        for behaviour in &broken {
            for restart in [RestartPolicy::Always, RestartPolicy::Never] {
                let mut plan = Plan { targets: two_targets(), ..plan(*strategy) };
                plan.run.restart = restart;
                let bench = Bench::new(plan, behaviour.clone()).await;
                let ending = bench.run(&Process::new(1), 2).await.ending();
                assert_eq!(ending.outcome, RolloutOutcome::Withdrawn);
                bench.check(&ending, strategy.as_str());
                assert_eq!(bench.failed_requests(), 0);
                let never = bench.world.routings().iter().all(|r| r.standing.weight == 100);
                assert!(never, "{:?}", bench.world.routings());
                let remains = bench.news().into_iter().find_map(|news| match news {
                    News::Unhealthy { log, .. } => Some(log),
                    _ => None,
                });
                assert!(remains.is_some_and(|log| !log.is_empty()), "{:?}", bench.news());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_that_fails_under_way_goes_and_users_are_back() {
    // While it is watched: after its health and before the end of every strategy's windows.
    let broken = [
        (dies(1500, Ended::Code(3)), RestartPolicy::Never),
        (dies(1500, Ended::Code(3)), RestartPolicy::Always),
        (dies(1500, Ended::OutOfMemory), RestartPolicy::Never),
        (Behaviour { sickens_after: Some(ms(1200)), ..Behaviour::default() }, RestartPolicy::Always),
    ];
    for strategy in StrategyKind::ALL {
        for (behaviour, restart) in &broken {
            let mut plan = plan(*strategy);
            plan.settings.verify_s = 4;
            plan.settings.observe_s = 4;
            plan.run.restart = *restart;
            let bench = Bench::new(plan, behaviour.clone()).await;
            let ending = bench.run(&Process::new(1), 2).await.ending();
            assert_eq!(ending.outcome, RolloutOutcome::Reverted, "{strategy} {behaviour:?}");
            assert!(matches!(ending.why, Some(Why::Unhealthy { after_traffic: true, .. })), "{ending:?}");
            bench.check(&ending, strategy.as_str());
            // Those that could not be delivered went to the old release.
            assert_eq!(bench.failed_requests(), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_dies_soon_after_its_start_is_caught_before_it_gets_traffic() {
    for restart in [RestartPolicy::Always, RestartPolicy::Never] {
        let mut plan = plan(StrategyKind::Rolling);
        plan.run.health.settle_s = 4;
        plan.run.restart = restart;
        let bench = Bench::new(plan, dies(3000, Ended::Code(1))).await;
        let ending = bench.run(&Process::new(1), 2).await.ending();
        assert_eq!(ending.outcome, RolloutOutcome::Withdrawn);
        bench.check(&ending, "settle");
    }
}

#[tokio::test(start_paused = true)]
async fn health_needs_its_successes_in_a_row() {
    for successes in [1, 5] {
        let mut plan = plan(StrategyKind::Rolling);
        plan.run.health.successes = successes;
        let bench = Bench::new(plan, Behaviour::default()).await;
        let begun = tokio::time::Instant::now();
        let run = async { bench.run(&Process::new(1), 2).await.ending() };
        let (ending, healthy) = futures::join!(run, async {
            bench.heard(|news| matches!(news, News::Healthy { .. })).await;
            begun.elapsed()
        });
        assert_eq!(ending.outcome, RolloutOutcome::Done);
        let least = ms(300) + ms(500) * u32::from(successes - 1);
        assert!(healthy >= least && healthy < least + ms(700), "{successes}: {healthy:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn earlier_releases_stay_as_the_settings_say() {
    for (warm, keep) in [(Warm::Stopped, 2), (Warm::Running, 2), (Warm::Stopped, 0)] {
        let mut plan = plan(StrategyKind::Rolling);
        plan.settings.warm = warm;
        plan.settings.keep = keep;
        let target = plan.targets[0].clone();
        let mut bench = Bench::new(plan, Behaviour::default()).await;
        let mut names = vec![SlotName("dm-shop-1".into())];
        for epoch in 2..6 {
            let ending = bench.run(&Process::new(1), epoch).await.ending();
            assert_eq!(ending.outcome, RolloutOutcome::Done);
            assert_eq!(bench.world.violations(), Vec::<String>::new());
            names.push(SlotName(format!("dm-shop-{epoch}")));
            let (running, stopped) = bench.world.slots(&target);
            let kept = &names[names.len().saturating_sub(1 + usize::from(keep))..names.len() - 1];
            let (live, rest) = match warm {
                Warm::Running => kept.split_last().map_or((None, kept), |(last, rest)| (Some(last), rest)),
                Warm::Stopped => (None, kept),
            };
            let mut expected: Vec<_> = live.cloned().into_iter().chain(names.last().cloned()).collect();
            expected.sort();
            assert_eq!((running, stopped), (expected, rest.to_vec()), "{warm} {keep} {epoch}");
            // What was new serves when the next one begins.
            let before = Some((bench.plan.new, epoch));
            bench = Bench { record: Arc::default(), before, ..bench };
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_that_ends_slowly_does_not_cut_requests() {
    let bench = Bench::new(plan(StrategyKind::Rolling), Behaviour::default()).await;
    bench.world.visit(Users { per_second: 40.0, longest: Duration::from_secs(30) });
    let ending = bench.run(&Process::new(1), 2).await.ending();
    assert_eq!(ending.outcome, RolloutOutcome::Done);
    bench.check(&ending, "slow requests");
    let cut = bench.news().into_iter().any(|news| matches!(news, News::Drained { cut: true, .. }));
    assert!(cut, "{:?}", bench.news());
}
