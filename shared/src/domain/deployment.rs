//! The life of a deployment as one pure function. The database holds the same table and refuses the same moves
//! (`deployment_may_become` in the migrations); a test compares the two.

use super::text_enum;
use crate::error::{Code, Error};

text_enum! {
    /// Where a deployment stands. Upper case on the wire and in the record.
    DeploymentStatus {
        /// Accepted, nothing decided yet.
        Pending = "PENDING",
        /// A person must agree first.
        AwaitingApproval = "AWAITING_APPROVAL",
        /// In line: for a worker, for the app's running deployment, or for a target.
        Queued = "QUEUED",
        Cloning = "CLONING",
        SecurityScanning = "SECURITY_SCANNING",
        Building = "BUILDING",
        /// Traffic may be moving.
        Deploying = "DEPLOYING",
        /// It is what users reach.
        Deployed = "DEPLOYED",
        /// The environment's scan policy refused it.
        SecurityFailed = "SECURITY_FAILED",
        Failed = "FAILED",
        /// Going back to the release that served before.
        RollingBack = "ROLLING_BACK",
        RolledBack = "ROLLED_BACK",
        Cancelled = "CANCELLED",
        /// A newer commit of the app made it pointless.
        Superseded = "SUPERSEDED",
    }
}

impl DeploymentStatus {
    /// Whether this is an end. Nothing leaves an end.
    pub const fn is_terminal(self) -> bool {
        use DeploymentStatus as S;
        matches!(
            self,
            S::Deployed | S::SecurityFailed | S::Failed | S::RolledBack | S::Cancelled | S::Superseded
        )
    }

    /// Whether users may already be affected. From here on a newer commit waits instead of taking over.
    pub const fn touches_traffic(self) -> bool {
        matches!(self, DeploymentStatus::Deploying | DeploymentStatus::RollingBack)
    }

    /// Whether `self` may become `next`.
    pub const fn may_become(self, next: DeploymentStatus) -> bool {
        use DeploymentStatus as S;
        match (self, next) {
            // Nothing leaves an end, and staying is not a move.
            (from, _) if from.is_terminal() => false,
            // Whatever has not ended can fail.
            (_, S::Failed) => true,
            // Once traffic moves, a stop is a roll-back: it ends ROLLED_BACK, or CANCELLED if nothing had moved yet.
            (S::RollingBack, next) => matches!(next, S::RolledBack),
            (_, S::Cancelled) => true,
            (S::Deploying, next) => matches!(next, S::Deployed | S::RollingBack),
            (_, S::Superseded) => true,
            (S::Pending, next) => matches!(next, S::AwaitingApproval | S::Queued),
            (S::AwaitingApproval, next) => matches!(next, S::Queued),
            // A rollback and a resumed job have their image already and go straight to the roll-out.
            (S::Queued, next) => {
                matches!(next, S::Cloning | S::SecurityScanning | S::Building | S::Deploying)
            }
            // Back to QUEUED: its worker went away, or it waits for its target.
            (S::Cloning, next) => {
                matches!(next, S::Queued | S::SecurityScanning | S::Building | S::SecurityFailed)
            }
            (S::SecurityScanning, next) => {
                matches!(next, S::Queued | S::Building | S::Deploying | S::SecurityFailed)
            }
            (S::Building, next) => {
                matches!(next, S::Queued | S::SecurityScanning | S::Deploying | S::SecurityFailed)
            }
            _ => false,
        }
    }

    /// `next`, or the error a caller may show.
    pub fn advance(self, next: DeploymentStatus) -> Result<DeploymentStatus, Error> {
        if self.may_become(next) {
            Ok(next)
        } else {
            Err(Error::new(
                Code::StatusTransition,
                format!("a deployment that is {self} cannot become {next}"),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DeploymentStatus as S;

    /// Every legal move, written out; all others are illegal. Kept apart from the function on purpose.
    const LEGAL: &[(S, &[S])] = &[
        (S::Pending, &[S::AwaitingApproval, S::Queued, S::Failed, S::Cancelled, S::Superseded]),
        (S::AwaitingApproval, &[S::Queued, S::Failed, S::Cancelled, S::Superseded]),
        (
            S::Queued,
            &[
                S::Cloning,
                S::SecurityScanning,
                S::Building,
                S::Deploying,
                S::Failed,
                S::Cancelled,
                S::Superseded,
            ],
        ),
        (
            S::Cloning,
            &[
                S::Queued,
                S::SecurityScanning,
                S::Building,
                S::SecurityFailed,
                S::Failed,
                S::Cancelled,
                S::Superseded,
            ],
        ),
        (
            S::SecurityScanning,
            &[
                S::Queued,
                S::Building,
                S::Deploying,
                S::SecurityFailed,
                S::Failed,
                S::Cancelled,
                S::Superseded,
            ],
        ),
        (
            S::Building,
            &[
                S::Queued,
                S::SecurityScanning,
                S::Deploying,
                S::SecurityFailed,
                S::Failed,
                S::Cancelled,
                S::Superseded,
            ],
        ),
        (S::Deploying, &[S::Deployed, S::RollingBack, S::Failed, S::Cancelled]),
        (S::RollingBack, &[S::RolledBack, S::Failed]),
    ];

    #[test]
    fn exactly_the_listed_moves_are_legal() {
        for &from in S::ALL {
            let legal = LEGAL.iter().find(|(status, _)| *status == from).map_or(&[][..], |(_, to)| to);
            for &to in S::ALL {
                assert_eq!(from.may_become(to), legal.contains(&to), "{from} -> {to}");
                assert_eq!(from.advance(to).is_ok(), legal.contains(&to));
            }
            assert_eq!(from.is_terminal(), legal.is_empty(), "{from}");
        }
    }

    #[test]
    fn every_status_can_reach_an_end_and_words_read_back() {
        for &status in S::ALL {
            assert!(status.is_terminal() || status.may_become(S::Failed));
            assert_eq!(S::try_from(status.as_str().to_owned()), Ok(status));
        }
        assert!(S::try_from("deployed".to_owned()).is_err());
    }
}
