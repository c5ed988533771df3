//! What happens to a deployment, told in order: the record first, then whoever listens.
//!
//! # Guarantees
//! Only the holder of the claim can tell anything; its events are numbered 1, 2, 3 … without gaps, and none is published
//! before it is in the record.
//!
//! # Caveats
//! Publishing is at most once. A listener that was away reads what it missed from the record
//! ([`crate::db::events::event_list`]) by the number it has.

use serde::Serialize;

use crate::db::events::{Event, event_append};
use crate::db::logs::LogLine;
use crate::domain::text_enum;
use crate::error::{Code, Error, Result};
use crate::fleet::Fleet;
use crate::ids::{Attempt, DeploymentId, JobId};

text_enum! {
    /// What can be told.
    EventKind {
        DeploymentStarted = "deployment_started",
        SecurityScanStarted = "security_scan_started",
        SecurityScanCompleted = "security_scan_completed",
        BuildStarted = "build_started",
        BuildCompleted = "build_completed",
        RolloutStarted = "rollout_started",
        RolloutStage = "rollout_stage",
        DeploymentCompleted = "deployment_completed",
        DeploymentFailed = "deployment_failed",
        RollbackStarted = "rollback_started",
        RollbackCompleted = "rollback_completed",
        Log = "log",
        /// Status, phase, message and how far it is, 0 to 100.
        Progress = "progress",
    }
}

impl EventKind {
    /// The fleet-wide channel this kind is also published on; lines of a log are for those who watch one deployment.
    const fn fleet_channel(self) -> Option<&'static str> {
        match self {
            EventKind::Log => None,
            EventKind::Progress => Some("progress"),
            _ => Some("events"),
        }
    }
}

/// The form on a channel.
#[derive(Serialize)]
struct Message<'a> {
    deployment_id: DeploymentId,
    seq: i64,
    kind: EventKind,
    at: String,
    body: &'a serde_json::Value,
}

/// Records the next event of a deployment and publishes it. Refused with `DM-3008` when the claim was lost.
pub async fn tell(
    fleet: &Fleet,
    job: JobId,
    attempt: Attempt,
    deployment: DeploymentId,
    kind: EventKind,
    body: &serde_json::Value,
) -> Result<Event> {
    let event = event_append(&fleet.db, job, attempt, kind.as_str(), body).await?;
    let at = event.at.to_rfc3339();
    let message =
        serde_json::json!(Message { deployment_id: deployment, seq: event.seq, kind, at, body }).to_string();
    let mut channels = vec![fleet.queue.keys().deployment_channel(deployment)];
    channels.extend(kind.fleet_channel().map(|name| fleet.queue.keys().fleet_channel(name)));
    if let Err(error) = fleet.queue.publish(&channels, &message).await {
        // It is in the record; listeners close the gap from there.
        tracing::debug!(error = error.chain(), "event recorded, not published");
    }
    Ok(event)
}

/// Lines of a log on a channel. They have numbers of their own, so a listener keeps two: of events and of lines.
#[derive(Serialize)]
struct LogMessage<'a> {
    deployment_id: DeploymentId,
    kind: EventKind,
    /// Numbers of the first and the last line of this message.
    first: i64,
    last: i64,
    lines: &'a [LogLine],
}

/// Publishes lines that are in the record already, in one message. An error is for the log only: whoever listens reads
/// the record.
pub async fn log_publish(fleet: &Fleet, deployment: DeploymentId, lines: &[LogLine]) -> Result<()> {
    let channel = fleet.queue.keys().deployment_channel(deployment);
    let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return Ok(()) };
    let message = LogMessage {
        deployment_id: deployment,
        kind: EventKind::Log,
        first: first.seq,
        last: last.seq,
        lines,
    };
    let message = serde_json::to_string(&message).map_err(|error| {
        Error::new(Code::StoreUnexpected, "lines of a log cannot be written as JSON").because(error)
    })?;
    fleet.queue.publish(&[channel], &message).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_the_shape_the_record_asks_for() {
        for kind in EventKind::ALL {
            assert!(kind.as_str().len() <= 40);
            assert!(kind.as_str().bytes().all(|c| c.is_ascii_lowercase() || c == b'_'));
        }
    }
}
