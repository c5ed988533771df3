//! One call of a runtime: under a deadline, repeated while the target cannot be reached, ended when it is not wanted any
//! more.

use std::future::Future;
use std::time::Duration;

use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::{Backoff, Stop};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Between tries to reach a target.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
/// How long a target may be out of reach before the job is tried again later.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same on the way back, which nobody else carries out.
const PATIENCE_BACK: Duration = Duration::from_secs(600);
/// How long a call that acts may go on when the roll-out is to turn back. Most end within it, and what has ended cannot
/// take effect after the next call.
const GRACE: Duration = Duration::from_secs(5);
/// The same when the job itself is to end and has little time.
const GRACE_CANCELLED: Duration = Duration::from_secs(2);

/// Why a step of the driver did not do what it was to do.
#[derive(Debug)]
pub(super) enum Break {
    /// It is not wanted any more.
    Halted,
    /// It cannot be done and will not be.
    Refused(Error),
    Stop(Stop),
}

impl From<Stop> for Break {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Terminal(error) if matches!(error.code(), Code::EpochRefused | Code::ClaimLost) => {
                tracing::warn!(error = error.chain(), "this roll-out is another worker's now");
                Break::Stop(Stop::ClaimLost)
            }
            Stop::Terminal(error) => Break::Refused(error),
            stop => Break::Stop(stop),
        }
    }
}

/// How the calls of one step are made.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    /// Fires when the step is not wanted any more.
    pub(super) halt: CancellationToken,
    /// Fires when the job itself is to end.
    pub(super) stop: CancellationToken,
    patience: Duration,
}

impl Manner {
    pub(super) fn new(back: bool, stop: &CancellationToken) -> Self {
        Self {
            halt: CancellationToken::new(),
            stop: stop.clone(),
            patience: if back { PATIENCE_BACK } else { PATIENCE },
        }
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// A call that changes nothing: it can be dropped at any time. `each`: how long one try may take.
    pub(super) async fn look<T, F>(&self, each: Duration, call: impl FnMut() -> F) -> Result<T, Break>
    where
        F: Future<Output = Result<T, Stop>>,
    {
        tokio::select! {
            biased;
            () = self.halt.cancelled() => Err(Break::Halted),
            result = self.repeat(each, call) => result,
        }
    }

    /// A call that changes the target: it is given time to end.
    pub(super) async fn act<T, F>(&self, each: Duration, call: impl FnMut() -> F) -> Result<T, Break>
    where
        F: Future<Output = Result<T, Stop>>,
    {
        if self.halt.is_cancelled() {
            return Err(Break::Halted);
        }
        let late = async {
            self.halt.cancelled().await;
            sleep(if self.stop.is_cancelled() { GRACE_CANCELLED } else { GRACE }).await;
        };
        tokio::select! {
            biased;
            result = self.repeat(each, call) => result,
            () = late => Err(Break::Halted),
        }
    }

    async fn repeat<T, F>(&self, each: Duration, mut call: impl FnMut() -> F) -> Result<T, Break>
    where
        F: Future<Output = Result<T, Stop>>,
    {
        let begun = Instant::now();
        let mut failures = 0;
        loop {
            let (after, error) = match once(each, call()).await {
                Err(Stop::Retryable { after, error }) => (after, error),
                other => return Ok(other?),
            };
            let wait = after.unwrap_or_else(|| BACKOFF.jittered(failures));
            failures += 1;
            if begun.elapsed() + wait > self.patience {
                return Err(Stop::Retryable { after: None, error }.into());
            }
            tracing::info!(
                error = error.chain(),
                wait_ms = wait.as_millis(),
                "target out of reach, trying again"
            );
            tokio::select! {
                () = self.halt.cancelled() => return Err(Break::Halted),
                () = sleep(wait) => {}
            }
        }
    }
}

/// One try. What takes longer than `each` counts as a target out of reach.
pub(super) async fn once<T>(each: Duration, call: impl Future<Output = Result<T, Stop>>) -> Result<T, Stop> {
    match timeout(each, call).await {
        Ok(result) => result,
        Err(_) => {
            let sentence = format!(
                "the target did not answer within {} s; check that its engine and its edge are up",
                each.as_secs()
            );
            Err(Error::new(Code::EngineUnavailable, sentence).into())
        }
    }
}
