//! Processes that die, freeze or see what they should not: at every line that matters, in every window that was found.
//!
//! What each test measured it prints; `--nocapture` shows it.

mod client;
mod clock;
mod input;
mod pause;
mod points;
mod poison;
mod pops;
mod scheduler;
mod zombie;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use deploymind_shared::db::apps::{NewApp, app_create};
use deploymind_shared::db::jobs::{Job, job_get};
use deploymind_shared::db::users::user_create;
use deploymind_shared::ids::{AppId, JobId, TargetName};
use deploymind_tests::rig::{Node, Rig, production, request};
use deploymind_tests::script::{Script, Step};
use deploymind_tests::wait_for;

/// For what should come at once, on a busy machine.
const SOON: Duration = Duration::from_secs(20);
/// What a recovery may take with the rig's short settings.
const RECOVERY: Duration = Duration::from_secs(15);

async fn job(rig: &Rig, id: JobId) -> Job {
    job_get(&rig.fleet.db, id).await.expect("read the job").expect("the job is in the record")
}

async fn wait_running(rig: &Rig, id: JobId, attempt: i32) {
    wait_for("the job to run", SOON, || async {
        let job = job(rig, id).await;
        let there = job.state.as_str() == "running" && job.attempt.0 >= attempt;
        if there { Ok(()) } else { Err(format!("{} (attempt {})", job.state, job.attempt.0)) }
    })
    .await;
}

/// Waits for rows of the history.
async fn wait_rows(rig: &Rig, id: JobId, kind: &str, count: usize) {
    wait_for(&format!("{count} rows of kind {kind}"), SOON, || async {
        let rows = rig.rows().await;
        let found = rows.iter().filter(|row| row.job == id.as_uuid() && row.kind == kind).count();
        if found >= count { Ok(()) } else { Err(format!("{found}")) }
    })
    .await;
}

/// An app on these targets.
async fn app(rig: &Rig, name: &str, targets: &[TargetName]) -> AppId {
    let owner = user_create(&rig.fleet.db, name, None).await.expect("create user");
    let new = NewApp {
        owner: owner.id,
        name: name.to_owned(),
        repository: "https://example.com/app.git".to_owned(),
        branch: "main".to_owned(),
        environment: production(),
        targets: targets.to_vec(),
    };
    app_create(&rig.fleet.db, &new).await.expect("create app")
}

/// Waits until the process has killed itself at this fail point.
async fn wait_killed_at(node: &mut Node, point: &str) {
    let exit = node.process.wait_exit(SOON).await;
    assert_eq!(exit.signal(), Some(9), "{point}: it ended with {exit}");
    let said = format!("killed at {point}");
    assert!(node.process.stderr().contains(&said), "it died elsewhere:\n{}", node.process.stderr());
}

/// What a fleet does on a normal day, so that every line of the worker is passed: plain jobs, jobs that lock targets at
/// claim or later and so get in each other's way, retries, a failure.
async fn mix(rig: &Rig, targets: &[TargetName]) -> Vec<JobId> {
    let mut jobs = Vec::new();
    for number in 0..4 {
        jobs.extend(round(rig, targets, number).await);
    }
    jobs.push(rig.submit(&Script::new([Step::Fail])).await);
    jobs
}

/// One of each kind. The last of the targets is contended less: somebody who asks for it mostly gets it.
async fn round(rig: &Rig, targets: &[TargetName], number: usize) -> [JobId; 5] {
    let effect = |name: &str| Step::Effect { name: name.to_owned(), target: None };
    let on = |target: &TargetName| Step::Effect { name: "roll out".to_owned(), target: Some(target.clone()) };
    let (last, first) = targets.split_last().expect("two targets at least");
    let target = &first[number % first.len()];
    let mut early = request(&Script::new([Step::Sleep { ms: 20 }, on(target)]));
    early.targets = if number % 4 == 2 { first.to_vec() } else { vec![target.clone()] };
    let asked = if number.is_multiple_of(2) { &first[0] } else { last };
    let late = Script::new([
        effect("build"),
        Step::Lock { targets: vec![asked.clone()] },
        Step::Sleep { ms: 60 },
        on(asked),
    ]);
    let again = Script::new([Step::RetryUntil { attempt: 2 }, effect("at last")]);
    [
        rig.submit(&Script::effect()).await,
        rig.submitter.submit(early).await.expect("submit"),
        rig.submit(&late).await,
        rig.submit(&Script::effect()).await,
        rig.submit(&again).await,
    ]
}

/// How many jobs ended how.
async fn ends(rig: &Rig, jobs: &[JobId]) -> BTreeMap<String, usize> {
    let mut ends = BTreeMap::new();
    for id in jobs {
        *ends.entry(job(rig, *id).await.state.to_string()).or_default() += 1;
    }
    ends
}
