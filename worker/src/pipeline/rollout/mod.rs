//! From a release to what users reach: the roll-out of one deployment, with the record as its book.
//!
//! It brings together what a roll-out needs (the releases of both sides, the targets' runtimes, their locks and epochs) and
//! reads its end. Which move comes next is [`crate::rollout`]'s; how a target is acted on, [`crate::runtime`]'s.

mod book;
mod ending;
mod settle;
mod sides;
mod words;

use std::sync::Arc;

use deploymind_shared::db::rollouts::{RolloutEnd, rollout_finish, rollout_get};
use deploymind_shared::db::rollouts::{Served, Serving, serving_list};
use deploymind_shared::domain::rollout::RolloutOutcome;
use deploymind_shared::error::{Code, Error};
use deploymind_shared::ids::{DeploymentId, ReleaseId, TargetName};
use deploymind_shared::retry::Stop;

use super::run::Run;
use super::session::Course;
use crate::context::JobContext;
use crate::registry::Done;
use crate::rollout::driver::{Driver, Place, Saved, StopKind};
use crate::rollout::{Ending, Level, preflight};
use crate::runtime::{AppRef, Fence, Runtime, SlotName};
use book::{Desk, Record};
use ending::Verdict;
pub(super) use settle::SettleHandler;
pub(super) use sides::Runnable;

/// What of the record says that its roll-out ended so.
pub(super) struct Outcome<'a> {
    pub(super) saved: &'a Saved,
    pub(super) ending: &'a Ending,
    pub(super) release: ReleaseId,
    pub(super) deployment: DeploymentId,
}

impl Run {
    /// Whether this deployment's roll-out has begun: then everything before it is over.
    pub(super) async fn rollout_begun(&self) -> Result<Option<ReleaseId>, Stop> {
        Ok(rollout_get(self.context.db(), self.deployment).await?.map(|row| row.release))
    }

    /// What stands in the way is said before anything is built.
    pub(super) async fn preflight(&self) -> Result<(), Stop> {
        let settings = &self.plan.settings;
        let targets = &self.plan.app.targets;
        if targets.is_empty() {
            self.lines.warn("the app has no target: it is built and released, and not rolled out").await;
            return Ok(());
        }
        for note in preflight(settings, true, targets.len()) {
            match note.level {
                Level::Blocks => return Err(Stop::terminal(Code::SettingsInvalid, note.sentence)),
                Level::Downtime => self.lines.warn(format!("downtime: {}", note.sentence)).await,
                Level::Warn => self.lines.warn(note.sentence).await,
            }
        }
        if !self.plan.host_mounts && settings.run.volumes.iter().any(|volume| volume.is_host_mount()) {
            return Err(Stop::terminal(
                Code::HostMountRefused,
                "the app mounts a path of the host, and may not: use a named volume, or have an administrator allow it",
            ));
        }
        let app = self.app();
        for target in targets {
            let runtime =
                self.tools.targets.runtime(self.context.db(), self.secrets.registry.as_ref(), target).await?;
            let mut found = runtime.obstacles(&app, &settings.run).await?.into_iter();
            if let Some(first) = found.next() {
                for other in found {
                    self.lines.error(format!("{target}: {other}")).await;
                }
                return Err(Error::new(first.code(), format!("{target}: {}", first.sentence())).into());
            }
        }
        Ok(())
    }

    fn app(&self) -> AppRef {
        AppRef { id: self.plan.app.id, name: self.plan.app.name.clone() }
    }

