//! Looks at the health of slots: until they are healthy, once before the way back, and right before a route.

use std::time::Duration;

use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;
use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep};

use super::call::{Break, Manner, once};
use super::crew::{Crew, READ};
use super::{Book, Failing, Saved};
use crate::rollout::contract::{Observation, Side};
use crate::rollout::machine::Machine;
use crate::runtime::{Finding, FindingCode, Health, Launch};

/// How old a passed look may be when users are sent to a side.
const FRESH: Duration = Duration::from_secs(2);
/// Looks right before a route: one may be lost.
const LOOKS: u32 = 3;
const BETWEEN_LOOKS: Duration = Duration::from_millis(300);
/// The first looks at what just started come sooner than the interval, so that a quick start is seen.
const FIRST_INTERVAL: Duration = Duration::from_millis(100);
/// How long a program without a port must have run, unless its settings say otherwise.
const SETTLE_WITHOUT_PORT: Duration = Duration::from_secs(2);
/// How long the new side is waited for when the old one is known to be good.
const OTHER_SIDE: Duration = Duration::from_millis(100);

/// What is known of one target while its slots become healthy.
#[derive(Default)]
struct Course {
    streak: u16,
    since: Option<Instant>,
    restarts: Option<u32>,
    out_of_reach: Option<Instant>,
}

impl Crew {
    fn look_most(launch: &Launch) -> Duration {
        READ + Duration::from_millis(launch.spec.run.health.timeout_ms.into())
    }

    /// One look at a side on one target.
    pub(super) async fn probe(&self, side: Side, target: usize) -> Result<Health, Stop> {
        let (place, launch) = match self.launch_of(side, target) {
            Ok(found) => found,
            Err(Break::Refused(error)) => return Err(Stop::Terminal(error)),
            Err(Break::Stop(stop)) => return Err(stop),
            Err(Break::Halted) => return Err(Stop::Cancelled),
        };
        let run = &launch.spec.run;
        let health = match launch.spec.port {
            Some(port) => {
                let look = place.runtime.probe(&launch.slot, port, &run.health);
                once(Self::look_most(launch), look).await?
            }
            None if run.routes.is_empty() => {
                let scene = once(READ, place.runtime.inspect(&launch.app)).await?;
                let slot = scene.slots.iter().find(|slot| slot.name == launch.slot);
                let bad = |code, sentence: String, last| Health::Bad(Finding { code, sentence, last });
                match slot {
                    None => bad(FindingCode::Absent, format!("{} is not there", launch.slot), true),
                    Some(slot) if slot.copies.is_empty() || slot.copies.iter().any(|copy| !copy.running) => {
                        let ended = "the program has ended; look at its last lines".to_owned();
                        let last = run.restart == deploymind_shared::domain::slot::RestartPolicy::Never;
                        bad(FindingCode::Exited, ended, last)
                    }
                    Some(slot) => {
                        Health::Good { restarts: slot.copies.iter().map(|copy| copy.restarts).sum() }
                    }
                }
            }
            None => {
                return Err(Stop::terminal(
                    Code::PortUnknown,
                    "nothing says where the program listens; set `port` in the app's settings",
                ));
            }
        };
        if matches!(health, Health::Good { .. }) {
            self.note_passed(side, target);
        }
        Ok(health)
    }

    /// Fails unless a side passes a look now, or did a moment ago.
    pub(super) async fn passes_now(&self, side: Side, target: usize) -> Result<(), Stop> {
        let mut looks = 0;
        while !self.passed_within(side, target, FRESH) {
            looks += 1;
            match self.probe(side, target).await? {
                Health::Bad(finding) if finding.last || looks >= LOOKS => {
                    return Err(Stop::Terminal(Error::new(finding.code.code(), finding.sentence)));
                }
                Health::Bad(_) => sleep(BETWEEN_LOOKS).await,
                Health::Good { .. } => return Ok(()),
            }
        }
        Ok(())
    }

    /// Until all of them are healthy at once, or it is known that they will not be.
    pub(super) async fn await_healthy(
        &mut self,
        side: Side,
        targets: &[usize],
        known: &Saved,
        manner: &Manner,
        book: &dyn Book,
    ) -> Result<Observation, Break> {
        let waited = tokio::select! {
            biased;
            () = manner.halt.cancelled() => return Err(Break::Halted),
            waited = self.wait_for(side, targets, known, manner) => waited?,
        };
        match waited {
            Ok(restarts) => {
                if side == Side::New {
                    self.restarts = restarts;
                }
                Ok(Observation::Healthy)
            }
            Err(failing) => {
                let finding = failing.finding.clone();
                match side {
                    // Nothing else is done with it that its remains would hold up.
                    Side::Old => self.tell_remains(side, &failing, manner, book).await?,
                    Side::New => self.failing = Some(failing),
                }
                Ok(Observation::Unhealthy(finding))
            }
        }
    }

