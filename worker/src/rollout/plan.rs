//! What each strategy is: a list of moves, forward or back. Pure; the walker ([`super::machine`]) takes them one by one.
//!
//! A list holds three orders that everything rests on: a side is asked for its health right before a route gives it more;
//! a drain stands between the route away from a side and that side's end; what was there before ends last.

use deploymind_shared::domain::rollout::{RolloutOutcome, StrategyKind, Warm};
use serde::{Deserialize, Serialize};

use super::contract::{Side, Task};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "move", rename_all = "snake_case")]
pub(super) enum Move {
    Launch { side: Side, targets: Vec<usize> },
    AwaitHealthy { side: Side, targets: Vec<usize> },
    Look,
    Route { weight: u8, targets: Vec<usize> },
    Observe { stage: usize },
    Watch { for_s: u32 },
    Drain,
    Retire { side: Side, targets: Vec<usize>, keep: bool },
}

use Move::{AwaitHealthy, Drain, Launch, Look, Observe, Retire, Route, Watch};

impl Move {
    /// It changes nothing on a target, so it can be left at any time. The others are finished first: a call that was
    /// dropped half way could take effect after the next one.
    pub fn is_wait(&self) -> bool {
        matches!(self, AwaitHealthy { .. } | Look | Observe { .. } | Watch { .. } | Drain)
    }

    /// It is a wait that begins anew after a pause. A drain is no such: it is over when the edge says so.
    pub fn can_pause(&self) -> bool {
        self.is_wait() && *self != Drain
    }

    /// It waits for time or numbers, and a person may say that enough was seen.
    pub fn can_skip(&self) -> bool {
        matches!(self, Observe { .. } | Watch { .. })
    }
}

fn launch(side: Side, targets: Vec<usize>) -> [Move; 2] {
    [Launch { side, targets: targets.clone() }, AwaitHealthy { side, targets }]
}

fn all(task: &Task) -> Vec<usize> {
    (0..task.targets).collect()
}

fn watch(for_s: u32) -> Option<Move> {
    (for_s > 0).then_some(Watch { for_s })
}

/// The way forward.
pub(super) fn moves(task: &Task) -> Vec<Move> {
    let settings = &task.settings;
    let all = all(task);
    let mut moves = Vec::new();
    if task.has_old && !task.may_overlap {
        moves.push(Retire { side: Side::Old, targets: all.clone(), keep: true });
    }
    // With nothing to compare with or to go back to, or without both at once, there are no steps to take.
    let plain = task.direct || !task.has_old || !task.may_overlap;
    if plain {
        moves.extend(launch(Side::New, all.clone()));
        moves.push(Route { weight: 100, targets: all.clone() });
        moves.extend(watch(settings.verify_s));
    } else {
        match settings.strategy {
            StrategyKind::Rolling => {
                for batch in all.chunks(usize::from(settings.batch.max(1))) {
                    moves.extend(launch(Side::New, batch.to_vec()));
                    moves.push(Route { weight: 100, targets: batch.to_vec() });
                }
                moves.extend(watch(settings.verify_s));
            }
            StrategyKind::Canary => {
                moves.extend(launch(Side::New, all.clone()));
                for (stage, weight) in settings.canary.stages.iter().enumerate().filter(|(_, w)| **w < 100) {
                    moves.push(Route { weight: *weight, targets: all.clone() });
                    moves.push(Observe { stage });
                }
                moves.push(Route { weight: 100, targets: all.clone() });
                moves.extend(watch(settings.verify_s));
            }
            StrategyKind::BlueGreen => {
                moves.extend(launch(Side::New, all.clone()));
                moves.push(Route { weight: 100, targets: all.clone() });
                moves.extend(watch(settings.observe_s));
            }
        }
    }
    if task.has_old && task.may_overlap {
        // Also when the old one runs on: what ends it later need not ask which requests it still has.
        moves.push(Drain);
        if settings.warm == Warm::Stopped {
            moves.push(Retire { side: Side::Old, targets: all, keep: true });
        }
    }
    moves
}

/// What is left of a list when nobody wants to wait for windows: one look at the new side's health stands for each, and
/// the shares between are left out, as nothing would be seen there.
pub(super) fn without_windows(task: &Task, ahead: &[Move]) -> Vec<Move> {
    let mut left: Vec<Move> = Vec::new();
    for step in ahead {
        let step = match step {
            Observe { .. } | Watch { .. } => AwaitHealthy { side: Side::New, targets: all(task) },
            Route { weight: 1..100, .. } => continue,
            other => other.clone(),
        };
        if left.last() != Some(&step) {
            left.push(step);
        }
    }
    left
}

/// What a way back starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reach {
    /// The new side was launched on the targets `0..launched`, or at least begun to be.
    pub launched: usize,
    /// A share of the requests went to the new side somewhere, or at least began to.
    pub had_traffic: bool,
    /// The end of the old side was begun.
    pub old_ended: bool,
}

fn retire_new(reach: Reach, keep: bool) -> Option<Move> {
    let targets: Vec<usize> = (0..reach.launched).collect();
    (!targets.is_empty()).then_some(Retire { side: Side::New, targets, keep })
}

/// The first moves of the way back, and how it ends when they are done.
pub(super) fn back(task: &Task, reach: Reach) -> (Vec<Move>, RolloutOutcome) {
    let mut moves = Vec::new();
    if !reach.had_traffic {
        moves.extend(retire_new(reach, false));
        if reach.old_ended {
            moves.extend(launch(Side::Old, all(task)));
            moves.push(Route { weight: 0, targets: all(task) });
        }
        return (moves, RolloutOutcome::Withdrawn);
    }
    if !task.has_old {
        moves.extend(to_old(task, reach));
    } else if task.may_overlap {
        moves.push(Look);
    } else {
        // The new one is kept until the old one serves: should that fail, it can be launched again.
        moves.extend(retire_new(reach, true));
        moves.extend(launch(Side::Old, all(task)));
        moves.extend(to_old(task, reach));
    }
    (moves, RolloutOutcome::Reverted)
}

/// The old side is good: users go there, and the new one ends.
pub(super) fn to_old(task: &Task, reach: Reach) -> Vec<Move> {
    let mut moves = vec![Route { weight: 0, targets: all(task) }, Drain];
    moves.extend(retire_new(reach, false));
    moves
}

/// The old side does not serve as it is; it is launched once more.
pub(super) fn to_old_again(task: &Task, reach: Reach) -> Vec<Move> {
    launch(Side::Old, all(task)).into_iter().chain(to_old(task, reach)).collect()
}

/// The old side cannot serve and the new one can: it stays. All targets switch, so it is launched where it was not yet, and
/// asked for on all of them: a look before the way back is about those that have users.
pub(super) fn to_new(task: &Task, reach: Reach) -> Vec<Move> {
    let mut moves = Vec::new();
    if !task.may_overlap {
        moves.push(Retire { side: Side::Old, targets: all(task), keep: true });
        moves.push(Launch { side: Side::New, targets: all(task) });
    } else if reach.launched < task.targets {
        moves.push(Launch { side: Side::New, targets: (reach.launched..task.targets).collect() });
    }
    moves.push(AwaitHealthy { side: Side::New, targets: all(task) });
    moves.push(Route { weight: 100, targets: all(task) });
    moves.push(Drain);
    moves
}

#[cfg(test)]
mod tests;
