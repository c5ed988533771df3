//! The handler of `deploy` jobs: opens a deployment, runs its steps, closes it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deploymind_shared::db::apps::{Plan, app_plan};
use deploymind_shared::db::logs::log_last;
use deploymind_shared::db::steps::StepState;
use deploymind_shared::domain::deployment::DeploymentStatus;
use deploymind_shared::domain::job::Deploy;
use deploymind_shared::error::{Code, Error};
use deploymind_shared::events::EventKind;
use deploymind_shared::fleet::Fleet;
use deploymind_shared::ids::DeploymentId;
use deploymind_shared::lifecycle::Lifecycle;
use deploymind_shared::retry::Stop;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::journal::Journal;
use super::run::{Run, hide};
use super::secrets::Secrets;
use super::step::stopped;
use super::steps::{Build, Checkout, Detect, Detected, Push, Release, ScanImage, ScanSource};
use super::tools::Tools;
use super::{STEPS, sweep};
use crate::build::Built;
use crate::context::JobContext;
use crate::log::{self, Lines, Redactor, Writer};
use crate::registry::{Done, Handler};

/// How long the last lines of a deployment may take into a record that is away. Within the grace of a cancelled job.
const LAST_LINES: Duration = Duration::from_secs(3);

pub struct DeployHandler {
    tools: Arc<Tools>,
    fleet: Fleet,
}

impl DeployHandler {
    /// Also begins to look after what earlier processes left on this machine.
    pub fn start(tools: Tools, fleet: &Fleet, lifecycle: &Lifecycle) -> Self {
        let tools = Arc::new(tools);
        let (swept, db, stop) = (Arc::clone(&tools), fleet.db.clone(), lifecycle.token().clone());
        lifecycle.spawn_restarting("sweep", move || {
            let (swept, db, stop) = (Arc::clone(&swept), db.clone(), stop.clone());
            async move {
                Box::pin(stop.run_until_cancelled(sweep::keep_clean(swept, db))).await;
            }
        });
        Self { tools, fleet: fleet.clone() }
    }
}

#[async_trait]
impl Handler for DeployHandler {
    type Kind = Deploy;

    async fn run(&self, job: Deploy, context: JobContext) -> Result<Done, Stop> {
        let deployment = job.deployment_id;
        let journal = Journal::open(&context, deployment).await?;
        journal.write(STEPS[0], StepState::Started, None).await?;
        let opened = self.open(&context, deployment).await;
        let (redactor, opened) = match opened {
            Ok((plan, secrets)) => match secrets.redactor().await {
                Ok(redactor) => (Arc::new(redactor), Ok((plan, secrets))),
                Err(stop) => (Arc::new(Redactor::shapes_only()), Err(stop)),
            },
            // What does not open has no secrets that could get out.
            Err(stop) => (Arc::new(Redactor::shapes_only()), Err(stop)),
        };
        let last = log_last(context.db(), deployment).await?;
        let (lines, received) = Lines::channel(log::writer::ROOM);
        let place = log::Place { job: context.id(), attempt: context.attempt(), deployment };
        let (writer, flusher) =
            Writer::new(&self.fleet, place, Arc::clone(&redactor), log::Limits::default(), last, received);
        let hurry = context.stopping().clone();
        let work = async {
            let workspace = self.tools.workspaces.of(deployment);
            let opened = match opened {
                Ok((plan, secrets)) => Ok(Run {
                    context: context.clone(),
                    tools: Arc::clone(&self.tools),
                    deployment,
                    plan,
                    secrets,
                    journal,
                    workspace,
                    redactor: Arc::clone(&redactor),
                    lines: lines.clone(),
                    flusher,
                }),
                Err(stop) => Err((stop, journal)),
            };
            let ended = match opened {
                Ok(run) => run.finish().await,
                Err((stop, journal)) => {
                    if matches!(stop, Stop::Terminal(_)) {
                        journal.write(STEPS[0], StepState::Failed, None).await?;
                    }
                    Err(stop)
                }
            };
            let ended = ended.map_err(|stop| hide(&redactor, stop));
            say_end(&lines, &ended).await;
            if let Err(Stop::Terminal(error)) = &ended {
                let body = json!({ "code": error.code().as_str(), "reason": error.sentence() });
                // The verdict stands, whether or not it can be told now.
                match context.tell(EventKind::DeploymentFailed, &body).await {
                    Err(Stop::ClaimLost) => return Err(Stop::ClaimLost),
                    Err(stop) => {
                        tracing::warn!(deployment.id = %deployment, stop = ?stop, "its failure was not told")
                    }
                    Ok(()) => {}
                }
            }
            drop(lines);
            ended
        };
        let (ended, written) = tokio::join!(Box::pin(work), writer.run(&hurry, LAST_LINES));
        match (ended, written) {
            // The log says who holds the claim now; without it nothing else may be believed.
            (_, Err(Stop::ClaimLost)) => Err(Stop::ClaimLost),
            (Ok(done), Err(stop)) => {
                tracing::warn!(deployment.id = %deployment, stop = ?stop, "the end of the log was not written");
                Ok(done)
            }
            (ended, _) => ended,
        }
    }
}

