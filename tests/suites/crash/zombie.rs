//! A worker frozen past its locks: another ends its jobs, and when it thaws every late write is refused.

use std::time::{Duration, Instant};

use deploymind_shared::clock::Timestamp;
use deploymind_shared::db::deployments::{Trigger, deployment_advance, deployment_get};
use deploymind_shared::db::events::event_append;
use deploymind_shared::db::jobs::{Finish, Requeue, job_finish, job_requeue};
use deploymind_shared::db::logs::{LogLine, log_append};
use deploymind_shared::db::steps::{Step as Journal, StepState, step_write};
use deploymind_shared::db::targets::target_claim;
use deploymind_shared::domain::deployment::DeploymentStatus;
use deploymind_shared::domain::job::{JobState, Priority};
use deploymind_shared::error::{Code, Result};
use deploymind_shared::ids::{Attempt, DeploymentId, JobId, TargetName};
use deploymind_tests::checker::Violation;
use deploymind_tests::rig::Rig;
use deploymind_tests::script::{Script, Step};
use deploymind_tests::wait_for;

use super::{SOON, app, job, wait_rows, wait_running};

#[tokio::test(flavor = "multi_thread")]
async fn its_late_writes_are_refused() {
    let rig = Rig::start().await;
    let targets = rig.targets(2).await;
    let app = app(&rig, "shop", &targets[1..]).await;
    let _scheduler = rig.scheduler().ready().await;
    let mut frozen = rig.worker(4).set("FAULT_BUILD_MS", "60000").ready().await;
    let there = || Step::Note { label: "there".to_owned() };
    let target = Some(targets[0].clone());
    let acts = rig
        .submit(&Script::new([
            Step::Lock { targets: vec![targets[0].clone()] },
            there(),
            Step::Careless { ms: 1_200, name: "roll out".to_owned(), target },
        ]))
        .await;
    let ends = rig.submit(&Script::new([there(), Step::Stubborn { ms: 1_200 }])).await;
    let deploys = rig.fleet.deploy(app, Trigger::Push, None, None, Priority::Normal).await.expect("deploy");
    for id in [acts, ends] {
        wait_rows(&rig, id, "note", 1).await;
    }
    wait_running(&rig, deploys.job, 1).await;
    frozen.process.sigstop();
    let froze = Instant::now();
    let second = rig
        .worker(4)
        .set("FAULT_BUILD_MS", "3000")
        .set("FAULT_DEPLOY_TARGETS", targets[1].as_str())
        .ready()
        .await;
    wait_running(&rig, deploys.job, 2).await;
    wait_for("the second attempt to say where it is", SOON, || async {
        let record =
            deployment_get(&rig.fleet.db, deploys.deployment).await.map_err(|error| error.to_string())?;
        let status = record.ok_or("no deployment")?.status;
        // It stays there for half of its build.
        if status == DeploymentStatus::Cloning { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    old_attempts(&rig, deploys.job, deploys.deployment, &targets[1]).await;
    let jobs = [acts, ends, deploys.job];
    rig.wait_ended(&jobs, SOON).await;
    println!("the second worker had ended all {} ms after the freeze", froze.elapsed().as_millis());
    frozen.process.sigcont();
    wait_rows(&rig, acts, "refused", 1).await;
    wait_for("the late finish to be refused", SOON, || async {
        let refused = frozen.process.stderr().matches("finished too late").count();
        let lost = frozen.metric("deploymind_lease_losses_total").await;
        // All three runs were lost, and the one that came to its end tried to say so.
        if refused == 1 && lost >= 3.0 { Ok(()) } else { Err(format!("{refused} refused, {lost} lost")) }
    })
    .await;
    let winner = second.worker_id().await;
    for id in jobs {
        let record = job(&rig, id).await;
        let got = (record.state.as_str(), record.attempt.0, record.worker, record.recoveries);
        assert_eq!(got, ("succeeded", 2, Some(winner), 1));
    }
    // It is a worker like any other again.
    let more: Vec<JobId> = [rig.submit(&Script::effect()).await, rig.submit(&Script::effect()).await].into();
    rig.wait_ended(&more, SOON).await;
    frozen.wait_ready(SOON).await;
    let all: Vec<JobId> = jobs.iter().chain(&more).copied().collect();
    let verdict = rig.verdict(&all).await;
    verdict.assert_clean();
    assert_eq!(verdict.refused_effects, 1);
    unfenced(&rig, acts, &targets[0], &all).await;
    rig.finish().await;
}

/// Negative control: the same late effect through a sink that looks at the job's id alone is accepted, and the checker
/// sees it.
async fn unfenced(rig: &Rig, id: JobId, target: &TargetName, all: &[JobId]) {
    let detail = serde_json::json!({ "name": "roll out", "target": target, "epoch": 1 });
    let done = sqlx::query(
        "INSERT INTO history (job, attempt, kind, detail) SELECT id, 1, 'effect', $2 FROM jobs WHERE id = $1",
    )
    .bind(id.as_uuid())
    .bind(&detail)
    .execute(&rig.pool)
    .await
    .expect("write");
    assert_eq!(done.rows_affected(), 1, "without the fence it is accepted");
    let found = rig.verdict(all).await.violations;
    let seen = |is: fn(&Violation) -> bool| found.iter().any(is);
    assert!(seen(|found| matches!(found, Violation::Stale { .. })));
    assert!(seen(|found| matches!(found, Violation::EpochWentBack { .. })));
    assert!(seen(|found| matches!(found, Violation::RepeatedEffect { .. })));
    assert!(seen(|found| matches!(found, Violation::EffectAfterFinish { .. })));
}

/// While the second attempt runs: every write of the record is refused to the first one and given to the second;
/// without the fence each would have been accepted.
async fn old_attempts(rig: &Rig, id: JobId, deployment: DeploymentId, target: &TargetName) {
    let (old, present) = (Attempt(1), job(rig, id).await.attempt);
    assert_eq!(present, Attempt(2));
    let before = snapshot(rig, id, target).await;
    for (name, answer) in writes(rig, id, old, target).await {
        assert_eq!(answer.expect_err(name).code(), Code::ClaimLost, "{name}");
    }
    let finish = finish(id, old);
    assert_eq!(job_finish(&rig.fleet.db, &[finish]).await.expect("answered").len(), 0, "finish");
    let back = Requeue::HandBack { after: Duration::ZERO };
    assert!(!job_requeue(&rig.fleet.db, id, old, &back).await.expect("answered"), "requeue");
    assert_eq!(snapshot(rig, id, target).await, before, "nothing was written");
    // Positive control: the holder of the claim may.
    step_write(&rig.fleet.db, id, present, &journal()).await.expect("step");
    log_append(&rig.fleet.db, id, present, &[line()]).await.expect("log");
    event_append(&rig.fleet.db, id, present, "log", &serde_json::json!({})).await.expect("event");
    assert_ne!(snapshot(rig, id, target).await, before);
    // Negative control: by id alone, all of it is accepted. Rolled back, for the second attempt goes on.
    let mut txn = rig.pool.begin().await.expect("begin");
    for (sql, key) in [
        ("UPDATE deployments SET status = 'FAILED' WHERE id = $1", deployment.as_uuid()),
        ("UPDATE deployment_steps SET attempt = 1 WHERE deployment_id = $1", deployment.as_uuid()),
        (
            "INSERT INTO deployment_logs (deployment_id, seq, level, line) VALUES ($1, 99, 'info', 'late')",
            deployment.as_uuid(),
        ),
        ("INSERT INTO events (deployment_id, seq, kind) VALUES ($1, 99, 'late')", deployment.as_uuid()),
        (
            "UPDATE targets SET epoch = epoch + 1 WHERE name = (SELECT target FROM app_targets JOIN jobs USING (app_id) WHERE jobs.id = $1)",
            id.as_uuid(),
        ),
        ("UPDATE jobs SET state = 'failed', finished_at = now() WHERE id = $1", id.as_uuid()),
    ] {
        let done = sqlx::query(sql).bind(key).execute(&mut *txn).await.expect(sql);
        assert_eq!(done.rows_affected(), 1, "{sql}");
    }
    txn.rollback().await.expect("rollback");
}

async fn writes(
    rig: &Rig,
    id: JobId,
    attempt: Attempt,
    target: &TargetName,
) -> Vec<(&'static str, Result<()>)> {
    let db = &rig.fleet.db;
    vec![
        ("advance", deployment_advance(db, id, attempt, DeploymentStatus::Deploying).await),
        ("step", step_write(db, id, attempt, &journal()).await),
        ("log", log_append(db, id, attempt, &[line()]).await),
        ("event", event_append(db, id, attempt, "log", &serde_json::json!({})).await.map(drop)),
        ("targets", target_claim(db, id, attempt, std::slice::from_ref(target)).await.map(drop)),
    ]
}

fn journal() -> Journal {
    Journal {
        step: "build".to_owned(),
        state: StepState::Started,
        attempt: Attempt(0),
        epoch: None,
        output: None,
    }
}

fn line() -> LogLine {
    LogLine { seq: 1, at: Timestamp::default(), level: "info".to_owned(), line: "a line".to_owned() }
}

fn finish(job: JobId, attempt: Attempt) -> Finish {
    Finish {
        job,
        attempt,
        state: JobState::Failed,
        deployment: Some(DeploymentStatus::Failed),
        code: Some(Code::JobFailed),
        reason: None,
    }
}

/// Everything a late writer could have changed.
async fn snapshot(rig: &Rig, id: JobId, target: &TargetName) -> (String, String, i64, i64, i64, i64) {
    sqlx::query_as(
        "SELECT j.state, d.status,
                (SELECT count(*) FROM deployment_steps s WHERE s.deployment_id = d.id),
                (SELECT count(*) FROM deployment_logs l WHERE l.deployment_id = d.id),
                (SELECT count(*) FROM events e WHERE e.deployment_id = d.id),
                (SELECT epoch FROM targets WHERE name = $2)
         FROM jobs j JOIN deployments d ON d.id = j.deployment_id WHERE j.id = $1",
    )
    .bind(id.as_uuid())
    .bind(target.as_str())
    .fetch_one(&rig.pool)
    .await
    .expect("read")
}
