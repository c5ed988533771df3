//! The doing of each action, on all targets it is for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;
use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::call::{Break, Manner, once};
use super::window::Window;
use super::{Book, Failing, News, Place, Saved};
use crate::rollout::contract::{Action, Observation, Side, Why};
use crate::rollout::machine::Machine;
use crate::runtime::{Launch, Route, SlotName};

/// Of one try to have an image on a target.
const PROVIDE: Duration = Duration::from_secs(1200);
/// Of one try to start the first copy of a slot, or to set a route.
const ACT: Duration = Duration::from_secs(30);
/// More for each further copy.
const COPY: Duration = Duration::from_secs(2);
/// How long what is not essential may take when the job itself is to end.
const HURRIED: Duration = Duration::from_secs(3);
/// Of a reading.
pub(super) const READ: Duration = Duration::from_secs(5);

pub(super) struct Crew {
    pub(super) places: Vec<Place>,
    pub(super) window: Window,
    /// When a side last passed a look on a target.
    pub(super) passed: Mutex<HashMap<(Side, usize), Instant>>,
    /// What the state is to know after the step: what failed, and the restarts that are no sign of it.
    pub(super) failing: Option<Failing>,
    pub(super) restarts: Vec<(usize, Option<u32>)>,
    cut: bool,
}

impl Crew {
    pub(super) fn new(places: Vec<Place>) -> Self {
        let window = Window::new(places.len());
        let passed = Mutex::default();
        Self { places, window, passed, failing: None, restarts: Vec::new(), cut: false }
    }

    /// A new action is taken in hand.
    pub(super) fn begin(&mut self, action: &Action, machine: &Machine) {
        self.window.open(action, machine.task().settings.canary.min_requests.into());
    }

    /// Does an action, or for those that go on until the machine has seen enough one tick of it.
    pub(super) async fn perform(
        &mut self,
        action: &Action,
        known: &Saved,
        manner: &Manner,
        book: &dyn Book,
    ) -> Result<Option<Observation>, Break> {
        match action {
            Action::Launch { side, targets } => {
                self.launch(*side, targets, manner).await?;
                if *side == Side::New {
                    self.restarts = targets.iter().map(|target| (*target, None)).collect();
                }
            }
            Action::AwaitHealthy { side, targets } => {
                return self.await_healthy(*side, targets, known, manner, book).await.map(Some);
            }
            Action::Look => return self.look(&known.machine, manner).await.map(Some),
            Action::Route { weight, targets } => {
                for target in targets {
                    self.route(*target, *weight, &known.machine, manner).await?;
                }
                self.window.reset();
            }
            Action::Observe { .. } | Action::Watch | Action::Hold { .. } => {
                return self.tick(action, known, manner).await;
            }
            Action::Drain => self.drain(&known.machine, manner).await?,
            Action::Retire { side, targets, keep } => {
                if *side == Side::New {
                    self.tell_failing(known, manner, book).await?;
                }
                self.retire(*side, targets, *keep, &known.machine, manner).await?;
            }
            Action::End(_) => return Ok(None),
        }
        Ok(Some(Observation::Done))
    }

    pub(super) fn launch_of(&self, side: Side, target: usize) -> Result<(&Place, &Launch), Break> {
        let place = self.places.get(target);
        let launch = place.and_then(|place| match side {
            Side::New => Some(&place.new),
            Side::Old => place.old.as_ref(),
        });
        place.zip(launch).ok_or_else(|| {
            let sentence = format!("there is no {side:?} release for target {target} of the roll-out");
            Break::Refused(Error::new(Code::NoWayBack, sentence))
        })
    }

    async fn launch(&self, side: Side, targets: &[usize], manner: &Manner) -> Result<(), Break> {
        let each = |target: &usize| {
            let target = *target;
            async move {
                let (place, launch) = self.launch_of(side, target)?;
                manner.look(PROVIDE, || place.runtime.provide(launch)).await?;
                let most = ACT + COPY * u32::from(launch.spec.run.replicas);
                manner.act(most, || place.runtime.launch(&place.fence, launch)).await
            }
        };
        // All of them end before the first error is looked at: none is dropped half way.
        join_all(targets.iter().map(each)).await.into_iter().collect()
    }

