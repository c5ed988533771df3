//! Taking back what a deployment that cannot succeed has made, last step first.
//!
//! # Guarantees
//! Every undo may be repeated, also by another worker, and one that fails does not keep the others from being tried. What
//! could not be undone now is collected by [`super::sweep`]. A run whose claim is lost takes nothing away.

use deploymind_shared::db::deployments::deployment_fates;
use deploymind_shared::db::steps::StepState;
use deploymind_shared::retry::Stop;

use super::STEPS;
use super::run::Run;
use super::step::Step as _;
use super::steps::{Build, Checkout};
use crate::build::{self, Built};

impl Run {
    /// To be called once the deployment has no way forward. Stays within a few seconds.
    pub(super) async fn unwind(&self) {
        for step in STEPS.iter().rev().filter(|step| self.journal.touched(step)) {
            fail::fail_point!(&format!("pipeline.{step}.undoing"));
            if let Err(stop) = self.undo(step).await {
                tracing::warn!(deployment.id = %self.deployment, step, stop = ?stop, "not undone now; the sweep will");
                if matches!(stop, Stop::ClaimLost) {
                    // What is there now may be what another worker has made.
                    return;
                }
            }
        }
    }

    async fn undo(&self, step: &str) -> Result<(), Stop> {
        match step {
            Build::NAME => {
                self.context.still_ours().await?;
                // A release is a promise: its image stays until the release goes. The record knows; the journal may not
                // have come to it.
                if self.released().await? {
                    return Ok(());
                }
                self.undo_build().await?;
            }
            Checkout::NAME => {
                self.context.still_ours().await?;
                self.workspace.remove().await?;
            }
            _ => return Ok(()),
        }
        self.journal.write(step, StepState::Undone, None).await
    }

    async fn released(&self) -> Result<bool, Stop> {
        let fates = deployment_fates(self.context.db(), &[self.deployment]).await?;
        Ok(fates.first().is_some_and(|fate| fate.released))
    }

    async fn undo_build(&self) -> Result<(), Stop> {
        let engine = self.engine().await?;
        // The journal knows the image only when the build was done; the label always does.
        if let Some(built) = self.journal.output::<Built>(Build::NAME) {
            build::image_remove(&engine, &built.image_id).await?;
        }
        let deployment = self.deployment.to_string();
        for image in build::images_labelled(&engine).await? {
            if image.deployment == deployment {
                build::image_remove(&engine, &image.id).await?;
            }
        }
        Ok(())
    }
}
