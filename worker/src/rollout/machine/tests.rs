use std::time::Duration;

use deploymind_shared::domain::rollout::{CanarySettings, RolloutSettings, Warm};

use super::*;
use crate::runtime::{FindingCode, Tally};

mod model;
mod random;
mod scenes;
mod world;

const ASKS: [Ask; 5] = [Ask::Pause, Ask::Resume, Ask::Promote, Ask::Abort, Ask::Cancel];

fn settings(strategy: StrategyKind) -> RolloutSettings {
    RolloutSettings { strategy, batch: 2, ..RolloutSettings::default() }
}

fn task(strategy: StrategyKind) -> Task {
    Task { settings: settings(strategy), targets: 3, has_old: true, may_overlap: true, direct: false }
}

/// Every strategy with every setting that changes what is done.
fn tasks() -> Vec<Task> {
    let mut tasks = Vec::new();
    for bits in 0..128u8 {
        let bit = |n: u8| bits & (1 << n) != 0;
        let plain = !bit(4) || !bit(5) || bit(6);
        for strategy in StrategyKind::ALL {
            // Without stages the strategies are the same.
            let same = *strategy != StrategyKind::Canary && (plain || bit(2));
            // What the number of targets does not bear on is tried with one.
            if same || bit(3) && (bit(1) || bit(2)) {
                continue;
            }
            let settings = RolloutSettings {
                warm: if bit(0) { Warm::Running } else { Warm::Stopped },
                verify_s: if bit(1) { 0 } else { 10 },
                canary: CanarySettings {
                    on_insufficient: if bit(2) { OnInsufficient::Rollback } else { OnInsufficient::Pause },
                    ..CanarySettings::default()
                },
                ..settings(*strategy)
            };
            tasks.push(Task {
                settings,
                targets: if bit(3) { 3 } else { 1 },
                has_old: bit(4),
                may_overlap: bit(5),
                direct: bit(6),
            });
        }
    }
    tasks
}

fn finding(last: bool) -> Finding {
    let code = if last { FindingCode::Exited } else { FindingCode::NoAnswer };
    Finding { code, sentence: "it does not answer".to_owned(), last }
}

fn cannot() -> Observation {
    Observation::Failed { code: "DM-4814".to_owned(), sentence: "it cannot be done".to_owned() }
}

fn tally(requests: u64, errors: u64) -> Tally {
    Tally { requests, errors, ..Tally::default() }
}

fn sample(seconds: u64, new: Option<Tally>, unhealthy: Option<Finding>) -> Observation {
    let old = new.as_ref().map(|_| tally(1000, 0));
    Observation::Sample(Sample { elapsed: Duration::from_secs(seconds), new, old, unhealthy })
}

fn observations() -> Vec<Observation> {
    vec![
        Observation::Done,
        Observation::Healthy,
        Observation::Unhealthy(finding(false)),
        cannot(),
        Observation::Looked { old: true, new: true },
        Observation::Looked { old: true, new: false },
        Observation::Looked { old: false, new: true },
        Observation::Looked { old: false, new: false },
        // Too early; passed; failed clearly; nobody came; not to be counted; longer than a pause may be.
        sample(1, Some(tally(3, 0)), None),
        sample(300, Some(tally(200, 0)), None),
        sample(5, Some(tally(40, 40)), None),
        sample(300, Some(tally(200, 12)), None),
        sample(600, Some(tally(0, 0)), None),
        sample(600, None, None),
        sample(3600, Some(tally(200, 0)), None),
        // Not healthy although its numbers are good.
        sample(600, Some(tally(200, 0)), Some(finding(false))),
        sample(600, Some(tally(200, 0)), Some(finding(true))),
    ]
}

/// What a driver sees when everything goes well.
fn good(action: &Action) -> Observation {
    match action {
        Action::Launch { .. } | Action::Route { .. } | Action::Drain | Action::Retire { .. } => {
            Observation::Done
        }
        Action::AwaitHealthy { .. } => Observation::Healthy,
        Action::Look => Observation::Looked { old: true, new: true },
        Action::Observe { .. } | Action::Watch | Action::Hold { .. } => {
            sample(3600, Some(tally(200, 0)), None)
        }
        Action::End(_) => unreachable!("it has ended"),
    }
}
