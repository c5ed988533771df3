//! A worker that dies at any of its calls, before or after the call's effect: its successor ends what it began.

use deploymind_shared::domain::slot::RestartPolicy;

use super::strategies::dies;
use super::*;
use crate::runtime::simulated::{At, Ended, Fault, When};

/// Releases and what people ask: each with every strategy.
fn cases() -> Vec<(&'static str, Behaviour, Option<Ask>)> {
    let good = Behaviour::default;
    vec![
        ("good", good(), None),
        ("never healthy", Behaviour { ready_after: None, ..good() }, None),
        ("dies", dies(1800, Ended::Code(1)), None),
        ("sickens", Behaviour { sickens_after: Some(ms(1500)), ..good() }, None),
        ("answers with errors", Behaviour { error_share: 0.9, ..good() }, None),
        ("aborted", good(), Some(Ask::Abort)),
        ("promoted", good(), Some(Ask::Promote)),
    ]
}

async fn bench(strategy: StrategyKind, targets: usize, kind: usize, behaviour: Behaviour) -> Bench {
    let mut plan = plan(strategy);
    plan.targets = two_targets()[..targets].to_vec();
    plan.run.restart = RestartPolicy::Never;
    match kind {
        1 => plan.run.volumes.push(exclusive()),
        2 => plan.old = None,
        _ => {}
    }
    Bench::new(plan, behaviour).await
}

/// The run of one worker with an ask some way into it.
async fn run(bench: &Bench, process: &Process, epoch: i64, ask: Option<Ask>) -> Run {
    let asking = async {
        if let Some(ask) = ask {
            tokio::time::sleep(ms(1400)).await;
            bench.ask(ask);
        }
    };
    futures::join!(bench.run(process, epoch), asking).0
}

fn paused<T>(work: impl Future<Output = T>) -> T {
    let builder = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    builder.unwrap().block_on(work)
}

/// Dies at every call of a strategy's roll-outs, one call per run, until a run has no further call.
fn crash_everywhere(strategy: StrategyKind) {
    let (mut crashes, mut calls) = (0, 0);
    for (targets, kind) in [(1, 0), (2, 0), (1, 1), (1, 2)] {
        for (name, behaviour, ask) in cases() {
            'calls: for number in 0.. {
                for when in [When::Before, When::After] {
                    let what = format!("{strategy} {targets} {kind} {name}: call {number} {when:?}");
                    let died = paused(async {
                        let bench = bench(strategy, targets, kind, behaviour.clone()).await;
                        let first = Process::new(1).with(At::Number(number), Fault::Die(when));
                        let (died, ending) = match run(&bench, &first, 2, ask).await {
                            Run::Died => (true, bench.run(&Process::new(2), 3).await.ending()),
                            Run::Ended(ending) => (false, ending),
                            other => panic!("{what}: {other:?}"),
                        };
                        bench.check(&ending, &what);
                        if name == "good" {
                            assert_eq!(ending.outcome, RolloutOutcome::Done, "{what}");
                        }
                        if name == "good" && kind == 0 {
                            assert_eq!(bench.failed_requests(), 0, "{what}");
                        }
                        died
                    });
                    if !died {
                        calls += number;
                        break 'calls;
                    }
                    crashes += 1;
                }
            }
        }
    }
    println!("{strategy}: {calls} calls, {crashes} crashes");
    assert_eq!(crashes, 2 * calls);
    assert!(crashes > 1000, "{crashes}");
}

#[test]
fn after_a_crash_at_any_call_of_rolling_the_successor_ends_at_one_side() {
    crash_everywhere(StrategyKind::Rolling);
}

#[test]
fn after_a_crash_at_any_call_of_a_canary_the_successor_ends_at_one_side() {
    crash_everywhere(StrategyKind::Canary);
}

#[test]
fn after_a_crash_at_any_call_of_blue_green_the_successor_ends_at_one_side() {
    crash_everywhere(StrategyKind::BlueGreen);
}

#[test]
fn after_many_crashes_it_still_ends_at_one_side() {
    use rand::{RngExt as _, SeedableRng as _};
    let mut crashes = 0;
    for seed in 0..400u64 {
        paused(async {
            let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
            let strategy = StrategyKind::ALL[rng.random_range(0..StrategyKind::ALL.len())];
            let (name, behaviour, ask) = cases().swap_remove(rng.random_range(0..cases().len()));
            let bench = bench(strategy, rng.random_range(1..=2), rng.random_range(0..3), behaviour).await;
            for epoch in 2.. {
                let mut process = Process::new(seed + epoch as u64);
                if epoch < 6 {
                    let when = if rng.random() { When::Before } else { When::After };
                    process = process.with(At::Number(rng.random_range(0..50)), Fault::Die(when));
                }
                let what = format!("seed {seed} {strategy} {name}: epoch {epoch}");
                match run(&bench, &process, epoch, ask.filter(|_| epoch == 2)).await {
                    Run::Died => crashes += 1,
                    Run::Ended(ending) => return bench.check(&ending, &what),
                    other => panic!("{what}: {other:?}"),
                }
            }
        });
    }
    println!("crashes: {crashes}");
    assert!(crashes > 400, "{crashes}");
}
