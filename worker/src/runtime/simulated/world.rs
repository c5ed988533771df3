//! The targets themselves: what runs, where users are sent, and which laws were broken. It outlives every worker.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deploymind_shared::error::{Code, Error};
use deploymind_shared::ids::{AppId, DeploymentId, Epoch, ReleaseId, TargetName};
use deploymind_shared::retry::Stop;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::time::Instant;

use super::script::{Behaviour, Condition, Outage};
use crate::runtime::{AppRef, Fence, Launch, Route, SlotName, Standing, Tally};

/// A side counts as healthy at the moment of routing when it was within this time: a program may end between a look and
/// the route.
const LEEWAY: Duration = Duration::from_secs(3);

/// Cheap to clone.
#[derive(Clone)]
pub struct World(Arc<Mutex<State>>);

pub(super) struct State {
    pub(super) begun: Instant,
    /// Until when users' requests are counted.
    pub(super) counted: Instant,
    pub(super) behaviours: HashMap<ReleaseId, Behaviour>,
    pub(super) hosts: BTreeMap<TargetName, Host>,
    pub(super) users: Users,
    pub(super) outages: Vec<Outage>,
    pub(super) rng: StdRng,
    pub(super) late: Vec<(Instant, Fence, Route)>,
    violations: Vec<String>,
    routes: Vec<Routing>,
}

/// The users of each app on each target.
#[derive(Debug, Clone, Copy, Default)]
pub struct Users {
    pub per_second: f64,
    /// How long their longest requests take.
    pub longest: Duration,
}

/// A change of routes that a target accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routing {
    /// Since the world began.
    pub at: Duration,
    pub target: TargetName,
    pub standing: Standing,
}

#[derive(Default)]
pub(super) struct Host {
    pub(super) seen: i64,
    pub(super) images: HashSet<ReleaseId>,
    pub(super) slots: BTreeMap<SlotName, Held>,
    pub(super) routes: BTreeMap<AppId, Routed>,
}

pub(super) struct Held {
    pub(super) app: AppRef,
    pub(super) release: ReleaseId,
    pub(super) deployment: DeploymentId,
    pub(super) epoch: Epoch,
    pub(super) replicas: u16,
    pub(super) restarted: bool,
    pub(super) exclusive: bool,
    /// `None`: stopped.
    pub(super) since: Option<Instant>,
    /// When it lost its last share of the users.
    pub(super) left: Option<Instant>,
    pub(super) drained: bool,
    pub(super) requests: u64,
    pub(super) errors: u64,
}

pub(super) struct Routed {
    pub(super) standing: Standing,
    pub(super) generation: u64,
    pub(super) tallies: BTreeMap<SlotName, Tally>,
    /// The part of a request that is still to come.
    pub(super) carry: f64,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(State {
            begun: now,
            counted: now,
            behaviours: HashMap::new(),
            hosts: BTreeMap::new(),
            users: Users::default(),
            outages: Vec::new(),
            rng: StdRng::seed_from_u64(seed),
            late: Vec::new(),
            violations: Vec::new(),
            routes: Vec::new(),
        })))
    }

    /// The present, after everything that happened until now.
    pub(super) fn now(&self) -> MutexGuard<'_, State> {
        // Nothing panics while holding it.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.advance(Instant::now());
        state
    }

    pub fn behave(&self, release: ReleaseId, behaviour: Behaviour) {
        self.now().behaviours.insert(release, behaviour);
    }

    pub fn visit(&self, users: Users) {
        self.now().users = users;
    }

    pub fn fail(&self, outage: Outage) {
        self.now().outages.push(outage);
    }

    /// The laws that were broken, as sentences.
    pub fn violations(&self) -> Vec<String> {
        self.now().violations.clone()
    }

    /// Every change of routes, in order.
    pub fn routings(&self) -> Vec<Routing> {
        self.now().routes.clone()
    }

    pub fn standing(&self, target: &TargetName, app: &AppRef) -> Option<Standing> {
        self.now().hosts.get(target)?.routes.get(&app.id).map(|routed| routed.standing.clone())
    }

    /// Requests and failed ones that a slot got from users. `None`: there is no such slot.
    pub fn served(&self, target: &TargetName, slot: &SlotName) -> Option<(u64, u64)> {
        let state = self.now();
        let held = state.hosts.get(target)?.slots.get(slot)?;
        Some((held.requests, held.errors))
    }

    /// Whether a slot runs and passes its look. `None`: there is no such slot.
    pub fn healthy(&self, target: &TargetName, slot: &SlotName) -> Option<bool> {
        let state = self.now();
        let held = state.hosts.get(target)?.slots.get(slot)?;
        Some(state.condition(held, Instant::now()).finding.is_none())
    }

    /// The slots of a target that run, and those that are stopped.
    pub fn slots(&self, target: &TargetName) -> (Vec<SlotName>, Vec<SlotName>) {
        let state = self.now();
        let Some(host) = state.hosts.get(target) else { return Default::default() };
        let (running, stopped): (Vec<_>, Vec<_>) =
            host.slots.iter().partition(|(_, held)| held.since.is_some());
        let names =
            |slots: Vec<(&SlotName, &Held)>| slots.into_iter().map(|(name, _)| name.clone()).collect();
        (names(running), names(stopped))
    }
}

