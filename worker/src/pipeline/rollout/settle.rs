//! The handler of `settle` jobs: a roll-out that its deployment left half way (its worker died once too often, its job ran
//! out of tries, somebody cancelled it while it waited) is brought to an end: back to what served before.

use std::sync::Arc;

use async_trait::async_trait;
use deploymind_shared::db::apps::app_plan;
use deploymind_shared::db::rollouts::{
    Rollout, RolloutEnd, Serving, rollout_finish, rollout_get, serving_list,
};
use deploymind_shared::domain::job::Settle;
use deploymind_shared::domain::rollout::RolloutOutcome;
use deploymind_shared::ids::{DeploymentId, TargetName};
use deploymind_shared::retry::Stop;

use super::book::Record;
use super::ending::Verdict;
use super::{Outcome, Runnable, drive, rollout_end, saved};
use crate::context::JobContext;
use crate::pipeline::session::Pipeline;
use crate::registry::{Done, Handler};
use crate::rollout::Ask;
use crate::rollout::driver::{Book, Driver, News, Place, Saved};
use crate::runtime::{AppRef, Fence};

pub(in crate::pipeline) struct SettleHandler(pub(in crate::pipeline) Pipeline);

#[async_trait]
impl Handler for SettleHandler {
    type Kind = Settle;

    async fn run(&self, job: Settle, context: JobContext) -> Result<Done, Stop> {
        let db = context.db();
        let deployment = job.deployment_id;
        let Some(row) = rollout_get(db, deployment).await? else { return Ok(Done::default()) };
        // Its app is gone, and what is left of it is collected.
        let Some(plan) = app_plan(db, deployment).await? else { return Ok(Done::default()) };
        if row.outcome.is_some() {
            return Ok(Done::default());
        }
        let mut state = saved(&row.state)?;
        // The deployment is over and did not succeed: whatever the roll-out was at, users go back.
        let _there_already = state.machine.ask(Ask::Cancel);
        let targets: Vec<TargetName> = state.places.iter().map(|place| place.target.clone()).collect();
        context.lock(&targets).await?;
        if left_behind(&serving_list(db, plan.app.id).await?, &row, &state) {
            return self.take_away(&context, deployment, &row, &state).await;
        }
        let ring = &self.0.tools.keyring;
        let new = Runnable::load(db, ring, &plan.app, row.release).await?;
        let app = AppRef { id: plan.app.id, name: plan.app.name.clone() };
        let mut places = Vec::new();
        for slots in &state.places {
            let old = match &slots.old {
                Some(old) => {
                    let side = Runnable::load(db, ring, &plan.app, old.release).await?;
                    Some(side.launch(&app, old.slot.clone(), plan.host_mounts))
                }
                None => None,
            };
            places.push(Place {
                runtime: self.0.tools.targets.runtime(db, None, &slots.target).await?,
                fence: Fence {
                    target: slots.target.clone(),
                    epoch: context.epoch(&slots.target).ok_or(Stop::ClaimLost)?,
                },
                new: new.launch(&app, slots.new.clone(), plan.host_mounts),
                old,
            });
        }
        let record = Record {
            context: context.clone(),
            deployment,
            app: plan.app.id,
            release: row.release,
            previous: row.previous,
            strategy: row.strategy,
        };
        let driver = Driver::resume(state, places, Arc::new(Quiet(record)))?;
        drive(driver, &context).await?;
        let row = rollout_get(db, deployment).await?.ok_or(Stop::ClaimLost)?;
        let state = saved(&row.state)?;
        let ending = state.machine.ended().ok_or(Stop::ClaimLost)?;
        let outcome = Outcome { saved: &state, ending, release: row.release, deployment };
        let end = rollout_end(&context, &outcome, &Verdict::of(ending))?;
        rollout_finish(db, context.id(), context.attempt(), deployment, &end).await?;
        tracing::info!(deployment.id = %deployment, outcome = %ending.outcome, "roll-out brought to an end");
        Ok(Done::default())
    }
}

/// Whether users were sent to something else since the roll-out began: then there is no way back to what served before it.
fn left_behind(serving: &[Serving], row: &Rollout, state: &Saved) -> bool {
    let mut now = serving.iter().filter(|one| state.places.iter().any(|slots| slots.target == one.target));
    now.any(|one| one.since > row.started_at)
}

impl SettleHandler {
    /// A later deployment has users, and keeps them: what is left of this one goes, and that is its end.
    async fn take_away(
        &self,
        context: &JobContext,
        deployment: DeploymentId,
        row: &Rollout,
        state: &Saved,
    ) -> Result<Done, Stop> {
        let db = context.db();
        let serving = serving_list(db, row.app).await?;
        for slots in &state.places {
            // The later one may have gone back to this very slot.
            if serving.iter().any(|one| one.slot == slots.new.0) {
                continue;
            }
            let fence = Fence {
                target: slots.target.clone(),
                epoch: context.epoch(&slots.target).ok_or(Stop::ClaimLost)?,
            };
            self.0.tools.targets.runtime(db, None, &slots.target).await?.retire(&fence, &slots.new).await?;
        }
        let outcome = match state.machine.reached() {
            0 => RolloutOutcome::Withdrawn,
            _ => RolloutOutcome::Reverted,
        };
        let end = RolloutEnd {
            outcome,
            reason: Some("a later deployment has taken over from what this one left half way".to_owned()),
            state: serde_json::json!(state),
            serving: Vec::new(),
            unserved: Vec::new(),
            automatic: false,
            succeeded: false,
            pin: None,
            bad_commit: None,
        };
        rollout_finish(db, context.id(), context.attempt(), deployment, &end).await?;
        tracing::info!(deployment.id = %deployment, outcome = %outcome, "a later deployment had taken over");
        Ok(Done::default())
    }
}

/// The deployment's log is closed: what happens now is in this process's own.
struct Quiet(Record);

#[async_trait]
impl Book for Quiet {
    async fn save(&self, state: &Saved) -> Result<(), Stop> {
        self.0.save(state).await
    }

    /// Nobody is asked about the end of something that has ended.
    async fn asked(&self, _: i64) -> Result<Vec<(i64, Ask)>, Stop> {
        Ok(Vec::new())
    }

    async fn tell(&self, news: &News) -> Result<(), Stop> {
        let deployment: DeploymentId = self.0.deployment;
        match news {
            // A slot's own lines may hold anything.
            News::Unhealthy { target, slot, finding, .. } => {
                tracing::warn!(deployment.id = %deployment, target = %target, slot = %slot, finding = %finding.code, "slot is not healthy");
            }
            News::NeitherHealthy => {
                tracing::error!(deployment.id = %deployment, "neither release is healthy: traffic was left where it was");
            }
            other => tracing::info!(deployment.id = %deployment, news = ?other, "settling a roll-out"),
        }
        Ok(())
    }
}
