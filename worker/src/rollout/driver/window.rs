//! The ticks of a window: how the new side is, and what users got from both.

use std::time::Duration;

use deploymind_shared::retry::Stop;
use futures::future::{join, join_all};
use tokio::time::{Instant, sleep_until};

use super::call::{Break, Manner, once};
use super::crew::{Crew, READ};
use super::health::restarted;
use super::{Failing, Saved};
use crate::rollout::contract::{Action, Observation, Sample, Side, Sides};
use crate::runtime::{Cursor, Health};

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(1);

/// What was seen since the action in hand was begun, and what was counted since the present route was set.
pub(super) struct Window {
    begun: Instant,
    next: Option<Instant>,
    counts: Vec<(Cursor, Sides)>,
    out_of_reach: Option<Instant>,
}

impl Window {
    pub(super) fn new(targets: usize) -> Self {
        let counts = vec![Default::default(); targets];
        Self { begun: Instant::now(), next: None, counts, out_of_reach: None }
    }

    /// `enough`: the requests that a stage needs.
    pub(super) fn open(&mut self, action: &Action, enough: u64) {
        if matches!(action, Action::Observe { .. } | Action::Watch | Action::Hold { .. }) {
            (self.begun, self.next, self.out_of_reach) = (Instant::now(), None, None);
        }
        if matches!(action, Action::Observe { .. }) {
            self.recount(enough);
        }
    }

    /// A stage that goes on after a hold is judged by what is answered from then on: what both sides suffered may be over.
    /// Where too few requests came, they count still.
    fn recount(&mut self, enough: u64) {
        let counted: u64 = self.counts.iter().map(|(_, sides)| sides.new.requests).sum();
        if counted >= enough {
            self.counts.iter_mut().for_each(|(_, sides)| *sides = Sides::default());
        }
    }

    /// The route is another: counting begins anew.
    pub(super) fn reset(&mut self) {
        self.counts.fill(Default::default());
    }
}

impl Crew {
    /// One look at everything, when it is time for it. `None`: the new side could not be asked.
    pub(super) async fn tick(
        &mut self,
        action: &Action,
        known: &Saved,
        manner: &Manner,
    ) -> Result<Option<Observation>, Break> {
        tokio::select! {
            biased;
            () = manner.halt.cancelled() => Err(Break::Halted),
            seen = self.see(action, known, manner) => seen,
        }
    }

    async fn see(
        &mut self,
        action: &Action,
        known: &Saved,
        manner: &Manner,
    ) -> Result<Option<Observation>, Break> {
        if let Some(next) = self.window.next {
            sleep_until(next).await;
        }
        self.window.next = Some(Instant::now() + period(action, known));
        let weights = known.machine.weights();
        let targets: Vec<usize> =
            (0..self.places.len()).filter(|t| weights.get(*t).is_some_and(|w| *w > 0)).collect();
        let counts = !matches!(action, Action::Watch) && !targets.is_empty();
        let healths = join_all(targets.iter().map(|target| self.probe(Side::New, *target)));
        let readings = join_all(targets.iter().filter(|_| counts).map(|target| self.read(*target)));
        let (healths, readings) = join(healths, readings).await;

        let mut counted = counts;
        for (target, reading) in targets.iter().zip(readings) {
            match (reading, self.window.counts.get_mut(*target)) {
                (Ok((cursor, sides)), Some(count)) => {
                    count.0 = cursor;
                    count.1.new.add(&sides.new);
                    count.1.old.add(&sides.old);
                }
                (Err(Break::Stop(Stop::Retryable { .. })), _) | (Ok(_), None) => counted = false,
                (Err(broken), _) => return Err(broken),
            }
        }
        let unhealthy = match self.judge(&targets, healths, known) {
            Ok(unhealthy) => unhealthy,
            Err(Break::Stop(Stop::Retryable { after, error })) => {
                if self.window.out_of_reach.get_or_insert_with(Instant::now).elapsed() > manner.patience() {
                    return Err(Stop::Retryable { after, error }.into());
                }
                // A window is not over while it is not known how the new side is. A hold is, at its time.
                if !matches!(action, Action::Hold { .. }) {
                    return Ok(None);
                }
                None
            }
            Err(broken) => return Err(broken),
        };
        let mut sum = Sides::default();
        for (_, sides) in &self.window.counts {
            sum.new.add(&sides.new);
            sum.old.add(&sides.old);
        }
        Ok(Some(Observation::Sample(Sample {
            elapsed: self.window.begun.elapsed(),
            new: counted.then_some(sum.new),
            old: counted.then_some(sum.old),
            unhealthy,
        })))
    }

    /// The worst of what was seen: a finding that is the last one first.
    fn judge(
        &mut self,
        targets: &[usize],
        healths: Vec<Result<Health, Stop>>,
        known: &Saved,
    ) -> Result<Option<crate::runtime::Finding>, Break> {
        let mut worst: Option<Failing> = None;
        let mut unknown = None;
        for (target, health) in targets.iter().zip(healths) {
            let finding = match health {
                Ok(Health::Good { restarts }) => {
                    match known.places.get(*target).and_then(|slots| slots.restarts) {
                        Some(first) if restarts > first => restarted(restarts - first),
                        Some(_) => continue,
                        None => {
                            self.restarts.push((*target, Some(restarts)));
                            continue;
                        }
                    }
                }
                Ok(Health::Bad(finding)) => finding,
                Err(Stop::Retryable { after, error }) => {
                    unknown = Some(Stop::Retryable { after, error });
                    continue;
                }
                Err(stop) => return Err(stop.into()),
            };
            if worst.as_ref().is_none_or(|worst| finding.last && !worst.finding.last) {
                worst = Some(Failing { target: *target, finding });
            }
        }
        match (worst, unknown) {
            (Some(failing), _) => {
                let finding = failing.finding.clone();
                self.failing = Some(failing);
                Ok(Some(finding))
            }
            (None, Some(stop)) => Err(stop.into()),
            (None, None) => {
                self.window.out_of_reach = None;
                Ok(None)
            }
        }
    }

    async fn read(&self, target: usize) -> Result<(Cursor, Sides), Break> {
        let (place, new) = self.launch_of(Side::New, target)?;
        let from = self.window.counts.get(target).map(|(cursor, _)| cursor.clone()).unwrap_or_default();
        let (traffic, cursor) = once(READ, place.runtime.traffic(&new.app, &from)).await?;
        Ok((cursor, Sides::of(&traffic, std::slice::from_ref(&new.slot))))
    }
}

/// About once a second, and more often in a short window.
fn period(action: &Action, known: &Saved) -> Duration {
    let settings = &known.machine.task().settings;
    let window = match action {
        Action::Observe { .. } => settings.canary.window_s,
        Action::Watch if settings.strategy == deploymind_shared::domain::rollout::StrategyKind::BlueGreen => {
            settings.observe_s
        }
        Action::Watch => settings.verify_s,
        _ => return LONGEST,
    };
    (Duration::from_secs(window.into()) / 10).clamp(SHORTEST, LONGEST)
}