impl State {
    pub(super) fn advance(&mut self, now: Instant) {
        self.late.sort_by_key(|(due, _, _)| *due);
        while self.late.first().is_some_and(|(due, _, _)| *due <= now) {
            let (due, fence, route) = self.late.remove(0);
            self.count(due);
            // Nobody waits for its answer.
            let _refused = self.route(due, &fence, &route).is_err();
        }
        self.count(now);
    }

    pub(super) fn condition(&self, held: &Held, at: Instant) -> Condition {
        let absent =
            Condition { running: false, restarts: 0, finding: Some(crate::runtime::FindingCode::Absent) };
        let Some(since) = held.since else { return absent };
        let behaviour = self.behaviours.get(&held.release).cloned().unwrap_or_default();
        behaviour.condition(at.saturating_duration_since(since), held.restarted)
    }

    pub(super) fn healthy_at(&self, target: &TargetName, slot: &SlotName, at: Instant) -> bool {
        let held = self.hosts.get(target).and_then(|host| host.slots.get(slot));
        held.is_some_and(|held| self.condition(held, at).finding.is_none())
    }

    /// The sink: refuses a lower epoch than it has seen.
    pub(super) fn fenced(&mut self, fence: &Fence) -> Result<&mut Host, Stop> {
        let host = self.hosts.entry(fence.target.clone()).or_default();
        if fence.epoch.0 < host.seen {
            let sentence =
                format!("{} refused epoch {}: it has seen {}", fence.target, fence.epoch, host.seen);
            return Err(Error::new(Code::EpochRefused, sentence).into());
        }
        host.seen = fence.epoch.0;
        Ok(host)
    }

    pub(super) fn launch(&mut self, now: Instant, fence: &Fence, launch: &Launch) -> Result<(), Stop> {
        let host = self.fenced(fence)?;
        if !host.images.contains(&launch.release) {
            return Err(Stop::terminal(Code::SlotRefused, "the image is not on the simulated target"));
        }
        let exclusive = !launch.spec.run.may_overlap();
        let held = host.slots.entry(launch.slot.clone()).or_insert_with(|| Held {
            app: launch.app.clone(),
            release: launch.release,
            deployment: launch.deployment,
            epoch: fence.epoch,
            replicas: launch.spec.run.replicas,
            restarted: launch.spec.run.restart != deploymind_shared::domain::slot::RestartPolicy::Never,
            exclusive,
            since: None,
            left: None,
            drained: false,
            requests: 0,
            errors: 0,
        });
        held.since.get_or_insert(now);
        let beside = host
            .slots
            .iter()
            .filter(|(_, held)| held.exclusive && held.since.is_some() && held.app.id == launch.app.id)
            .count();
        if exclusive && beside > 1 {
            self.break_law(now, format!("{} runs beside another of an exclusive app", launch.slot));
        }
        Ok(())
    }

