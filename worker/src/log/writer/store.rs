//! Batches into the record, and from there to whoever listens.

use std::pin::Pin;
use std::time::Duration;

use deploymind_shared::db::logs::{LogLine, log_append};
use deploymind_shared::error::{Code, Error, Result};
use deploymind_shared::events::log_publish;
use deploymind_shared::fleet::Fleet;
use deploymind_shared::ids::DeploymentId;
use deploymind_shared::retry::STORE_BACKOFF;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Place;
use super::batch::Batch;

/// How long a Redis that did not take a message is left alone. Publishing must not slow the record down.
const REST: Duration = Duration::from_secs(1);
/// Of one message.
const PUBLISH: Duration = Duration::from_secs(2);

pub(super) async fn store(
    fleet: &Fleet,
    place: Place,
    batches: &mut mpsc::Receiver<Batch>,
    stored: mpsc::Sender<Vec<LogLine>>,
    hurry: &CancellationToken,
    patience: Duration,
) -> Result<()> {
    while let Some(batch) = batches.recv().await {
        // Of each batch by itself: what a job says long after it was told to stop is written as well.
        let out_of_patience = async {
            hurry.cancelled().await;
            sleep(patience).await;
        };
        tokio::pin!(out_of_patience);
        if let Err(error) = append(fleet, place, &batch.lines, out_of_patience.as_mut()).await {
            for wish in batch.wishes {
                let _unasked = wish.send(Err(error.again()));
            }
            return Err(error);
        }
        for wish in batch.wishes {
            // Whoever asked may have stopped waiting.
            let _unasked = wish.send(Ok(()));
        }
        let _unheard = stored.send(batch.lines).await;
    }
    Ok(())
}

/// Until it is there, the claim is lost, or patience is.
async fn append(
    fleet: &Fleet,
    place: Place,
    lines: &[LogLine],
    out_of_patience: Pin<&mut impl Future<Output = ()>>,
) -> Result<()> {
    let mut failures = 0;
    let tries = async {
        loop {
            match log_append(&fleet.db, place.job, place.attempt, lines).await {
                Err(error) if error.is_transient() => {
                    if failures == 0 {
                        tracing::warn!(
                            deployment.id = %place.deployment,
                            error = error.chain(),
                            "the log waits for the record"
                        );
                    }
                    sleep(STORE_BACKOFF.jittered(failures)).await;
                    failures = failures.saturating_add(1);
                }
                done => return done,
            }
        }
    };
    tokio::select! {
        biased;
        done = tries => done,
        () = out_of_patience => Err(Error::new(
            Code::DatabaseUnavailable,
            "the end of the log could not be written: the database cannot be reached",
        )),
    }
}

pub(super) async fn publish(
    fleet: &Fleet,
    deployment: DeploymentId,
    mut batches: mpsc::Receiver<Vec<LogLine>>,
) {
    let mut rests_until: Option<Instant> = None;
    while let Some(lines) = batches.recv().await {
        if rests_until.is_some_and(|until| Instant::now() < until) {
            continue;
        }
        let done = timeout(PUBLISH, log_publish(fleet, deployment, &lines)).await;
        rests_until = match done {
            Ok(Ok(())) => None,
            Ok(Err(error)) => {
                tracing::debug!(error = error.chain(), "log recorded, not published");
                Some(Instant::now() + REST)
            }
            Err(_) => Some(Instant::now() + REST),
        };
    }
}
