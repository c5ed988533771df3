//! The driver on simulated targets, under a paused clock: a world, users, two releases, a book in memory.

mod canary;
mod crashes;
mod faults;
mod people;
mod strategies;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use deploymind_shared::domain::release::{ImageSpec, ReleaseSpec};
use deploymind_shared::domain::rollout::{CanarySettings, RolloutOutcome, RolloutSettings, StrategyKind};
use deploymind_shared::domain::slot::{HealthCheck, Routes, SlotSettings, Volume};
use deploymind_shared::ids::{AppId, DeploymentId, Epoch, ReleaseId, TargetName};
use deploymind_shared::retry::Stop;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::runtime::simulated::{Behaviour, Call, Process, SimulatedRuntime, Users, World};
use crate::runtime::{AppRef, Fence, Launch, Route, Runtime, SlotName};

/// Simulated: a roll-out that takes longer stands still.
const LONGEST: Duration = Duration::from_secs(6 * 3600);
const OLD_EPOCH: i64 = 1;

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What outlives workers: the world, and the record.
#[derive(Clone)]
pub(super) struct Bench {
    pub world: World,
    pub record: Arc<Mutex<Record>>,
    pub plan: Arc<Plan>,
    /// What serves when the roll-out begins, and the epoch it was launched in.
    pub before: Option<(ReleaseId, i64)>,
}

pub(super) struct Plan {
    pub settings: RolloutSettings,
    pub run: SlotSettings,
    pub port: Option<u16>,
    pub targets: Vec<TargetName>,
    pub app: AppRef,
    pub old: Option<ReleaseId>,
    pub new: ReleaseId,
    pub seed: u64,
    pub direct: bool,
}

#[derive(Default)]
pub(super) struct Record {
    pub saved: Option<String>,
    pub asks: Vec<(i64, Ask)>,
    pub news: Vec<News>,
    /// The epoch of the worker whose job it is. `None`: writes are not fenced.
    pub owner: Option<i64>,
}

/// A book in memory; its writes may fail like any other call of the worker.
struct Notebook {
    record: Arc<Mutex<Record>>,
    process: Process,
    epoch: i64,
}

impl Notebook {
    async fn write(&self, write: impl FnOnce(&mut Record) + Send) -> Result<(), Stop> {
        self.process
            .call(Call::Record, None, || {
                let mut record = self.record.lock().unwrap();
                if record.owner.is_some_and(|owner| owner != self.epoch) {
                    return Err(Stop::ClaimLost);
                }
                write(&mut record);
                Ok(())
            })
            .await
    }
}

#[async_trait]
impl Book for Notebook {
    async fn save(&self, state: &Saved) -> Result<(), Stop> {
        let text = serde_json::to_string(state).unwrap();
        self.write(|record| record.saved = Some(text)).await
    }

    async fn asked(&self, after: i64) -> Result<Vec<(i64, Ask)>, Stop> {
        let record = self.record.lock().unwrap();
        Ok(record.asks.iter().filter(|(number, _)| *number > after).copied().collect())
    }

    async fn tell(&self, news: &News) -> Result<(), Stop> {
        self.write(|record| record.news.push(news.clone())).await
    }
}

/// How a worker's run ended.
#[derive(Debug)]
pub(super) enum Run {
    Ended(Ending),
    Stopped(Stop),
    Died,
}

impl Run {
    #[track_caller]
    pub fn ending(self) -> Ending {
        match self {
            Run::Ended(ending) => ending,
            other => panic!("it did not end: {other:?}"),
        }
    }
}

pub(super) fn settings(strategy: StrategyKind) -> RolloutSettings {
    let canary =
        CanarySettings { stages: vec![20, 60, 100], window_s: 2, min_requests: 10, ..Default::default() };
    RolloutSettings { strategy, canary, observe_s: 2, verify_s: 1, drain_s: 5, ..Default::default() }
}

