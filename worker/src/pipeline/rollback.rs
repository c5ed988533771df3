//! The handler of `rollback` jobs: an earlier release, image and variables and routes, without a build.

use async_trait::async_trait;
use deploymind_shared::domain::job::Rollback;
use deploymind_shared::error::Code;
use deploymind_shared::retry::Stop;

use super::run::Run;
use super::session::{Course, Pipeline};
use crate::context::JobContext;
use crate::registry::{Done, Handler};

pub(super) struct RollbackHandler(pub(super) Pipeline);

#[async_trait]
impl Handler for RollbackHandler {
    type Kind = Rollback;

    async fn run(&self, job: Rollback, context: JobContext) -> Result<Done, Stop> {
        self.0.carry(Course::Rollback, job.deployment_id, context).await
    }
}

impl Run {
    pub(super) async fn roll_back(&self) -> Result<Done, Stop> {
        let release = self.plan.release.ok_or_else(|| {
            Stop::terminal(Code::NoWayBack, "this rollback names no release; ask for it again with one")
        })?;
        self.begin().await?;
        self.roll_out(release, Course::Rollback).await
    }
}