impl DeployHandler {
    /// The step `validate`: everything that can be known to be wrong before anything is done.
    async fn open(&self, context: &JobContext, deployment: DeploymentId) -> Result<(Plan, Secrets), Stop> {
        context.check()?;
        let plan = app_plan(context.db(), deployment).await?.ok_or_else(|| {
            Error::new(Code::AppUnknown, "the app of this deployment has been deleted; create it again")
        })?;
        plan.settings.check()?;
        let secrets = Secrets::open(context.db(), &self.tools.keyring, &plan).await?;
        Ok((plan, secrets))
    }
}

impl Run {
    async fn finish(self) -> Result<Done, Stop> {
        let ended = Box::pin(self.steps()).await;
        // A job that goes back in line keeps what it has for the next worker.
        let last = match &ended {
            Ok(_) | Err(Stop::Terminal(_)) => true,
            // Also when it was stopped by a failure of its own a moment before it saw that it should: nobody tries again.
            Err(Stop::Cancelled | Stop::Retryable { .. }) => self.context.stops_for_good(),
            Err(Stop::Parked | Stop::ClaimLost) => false,
        };
        match &ended {
            Ok(_) => {
                if let Err(error) = self.workspace.remove().await {
                    tracing::warn!(deployment.id = %self.deployment, error = error.chain(), "folder left for the sweep");
                }
            }
            Err(_) if last => self.unwind().await,
            Err(_) => {}
        }
        ended
    }

    async fn steps(&self) -> Result<Done, Stop> {
        let cancel = self.context.stopping();
        self.begin().await?;

        self.advance(DeploymentStatus::Cloning, 5, "fetching the repository").await?;
        let checkout = self.step(&Checkout, cancel).await?;

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
        Err(no_runtime(&self.plan))
    }

    async fn begin(&self) -> Result<(), Stop> {
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

/// Where the pipeline ends as long as there is nothing that could take the release to a target.
fn no_runtime(plan: &Plan) -> Stop {
    let sentence = match plan.app.targets.first() {
        Some(target) => format!(
            "the image is built and released, but this version cannot roll out to {target}; the release is kept"
        ),
        None => {
            "the image is built and released, but the app has no target to roll out to; add one".to_owned()
        }
    };
    Stop::terminal(Code::TargetUnsupported, sentence)
}

async fn say_end(lines: &Lines, ended: &Result<Done, Stop>) {
    match ended {
        Ok(_) => lines.info("done").await,
        Err(Stop::Terminal(error)) => lines.error(error.to_string()).await,
        Err(Stop::Retryable { error, .. }) => lines.warn(format!("{error}; it will be tried again")).await,
        Err(Stop::Cancelled) => lines.warn("stopped").await,
        Err(Stop::Parked | Stop::ClaimLost) => {}
    }
}