    /// Where users are to be sent at a weight. `None`: they are not sent anywhere, before or after.
    fn route_for(place: &Place, weight: u8, machine: &Machine, failover: bool) -> Option<(Route, u16)> {
        let routed = |launch: &&Launch| !launch.spec.run.routes.is_empty() && launch.spec.port.is_some();
        let (new, old) = (Some(&place.new).filter(routed), place.old.as_ref().filter(routed));
        let to = if weight == 0 { old } else { new };
        // Settings of the side that users go to; of the other one where it only goes away.
        let of = to.or(old).or(new)?;
        let canary = &machine.task().settings.canary;
        let name = |launch: Option<&Launch>| launch.map(|launch| launch.slot.clone());
        let named = |launch: Option<&Launch>, named: bool| if named { name(launch) } else { None };
        let goes_away = to.is_none();
        let route = Route {
            app: of.app.clone(),
            routes: of.spec.run.routes.clone(),
            old: named(old, !goes_away && (weight == 0 || failover)),
            new: named(new, !goes_away && weight > 0),
            // Where nothing is reached by now there is nobody to share with.
            weight: if weight > 0 && old.is_none() { 100 } else { weight },
            sticky: canary.sticky,
            header: canary.header,
        };
        Some((route, of.spec.port.unwrap_or_default()))
    }

    /// The route that stands when a target is at 0 or 100 for good: nobody is sent to the other side in any case.
    pub(super) fn last_route(place: &Place, weight: u8, machine: &Machine) -> Option<(Route, u16)> {
        Self::route_for(place, weight, machine, false)
    }

    /// Sends users where a weight says, if the side that they are sent to passes a look now.
    pub(super) async fn route(
        &self,
        target: usize,
        weight: u8,
        machine: &Machine,
        manner: &Manner,
    ) -> Result<(), Break> {
        // What cannot overlap is stopped: there is nothing to fail over to.
        let failover = machine.task().may_overlap;
        let Some(place) = self.places.get(target) else { return Ok(()) };
        let Some((route, port)) = Self::route_for(place, weight, machine, failover) else { return Ok(()) };
        self.set(target, &route, port, manner).await
    }

    /// Sets a route; looks at the side that it gives more to right before.
    pub(super) async fn set(
        &self,
        target: usize,
        route: &Route,
        port: u16,
        manner: &Manner,
    ) -> Result<(), Break> {
        let side = match (&route.new, &route.old) {
            (Some(_), _) => Some(Side::New),
            (None, Some(_)) => Some(Side::Old),
            (None, None) => None,
        };
        let Some(place) = self.places.get(target) else { return Ok(()) };
        let route_well = || async {
            if let Some(side) = side {
                self.passes_now(side, target).await?;
            }
            once(ACT, place.runtime.route(&place.fence, route, port)).await
        };
        // Each part of it has a deadline of its own.
        manner.act(Duration::MAX, route_well).await
    }

    /// Lets go of what lost its last share of the requests.
    async fn drain(&mut self, machine: &Machine, manner: &Manner) -> Result<(), Break> {
        let most = Duration::from_secs(machine.task().settings.drain_s.into());
        let each = |(target, place): (usize, &Place)| {
            let runtime = place.runtime.clone();
            let last = (machine.weights().get(target) == Some(&100) && place.old.is_some())
                .then(|| Self::last_route(place, 100, machine))
                .flatten();
            let fence = place.fence.clone();
            async move {
                if let Some((route, port)) = last {
                    // Nobody gets a larger share by it, so nothing has to pass a look.
                    manner.act(ACT, || runtime.route(&fence, &route, port)).await?;
                }
                // For tests of what the wait is good for.
                fail::fail_point!("rollout.drain", |_| Ok(true));
                let hurried = async {
                    manner.stop.cancelled().await;
                    sleep(HURRIED).await;
                };
                tokio::select! {
                    drained = manner.look(most + ACT, || runtime.drained(most)) => drained,
                    () = hurried => Ok(false),
                }
            }
        };
        let all = join_all(self.places.iter().enumerate().map(each)).await;
        let all: Vec<bool> = all.into_iter().collect::<Result<_, Break>>()?;
        self.cut = all.contains(&false);
        self.window.reset();
        Ok(())
    }

    async fn retire(
        &self,
        side: Side,
        targets: &[usize],
        keep: bool,
        machine: &Machine,
        manner: &Manner,
    ) -> Result<(), Break> {
        let each = |target: &usize| {
            let target = *target;
            async move {
                let (place, launch) = self.launch_of(side, target)?;
                let most = ACT + Duration::from_secs(launch.spec.run.stop.grace_s.into());
                manner
                    .act(most, || async {
                        if keep {
                            place.runtime.stop(&place.fence, &launch.slot).await
                        } else {
                            place.runtime.retire(&place.fence, &launch.slot).await
                        }
                    })
                    .await
            }
        };
        let all = join_all(targets.iter().map(each));
        let hurried = async {
            // Users are where they are to be; only where the other side cannot start beside it must it be waited for.
            if keep || side == Side::Old || !machine.task().may_overlap {
                std::future::pending::<()>().await;
            }
            manner.stop.cancelled().await;
            sleep(HURRIED).await;
        };
        tokio::select! {
            results = all => results.into_iter().collect(),
            () = hurried => Err(Break::Refused(Error::new(
                Code::StepDeadline,
                "the new release's slots did not end in time; they are taken away by the next collection",
            ))),
        }
    }

