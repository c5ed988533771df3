//! The way back, by a person's wish, and what a person may ask of a roll-out while it runs.

use super::{Fleet, pushed_later};
use crate::db::deployments::{Created, NewDeployment, Trigger, deployment_create};
use crate::db::releases::{Release, release_before, release_get, release_serves};
use crate::db::rollouts::rollout_command_add;
use crate::domain::job::{JobKind, Priority, Rollback};
use crate::domain::rollout::RolloutCommand;
use crate::error::{Code, Error, Result};
use crate::ids::{AppId, DeploymentId, ReleaseId, UserId};
use crate::telemetry::TraceContext;

impl Fleet {
    /// Accepts a way back of `app` to `release`, or to the one before what users reach now. `ReleaseUnknown` when it is not
    /// the app's; `NoWayBack` when there is none, or users reach it everywhere already.
    pub async fn rollback(
        &self,
        app: AppId,
        release: Option<ReleaseId>,
        requested_by: Option<UserId>,
    ) -> Result<Created> {
        let release = self.way_back(app, release).await?;
        let new = NewDeployment {
            app,
            trigger: Trigger::Rollback,
            requested_by,
            commit: release.spec["commit"].as_str().map(str::to_owned),
            release: Some(release.id),
            kind: Rollback::KIND,
            locking: Rollback::LOCKING,
            priority: Priority::High,
            trace: TraceContext::current(),
        };
        let created = deployment_create(&self.db, &new).await?;
        fail::fail_point!("deploy.after_commit");
        pushed_later("rollback", self.announce(app, &created).await);
        Ok(created)
    }

    async fn way_back(&self, app: AppId, wanted: Option<ReleaseId>) -> Result<Release> {
        let unknown = |id| {
            Error::new(
                Code::ReleaseUnknown,
                format!("release {id} is not one of this app's, or is not there any more"),
            )
        };
        let id = match wanted {
            Some(id) => id,
            None => release_before(&self.db, app).await?.ok_or_else(|| {
                Error::new(
                    Code::NoWayBack,
                    "there is no earlier release that users have reached; deploy a good commit instead",
                )
            })?,
        };
        let release =
            release_get(&self.db, id).await?.filter(|found| found.app == app).ok_or_else(|| unknown(id))?;
        if release_serves(&self.db, id).await? {
            return Err(Error::new(
                Code::NoWayBack,
                format!("users reach release {id} on every target already"),
            ));
        }
        Ok(release)
    }

    /// Asks something of a deployment's roll-out; its worker reads it within a moment. `false`: none is in progress.
    pub async fn rollout_command(
        &self,
        deployment: DeploymentId,
        command: RolloutCommand,
        by: Option<UserId>,
    ) -> Result<bool> {
        rollout_command_add(&self.db, deployment, command, by).await
    }
}