    pub(super) fn route(&mut self, now: Instant, fence: &Fence, route: &Route) -> Result<(), Stop> {
        let standing = Standing {
            epoch: fence.epoch,
            old: route.old.clone(),
            new: route.new.clone(),
            weight: route.weight,
        };
        let host = self.fenced(fence)?;
        let before = host.routes.get(&route.app.id).map(|routed| routed.standing.clone());
        let shares = |standing: Option<&Standing>, slot: &SlotName| standing.map_or(0, |s| share(s, slot));
        for slot in standing.old.iter().chain(&standing.new) {
            let (then, from) = (shares(Some(&standing), slot), shares(before.as_ref(), slot));
            let recently = now.checked_sub(LEEWAY).unwrap_or(now);
            let well = [now, recently].iter().any(|at| self.healthy_at(&fence.target, slot, *at));
            if then > from && !well {
                self.break_law(
                    now,
                    format!("{slot} got {then} % of the users of {} and is not healthy", fence.target),
                );
            }
        }
        let host = self.fenced(fence)?;
        for (name, held) in &mut host.slots {
            match (shares(before.as_ref(), name), shares(Some(&standing), name)) {
                (1.., 0) => (held.left, held.drained) = (Some(now), false),
                (_, 1..) => held.left = None,
                (0, 0) => {}
            }
        }
        let same = before.as_ref().is_some_and(|before| {
            (&before.old, &before.new, before.weight) == (&standing.old, &standing.new, standing.weight)
        });
        let routed = host.routes.entry(route.app.id).or_insert_with(|| Routed {
            standing: standing.clone(),
            generation: 0,
            tallies: BTreeMap::new(),
            carry: 0.0,
        });
        routed.standing = standing.clone();
        if !same {
            routed.generation += 1;
            routed.tallies.clear();
            let at = now.saturating_duration_since(self.begun);
            self.routes.push(Routing { at, target: fence.target.clone(), standing });
        }
        Ok(())
    }

    /// Users' requests that were accepted under earlier routes are over by then.
    pub(super) fn quiet_at(&self, target: &TargetName) -> Option<Instant> {
        let left = self.hosts.get(target)?.slots.values().filter_map(|held| held.left).max()?;
        Some(left + self.users.longest)
    }

    pub(super) fn drained(&mut self, target: &TargetName, asked: Instant) {
        if let Some(host) = self.hosts.get_mut(target) {
            for held in host.slots.values_mut() {
                held.drained |= held.left.is_some_and(|left| left <= asked);
            }
        }
    }

    /// Ends a slot, and takes it away when it is `gone`.
    pub(super) fn end(
        &mut self,
        now: Instant,
        fence: &Fence,
        slot: &SlotName,
        gone: bool,
    ) -> Result<(), Stop> {
        let host = self.fenced(fence)?;
        let Some(held) = host.slots.get_mut(slot) else { return Ok(()) };
        let was_running = held.since.take().is_some();
        let exclusive = held.exclusive;
        let undrained = was_running && held.left.is_some() && !held.drained;
        let named = host
            .routes
            .values()
            .any(|routed| [&routed.standing.old, &routed.standing.new].contains(&&Some(slot.clone())));
        if gone {
            host.slots.remove(slot);
        }
        if named && !exclusive {
            self.break_law(now, format!("{slot} was ended while users are sent to it"));
        }
        if undrained && !exclusive {
            self.break_law(now, format!("{slot} was ended before the edge had let go of it"));
        }
        Ok(())
    }

    fn break_law(&mut self, now: Instant, sentence: String) {
        let at = now.saturating_duration_since(self.begun).as_secs_f64();
        self.violations.push(format!("{at:.3} s: {sentence}"));
    }
}

/// The share of the users that a slot gets under a route, in percent.
pub(super) fn share(standing: &Standing, slot: &SlotName) -> u8 {
    let new = if standing.new.as_ref() == Some(slot) { standing.weight } else { 0 };
    let old = if standing.old.as_ref() == Some(slot) { 100 - standing.weight.min(100) } else { 0 };
    new + old
}
