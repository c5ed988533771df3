//! The walker: takes the moves of a plan one by one, and turns back. It is what is persisted after every action.
//!
//! Pure: no clock, no random numbers, no outside. The driver does what [`Machine::action`] says and tells what it saw; people
//! ask at any time. A driver compares the action before and after an ask: it changes at once where the one in hand only
//! waits (then that wait is to be dropped), and after `Launch`, `Route` and `Retire` otherwise, which are always finished.
//!
//! # Guarantees
//! - Every observation and every ask is defined in every phase; what does not fit changes nothing.
//! - What an action touches is noted before the action is given out, so a way back after a crash undoes it as well.
//! - Once it has turned back it never goes forward again, unless the old side is not healthy and the new one is.

mod turn;

use deploymind_shared::domain::rollout::{OnInsufficient, RolloutOutcome, StrategyKind};
use deploymind_shared::domain::text_enum;
use serde::{Deserialize, Serialize};

use super::contract::{Action, Ask, Ending, Observation, Sample, Side, Task, Why};
use super::plan::{self, Move, Reach};
use super::verdict::{self, Verdict};
use crate::runtime::Finding;

/// Bad looks in a row at a side that was healthy and serves, until it counts as unhealthy. A single one may be a lost
/// packet or a pause of the program's garbage collector, and a roll-out that goes back for it costs more than the seconds
/// until the third. A finding that asking again cannot change (the program has ended for good) needs no second look.
pub const BAD_LOOKS: u8 = 3;

const PAUSED: &str = "paused by a person";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    task: Task,
    course: Course,
    /// What is ahead; the first one is in hand, or next while held. Not empty before the end.
    moves: Vec<Move>,
    /// How it ends when nothing is ahead any more.
    aim: RolloutOutcome,
    /// Whether the first of the moves is being done. A hold takes effect where it is not.
    doing: bool,
    hold: Option<String>,
    promoted: bool,
    /// Why it turns back. While the course is still forward: as soon as the move in hand is done.
    turn: Option<Why>,
    bad_looks: u8,
    /// The highest share that was ever begun to be given to the new side.
    reached: u8,
    /// The new side's share on each target by the last route that was done there.
    weights: Vec<u8>,
    /// The new side was launched on the targets `0..launched`, or at least begun to be.
    launched: usize,
    old_ended: bool,
    ended: Option<Ending>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Course {
    Forward,
    Back,
    /// Back, and the old side was launched once more already.
    LastTry,
    /// The old side cannot serve; the new one is to stay.
    Keep,
}

/// Whether there is something else to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Changed {
    Yes,
    No,
}

impl Changed {
    pub fn is_yes(self) -> bool {
        self == Changed::Yes
    }
}

/// What became of an ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Answer {
    Taken,
    /// There was nothing to change: it is so already, or can no longer be.
    Nothing,
}

