//! What happens to an app's waiting and running deployments when a newer one arrives.

use super::deployment::DeploymentStatus;
use super::text_enum;
use crate::ids::JobId;

text_enum! {
    /// An environment's answer to pushes that arrive faster than they deploy.
    OverlapPolicy {
        /// The newest waiting one replaces older waiting ones; the running one finishes.
        Newest = "newest",
        /// Every one runs, oldest first.
        Queue = "queue",
        /// As `newest`, and the running one is stopped too while no user has noticed it yet.
        Override = "override",
    }
}

/// How often in a row a running deployment may be overridden. Then one is let through, or a steady stream of
/// pushes would keep anything from ever being deployed.
pub const MAX_OVERRIDES: i32 = 3;

/// An unfinished deployment of the app, other than the one that arrives.
#[derive(Debug, Clone, Copy)]
pub struct Unfinished {
    pub job: JobId,
    /// A worker has begun it at some time. It may wait again now, at a checkpoint; it still counts as running.
    pub started: bool,
    /// It goes back to an earlier release. A push never replaces that.
    pub rollback: bool,
    pub status: DeploymentStatus,
}

/// What to do before the new deployment joins the line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// Waiting ones that the new one replaces.
    pub supersede: Vec<JobId>,
    /// The running one to stop.
    pub cancel: Option<JobId>,
}

/// Decides for one arriving deployment. `overrides` is how many running ones were stopped in a row so far.
/// A rollback replaces nothing by itself: whoever asks for it decides about later pushes.
pub fn admit(
    policy: OverlapPolicy,
    arriving_rollback: bool,
    overrides: i32,
    others: &[Unfinished],
) -> Admission {
    if arriving_rollback || policy == OverlapPolicy::Queue {
        return Admission::default();
    }
    let replaceable = |other: &&Unfinished| !other.rollback;
    let supersede =
        others.iter().filter(replaceable).filter(|other| !other.started).map(|other| other.job).collect();
    let cancel = (policy == OverlapPolicy::Override && overrides < MAX_OVERRIDES)
        .then(|| {
            others
                .iter()
                .filter(replaceable)
                .find(|other| other.started && !other.status.touches_traffic() && !other.status.is_terminal())
        })
        .flatten()
        .map(|other| other.job);
    Admission { supersede, cancel }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(started: bool, rollback: bool, status: DeploymentStatus) -> Unfinished {
        Unfinished { job: JobId::generate(), started, rollback, status }
    }

    #[test]
    fn newest_replaces_what_waits_and_leaves_what_runs() {
        let waiting = other(false, false, DeploymentStatus::Queued);
        let running = other(true, false, DeploymentStatus::Building);
        let parked = other(true, false, DeploymentStatus::Queued);
        let decision = admit(OverlapPolicy::Newest, false, 0, &[waiting, running, parked]);
        assert_eq!(decision, Admission { supersede: vec![waiting.job], cancel: None });
    }

    #[test]
    fn queue_replaces_nothing() {
        let waiting = other(false, false, DeploymentStatus::Queued);
        assert_eq!(admit(OverlapPolicy::Queue, false, 0, &[waiting]), Admission::default());
    }

    #[test]
    fn a_rollback_neither_replaces_nor_is_replaced() {
        let waiting = other(false, false, DeploymentStatus::Queued);
        let back = other(false, true, DeploymentStatus::Queued);
        let going_back = other(true, true, DeploymentStatus::Building);
        for policy in OverlapPolicy::ALL {
            assert_eq!(admit(*policy, true, 0, &[waiting]), Admission::default());
            assert_eq!(admit(*policy, false, 0, &[back, going_back]), Admission::default());
        }
    }

    #[test]
    fn override_stops_only_before_traffic_moves_and_only_so_often() {
        let building = other(true, false, DeploymentStatus::Building);
        let deploying = other(true, false, DeploymentStatus::Deploying);
        for overrides in 0..MAX_OVERRIDES {
            let decision = admit(OverlapPolicy::Override, false, overrides, &[building]);
            assert_eq!(decision.cancel, Some(building.job));
        }
        assert_eq!(admit(OverlapPolicy::Override, false, MAX_OVERRIDES, &[building]).cancel, None);
        assert_eq!(admit(OverlapPolicy::Override, false, 0, &[deploying]).cancel, None);
    }
}
