//! The handler of `deploy` jobs: from a commit to a release, and on to users.

use async_trait::async_trait;
use deploymind_shared::db::deployments::Trigger;
use deploymind_shared::db::pins::commit_is_bad;
use deploymind_shared::domain::deployment::DeploymentStatus;
use deploymind_shared::domain::job::Deploy;
use deploymind_shared::error::Code;
use deploymind_shared::events::EventKind;
use deploymind_shared::retry::Stop;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::STEPS;
use super::rollout::port_unknown;
use super::run::Run;
use super::session::{Course, Pipeline};
use super::step::stopped;
use super::steps::{Build, Checkout, Detect, Detected, Push, Release, ScanImage, ScanSource, release_port};
use crate::build::Built;
use crate::context::JobContext;
use crate::dockerfile::local_images;
use crate::registry::{Done, Handler};

pub(super) struct DeployHandler(pub(super) Pipeline);

#[async_trait]
impl Handler for DeployHandler {
    type Kind = Deploy;

    async fn run(&self, job: Deploy, context: JobContext) -> Result<Done, Stop> {
        self.0.carry(Course::Deploy, job.deployment_id, context).await
    }
}

impl Run {
    pub(super) async fn deploy(&self) -> Result<Done, Stop> {
        let cancel = self.context.stopping();
        self.begin().await?;
        if let Some(release) = self.rollout_begun().await? {
            return self.roll_out(release, Course::Deploy).await;
        }
        self.preflight().await?;

        self.advance(DeploymentStatus::Cloning, 5, "fetching the repository").await?;
        let checkout = self.step(&Checkout, cancel).await?;

        self.not_bad(&checkout.commit).await?;

        self.advance(DeploymentStatus::Building, 20, "building the image").await?;
        let (detected, built) = self.build_beside_scan(&checkout.commit, cancel).await?;

        self.advance(DeploymentStatus::SecurityScanning, 75, "scanning the image").await?;
        self.step(&ScanImage { image_id: &built.image_id }, cancel).await?;

        let pushed = match &self.plan.settings.registry {
            None => None,
            Some(repository) => {
                self.progress(DeploymentStatus::SecurityScanning, 85, "pushing the image").await?;
                Some(self.step(&Push { image_id: &built.image_id, repository }, cancel).await?)
            }
        };
        let release =
            Release { commit: &checkout.commit, detected: &detected, built: &built, pushed: pushed.as_ref() };
        let released = self.step(&release, cancel).await?;
        self.progress(DeploymentStatus::SecurityScanning, 90, "release recorded").await?;
        self.lines.info(format!("release {}", released.release)).await;
        stopped(cancel)?;
        if self.plan.app.targets.is_empty() {
            return Err(no_target());
        }
        self.roll_out(released.release, Course::Deploy).await
    }

    /// What the tree and its Dockerfile make pointless is said before the build.
    fn worth_building(&self, detected: &Detected) -> Result<(), Stop> {
        if let Some(image) = local_images(&detected.dockerfile).into_iter().next() {
            return Err(Stop::terminal(
                Code::DockerfileInvalid,
                format!(
                    "the Dockerfile builds on `{image}`, which only this engine can have: name an image of a registry"
                ),
            ));
        }
        match release_port(&self.plan.settings, detected) {
            None if !self.plan.settings.run.routes.is_empty() => Err(port_unknown()),
            _ => Ok(()),
        }
    }

    /// A push is of the newest commit, whichever that was; what users were taken back from does not return by itself.
    async fn not_bad(&self, commit: &str) -> Result<(), Stop> {
        if self.plan.trigger != Trigger::Push {
            return Ok(());
        }
        match commit_is_bad(self.context.db(), self.plan.app.id, commit).await? {
            None => Ok(()),
            Some(reason) => Err(Stop::terminal(
                Code::CommitBad,
                format!(
                    "this commit was rolled back before ({reason}); push another, or deploy this one by hand"
                ),
            )),
        }
    }

    pub(super) async fn begin(&self) -> Result<(), Stop> {
        for exposed in self.redactor.exposed() {
            self.lines.warn(exposed.to_string()).await;
        }
        let attempt = self.context.attempt();
        if attempt.0 > 1 {
            self.workspace.evict().await?;
            self.lines
                .warn(format!("run {attempt} of this deployment: going on where the last one stopped"))
                .await;
        }
        let body = json!({ "app": self.plan.app.name, "branch": self.plan.app.branch, "attempt": attempt });
        self.tell(EventKind::DeploymentStarted, body).await?;
        self.flush().await?;
        self.journal.write_done(STEPS[0], &json!({})).await
    }

    /// The source is scanned while the image is built; a scan that refuses stops the build at once.
    async fn build_beside_scan(
        &self,
        commit: &str,
        cancel: &CancellationToken,
    ) -> Result<(Detected, Built), Stop> {
        // Each is stopped by the other's failure, and both by the job's end.
        let (gate, abandoned) = (cancel.child_token(), cancel.child_token());
        let scan = async {
            let scanned = self.step(&ScanSource, &abandoned).await;
            if scanned.is_err() {
                gate.cancel();
            }
            scanned
        };
        let build = async {
            let built = self.detect_and_build(commit, &gate).await;
            if matches!(built, Err(Stop::Terminal(_) | Stop::ClaimLost)) && !gate.is_cancelled() {
                abandoned.cancel();
            }
            built
        };
        match Box::pin(async { tokio::join!(scan, build) }).await {
            (Ok(_), built) => built,
            (Err(scan), Err(build)) if weight(&build) > weight(&scan) => Err(build),
            (Err(scan), _) => Err(scan),
        }
    }

    async fn detect_and_build(
        &self,
        commit: &str,
        cancel: &CancellationToken,
    ) -> Result<(Detected, Built), Stop> {
        let detected = self.step(&Detect, cancel).await?;
        self.worth_building(&detected)?;
        let built = self.step(&Build { detected: &detected, commit }, cancel).await?;
        Ok((detected, built))
    }
}

/// Which of two reasons to stop counts: one that was stopped because of the other never does.
const fn weight(stop: &Stop) -> u8 {
    match stop {
        Stop::ClaimLost => 3,
        Stop::Terminal(_) => 2,
        Stop::Retryable { .. } | Stop::Parked => 1,
        Stop::Cancelled => 0,
    }
}

fn no_target() -> Stop {
    Stop::terminal(
        Code::TargetUnsupported,
        "the image is built and released, but the app has no target to roll out to; add one",
    )
}
