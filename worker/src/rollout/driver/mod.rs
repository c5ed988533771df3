//! The driver: carries out what the machine decides, on every target of a roll-out, and tells it what it saw.
//!
//! # Guarantees
//! - The state is saved before an action is begun and after it ended, so that a killed worker's successor does the action in
//!   hand again or goes on after it. Every action may be done twice.
//! - Users are sent to a side only right after it passed a look.
//! - What people ask, and the job's own stop, is heard before and during every step; no call lasts beyond its deadline.
//! - A refused epoch or a lost claim ends it at once; nothing is touched after that.
//!
//! # Assumptions
//! The caller holds the targets' locks, and the fences carry the epochs of its claim.
//!
//! # Caveats
//! A call that acts and was given up at its deadline may take effect later on the target. The routes are therefore read back
//! at the end and set again where they differ.

mod attend;
mod call;
mod crew;
mod finish;
mod health;
mod news;
mod window;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deploymind_shared::domain::rollout::{RolloutOutcome, RolloutSettings};
use deploymind_shared::error::{Code, Error};
use deploymind_shared::ids::{DeploymentId, ReleaseId, TargetName};
use deploymind_shared::retry::{STORE_BACKOFF, Stop};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use news::{Count, News};

use super::contract::{Action, Ask, Ending, Observation, Side, Task, Why};
use super::machine::{Changed, Machine};
use crate::runtime::{Fence, Finding, Launch, Runtime, SlotName};
use attend::{Attention, Orders};
use call::{Break, Manner};
use crew::Crew;

/// Where the state of a roll-out is kept and where its words go.
///
/// # Errors
/// `ClaimLost` stops everything at once. `Retryable` is tried again for a while.
#[async_trait]
pub trait Book: Send + Sync {
    async fn save(&self, state: &Saved) -> Result<(), Stop>;

    /// What people asked with a number above `after`, in order of their numbers. Reads only; called about twice a second.
    async fn asked(&self, after: i64) -> Result<Vec<(i64, Ask)>, Stop>;

    async fn tell(&self, news: &News) -> Result<(), Stop>;
}

/// One target of a roll-out.
pub struct Place {
    pub runtime: Arc<dyn Runtime>,
    pub fence: Fence,
    /// A successor's may name another slot: the one of the state counts.
    pub new: Launch,
    /// What serves there now, complete, so that it can be launched again.
    pub old: Option<Launch>,
}

/// The state of a roll-out, enough for another worker to go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    pub machine: Machine,
    pub places: Vec<Slots>,
    /// The number of the last ask that the machine was told.
    asked: i64,
    /// The machine was told of the job's own stop.
    cancelled: bool,
    failing: Option<Failing>,
    /// It differs from what was saved.
    #[serde(skip)]
    dirty: bool,
}

/// The slots of one target, fixed when the roll-out begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slots {
    pub target: TargetName,
    pub new: SlotName,
    pub old: Option<OldSlot>,
    /// How often the new slot had been started again when it was first healthy.
    restarts: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldSlot {
    pub slot: SlotName,
    pub release: ReleaseId,
    pub deployment: DeploymentId,
}

/// A new slot whose remains are still to be told, before it is taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Failing {
    target: usize,
    finding: Finding,
}

/// What it means that the job's token fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopKind {
    /// This worker is to leave the job to another: nothing more is touched.
    GoodBye,
    /// The job is to end: back to what served before.
    ForGood,
}

pub struct Driver {
    crew: Crew,
    saved: Saved,
    book: Arc<dyn Book>,
    taken_over: bool,
}

impl Driver {
    /// A roll-out from its beginning. `direct`: a way back that a person asked for, without stages.
    pub fn begin(settings: RolloutSettings, direct: bool, places: Vec<Place>, book: Arc<dyn Book>) -> Self {
        let overlap = |launch: &Launch| launch.spec.run.may_overlap();
        let task = Task {
            settings,
            targets: places.len(),
            has_old: !places.is_empty() && places.iter().all(|place| place.old.is_some()),
            may_overlap: places.iter().all(|p| overlap(&p.new) && p.old.as_ref().is_none_or(overlap)),
            direct,
        };
        let saved = Saved {
            machine: Machine::begin(task),
            places: places.iter().map(Slots::of).collect(),
            asked: 0,
            cancelled: false,
            failing: None,
            dirty: true,
        };
        Self { crew: Crew::new(places), saved, book, taken_over: false }
    }

