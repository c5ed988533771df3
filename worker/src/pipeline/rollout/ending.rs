//! What the end of a roll-out means for its deployment, and for the app's next ones. Pure.

use deploymind_shared::domain::deployment::DeploymentStatus;
use deploymind_shared::domain::rollout::RolloutOutcome;
use deploymind_shared::error::Code;

use crate::rollout::{Ending, Why};

/// How a deployment reads whose roll-out ended so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::pipeline) struct Verdict {
    pub(super) status: DeploymentStatus,
    pub(super) why: Option<(Code, String)>,
    /// It went back by itself because of what it did, after users had been affected.
    pub(super) automatic: bool,
}

impl Verdict {
    pub(super) fn of(ending: &Ending) -> Self {
        let why = ending.why.as_ref().map(sentence);
        let asked = matches!(ending.why, Some(Why::Aborted | Why::Cancelled | Why::PauseTooLong));
        let (status, why) = match ending.outcome {
            RolloutOutcome::Done => (DeploymentStatus::Deployed, None),
            RolloutOutcome::Withdrawn if asked => (DeploymentStatus::Cancelled, why),
            RolloutOutcome::Withdrawn => (DeploymentStatus::Failed, why),
            RolloutOutcome::Reverted => (DeploymentStatus::RolledBack, why),
            RolloutOutcome::Kept => (
                DeploymentStatus::Failed,
                told(
                    why,
                    Code::ReleaseFailed,
                    "users still reach the new release: the one before it is not healthy",
                ),
            ),
            RolloutOutcome::Left => (
                DeploymentStatus::Failed,
                told(
                    why,
                    Code::NothingHealthy,
                    "neither the new release nor the one before is healthy; traffic was left where it was",
                ),
            ),
        };
        // What a target refused says nothing of the commit.
        let refused = matches!(ending.why, Some(Why::Refused { .. }));
        Self { status, why, automatic: ending.outcome == RolloutOutcome::Reverted && !asked && !refused }
    }
}

/// What it came to in the end, with what began it.
fn told(why: Option<(Code, String)>, code: Code, end: &str) -> Option<(Code, String)> {
    let sentence = match why {
        Some((began, sentence)) => format!("{end} (it began with {began}: {sentence})"),
        None => end.to_owned(),
    };
    Some((code, sentence))
}

fn sentence(why: &Why) -> (Code, String) {
    match why {
        Why::Refused { code, sentence } => (known(code), sentence.clone()),
        Why::Unhealthy { finding, after_traffic: false } => (finding.code.code(), finding.sentence.clone()),
        Why::Unhealthy { finding, after_traffic: true } => (
            Code::ReleaseFailed,
            format!("the new release failed after users had reached it: {}", finding.sentence),
        ),
        Why::Verdict { sentence } => (Code::CanaryFailed, sentence.clone()),
        Why::Insufficient { sentence } => (Code::CanaryInsufficient, sentence.clone()),
        Why::Aborted => (Code::RolloutAborted, "somebody aborted the roll-out".to_owned()),
        Why::Cancelled => {
            (Code::RolloutAborted, "the deployment was cancelled while it rolled out".to_owned())
        }
        Why::PauseTooLong => {
            (Code::RolloutAborted, "the roll-out stood paused for longer than it may".to_owned())
        }
    }
}

/// A code that this version does not know was written by another.
fn known(text: &str) -> Code {
    Code::ALL.iter().copied().find(|code| code.as_str() == text).unwrap_or(Code::JobFailed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Finding, FindingCode};

    fn of(outcome: RolloutOutcome, why: Option<Why>) -> Verdict {
        Verdict::of(&Ending { outcome, why })
    }

    #[test]
    fn only_what_reached_users_and_came_back_counts_as_a_rollback() {
        let finding = Finding { code: FindingCode::Exited, sentence: "exit code 3".into(), last: true };
        let early = Some(Why::Unhealthy { finding: finding.clone(), after_traffic: false });
        let late = Some(Why::Unhealthy { finding, after_traffic: true });
        let withdrawn = of(RolloutOutcome::Withdrawn, early);
        assert_eq!((withdrawn.status, withdrawn.automatic), (DeploymentStatus::Failed, false));
        assert_eq!(withdrawn.why.map(|(code, _)| code), Some(Code::SlotExited));
        let reverted = of(RolloutOutcome::Reverted, late);
        assert_eq!((reverted.status, reverted.automatic), (DeploymentStatus::RolledBack, true));
        assert_eq!(reverted.why.map(|(code, _)| code), Some(Code::ReleaseFailed));
        let cancelled = of(RolloutOutcome::Withdrawn, Some(Why::Cancelled));
        assert_eq!((cancelled.status, cancelled.automatic), (DeploymentStatus::Cancelled, false));
        assert!(!of(RolloutOutcome::Reverted, Some(Why::Aborted)).automatic);
    }

    #[test]
    fn what_serves_although_it_failed_is_never_called_deployed() {
        for (outcome, code) in
            [(RolloutOutcome::Kept, Code::ReleaseFailed), (RolloutOutcome::Left, Code::NothingHealthy)]
        {
            let verdict = of(outcome, Some(Why::Refused { code: "DM-4306".into(), sentence: "gone".into() }));
            assert_eq!(verdict.status, DeploymentStatus::Failed);
            let (found, sentence) = verdict.why.expect("a reason");
            assert!(found == code && sentence.contains("DM-4306"), "{sentence}");
        }
        assert_eq!(of(RolloutOutcome::Done, None).status, DeploymentStatus::Deployed);
    }
}
