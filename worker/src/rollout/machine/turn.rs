//! The steps of the walker: on to the next move, into a hold, back.

use deploymind_shared::domain::rollout::RolloutOutcome;

use super::*;

impl Machine {
    /// Begins the first of the moves, or ends. What it will touch is noted here, before anybody does it.
    pub(super) fn take_up(&mut self) {
        self.bad_looks = 0;
        match self.moves.first() {
            None => return self.end(self.aim),
            Some(Move::Launch { side: Side::New, targets }) => {
                let most = targets.iter().max().map_or(0, |target| target + 1);
                self.launched = self.launched.max(most);
            }
            Some(Move::Route { weight, .. }) => self.reached = self.reached.max(*weight),
            Some(Move::Retire { side: Side::Old, .. }) => self.old_ended = true,
            Some(_) => {}
        }
        self.doing = true;
    }

    /// The move in hand is done.
    pub(super) fn next(&mut self) {
        self.moves.remove(0);
        self.doing = false;
        if self.turn.is_some() && self.course == Course::Forward {
            self.turn_back();
        } else if self.hold.is_none() || matches!(self.moves.first(), None | Some(Move::Route { .. })) {
            // Nothing is left to stand still before; or a side was asked for its health for this very route.
            self.take_up();
        } else {
            self.bad_looks = 0;
        }
    }

    pub(super) fn end(&mut self, outcome: RolloutOutcome) {
        self.moves.clear();
        self.doing = false;
        self.hold = None;
        self.ended = Some(Ending { outcome, why: self.turn.clone() });
    }

    /// Leaves a hold.
    pub(super) fn go_on(&mut self) {
        self.hold = None;
        if !self.doing {
            self.take_up();
        }
    }

    pub(super) fn promote(&mut self) {
        self.promoted = true;
        // A move that is being done stays as it is, unless it is a window.
        self.doing &= !self.moves[0].can_skip();
        let stays = usize::from(self.doing);
        let ahead = plan::without_windows(&self.task, &self.moves[stays..]);
        self.moves.truncate(stays);
        if self.moves.last() == ahead.first() {
            self.moves.clear();
        }
        self.moves.extend(ahead);
    }

    /// Turns back: now where it only waits, else when the move in hand is done.
    pub(super) fn turn(&mut self, why: Why) {
        self.turn = Some(why);
        self.hold = None;
        if !self.doing || self.moves[0].is_wait() {
            self.turn_back();
        }
    }

    pub(super) fn turn_back(&mut self) {
        self.course = Course::Back;
        self.hold = None;
        (self.moves, self.aim) = plan::back(&self.task, self.reach());
        self.take_up();
    }

    /// The way back, with what both sides' health is now.
    pub(super) fn choose(&mut self, old: bool, new: bool) {
        // What was begun to be stopped may pass a last look.
        let old = old && (self.course == Course::LastTry || !self.old_ended);
        if old {
            self.moves = plan::to_old(&self.task, self.reach());
        } else if self.course != Course::LastTry {
            self.course = Course::LastTry;
            self.moves = plan::to_old_again(&self.task, self.reach());
        } else if new {
            self.keep_new();
        } else {
            return self.end(RolloutOutcome::Left);
        }
        self.take_up();
    }

    fn keep_new(&mut self) {
        self.course = Course::Keep;
        self.aim = RolloutOutcome::Kept;
        self.moves = plan::to_new(&self.task, self.reach());
    }

    /// The move in hand cannot be done, or the side it asks for is not healthy.
    pub(super) fn fail(&mut self, why: Why) {
        if self.course == Course::Forward {
            let last = self.moves.len() == 1 && self.doing && self.turn.is_none();
            let old_stays = last && matches!(self.moves[0], Move::Retire { side: Side::Old, .. });
            if old_stays {
                // Users reach the new release and it is healthy: an old copy that cannot be stopped is no reason to go back.
                self.end(RolloutOutcome::Done);
                self.ended = Some(Ending { outcome: RolloutOutcome::Done, why: Some(why) });
                return;
            }
            self.turn.get_or_insert(why);
            return self.turn_back();
        }
        let back = matches!(self.course, Course::Back | Course::LastTry);
        let route_ahead = self.moves[1..].iter().any(|step| matches!(step, Move::Route { .. }));
        match &self.moves[0] {
            Move::Look => self.choose(false, false),
            Move::Launch { side: Side::Old, .. } | Move::AwaitHealthy { side: Side::Old, .. } if back => {
                self.old_is_bad();
            }
            Move::Route { .. } | Move::Launch { .. } | Move::AwaitHealthy { .. } => {
                self.end(RolloutOutcome::Left)
            }
            _ if route_ahead => self.end(RolloutOutcome::Left),
            // Users are where they are to be; what could not be taken away is collected later.
            _ => self.end(self.aim),
        }
    }

    fn old_is_bad(&mut self) {
        if self.task.may_overlap && self.reached > 0 {
            // The new side is asked together with it: its health from before that wait is not known to be so now.
            self.course = Course::LastTry;
            self.moves = vec![Move::Look];
        } else if self.reached > 0 {
            self.keep_new();
        } else {
            return self.end(RolloutOutcome::Left);
        }
        self.take_up();
    }

    pub(super) fn unhealthy(&self, finding: &Finding) -> Why {
        Why::Unhealthy { finding: finding.clone(), after_traffic: self.reached > 0 }
    }

    /// Counts bad looks at a side that serves; turns back when they are enough.
    pub(super) fn sick(&mut self, sample: &Sample) -> bool {
        match &sample.unhealthy {
            None => self.bad_looks = 0,
            Some(finding) => {
                self.bad_looks += 1;
                if finding.last || self.bad_looks >= BAD_LOOKS {
                    self.turn(self.unhealthy(finding));
                    return true;
                }
            }
        }
        false
    }

    pub(super) fn sample_stage(&mut self, sample: &Sample) {
        if self.sick(sample) {
            return;
        }
        let settings = &self.task.settings.canary;
        match verdict::judge(settings, sample.new.as_ref(), sample.old.as_ref(), sample.elapsed) {
            Verdict::TooEarly => {}
            // A stage does not end on a bad look: the next ones tell.
            Verdict::Pass if self.bad_looks > 0 => {}
            Verdict::Pass => self.next(),
            Verdict::Fail(sentence) => self.turn(Why::Verdict { sentence }),
            Verdict::Error(sentence) | Verdict::Insufficient(sentence) => match settings.on_insufficient {
                OnInsufficient::Rollback => self.turn(Why::Insufficient { sentence }),
                OnInsufficient::Pause => {
                    self.hold = Some(sentence);
                    self.doing = false;
                    self.bad_looks = 0;
                }
            },
        }
    }

    /// A hold never hides that users meet a release that does not serve them.
    pub(super) fn sample_held(&mut self, sample: &Sample) {
        if self.reached > 0 && self.sick(sample) {
            return;
        }
        if let (Move::Observe { .. }, Some(new), Some(old)) = (&self.moves[0], &sample.new, &sample.old)
            && let Some(sentence) = verdict::clear_failure(&self.task.settings.canary, new, old)
        {
            return self.turn(Why::Verdict { sentence });
        }
        if sample.elapsed.as_secs() >= u64::from(self.task.settings.pause_max_s) {
            self.turn(Why::PauseTooLong);
        }
    }
}