    /// Goes on where another worker ended. The places are those of the state, in its order: the same targets, the release
    /// of the roll-out, and the old releases that [`Saved::places`] names.
    pub fn resume(saved: Saved, mut places: Vec<Place>, book: Arc<dyn Book>) -> Result<Self, Stop> {
        let same = places.len() == saved.places.len()
            && places.iter().zip(&saved.places).all(|(place, slots)| {
                place.fence.target == slots.target && place.old.is_some() == slots.old.is_some()
            });
        if !same {
            return Err(Stop::terminal(
                Code::StoreUnexpected,
                "the targets of the roll-out are not those it began with; start a new deployment",
            ));
        }
        for (place, slots) in places.iter_mut().zip(&saved.places) {
            place.new.slot = slots.new.clone();
            if let (Some(launch), Some(old)) = (&mut place.old, &slots.old) {
                launch.slot = old.slot.clone();
            }
        }
        Ok(Self { crew: Crew::new(places), saved, book, taken_over: true })
    }

    /// Until it ended, or `Err`: `Retryable` and `Cancelled` leave a state to go on from; `ClaimLost` is for a zombie.
    pub async fn run(
        mut self,
        cancel: &CancellationToken,
        kind: &(dyn Fn() -> StopKind + Send + Sync),
    ) -> Result<Ending, Stop> {
        let book = Arc::clone(&self.book);
        let book = book.as_ref();
        let orders = Orders { stop: cancel, kind };
        if self.taken_over {
            self.saved.machine.resumed();
            self.saved.dirty = true;
            tell(book, &News::TakenOver).await?;
        }
        let mut begun: Option<Action> = None;
        loop {
            // Whether it halts anything does not matter: nothing is in hand.
            attend::listen(&mut self.saved, book, orders).await?;
            let action = self.saved.machine.action();
            save(&mut self.saved, book).await?;
            if let Action::End(ending) = action {
                return self.finish(ending, orders).await;
            }
            if begun.as_ref() != Some(&action) {
                self.announce(&action).await?;
                self.crew.begin(&action, &self.saved.machine);
                begun = Some(action.clone());
            }
            let Some(seen) = self.step(&action, orders).await? else { continue };
            if self.observe(&action, &seen).await?.is_yes() {
                begun = None;
            }
        }
    }

    /// Does the action in hand, or one tick of it, and listens meanwhile. `None`: there is nothing to tell the machine.
    async fn step(&mut self, action: &Action, orders: Orders<'_>) -> Result<Option<Observation>, Stop> {
        let Self { crew, saved, book, .. } = self;
        let manner = Manner::new(saved.machine.turning().is_some(), orders.stop);
        let done = CancellationToken::new();
        let known = saved.clone();
        let work = async {
            let result = crew.perform(action, &known, &manner, book.as_ref()).await;
            done.cancel();
            Ok(result)
        };
        let ear = async {
            let heard = attend::attend(saved, book.as_ref(), orders, &done).await?;
            if heard == Attention::Halt {
                manner.halt.cancel();
            }
            Ok::<Attention, Stop>(heard)
        };
        let (result, _) = tokio::try_join!(work, ear)?;
        match result {
            Ok(seen) => Ok(seen),
            Err(Break::Stop(stop)) => Err(stop),
            Err(Break::Refused(error)) => Ok(Some(failed(&error))),
            // Where the machine went on by itself there is nothing to tell. Where it waits for this action, it is given up.
            Err(Break::Halted) if self.saved.machine.action() != *action => Ok(None),
            Err(Break::Halted) => Ok(Some(failed(&Error::new(
                Code::StepDeadline,
                "the target did not answer in time for the way back; check that its engine and its edge are up",
            )))),
        }
    }