    async fn wait_for(
        &self,
        side: Side,
        targets: &[usize],
        known: &Saved,
        manner: &Manner,
    ) -> Result<Result<Vec<(usize, Option<u32>)>, Failing>, Break> {
        let begun = Instant::now();
        let mut courses = Vec::new();
        for target in targets {
            let (_, launch) = self.launch_of(side, *target)?;
            let slots = known.places.get(*target).filter(|_| side == Side::New);
            let restarts = slots.and_then(|slots| slots.restarts);
            courses.push((*target, launch, Course { restarts, ..Course::default() }));
        }
        for round in 0.. {
            let mut looks: FuturesUnordered<_> = courses
                .iter_mut()
                .map(|(target, launch, course)| async {
                    let seen = self.probe(side, *target).await;
                    (*target, *launch, course, seen)
                })
                .collect();
            while let Some((target, launch, course, seen)) = looks.next().await {
                if let Some(finding) = course.see(seen, launch, begun, manner.patience())? {
                    return Ok(Err(Failing { target, finding }));
                }
            }
            drop(looks);
            let well = courses.iter().all(|(_, launch, course)| course.is_well(launch));
            if well {
                let restarts = courses.iter().map(|(target, _, course)| (*target, course.restarts));
                return Ok(Ok(restarts.collect()));
            }
            let interval = courses.iter().map(|(_, launch, _)| launch.spec.run.health.interval_ms).min();
            let interval = Duration::from_millis(interval.unwrap_or_default().into());
            let started = courses.iter().all(|(_, _, course)| course.streak > 0);
            let soon = FIRST_INTERVAL.saturating_mul(1 << round.min(10));
            sleep(if started { interval } else { interval.min(soon) }).await;
        }
        Ok(Ok(Vec::new()))
    }

    /// Both sides once, before the way back.
    pub(super) async fn look(&self, machine: &Machine, manner: &Manner) -> Result<Observation, Break> {
        let all: Vec<usize> = (0..self.places.len()).collect();
        let with_users: Vec<usize> = all
            .iter()
            .copied()
            .filter(|target| machine.weights().get(*target).is_some_and(|w| *w > 0))
            .collect();
        let old = async {
            let patient =
                all.iter().map(|target| manner.look(Duration::MAX, || self.probe(Side::Old, *target)));
            let looks: Vec<Health> = join_all(patient).await.into_iter().collect::<Result<_, Break>>()?;
            Ok::<bool, Break>(
                !looks.is_empty() && looks.iter().all(|look| matches!(look, Health::Good { .. })),
            )
        };
        let new = async {
            let new = if with_users.is_empty() { &all } else { &with_users };
            let looks = join_all(new.iter().map(|target| self.probe(Side::New, *target))).await;
            looks.iter().all(|look| matches!(look, Ok(Health::Good { .. })))
        };
        tokio::pin!(old, new);
        let (old, new) = tokio::select! {
            biased;
            old = &mut old => {
                let old = old?;
                // The way back does not wait for a side that hangs.
                let most = if old { OTHER_SIDE } else { Duration::MAX };
                (old, tokio::time::timeout(most, new).await.unwrap_or(false))
            }
            new = &mut new => (old.await?, new),
        };
        Ok(Observation::Looked { old, new })
    }
}

impl Course {
    /// Takes in one look. `Some`: it will not become healthy.
    fn see(
        &mut self,
        seen: Result<Health, Stop>,
        launch: &Launch,
        begun: Instant,
        patience: Duration,
    ) -> Result<Option<Finding>, Break> {
        match seen {
            Ok(Health::Good { restarts }) => {
                self.out_of_reach = None;
                let first = *self.restarts.get_or_insert(restarts);
                if restarts > first {
                    return Ok(Some(restarted(restarts - first)));
                }
                self.streak = self.streak.saturating_add(1);
                self.since.get_or_insert_with(Instant::now);
            }
            Ok(Health::Bad(finding)) => {
                (self.out_of_reach, self.streak, self.since) = (None, 0, None);
                let most = Duration::from_secs(launch.spec.run.health.start_period_s.into());
                if finding.last || begun.elapsed() >= most {
                    return Ok(Some(finding));
                }
            }
            Err(Stop::Retryable { after, error }) => {
                (self.streak, self.since) = (0, None);
                if self.out_of_reach.get_or_insert_with(Instant::now).elapsed() > patience {
                    return Err(Stop::Retryable { after, error }.into());
                }
            }
            Err(stop) => return Err(stop.into()),
        }
        Ok(None)
    }

    fn is_well(&self, launch: &Launch) -> bool {
        let health = &launch.spec.run.health;
        let settle = match (launch.spec.port, health.settle_s) {
            (None, 0) => SETTLE_WITHOUT_PORT,
            (_, seconds) => Duration::from_secs(seconds.into()),
        };
        self.streak >= health.successes && self.since.is_some_and(|since| since.elapsed() >= settle)
    }
}

/// A program that ends and is started again looks healthy in between.
pub(super) fn restarted(times: u32) -> Finding {
    let sentence = format!("the program ended and was started again {times} times; look at its last lines");
    Finding { code: FindingCode::Exited, sentence, last: true }
}
