//! One journalled unit of the pipeline, and how every one of them is run.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use deploymind_shared::db::steps::StepState;
use deploymind_shared::error::Code;
use deploymind_shared::retry::Stop;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::run::Run;

/// How long a step that was told to stop, by its deadline, may take to end its children.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// # Guarantees an implementation gives
/// Running it again is harmless, whatever an earlier run left half way. It ends soon after `cancel` fires and leaves no
/// child behind.
#[async_trait]
pub(super) trait Step: Send + Sync {
    /// In the journal, in logs and in fail points.
    const NAME: &'static str;
    type Output: Serialize + DeserializeOwned + Send + Sync;

    fn deadline(&self, run: &Run) -> Duration;

    /// Whether what an earlier run left is still of use: an image may be gone, a folder may be another machine's.
    async fn usable(&self, run: &Run, output: &Self::Output) -> Result<bool, Stop>;

    async fn run(&self, run: &Run, cancel: &CancellationToken) -> Result<Self::Output, Stop>;
}

impl Run {
    /// Runs a step, or takes the output that an earlier run of it left.
    pub(super) async fn step<S: Step>(
        &self,
        step: &S,
        cancel: &CancellationToken,
    ) -> Result<S::Output, Stop> {
        stopped(cancel)?;
        if let Some(output) = self.journal.output::<S::Output>(S::NAME)
            && step.usable(self, &output).await?
        {
            self.lines.info(format!("{}: done before, its result is still there", S::NAME)).await;
            return Ok(output);
        }
        self.journal.write(S::NAME, StepState::Started, None).await?;
        let started = Instant::now();
        let output = match self.work(step, cancel).await {
            Ok(output) => output,
            Err(stop) => {
                if matches!(stop, Stop::Terminal(_)) {
                    self.journal.write(S::NAME, StepState::Failed, None).await?;
                }
                return Err(stop);
            }
        };
        // The journal is a record like any other: no secret's value stays in it.
        let mut kept = serde_json::json!(output);
        self.redactor.redact_json(&mut kept);
        self.journal.write_done(S::NAME, &kept).await?;
        fail::fail_point!(&format!("pipeline.{}.done", S::NAME), |_| Err(refused()));
        tracing::info!(
            deployment.id = %self.deployment,
            step = S::NAME,
            duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "step done"
        );
        // A short step does not look up from its work.
        stopped(cancel)?;
        Ok(output)
    }

    async fn work<S: Step>(&self, step: &S, cancel: &CancellationToken) -> Result<S::Output, Stop> {
        fail::fail_point!(&format!("pipeline.{}.started", S::NAME), |_| Err(refused()));
        stopped(cancel)?;
        let output = self.limited(step, cancel).await?;
        fail::fail_point!(&format!("pipeline.{}.worked", S::NAME), |_| Err(refused()));
        // What it said comes before the word that it is done.
        self.flush().await?;
        Ok(output)
    }

    async fn limited<S: Step>(&self, step: &S, cancel: &CancellationToken) -> Result<S::Output, Stop> {
        let own = cancel.child_token();
        let deadline = step.deadline(self);
        let work = step.run(self, &own);
        tokio::pin!(work);
        tokio::select! {
            biased;
            ended = &mut work => return ended,
            () = tokio::time::sleep(deadline) => own.cancel(),
        }
        if tokio::time::timeout(STOP_GRACE, &mut work).await.is_err() {
            tracing::warn!(deployment.id = %self.deployment, step = S::NAME, "step had to be dropped at its deadline");
        }
        Err(Stop::terminal(
            Code::StepDeadline,
            format!(
                "the step {} ran longer than the {} s it may take and was stopped",
                S::NAME,
                deadline.as_secs()
            ),
        ))
    }
}

pub(super) fn stopped(cancel: &CancellationToken) -> Result<(), Stop> {
    if cancel.is_cancelled() { Err(Stop::Cancelled) } else { Ok(()) }
}

/// What a fail point that returns makes a step end with.
#[cfg_attr(not(feature = "failpoints"), expect(dead_code, reason = "fail points are compiled out"))]
fn refused() -> Stop {
    Stop::terminal(Code::JobFailed, "a fail point refused this step")
}