    /// Tells the machine, and people what it makes of it.
    async fn observe(&mut self, action: &Action, seen: &Observation) -> Result<Changed, Stop> {
        let was_turning = self.saved.machine.turning().is_some();
        let changed = self.saved.machine.observe(seen);
        for (target, restarts) in self.crew.restarts.drain(..) {
            if let Some(slots) = self.saved.places.get_mut(target) {
                slots.restarts = restarts;
            }
        }
        let failing = self.crew.failing.take();
        if !changed.is_yes() {
            return Ok(changed);
        }
        self.saved.dirty = true;
        match (self.saved.machine.turning(), action) {
            (Some(Why::Unhealthy { .. }), _) if !was_turning => self.saved.failing = failing,
            (_, Action::Retire { side: Side::New, .. }) => self.saved.failing = None,
            _ => {}
        }
        let mut news = self.crew.outcome(action, seen, &self.saved.machine);
        let arrived = matches!(self.saved.machine.ended(), Some(end) if end.outcome == RolloutOutcome::Done);
        match (self.saved.machine.turning(), seen) {
            (Some(why), _) if !was_turning && !arrived => news.push(News::TurningBack { why: why.clone() }),
            (_, Observation::Failed { code, sentence }) => {
                news.push(News::Failed { code: code.clone(), sentence: sentence.clone() });
            }
            _ => {}
        }
        for news in news {
            tell(self.book.as_ref(), &news).await?;
        }
        Ok(changed)
    }

    async fn announce(&self, action: &Action) -> Result<(), Stop> {
        if let Some(news) = self.crew.intent(action, &self.saved.machine) {
            tell(self.book.as_ref(), &news).await?;
        }
        Ok(())
    }

    async fn finish(&mut self, ending: Ending, orders: Orders<'_>) -> Result<Ending, Stop> {
        let hurried = self.saved.cancelled || orders.stop.is_cancelled();
        let manner = Manner::new(true, orders.stop);
        let work = self.crew.finish(&ending, &self.saved, &manner, hurried, self.book.as_ref());
        let leave = async {
            // A stop for good does not undo what ended; the worker's leaving is heard.
            orders.stop.cancelled().await;
            if (orders.kind)() == StopKind::ForGood {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            result = work => match result {
                Err(Break::Stop(stop)) => return Err(stop),
                Err(Break::Refused(error)) => tracing::warn!(error = error.chain(), "cannot tidy up after a roll-out"),
                Ok(()) | Err(Break::Halted) => {}
            },
            () = leave => return Err(Stop::Cancelled),
        }
        if ending.outcome == RolloutOutcome::Left {
            tell(self.book.as_ref(), &News::NeitherHealthy).await?;
        }
        tell(self.book.as_ref(), &News::Ended { ending: ending.clone() }).await?;
        Ok(ending)
    }
}

impl Slots {
    fn of(place: &Place) -> Self {
        let old = place.old.as_ref().map(|old| OldSlot {
            slot: old.slot.clone(),
            release: old.release,
            deployment: old.deployment,
        });
        Self { target: place.fence.target.clone(), new: place.new.slot.clone(), old, restarts: None }
    }
}

fn failed(error: &Error) -> Observation {
    Observation::Failed { code: error.code().as_str().to_owned(), sentence: error.sentence().to_owned() }
}

async fn save(saved: &mut Saved, book: &dyn Book) -> Result<(), Stop> {
    if saved.dirty {
        write(|| book.save(saved)).await?;
        saved.dirty = false;
    }
    Ok(())
}

async fn tell(book: &dyn Book, news: &News) -> Result<(), Stop> {
    write(|| book.tell(news)).await
}

/// Of one write to the book.
const WRITE: Duration = Duration::from_secs(10);
/// How long the store may be out of reach.
const STORE_PATIENCE: Duration = Duration::from_secs(30);

/// A write to the book, tried again while the store is out of reach.
async fn write<F>(mut call: impl FnMut() -> F) -> Result<(), Stop>
where
    F: Future<Output = Result<(), Stop>>,
{
    let begun = Instant::now();
    let mut failures = 0;
    loop {
        let written = tokio::time::timeout(WRITE, call()).await.unwrap_or_else(|_| {
            let sentence =
                format!("the record did not answer within {} s; it is asked again", WRITE.as_secs());
            Err(Error::new(Code::DatabaseUnavailable, sentence).into())
        });
        match written {
            Err(Stop::Retryable { .. }) if begun.elapsed() < STORE_PATIENCE => {
                tokio::time::sleep(STORE_BACKOFF.jittered(failures)).await;
                failures += 1;
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests;
