//! A plain model of the world beside the machine: it knows the rules that users depend on and none of the machine's code.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::*;

/// What is so on the targets, as far as the driver was told.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct World {
    task: Rc<Task>,
    pub share: Vec<u8>,
    old_runs: Vec<bool>,
    new_runs: Vec<bool>,
    /// Running or stopped.
    new_is_there: Vec<bool>,
    new_was_healthy: Vec<bool>,
    /// Whose health was seen last, with nothing done since.
    fresh: BTreeSet<bool>,
    drained: bool,
    touched: bool,
    old_is_bad: bool,
    leftover: bool,
    /// Abort or cancel, with the highest share at that time.
    stopped: Option<(Ask, u8)>,
    paused: bool,
    /// A route that was in hand at a crash is finished also while paused, after one more look at its health.
    finishing: bool,
}

const NEW: bool = true;
const OLD: bool = false;

impl World {
    pub fn new(task: &Task) -> Self {
        let of = |value| vec![value; task.targets];
        Self {
            task: Rc::new(task.clone()),
            share: vec![0; task.targets],
            old_runs: of(task.has_old),
            new_runs: of(false),
            new_is_there: of(false),
            new_was_healthy: of(false),
            fresh: BTreeSet::new(),
            drained: true,
            touched: false,
            old_is_bad: false,
            leftover: false,
            stopped: None,
            paused: false,
            finishing: false,
        }
    }

    /// The rules: whether this may be done now.
    pub fn begin(&mut self, action: &Action) {
        let on = |side: &Side| if *side == Side::New { NEW } else { OLD };
        if self.paused {
            let finishes =
                matches!(action, Action::AwaitHealthy { .. } | Action::Route { .. }) && self.finishing;
            let holds = matches!(action, Action::Hold { .. } | Action::End(_));
            assert!(holds || finishes, "paused, and yet {action:?}");
        }
        match action {
            Action::Launch { side, targets } => {
                for target in targets {
                    assert!(
                        self.task.may_overlap
                            || !(if on(side) { &self.old_runs } else { &self.new_runs })[*target]
                            || self.stopped_by_nobody(side, *target),
                        "both sides of an exclusive app on {target}: {self:?}"
                    );
                    (if on(side) { &mut self.new_runs } else { &mut self.old_runs })[*target] = true;
                    if on(side) {
                        self.new_was_healthy[*target] = false;
                        self.new_is_there[*target] = true;
                    }
                }
                self.fresh.clear();
            }
            Action::Route { weight: 0, targets } => {
                assert_eq!(targets.len(), self.task.targets, "all or none");
                if self.task.has_old {
                    assert!(
                        self.fresh.contains(&OLD),
                        "users go to an old side that was not asked: {self:?}"
                    );
                    assert!(self.old_runs.iter().all(|runs| *runs));
                }
            }
            Action::Route { weight, targets } => {
                assert!(self.fresh.contains(&NEW), "users go to a new side that was not asked: {self:?}");
                assert!(targets.iter().all(|t| self.new_runs[*t] && self.new_was_healthy[*t]));
                if let Some((_, most)) = self.stopped {
                    assert!(*weight <= most || self.old_is_bad, "more for the new side after a stop");
                }
                self.touched = true;
            }
            Action::Retire { side: Side::Old, .. } if self.task.may_overlap => {
                assert!(self.drained && self.share.iter().all(|share| *share == 100), "{self:?}");
                assert!(self.task.settings.warm == Warm::Stopped);
            }
            Action::Retire { side: Side::New, targets, keep } => {
                assert!(targets.iter().all(|t| self.new_is_there[*t] || self.leftover));
                if self.touched && !*keep {
                    assert!(self.drained && self.share.iter().all(|share| *share == 0), "{self:?}");
                }
            }
            Action::End(ending) => self.end(ending),
            _ => {}
        }
    }

    fn stopped_by_nobody(&self, side: &Side, target: usize) -> bool {
        // A repetition after a crash finds what it left.
        (if *side == Side::New { &self.new_runs } else { &self.old_runs })[target]
    }

