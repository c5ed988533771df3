//! Targets in memory, for tests: a world that outlives its workers, with users, releases that behave as scripted, faults
//! with a seed, and laws that it checks by itself. It runs on tokio's clock, so that a paused one makes hours short.
//!
//! # Guarantees
//! It refuses lower epochs as a real target does. It never panics: a broken law is written down ([`World::violations`]).

mod faults;
mod script;
mod users;
mod world;

use std::time::Duration;

use async_trait::async_trait;
use deploymind_shared::clock::Clock;
use deploymind_shared::domain::slot::{HealthCheck, SlotSettings};
use deploymind_shared::error::{Code, Error};
use deploymind_shared::ids::TargetName;
use deploymind_shared::retry::Stop;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tokio::time::Instant;

pub use faults::{At, Call, Fault, Process, Weather, When};
pub use script::{Behaviour, Death, Ended, Outage};
pub use world::{Routing, Users, World};

use super::{
    AppRef, Copy, Cursor, Fence, Finding, Health, Launch, Remains, Route, Runtime, Scene, Slot, SlotLine,
    SlotName, Traffic, Usage,
};

/// One target of a [`World`], as one worker process reaches it.
pub struct SimulatedRuntime {
    world: World,
    target: TargetName,
    process: Process,
}

impl SimulatedRuntime {
    pub fn new(world: &World, target: TargetName, process: &Process) -> Self {
        Self { world: world.clone(), target, process: process.clone() }
    }

    async fn call<T: Send>(
        &self,
        call: Call,
        effect: impl FnOnce(&mut world::State) -> Result<T, Stop> + Send,
    ) -> Result<T, Stop> {
        self.process.call(call, None, || effect(&mut self.world.now())).await
    }

    fn finding(&self, slot: &SlotName) -> Health {
        let state = self.world.now();
        let condition = state
            .hosts
            .get(&self.target)
            .and_then(|host| host.slots.get(slot))
            .map(|held| state.condition(held, Instant::now()));
        let bad = |code, last| {
            Health::Bad(Finding {
                code,
                sentence: format!("the simulated {slot} is not healthy: {code}"),
                last,
            })
        };
        match condition {
            None => bad(super::FindingCode::Absent, true),
            Some(condition) => match condition.finding {
                None => Health::Good { restarts: condition.restarts },
                Some(code) => bad(code, !condition.running),
            },
        }
    }
}

#[async_trait]
impl Runtime for SimulatedRuntime {
    async fn inspect(&self, app: &AppRef) -> Result<Scene, Stop> {
        self.call(Call::Inspect, |state| {
            let Some(host) = state.hosts.get(&self.target) else { return Ok(Scene::default()) };
            let now = Instant::now();
            let slot = |(name, held): (&SlotName, &world::Held)| {
                let condition = state.condition(held, now);
                let copy = |index| Copy {
                    name: name.copy(index),
                    running: condition.running,
                    restarts: condition.restarts,
                    address: None,
                };
                Slot {
                    name: name.clone(),
                    release: held.release,
                    deployment: held.deployment,
                    epoch: held.epoch,
                    copies: (0..held.replicas).map(copy).collect(),
                }
            };
            let mut slots: Vec<_> =
                host.slots.iter().filter(|(_, held)| held.app.id == app.id).map(slot).collect();
            slots.sort_by_key(|slot| slot.epoch);
            let route = host.routes.get(&app.id).map(|routed| routed.standing.clone());
            let route = route.filter(|standing| standing.old.is_some() || standing.new.is_some());
            Ok(Scene { slots, route })
        })
        .await
    }

    async fn obstacles(&self, _: &AppRef, _: &SlotSettings) -> Result<Vec<Error>, Stop> {
        self.call(Call::Obstacles, |_| Ok(Vec::new())).await
    }

    async fn provide(&self, launch: &Launch) -> Result<(), Stop> {
        self.call(Call::Provide, |state| {
            state.hosts.entry(self.target.clone()).or_default().images.insert(launch.release);
            Ok(())
        })
        .await
    }

    async fn launch(&self, fence: &Fence, launch: &Launch) -> Result<(), Stop> {
        self.call(Call::Launch, |state| state.launch(Instant::now(), fence, launch)).await
    }

    async fn probe(&self, slot: &SlotName, _: u16, _: &HealthCheck) -> Result<Health, Stop> {
        self.process.call(Call::Probe, None, || Ok(self.finding(slot))).await
    }

