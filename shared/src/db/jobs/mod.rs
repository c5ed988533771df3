//! Jobs: insert, claim, finish, give back, cancel, recover. Every write after a claim names the attempt and
//! changes nothing when the job has moved on.

mod cancel;
mod claim;
mod finish;
mod insert;
mod read;
mod recover;
mod requeue;

pub use cancel::{Cancelled, job_cancel};
pub use claim::{Claim, ClaimedJob, Unclaimed, job_claim, job_held, job_unclaimed};
pub(in crate::db) use finish::storable;
pub use finish::{Finish, Finished, job_finish};
pub use insert::{NewJob, job_insert};
pub use read::{
    Job, Placement, job_ended, job_get, job_next_for_apps, job_placements, job_quarantined,
    job_quarantined_count, job_queued, job_waits_for,
};
pub use recover::{Reaped, job_quarantine_release, job_reap};
pub use requeue::{Requeue, job_requeue};

use crate::ids::TargetName;

/// Targets travel in one text column of a batch, one a line: no target name holds a line break.
fn join(targets: &[TargetName]) -> String {
    let mut text = String::new();
    for target in targets {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(target.as_str());
    }
    text
}

fn parse_targets(names: &[String]) -> crate::error::Result<Vec<TargetName>> {
    names.iter().map(|name| TargetName::parse(name)).collect()
}
