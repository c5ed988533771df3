//! Jobs the fleet gives itself: bringing roll-outs to an end that were left half way, and cleaning targets up.

use super::{Fleet, JobRequest, pushed_later};
use crate::db::jobs::job_insert;
use crate::db::rollouts::Adrift;
use crate::db::targets::target_environment;
use crate::domain::job::{Collect, Priority, Settle};
use crate::error::{Code, Error, Result};
use crate::ids::{EnvironmentName, JobId, TargetName};
use crate::queue::line;

impl Fleet {
    /// Sends a worker to a roll-out that its deployment left. It goes first: users may be reaching two releases.
    pub async fn settle(&self, adrift: &Adrift) -> Result<JobId> {
        let job = Settle { deployment_id: adrift.deployment };
        let mut request = JobRequest::new(adrift.environment.clone(), &job)?;
        request.priority = Priority::High;
        request.targets.clone_from(&adrift.targets);
        self.submit_one(request).await
    }

    /// Sends a worker to remove from `target` what no app needs any more, or to say what that is.
    pub async fn collect(&self, target: &TargetName, dry_run: bool) -> Result<JobId> {
        let environment = target_environment(&self.db, target).await?.ok_or_else(|| {
            Error::new(
                Code::TargetUnknown,
                format!("no app is on {target}, so no environment's workers may act there; give an app this target"),
            )
        })?;
        self.collect_from(environment, target, dry_run).await
    }

    /// As [`Fleet::collect`], by the workers of `environment`.
    pub async fn collect_from(
        &self,
        environment: EnvironmentName,
        target: &TargetName,
        dry_run: bool,
    ) -> Result<JobId> {
        let mut request = JobRequest::new(environment, &Collect { target: target.clone(), dry_run })?;
        request.targets.push(target.clone());
        self.submit_one(request).await
    }

    async fn submit_one(&self, request: JobRequest) -> Result<JobId> {
        let (new, placement) = request.accept()?;
        for answer in job_insert(&self.db, std::slice::from_ref(&new)).await? {
            answer?;
        }
        pushed_later("upkeep", line::enqueue(&self.queue, &[placement]).await.map(drop));
        Ok(new.id)
    }
}