pub(super) fn plan(strategy: StrategyKind) -> Plan {
    let health = HealthCheck { interval_ms: 500, timeout_ms: 1000, start_period_s: 3, ..Default::default() };
    let routes = Routes { port: Some(80), hosts: Vec::new() };
    Plan {
        settings: settings(strategy),
        run: SlotSettings { health, routes, ..Default::default() },
        port: Some(8080),
        targets: vec![TargetName::parse("docker://one").unwrap()],
        app: AppRef { id: AppId::generate(), name: "shop".to_owned() },
        old: Some(ReleaseId::generate()),
        new: ReleaseId::generate(),
        seed: 7,
        direct: false,
    }
}

pub(super) fn two_targets() -> Vec<TargetName> {
    ["docker://one", "docker://two"].map(|name| TargetName::parse(name).unwrap()).to_vec()
}

pub(super) fn exclusive() -> Volume {
    Volume { source: "data".into(), path: "/data".into(), read_only: false, exclusive: true }
}

impl Plan {
    fn launch(&self, release: ReleaseId, epoch: i64) -> Launch {
        Launch {
            app: self.app.clone(),
            slot: SlotName::new("dm", &self.app, Epoch(epoch)),
            release,
            deployment: DeploymentId::generate(),
            spec: ReleaseSpec {
                commit: "0".repeat(40),
                image: ImageSpec { id: "sha256:0".into(), reference: "shop:1".into(), digest: None },
                port: self.port,
                start: None,
                run: self.run.clone(),
            },
            variables: Vec::new(),
            host_mounts: false,
        }
    }
}

impl Bench {
    /// The old release serves on every target.
    pub async fn new(plan: Plan, new: Behaviour) -> Self {
        let world = World::new(plan.seed);
        world.behave(plan.new, new);
        let process = Process::new(0);
        if let Some(old) = plan.old {
            let launch = plan.launch(old, OLD_EPOCH);
            for target in &plan.targets {
                let runtime = SimulatedRuntime::new(&world, target.clone(), &process);
                let fence = Fence { target: target.clone(), epoch: Epoch(OLD_EPOCH) };
                runtime.provide(&launch).await.unwrap();
                runtime.launch(&fence, &launch).await.unwrap();
                tokio::time::sleep(ms(1000)).await;
                if !launch.spec.run.routes.is_empty() {
                    let route = Route {
                        app: plan.app.clone(),
                        routes: plan.run.routes.clone(),
                        old: None,
                        new: Some(launch.slot.clone()),
                        weight: 100,
                        sticky: false,
                        header: false,
                    };
                    runtime.route(&fence, &route, 8080).await.unwrap();
                }
            }
        }
        world.visit(Users { per_second: 40.0, longest: ms(700) });
        let before = plan.old.map(|old| (old, OLD_EPOCH));
        Self { world, record: Arc::default(), plan: Arc::new(plan), before }
    }

    pub fn driver(&self, process: &Process, epoch: i64) -> Driver {
        let plan = &self.plan;
        let place = |target: &TargetName| Place {
            runtime: Arc::new(SimulatedRuntime::new(&self.world, target.clone(), process)),
            fence: Fence { target: target.clone(), epoch: Epoch(epoch) },
            new: plan.launch(plan.new, epoch),
            old: self.before.map(|(old, epoch)| plan.launch(old, epoch)),
        };
        let places = plan.targets.iter().map(place).collect();
        let record = Arc::clone(&self.record);
        let book = Arc::new(Notebook { record, process: process.clone(), epoch });
        let saved = self.record.lock().unwrap().saved.clone();
        match saved {
            Some(saved) => Driver::resume(serde_json::from_str(&saved).unwrap(), places, book).unwrap(),
            None => Driver::begin(plan.settings.clone(), plan.direct, places, book),
        }
    }

    /// A worker's run until it ends, stops or dies.
    pub async fn run(&self, process: &Process, epoch: i64) -> Run {
        self.run_with(process, epoch, &CancellationToken::new(), StopKind::ForGood).await
    }

