//! Deployments: accepted with their job, then put in line.

use super::{Fleet, pushed_later};
use crate::db::deployments::{self, Created, NewDeployment, Trigger};
use crate::domain::job::{Deploy, JobKind, Priority, Rollback};
use crate::error::{Code, Error, Result};
use crate::ids::{AppId, DeploymentId, UserId};
use crate::queue::{control, line};
use crate::telemetry::TraceContext;

impl Fleet {
    /// Accepts a deployment of `app`. `Ok` means durable: it ends in a terminal status, whatever dies now.
    ///
    /// A push is refused while the app is pinned (`AppPinned`), after too many automatic ways back in a row
    /// (`RollbackLoop`), and when its commit was rolled back before (`CommitBad`). What a person asks for goes through.
    pub async fn deploy(
        &self,
        app: AppId,
        trigger: Trigger,
        requested_by: Option<UserId>,
        commit: Option<String>,
        priority: Priority,
    ) -> Result<Created> {
        let (kind, locking) = match trigger {
            Trigger::Rollback => (Rollback::KIND, Rollback::LOCKING),
            Trigger::Manual | Trigger::Push | Trigger::Retry => (Deploy::KIND, Deploy::LOCKING),
        };
        let trace = TraceContext::current();
        let release = None;
        let new =
            NewDeployment { app, trigger, requested_by, commit, release, kind, locking, priority, trace };
        let created = deployments::deployment_create(&self.db, &new).await?;
        fail::fail_point!("deploy.after_commit");
        pushed_later("deployment", self.announce(app, &created).await);
        Ok(created)
    }

    pub(super) async fn announce(&self, app: AppId, created: &Created) -> Result<()> {
        line::withdraw(&self.queue, &created.superseded).await?;
        if let Some((job, worker)) = created.stopping {
            control::tell(&self.queue, worker, control::Message::Cancel(job)).await?;
        }
        self.advance_apps(&[app]).await
    }

    /// A new attempt at what an ended deployment was for.
    pub async fn deployment_retry(&self, deployment: DeploymentId) -> Result<Created> {
        let old = deployments::deployment_get(&self.db, deployment).await?.ok_or_else(|| {
            Error::new(Code::JobUnknown, format!("deployment {deployment} is no longer in the record"))
        })?;
        if let (Trigger::Rollback, Some(release)) = (old.trigger, old.release) {
            return self.rollback(old.app, Some(release), None).await;
        }
        self.deploy(old.app, Trigger::Retry, None, old.commit, Priority::High).await
    }
}
