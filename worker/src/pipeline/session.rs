//! One deployment in a worker's hands, whatever its course: opened, carried out, closed, with its log beside it.

use std::sync::Arc;
use std::time::Duration;

use deploymind_shared::db::apps::{Plan, app_plan};
use deploymind_shared::db::logs::log_last;
use deploymind_shared::db::steps::StepState;
use deploymind_shared::error::{Code, Error};
use deploymind_shared::events::EventKind;
use deploymind_shared::fleet::Fleet;
use deploymind_shared::ids::DeploymentId;
use deploymind_shared::lifecycle::Lifecycle;
use deploymind_shared::retry::Stop;
use serde_json::json;

use super::collect::CollectHandler;
use super::deploy::DeployHandler;
use super::journal::Journal;
use super::rollback::RollbackHandler;
use super::rollout::SettleHandler;
use super::run::{Run, hide};
use super::secrets::Secrets;
use super::tools::Tools;
use super::{STEPS, sweep};
use crate::context::JobContext;
use crate::log::{self, Lines, Redactor, Writer};
use crate::registry::{Done, Registry};

/// How long the last lines of a deployment may take into a record that is away. Within the grace of a cancelled job.
const LAST_LINES: Duration = Duration::from_secs(3);

/// What a deployment does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// Everything from the commit on.
    Deploy,
    /// An earlier release, without a build.
    Rollback,
}

/// What all handlers of this module share. Cheap to clone.
#[derive(Clone)]
pub struct Pipeline {
    pub(super) tools: Arc<Tools>,
    pub(super) fleet: Fleet,
}

impl Pipeline {
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

    pub(crate) fn register(&self, registry: Registry) -> Registry {
        registry
            .with(DeployHandler(self.clone()))
            .with(RollbackHandler(self.clone()))
            .with(SettleHandler(self.clone()))
            .with(CollectHandler(self.clone()))
    }

    pub(super) async fn carry(
        &self,
        course: Course,
        deployment: DeploymentId,
        context: JobContext,
    ) -> Result<Done, Stop> {
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
                Ok(run) => run.finish(course).await,
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

impl Pipeline {
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
    async fn finish(self, course: Course) -> Result<Done, Stop> {
        let ended = match course {
            Course::Deploy => Box::pin(self.deploy()).await,
            Course::Rollback => Box::pin(self.roll_back()).await,
        };
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
}

async fn say_end(lines: &Lines, ended: &Result<Done, Stop>) {
    match ended {
        Ok(Done { why: None, .. }) => lines.info("done").await,
        Ok(Done { why: Some((code, sentence)), .. }) => lines.error(format!("{code}: {sentence}")).await,
        Err(Stop::Terminal(error)) => lines.error(error.to_string()).await,
        Err(Stop::Retryable { error, .. }) => lines.warn(format!("{error}; it will be tried again")).await,
        Err(Stop::Cancelled) => lines.warn("stopped").await,
        Err(Stop::Parked | Stop::ClaimLost) => {}
    }
}