    async fn remains(&self, slot: &SlotName) -> Result<Remains, Stop> {
        self.call(Call::Remains, |state| {
            let held = state.hosts.get(&self.target).and_then(|host| host.slots.get(slot));
            let death = held
                .and_then(|held| state.behaviours.get(&held.release))
                .and_then(|behaviour| behaviour.dies);
            let log = vec![format!("the last line of {slot}")];
            Ok(Remains { ended: death.map(|death| death.how.to_string()), log })
        })
        .await
    }

    async fn route(&self, fence: &Fence, route: &Route, _: u16) -> Result<(), Stop> {
        let late = |by| self.world.now().late.push((Instant::now() + by, fence.clone(), route.clone()));
        self.process
            .call(Call::Route, Some(&late), || self.world.now().route(Instant::now(), fence, route))
            .await
    }

    async fn drained(&self, most: Duration) -> Result<bool, Stop> {
        let asked = Instant::now();
        let quiet = self.world.now().quiet_at(&self.target).unwrap_or(asked);
        tokio::time::sleep_until(quiet.min(asked + most)).await;
        self.call(Call::Drained, |state| {
            state.drained(&self.target, asked);
            Ok(quiet <= asked + most)
        })
        .await
    }

    async fn traffic(&self, app: &AppRef, from: &Cursor) -> Result<(Traffic, Cursor), Stop> {
        self.call(Call::Traffic, |state| {
            let routed = state.hosts.get(&self.target).and_then(|host| host.routes.get(&app.id));
            let Some(routed) = routed else { return Ok((Traffic::default(), from.clone())) };
            // How far it was read stands in the cursor as what was read, beside the route it was read of.
            let read: (u64, Traffic) = serde_json::from_str(&from.0).unwrap_or_default();
            let read = if read.0 == routed.generation { read.1 } else { Traffic::default() };
            let all = Traffic { slots: routed.tallies.clone() };
            let cursor = serde_json::to_string(&(routed.generation, &all)).map_err(|_| {
                Stop::terminal(Code::EngineUnexpected, "the simulated cursor cannot be written")
            })?;
            Ok((less(all, &read), Cursor(cursor)))
        })
        .await
    }

    async fn stop(&self, fence: &Fence, slot: &SlotName) -> Result<(), Stop> {
        tokio::time::sleep(self.stops_in(slot)).await;
        self.call(Call::Stop, |state| state.end(Instant::now(), fence, slot, false)).await
    }

    async fn retire(&self, fence: &Fence, slot: &SlotName) -> Result<(), Stop> {
        tokio::time::sleep(self.stops_in(slot)).await;
        self.call(Call::Retire, |state| state.end(Instant::now(), fence, slot, true)).await
    }

    async fn logs(
        &self,
        slot: &SlotName,
        tail: usize,
    ) -> Result<BoxStream<'static, Result<SlotLine, Stop>>, Stop> {
        let copy = slot.copy(0);
        self.call(Call::Logs, |_| Ok(())).await?;
        let line = move |n| SlotLine { copy: copy.clone(), stderr: false, line: format!("line {n}") };
        let lines = (0..tail).map(move |n| Ok(line(n)));
        Ok(stream::iter(lines).boxed())
    }

    async fn usage(&self, slot: &SlotName) -> Result<BoxStream<'static, Result<Usage, Stop>>, Stop> {
        let copy = slot.copy(0);
        self.call(Call::Usage, |_| Ok(())).await?;
        let each_second = stream::unfold(copy, |copy| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let usage = Usage {
                copy: copy.clone(),
                at: Clock::system().now(),
                cpu_percent: 10.0,
                memory_bytes: 16 * 1024 * 1024,
                memory_limit_bytes: None,
                network_received_bytes: 0,
                network_sent_bytes: 0,
                disk_read_bytes: 0,
                disk_written_bytes: 0,
            };
            Some((Ok(usage), copy))
        });
        Ok(each_second.boxed())
    }
}

impl SimulatedRuntime {
    fn stops_in(&self, slot: &SlotName) -> Duration {
        let state = self.world.now();
        let held = state.hosts.get(&self.target).and_then(|host| host.slots.get(slot));
        let behaviour = held.and_then(|held| state.behaviours.get(&held.release));
        behaviour.map_or(Duration::ZERO, |behaviour| behaviour.stops_in)
    }
}

/// What is in `all` and was not in `read`.
fn less(mut all: Traffic, read: &Traffic) -> Traffic {
    for (slot, before) in &read.slots {
        if let Some(tally) = all.slots.get_mut(slot) {
            tally.requests -= before.requests;
            tally.errors -= before.errors;
            for (bucket, count) in &before.latency {
                if let Some(now) = tally.latency.get_mut(bucket) {
                    *now -= count;
                }
            }
        }
    }
    all
}