    /// Brings `release` to the users, or leaves them where they were. Also goes on with what an earlier run began.
    pub(super) async fn roll_out(&self, release: ReleaseId, course: Course) -> Result<Done, Stop> {
        let db = self.context.db();
        let new = Runnable::load(db, &self.tools.keyring, &self.plan.app, release).await?;
        port_known(&new)?;
        let begun = rollout_get(db, self.deployment).await?;
        let state = begun.as_ref().map(|row| saved(&row.state)).transpose()?;
        if let (Some(state), true) = (&state, begun.as_ref().is_some_and(|row| row.outcome.is_some())) {
            // It had ended, and the worker died before it could say so.
            return self.done(state, course, &new).await;
        }
        let targets = match &state {
            Some(state) => state.places.iter().map(|place| place.target.clone()).collect(),
            None => self.plan.app.targets.clone(),
        };
        let mut runtimes = Vec::new();
        for target in &targets {
            runtimes.push(self.tools.targets.runtime(db, self.secrets.registry.as_ref(), target).await?);
        }
        // Images travel before anybody has to wait for a lock.
        let unnamed = new.launch(&self.app(), SlotName(String::new()), self.plan.host_mounts);
        for runtime in &runtimes {
            runtime.provide(&unnamed).await?;
        }
        self.context.lock(&targets).await?;
        let serving = serving_list(db, self.plan.app.id).await?;
        let places = self.places(&targets, &runtimes, &new, &serving, state.as_ref()).await?;
        let record = Record {
            context: self.context.clone(),
            deployment: self.deployment,
            app: self.plan.app.id,
            release,
            previous: places.iter().find_map(|place| Some(place.old.as_ref()?.release)),
            strategy: self.plan.settings.rollout.strategy,
        };
        let redactor = Arc::new(self.secrets.redactor_with(new.hidden()).await?);
        let desk = Desk::new(record, self.lines.clone(), redactor, course, state.is_some());
        let book = Arc::new(desk);
        let driver = match state {
            Some(state) => Driver::resume(state, places, book)?,
            None => {
                let direct = course == Course::Rollback;
                Driver::begin(self.plan.settings.rollout.clone(), direct, places, book)
            }
        };
        drive(driver, &self.context).await?;
        let row = rollout_get(db, self.deployment).await?.ok_or_else(gone)?;
        self.done(&saved(&row.state)?, course, &new).await
    }

    async fn places(
        &self,
        targets: &[TargetName],
        runtimes: &[Arc<dyn Runtime>],
        new: &Runnable,
        serving: &[Serving],
        state: Option<&Saved>,
    ) -> Result<Vec<Place>, Stop> {
        let app = self.app();
        let prefix = self.tools.targets.slot_prefix();
        let mut places = Vec::new();
        for (i, (target, runtime)) in targets.iter().zip(runtimes).enumerate() {
            let epoch = self.context.epoch(target).ok_or_else(gone)?;
            let old = match state {
                Some(state) => state.places[i].old.clone().map(|old| (old.slot, old.release)),
                None => serving
                    .iter()
                    .find(|one| one.target == *target)
                    .map(|one| (SlotName(one.slot.clone()), one.release)),
            };
            let old = match old {
                Some((slot, release)) => {
                    let side = self.side(release).await?;
                    Some(side.launch(&app, slot, self.plan.host_mounts))
                }
                None => None,
            };
            let slot = match state {
                Some(state) => state.places[i].new.clone(),
                None => self
                    .slot(runtime.as_ref(), &app, new, old.as_ref().map(|old| &old.slot))
                    .await?
                    .unwrap_or_else(|| SlotName::new(prefix, &app, epoch)),
            };
            places.push(Place {
                runtime: Arc::clone(runtime),
                fence: Fence { target: target.clone(), epoch },
                new: new.launch(&app, slot, self.plan.host_mounts),
                old,
            });
        }
        Ok(places)
    }

    /// A slot of the release that is still there: the way back to it costs no new container.
    async fn slot(
        &self,
        runtime: &dyn Runtime,
        app: &AppRef,
        new: &Runnable,
        old: Option<&SlotName>,
    ) -> Result<Option<SlotName>, Stop> {
        if self.plan.trigger != deploymind_shared::db::deployments::Trigger::Rollback {
            return Ok(None);
        }
        let scene = runtime.inspect(app).await?;
        let kept = scene.slots.into_iter().rev().find(|slot| {
            slot.release == new.release
                && Some(&slot.name) != old
                && slot.copies.len() == usize::from(new.spec.run.replicas)
        });
        Ok(kept.map(|slot| slot.name))
    }

    async fn side(&self, release: ReleaseId) -> Result<Runnable, Stop> {
        match self.secrets.releases.iter().find(|side| side.release == release) {
            Some(side) => Ok(side.clone()),
            // Something else serves than when this run began.
            None => Runnable::load(self.context.db(), &self.tools.keyring, &self.plan.app, release).await,
        }
    }