    /// Tells what failed and what is left of it, before it is taken away.
    pub(super) async fn tell_failing(
        &self,
        known: &Saved,
        manner: &Manner,
        book: &dyn Book,
    ) -> Result<(), Break> {
        match &known.failing {
            Some(failing) => self.tell_remains(Side::New, failing, manner, book).await,
            None => Ok(()),
        }
    }

    pub(super) async fn tell_remains(
        &self,
        side: Side,
        failing: &Failing,
        manner: &Manner,
        book: &dyn Book,
    ) -> Result<(), Break> {
        let (place, launch) = self.launch_of(side, failing.target)?;
        let most = if manner.stop.is_cancelled() { Duration::from_secs(1) } else { READ };
        let remains = match once(most, place.runtime.remains(&launch.slot)).await {
            Ok(remains) => remains,
            Err(Stop::ClaimLost) => return Err(Break::Stop(Stop::ClaimLost)),
            Err(_) => Default::default(),
        };
        let news = News::Unhealthy {
            side,
            target: place.fence.target.clone(),
            slot: launch.slot.clone(),
            finding: failing.finding.clone(),
            ended: remains.ended,
            log: remains.log,
        };
        Ok(super::tell(book, &news).await?)
    }

    fn names(&self, targets: &[usize]) -> Vec<deploymind_shared::ids::TargetName> {
        let place = |target: &usize| self.places.get(*target);
        targets.iter().filter_map(place).map(|place| place.fence.target.clone()).collect()
    }

    /// What people hear when an action is taken in hand.
    pub(super) fn intent(&self, action: &Action, machine: &Machine) -> Option<News> {
        Some(match action {
            Action::Launch { side, targets } => {
                let slot = |target: &usize| -> Option<(_, SlotName)> {
                    let (place, launch) = self.launch_of(*side, *target).ok()?;
                    Some((place.fence.target.clone(), launch.slot.clone()))
                };
                News::Launching { side: *side, slots: targets.iter().filter_map(slot).collect() }
            }
            Action::Observe { stage } => {
                let stages = &machine.task().settings.canary.stages;
                let weight = stages.get(*stage).copied().unwrap_or_default();
                News::Stage { stage: stage + 1, of: stages.len(), weight }
            }
            Action::Hold { reason } => News::Held { reason: reason.clone() },
            _ => return None,
        })
    }

    /// What people hear when an action ended, after the machine was told.
    pub(super) fn outcome(&self, action: &Action, seen: &Observation, machine: &Machine) -> Vec<News> {
        let all: Vec<usize> = (0..self.places.len()).collect();
        let news = match (action, seen) {
            (Action::AwaitHealthy { side, targets }, Observation::Healthy) => {
                News::Healthy { side: *side, targets: self.names(targets) }
            }
            (Action::Route { weight, targets }, Observation::Done) => {
                News::Routed { weight: *weight, targets: self.names(targets) }
            }
            (Action::Drain, Observation::Done) => News::Drained { targets: self.names(&all), cut: self.cut },
            (Action::Retire { side, targets, keep }, Observation::Done) => {
                News::Retired { side: *side, targets: self.names(targets), kept: *keep }
            }
            (Action::Observe { stage }, Observation::Sample(sample)) => {
                let (passed, sentence) = match (machine.turning(), machine.action()) {
                    (Some(Why::Verdict { sentence } | Why::Insufficient { sentence }), _) => {
                        (false, sentence.clone())
                    }
                    (Some(_), _) => return Vec::new(),
                    (None, Action::Hold { reason }) => (false, reason),
                    (None, _) => (true, "the new release answers as well as it has to".to_owned()),
                };
                let (new, old) = (sample.new.as_ref().map(Into::into), sample.old.as_ref().map(Into::into));
                News::Verdict { stage: stage + 1, passed, sentence, new, old }
            }
            _ => return Vec::new(),
        };
        vec![news]
    }

    pub(super) fn note_passed(&self, side: Side, target: usize) {
        // Nothing panics while holding it.
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        passed.insert((side, target), Instant::now());
    }

    pub(super) fn passed_within(&self, side: Side, target: usize, time: Duration) -> bool {
        let passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        passed.get(&(side, target)).is_some_and(|at| at.elapsed() <= time)
    }
}
