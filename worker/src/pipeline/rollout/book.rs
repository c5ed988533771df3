//! The book of a roll-out: its state in the record, its words in the log and among the events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use deploymind_shared::db::deployments::deployment_get;
use deploymind_shared::db::rollouts::{NewRollout, rollout_commands, rollout_open, rollout_save};
use deploymind_shared::domain::deployment::DeploymentStatus;
use deploymind_shared::domain::rollout::StrategyKind;
use deploymind_shared::ids::{AppId, DeploymentId, ReleaseId};
use deploymind_shared::retry::Stop;
use serde_json::json;

use super::words;
use crate::context::JobContext;
use crate::log::{Lines, Redactor};
use crate::pipeline::session::Course;
use crate::rollout::Ask;
use crate::rollout::driver::{Book, News, Saved};

/// Where the state of one roll-out is kept.
pub(super) struct Record {
    pub(super) context: JobContext,
    pub(super) deployment: DeploymentId,
    pub(super) app: AppId,
    pub(super) release: ReleaseId,
    pub(super) previous: Option<ReleaseId>,
    pub(super) strategy: StrategyKind,
}

impl Record {
    pub(super) async fn open(&self, state: &Saved) -> Result<(), Stop> {
        let new = NewRollout {
            deployment: self.deployment,
            app: self.app,
            release: self.release,
            previous: self.previous,
            strategy: self.strategy,
            slots: json!(state.places),
            state: json!(state),
        };
        rollout_open(self.context.db(), self.context.id(), self.context.attempt(), &new).await?;
        Ok(())
    }

    pub(super) async fn save(&self, state: &Saved) -> Result<(), Stop> {
        fail::fail_point!("rollout.saving");
        let (slots, state) = (json!(state.places), json!(state));
        let (job, attempt) = (self.context.id(), self.context.attempt());
        rollout_save(self.context.db(), job, attempt, self.deployment, &slots, &state).await?;
        fail::fail_point!("rollout.saved");
        Ok(())
    }

    pub(super) async fn asked(&self, after: i64) -> Result<Vec<(i64, Ask)>, Stop> {
        let asked = rollout_commands(self.context.db(), self.deployment, after).await?;
        Ok(asked.into_iter().map(|(number, command, _)| (number, Ask::from(command))).collect())
    }
}

/// The book of a deployment that runs.
pub(super) struct Desk {
    record: Record,
    lines: Lines,
    /// Knows the secrets of every release that takes part: what a slot writes to its own log may be any of them.
    redactor: Arc<Redactor>,
    course: Course,
    opened: AtomicBool,
}

impl Desk {
    pub(super) fn new(
        record: Record,
        lines: Lines,
        redactor: Arc<Redactor>,
        course: Course,
        opened: bool,
    ) -> Self {
        Self { record, lines, redactor, course, opened: AtomicBool::new(opened) }
    }

    /// From here on traffic may move, and a newer commit waits.
    async fn open(&self, state: &Saved) -> Result<(), Stop> {
        self.record.open(state).await?;
        let context = &self.record.context;
        let now = deployment_get(context.db(), self.record.deployment).await?;
        if now.is_some_and(|now| now.status != DeploymentStatus::Deploying) {
            context.advance(DeploymentStatus::Deploying).await?;
        }
        self.opened.store(true, Ordering::Relaxed);
        Ok(())
    }
}

#[async_trait]
impl Book for Desk {
    async fn save(&self, state: &Saved) -> Result<(), Stop> {
        if !self.opened.load(Ordering::Relaxed) {
            self.open(state).await?;
        }
        if state.machine.turning().is_some() && state.machine.reached() > 0 {
            self.record.context.turn_back().await?;
        }
        self.record.save(state).await
    }

    async fn asked(&self, after: i64) -> Result<Vec<(i64, Ask)>, Stop> {
        self.record.asked(after).await
    }

    async fn tell(&self, news: &News) -> Result<(), Stop> {
        for (level, line) in words::lines(news) {
            self.lines.say(level, self.redactor.redact_text(&line)).await;
        }
        for (kind, mut body) in words::events(news, self.course) {
            self.redactor.redact_json(&mut body);
            self.record.context.tell(kind, &body).await?;
        }
        Ok(())
    }
}