    async fn done(&self, state: &Saved, course: Course, new: &Runnable) -> Result<Done, Stop> {
        let ending = state.machine.ended().ok_or_else(gone)?;
        let mut verdict = Verdict::of(ending);
        if let Some((_, sentence)) = &mut verdict.why {
            // What an engine says of a failure may repeat what it was given.
            *sentence = self.redactor.redact_text(sentence).into_owned();
        }
        let mut end = self.end(state, ending, &verdict, new).await?;
        if course == Course::Rollback && ending.outcome == RolloutOutcome::Done {
            end.pin =
                Some(format!("rolled back to {} by deployment {}", short(&new.spec.commit), self.deployment));
            end.bad_commit = self.commit_left(state, new).await?;
            self.lines
                .warn("pushes do not deploy this app any more until somebody lets them again: it was rolled back")
                .await;
        } else if verdict.automatic {
            let why = verdict
                .why
                .as_ref()
                .map_or_else(String::new, |(code, sentence)| format!("{code}: {sentence}"));
            end.bad_commit = Some((new.spec.commit.clone(), why));
        }
        self.flush().await?;
        rollout_finish(self.context.db(), self.context.id(), self.context.attempt(), self.deployment, &end)
            .await?;
        self.tell_end(&verdict, course).await?;
        Ok(Done { deployment: Some(verdict.status), why: verdict.why })
    }

    /// The verdict stands, whether or not it can be told now.
    async fn tell_end(&self, verdict: &Verdict, course: Course) -> Result<(), Stop> {
        for (kind, body) in words::end(verdict, course) {
            match self.tell(kind, body).await {
                Err(Stop::ClaimLost) => return Err(Stop::ClaimLost),
                Err(stop) => {
                    tracing::warn!(deployment.id = %self.deployment, stop = ?stop, "its end was not told");
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// The commit that a person left behind.
    async fn commit_left(&self, state: &Saved, new: &Runnable) -> Result<Option<(String, String)>, Stop> {
        let Some(old) = state.places.iter().find_map(|place| place.old.as_ref()) else { return Ok(None) };
        let old = self.side(old.release).await?;
        let left = old.spec.commit != new.spec.commit;
        Ok(left.then(|| (old.spec.commit, format!("rolled back to {}", short(&new.spec.commit)))))
    }

    async fn end(
        &self,
        state: &Saved,
        ending: &Ending,
        verdict: &Verdict,
        new: &Runnable,
    ) -> Result<RolloutEnd, Stop> {
        let outcome = Outcome { saved: state, ending, release: new.release, deployment: self.deployment };
        rollout_end(&self.context, &outcome, verdict)
    }
}

/// What the record is to say of the end of a roll-out.
fn rollout_end(context: &JobContext, of: &Outcome<'_>, verdict: &Verdict) -> Result<RolloutEnd, Stop> {
    let Outcome { saved, ending, .. } = of;
    let (mut serving, mut unserved) = (Vec::new(), Vec::new());
    for (i, place) in saved.places.iter().enumerate() {
        let new_serves = match ending.outcome {
            RolloutOutcome::Done | RolloutOutcome::Kept => true,
            RolloutOutcome::Left => saved.machine.weights().get(i) == Some(&100),
            RolloutOutcome::Withdrawn | RolloutOutcome::Reverted => false,
        };
        if new_serves {
            serving.push(Served {
                target: place.target.clone(),
                release: of.release,
                deployment: of.deployment,
                slot: place.new.0.clone(),
                epoch: context.epoch(&place.target).ok_or_else(gone)?,
            });
        } else if place.old.is_none() {
            unserved.push(place.target.clone());
        }
    }
    Ok(RolloutEnd {
        outcome: ending.outcome,
        reason: verdict.why.as_ref().map(|(_, sentence)| sentence.clone()),
        state: serde_json::json!(saved),
        serving,
        unserved,
        automatic: verdict.automatic,
        succeeded: ending.outcome == RolloutOutcome::Done,
        pin: None,
        bad_commit: None,
    })
}

/// Runs it until its end is in the book.
async fn drive(driver: Driver, context: &JobContext) -> Result<Ending, Stop> {
    let asked = context.clone();
    let kind = move || if asked.stops_for_good() { StopKind::ForGood } else { StopKind::GoodBye };
    Box::pin(driver.run(context.stopping(), &kind)).await
}

fn port_known(new: &Runnable) -> Result<(), Stop> {
    if new.spec.port.is_none() && !new.spec.run.routes.is_empty() { Err(port_unknown()) } else { Ok(()) }
}

pub(super) fn port_unknown() -> Stop {
    Stop::terminal(
        Code::PortUnknown,
        "users are to reach the app, and nothing says where it listens: set its port, or EXPOSE one in the Dockerfile",
    )
}

fn saved(state: &serde_json::Value) -> Result<Saved, Stop> {
    serde_json::from_value(state.clone()).map_err(|error| {
        Error::new(
            Code::StoreUnexpected,
            "the state of the roll-out was written by another version of this program; see that all workers run the same",
        )
        .because(error)
        .into()
    })
}

fn gone() -> Stop {
    Stop::ClaimLost
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}