    pub async fn run_with(
        &self,
        process: &Process,
        epoch: i64,
        cancel: &CancellationToken,
        kind: StopKind,
    ) -> Run {
        let driver = self.driver(process, epoch);
        let kind = move || kind;
        let run = async {
            tokio::select! {
                biased;
                () = process.died() => Run::Died,
                result = driver.run(cancel, &kind) => match result {
                    Ok(ending) => Run::Ended(ending),
                    Err(stop) => Run::Stopped(stop),
                },
            }
        };
        tokio::time::timeout(LONGEST, run).await.expect("it stands still")
    }

    pub fn ask(&self, ask: Ask) {
        let mut record = self.record.lock().unwrap();
        let number = record.asks.len() as i64 + 1;
        record.asks.push((number, ask));
    }

    pub fn news(&self) -> Vec<News> {
        self.record.lock().unwrap().news.clone()
    }

    /// Returns once something of this kind was told.
    pub async fn heard(&self, is_it: impl Fn(&News) -> bool) {
        let told = async {
            while !self.news().iter().any(&is_it) {
                tokio::time::sleep(ms(10)).await;
            }
        };
        tokio::time::timeout(LONGEST, told).await.expect("it was never told");
    }

    pub fn state(&self) -> Saved {
        serde_json::from_str(self.record.lock().unwrap().saved.as_ref().expect("saved")).unwrap()
    }

    /// Checks that no law was broken and that the world is as the ending says.
    #[track_caller]
    pub fn check(&self, ending: &Ending, what: &str) {
        let context =
            || format!("{what}: {ending:?}\nnews {:#?}\nroutes {:#?}", self.news(), self.world.routings());
        assert_eq!(self.world.violations(), Vec::<String>::new(), "{}", context());
        let Plan { app, run, .. } = &*self.plan;
        for (target, slots) in self.plan.targets.iter().zip(&self.state().places) {
            let standing = self.world.standing(target, app);
            let old = slots.old.as_ref().map(|old| old.slot.clone());
            let share = |slot: &SlotName| {
                let standing = standing.as_ref()?;
                let new = (standing.new.as_ref() == Some(slot)).then_some(standing.weight);
                new.or((standing.old.as_ref() == Some(slot)).then_some(100 - standing.weight))
            };
            let (running, stopped) = self.world.slots(target);
            match ending.outcome {
                RolloutOutcome::Done | RolloutOutcome::Kept => {
                    if !run.routes.is_empty() {
                        assert_eq!(share(&slots.new), Some(100), "{}", context());
                        assert_eq!(standing.as_ref().and_then(|s| s.old.clone()), None, "{}", context());
                    }
                    assert!(running.contains(&slots.new), "{}", context());
                    if ending.outcome == RolloutOutcome::Done {
                        assert_eq!(stopped, old.into_iter().collect::<Vec<_>>(), "{}", context());
                    }
                }
                RolloutOutcome::Reverted | RolloutOutcome::Withdrawn => {
                    if let Some(old) = &old {
                        assert_eq!(share(old), Some(100), "{}", context());
                        assert!(running.contains(old), "{}", context());
                    }
                    assert_eq!(share(&slots.new), None, "{}", context());
                    assert!(!running.contains(&slots.new), "{}", context());
                    assert!(!stopped.contains(&slots.new), "{}", context());
                }
                RolloutOutcome::Left => {}
            }
        }
    }

    /// Requests of users that failed, over all slots that are still there.
    pub fn failed_requests(&self) -> u64 {
        let slots = |target: &TargetName| {
            let (running, stopped) = self.world.slots(target);
            let of = |slot: SlotName| self.world.served(target, &slot).map_or(0, |(_, errors)| errors);
            running.into_iter().chain(stopped).map(of).sum::<u64>()
        };
        self.plan.targets.iter().map(slots).sum()
    }
}

#[test]
fn the_future_of_a_run_can_move_between_threads() {
    fn sent<T: Send>(_: T) {}
    let book = Arc::new(Notebook { record: Arc::default(), process: Process::new(1), epoch: 1 });
    let driver = Driver::begin(RolloutSettings::default(), false, Vec::new(), book);
    sent(driver.run(&CancellationToken::new(), &|| StopKind::ForGood));
}