    fn end(&self, ending: &Ending) {
        let all = |share: u8| self.share.iter().all(|s| *s == share);
        match ending.outcome {
            RolloutOutcome::Done => {
                assert!(all(100) && self.stopped.is_none());
                assert!(ending.why.is_none() || self.leftover);
            }
            RolloutOutcome::Withdrawn => assert!(all(0) && !self.touched),
            RolloutOutcome::Reverted => assert!(all(0) && self.touched),
            RolloutOutcome::Kept => assert!(all(100) && self.old_is_bad),
            RolloutOutcome::Left => assert!(self.old_is_bad || self.leftover, "{self:?}"),
        }
        if matches!(ending.outcome, RolloutOutcome::Withdrawn | RolloutOutcome::Reverted) {
            assert!(!self.task.has_old || self.old_runs.iter().all(|runs| *runs));
            assert!(self.leftover || !self.new_is_there.contains(&true));
        }
        match self.stopped {
            Some((Ask::Abort, _)) => assert_eq!(ending.why, Some(Why::Aborted)),
            Some(_) => assert_eq!(ending.why, Some(Why::Cancelled)),
            None => assert!(ending.outcome == RolloutOutcome::Done || ending.why.is_some()),
        }
    }

    /// The action in hand ended like this.
    pub fn learn(&mut self, action: &Action, seen: &Observation) {
        match (action, seen) {
            (Action::Route { weight, targets }, Observation::Done) => {
                targets.iter().for_each(|target| self.share[*target] = *weight);
                self.drained = false;
                self.finishing = false;
                self.fresh.clear();
            }
            (Action::Drain, Observation::Done) => self.drained = true,
            (Action::Retire { side, targets, keep }, Observation::Done) => {
                let runs = if *side == Side::New { &mut self.new_runs } else { &mut self.old_runs };
                targets.iter().for_each(|target| runs[*target] = false);
                if *side == Side::New {
                    targets.iter().for_each(|target| self.new_is_there[*target] &= *keep);
                }
                self.fresh.clear();
            }
            (Action::AwaitHealthy { side: Side::New, targets }, Observation::Healthy) => {
                targets.iter().for_each(|target| self.new_was_healthy[*target] = true);
                self.fresh = [NEW].into();
            }
            (Action::AwaitHealthy { side: Side::Old, .. }, Observation::Healthy) => self.fresh = [OLD].into(),
            (Action::AwaitHealthy { side: Side::Old, .. }, Observation::Unhealthy(_)) => {
                self.old_is_bad = true
            }
            (Action::Look, Observation::Looked { old, new }) => {
                self.old_is_bad |= !*old;
                self.fresh = [(*old, OLD), (*new, NEW)]
                    .into_iter()
                    .filter(|(good, _)| *good)
                    .map(|(_, s)| s)
                    .collect();
            }
            (Action::Observe { .. } | Action::Watch, Observation::Sample(sample)) => {
                self.fresh = sample.unhealthy.is_none().then_some(NEW).into_iter().collect();
            }
            (action, Observation::Failed { .. }) => {
                self.leftover = true;
                self.old_is_bad |= matches!(
                    action,
                    Action::Look
                        | Action::Launch { side: Side::Old, .. }
                        | Action::AwaitHealthy { side: Side::Old, .. }
                );
                self.fresh.clear();
            }
            _ => {}
        }
    }

    pub fn ask(&mut self, ask: Ask) {
        match ask {
            // The action in hand is finished; what follows is looked at in `begin`.
            Ask::Pause => self.paused = true,
            Ask::Resume | Ask::Promote => self.paused = false,
            Ask::Abort | Ask::Cancel => {
                self.paused = false;
                self.stopped = Some((ask, self.share.iter().copied().max().unwrap_or(0)));
            }
        }
        self.fresh.clear();
    }

    pub fn crash(&mut self, action: &Action) {
        self.fresh.clear();
        self.finishing |= matches!(action, Action::Route { .. });
    }

    /// All of it but the task.
    pub fn key(&self) -> String {
        let Self { task: _, share, old_runs, new_runs, new_is_there, new_was_healthy, fresh, .. } = self;
        let Self { drained, touched, old_is_bad, leftover, stopped, paused, finishing, .. } = self;
        let runs = (share, old_runs, new_runs, new_is_there, new_was_healthy, fresh);
        format!("{runs:?}{:?}", (drained, touched, old_is_bad, leftover, stopped, paused, finishing))
    }

    /// A pause ends by itself when it goes back.
    pub fn turned(&mut self) {
        self.paused = false;
    }
}
