//! Targets: a locked one holds up nobody else, no two jobs hold one at a time, nobody waits for ever, and the next in
//! line always gets it.

mod crowd;
mod next;
mod parked;
mod starving;

use std::collections::HashMap;
use std::time::Duration;

use deploymind_shared::ids::{JobId, TargetName};
use deploymind_tests::rig::{Rig, request};
use deploymind_tests::script::{Row, Script, Step};
use deploymind_tests::wait_for;
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(20);

/// One effect on each target.
fn effects(targets: &[TargetName]) -> Vec<Step> {
    let effect = |target: &TargetName| Step::Effect {
        name: format!("roll out on {target}"),
        target: Some(target.clone()),
    };
    targets.iter().map(effect).collect()
}

/// Locks `targets` when it is claimed, and holds them for `ms`.
async fn submit_locking(rig: &Rig, targets: &[TargetName], ms: u64, high: bool) -> JobId {
    let mut steps = effects(targets);
    steps.push(Step::Sleep { ms });
    let mut wish = request(&Script::new(steps));
    wish.targets = targets.to_vec();
    if high {
        wish.priority = deploymind_shared::domain::job::Priority::High;
    }
    rig.submitter.submit(wish).await.expect("submit")
}

async fn wait_for_rows(rig: &Rig, what: &str, enough: impl Fn(&[Row]) -> bool) {
    wait_for(what, SOON, async || {
        let rows = rig.rows().await;
        if enough(&rows) { Ok(()) } else { Err(format!("{} rows", rows.len())) }
    })
    .await;
}

async fn wait_locked(rig: &Rig, job: JobId) {
    let job = job.as_uuid();
    wait_for_rows(rig, "the lock to be taken", |rows| {
        rows.iter().any(|row| row.job == job && row.kind == "locked")
    })
    .await;
}

async fn wait_parked(rig: &Rig, jobs: &[JobId]) {
    use deploymind_shared::fleet::{Waiting, Why};
    for job in jobs {
        wait_for("the job to be parked", SOON, async || match rig.fleet.why(*job).await {
            Ok(Why::Waiting { what: Waiting::Target { .. }, .. }) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }
}

/// When each job began to run first, by the database.
fn starts(rows: &[Row]) -> HashMap<Uuid, f64> {
    let mut starts = HashMap::new();
    for row in rows.iter().filter(|row| row.kind == "state" && row.detail["is"] == "running") {
        starts.entry(row.job).or_insert(row.clock);
    }
    starts
}

/// Jobs in the order in which they ran.
fn order(rows: &[Row]) -> Vec<JobId> {
    let runs = rows.iter().filter(|row| row.kind == "state" && row.detail["is"] == "running");
    runs.map(|row| JobId::from_uuid(row.job)).collect()
}
