//! One deployment while a worker runs it: what every step may know and say.

use std::sync::Arc;
use std::time::Duration;

use deploymind_shared::clock::Clock;
use deploymind_shared::db::apps::Plan;
use deploymind_shared::domain::deployment::DeploymentStatus;
use deploymind_shared::error::Error;
use deploymind_shared::events::EventKind;
use deploymind_shared::ids::DeploymentId;
use deploymind_shared::retry::Stop;
use serde_json::json;

use super::Tools;
use super::journal::Journal;
use super::secrets::Secrets;
use super::workspace::Workspace;
use crate::build::Engine;
use crate::context::JobContext;
use crate::log::{Flusher, Lines, Redactor};

pub(super) struct Run {
    pub(super) context: JobContext,
    pub(super) tools: Arc<Tools>,
    pub(super) deployment: DeploymentId,
    pub(super) plan: Plan,
    pub(super) secrets: Secrets,
    pub(super) journal: Journal,
    pub(super) workspace: Workspace,
    pub(super) redactor: Arc<Redactor>,
    pub(super) lines: Lines,
    pub(super) flusher: Flusher,
}

impl Run {
    /// Moves the deployment on and says so.
    pub(super) async fn advance(&self, to: DeploymentStatus, percent: u8, message: &str) -> Result<(), Stop> {
        self.context.advance(to).await?;
        self.progress(to, percent, message).await
    }

    pub(super) async fn progress(
        &self,
        status: DeploymentStatus,
        percent: u8,
        message: &str,
    ) -> Result<(), Stop> {
        self.lines.info(message).await;
        let body = json!({
            "status": status,
            "phase": status.as_str().to_lowercase(),
            "message": message,
            "progress_percentage": percent,
            "timestamp": Clock::system().now(),
        });
        self.tell(EventKind::Progress, body).await
    }

    /// Tells whoever listens; no secret's value gets out this way either.
    pub(super) async fn tell(&self, kind: EventKind, mut body: serde_json::Value) -> Result<(), Stop> {
        self.redactor.redact_json(&mut body);
        self.context.tell(kind, &body).await
    }

    /// Returns when everything said so far is in the record.
    pub(super) async fn flush(&self) -> Result<(), Stop> {
        self.flusher.flush().await
    }

    pub(super) async fn engine(&self) -> Result<Engine, Stop> {
        self.tools.engine().await
    }

    /// The folder of the tree that is the app. Whether it is there was seen by the detection.
    pub(super) fn root(&self) -> std::path::PathBuf {
        match &self.plan.settings.root {
            Some(root) => self.workspace.tree().join(root),
            None => self.workspace.tree(),
        }
    }

    /// `deploymind/<app>:<deployment>`: no other deployment has it.
    pub(super) fn tag(&self) -> String {
        format!("deploymind/{}:{}", self.plan.app.name, self.deployment)
    }

    /// The smaller of what the app asks for and what the worker allows.
    pub(super) fn build_deadline(&self) -> Duration {
        let most = self.tools.config.build.deadline;
        let asked = self.plan.settings.build.deadline_s.map(|s| Duration::from_secs(s.into()));
        asked.map_or(most, |asked| asked.min(most))
    }
}

/// The same stop with a sentence that is safe to keep and show. What caused it may hold anything, so it goes no further.
pub(super) fn hide(redactor: &Redactor, stop: Stop) -> Stop {
    let hidden = |error: Error| Error::new(error.code(), redactor.redact_text(error.sentence()).into_owned());
    if let Stop::Terminal(error) | Stop::Retryable { error, .. } = &stop {
        tracing::warn!(error = %redactor.redact_text(&error.chain()), "pipeline stopped");
    }
    match stop {
        Stop::Terminal(error) => Stop::Terminal(hidden(error)),
        Stop::Retryable { after, error } => Stop::Retryable { after, error: hidden(error) },
        Stop::Cancelled | Stop::Parked | Stop::ClaimLost => stop,
    }
}