text_enum! {
    /// What a roll-out is at, for people.
    PhaseName {
        Launching = "launching",
        Checking = "checking",
        Looking = "looking",
        Routing = "routing",
        Observing = "observing",
        Watching = "watching",
        Draining = "draining",
        Retiring = "retiring",
        Held = "held",
        Ended = "ended",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    pub name: PhaseName,
    /// Of a canary: the number of the stage whose share was given last, or began to be.
    pub stage: Option<usize>,
    pub weight: u8,
    /// Stands still, or will after the action in hand, until somebody resumes, promotes or aborts.
    pub paused: bool,
    /// Goes back, or will after the action in hand.
    pub reverting: bool,
}

impl Machine {
    pub fn begin(task: Task) -> Self {
        let mut machine = Self {
            course: Course::Forward,
            moves: plan::moves(&task),
            aim: RolloutOutcome::Done,
            doing: false,
            hold: None,
            promoted: false,
            turn: None,
            bad_looks: 0,
            reached: 0,
            weights: vec![0; task.targets],
            launched: 0,
            old_ended: false,
            ended: None,
            task,
        };
        machine.take_up();
        machine
    }

    pub fn task(&self) -> &Task {
        &self.task
    }

    /// What is to be done now; the same until something was observed or asked. After a crash the successor does it again.
    pub fn action(&self) -> Action {
        if let Some(ending) = &self.ended {
            return Action::End(ending.clone());
        }
        if let Some(reason) = self.holding() {
            return Action::Hold { reason: reason.to_owned() };
        }
        match self.moves[0].clone() {
            Move::Launch { side, targets } => Action::Launch { side, targets },
            Move::AwaitHealthy { side, targets } => Action::AwaitHealthy { side, targets },
            Move::Look => Action::Look,
            Move::Route { weight, targets } => Action::Route { weight, targets },
            Move::Observe { stage } => Action::Observe { stage },
            Move::Watch { .. } => Action::Watch,
            Move::Drain => Action::Drain,
            Move::Retire { side, targets, keep } => Action::Retire { side, targets, keep },
        }
    }

    pub fn ended(&self) -> Option<&Ending> {
        self.ended.as_ref()
    }

    /// Why it goes back, or will once the action in hand is done. A driver that sees it during a long `Launch` may end that
    /// early and report `Failed`: the reason stays this one.
    pub fn turning(&self) -> Option<&Why> {
        self.turn.as_ref()
    }

    /// The share of the requests that the new side has by the routes that are done: the mean over the targets, rounded
    /// down, so that 100 means all of them.
    pub fn weight(&self) -> u8 {
        let sum: usize = self.weights.iter().map(|weight| usize::from(*weight)).sum();
        sum.checked_div(self.weights.len()).map_or(0, |mean| mean.min(100) as u8)
    }

    /// The same for each target.
    pub fn weights(&self) -> &[u8] {
        &self.weights
    }

    /// The highest share that was ever begun to be given to the new side.
    pub fn reached(&self) -> u8 {
        self.reached
    }

    pub fn phase(&self) -> Phase {
        let name = match self.action() {
            Action::Launch { .. } => PhaseName::Launching,
            Action::AwaitHealthy { .. } => PhaseName::Checking,
            Action::Look => PhaseName::Looking,
            Action::Route { .. } => PhaseName::Routing,
            Action::Observe { .. } => PhaseName::Observing,
            Action::Watch => PhaseName::Watching,
            Action::Drain => PhaseName::Draining,
            Action::Retire { .. } => PhaseName::Retiring,
            Action::Hold { .. } => PhaseName::Held,
            Action::End(_) => PhaseName::Ended,
        };
        let staged = self.task.settings.strategy == StrategyKind::Canary
            && self.task.has_old
            && self.task.may_overlap
            && !self.task.direct;
        let stages = &self.task.settings.canary.stages;
        Phase {
            name,
            stage: stages.iter().position(|stage| staged && *stage == self.reached),
            weight: self.weight(),
            paused: self.hold.is_some(),
            reverting: self.turn.is_some(),
        }
    }

    /// One step. An observation that does not belong to the action in hand changes nothing. `Failed` belongs to every action
    /// except the end: what cannot be asked cannot be waited for either.
    pub fn observe(&mut self, seen: &Observation) -> Changed {
        let before = self.at();
        if self.ended.is_some() {
            return Changed::No;
        }
        if self.holding().is_some() {
            match seen {
                Observation::Sample(sample) => self.sample_held(sample),
                Observation::Failed { code, sentence } => self.fail(refused(code, sentence)),
                _ => {}
            }
        } else {
            match (&self.moves[0], seen) {
                (Move::Launch { .. } | Move::Drain | Move::Retire { .. }, Observation::Done) => self.next(),
                (Move::Route { weight, targets }, Observation::Done) => {
                    for target in targets {
                        if let Some(settled) = self.weights.get_mut(*target) {
                            *settled = *weight;
                        }
                    }
                    self.next();
                }
                (Move::AwaitHealthy { .. }, Observation::Healthy) => self.next(),
                (Move::AwaitHealthy { .. }, Observation::Unhealthy(finding)) => {
                    self.fail(self.unhealthy(finding));
                }
                (Move::Look, Observation::Looked { old, new }) => self.choose(*old, *new),
                (Move::Observe { .. }, Observation::Sample(sample)) => self.sample_stage(sample),
                (Move::Watch { for_s }, Observation::Sample(sample)) => {
                    let over = sample.elapsed.as_secs() >= u64::from(*for_s);
                    // A window does not end on a bad look: the next ones tell.
                    if !self.sick(sample) && over && self.bad_looks == 0 {
                        self.next();
                    }
                }
                (_, Observation::Failed { code, sentence }) => self.fail(refused(code, sentence)),
                _ => {}
            }
        }
        if self.at() == before { Changed::No } else { Changed::Yes }
    }

    /// A person, or the job's stop, asks. The same ask twice is the same as once.
    pub fn ask(&mut self, ask: Ask) -> Answer {
        if self.ended.is_some() || self.turn.is_some() {
            return Answer::Nothing;
        }
        match ask {
            Ask::Pause if self.hold.is_none() => {
                self.hold = Some(PAUSED.to_owned());
                if self.moves[0].can_pause() {
                    self.doing = false;
                }
            }
            Ask::Resume if self.hold.is_some() => self.go_on(),
            Ask::Promote if self.hold.is_some() || !self.promoted => {
                self.promote();
                self.go_on();
            }
            Ask::Abort => self.turn(Why::Aborted),
            Ask::Cancel => self.turn(Why::Cancelled),
            Ask::Pause | Ask::Resume | Ask::Promote => return Answer::Nothing,
        }
        Answer::Taken
    }

    /// A successor took over after a crash: windows begin anew. Where users were about to be sent to a side, it is asked for
    /// its health first: what was seen before the crash is not known to be so now. A way back that waited for the action in
    /// hand begins: the targets refuse what the predecessor may still have under way.
    pub fn resumed(&mut self) {
        self.bad_looks = 0;
        if self.ended.is_some() || !self.doing {
            return;
        }
        if self.turn.is_some() && self.course == Course::Forward {
            return self.turn_back();
        }
        if let Move::Route { weight, targets } = &self.moves[0] {
            let (side, targets) = (if *weight > 0 { Side::New } else { Side::Old }, targets.clone());
            if side == Side::New || self.task.has_old {
                self.moves.insert(0, Move::AwaitHealthy { side, targets });
            }
        }
    }

    fn holding(&self) -> Option<&str> {
        if self.doing { None } else { self.hold.as_deref() }
    }

    /// Tells one action in hand from another, without building it.
    fn at(&self) -> (usize, Option<Move>, Course, bool, bool) {
        (self.moves.len(), self.moves.first().cloned(), self.course, self.doing, self.ended.is_some())
    }

    fn reach(&self) -> Reach {
        Reach { launched: self.launched, had_traffic: self.reached > 0, old_ended: self.old_ended }
    }
}

fn refused(code: &str, sentence: &str) -> Why {
    Why::Refused { code: code.to_owned(), sentence: sentence.to_owned() }
}

#[cfg(test)]
mod tests;
