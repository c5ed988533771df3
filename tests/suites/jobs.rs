//! A job's life when nothing breaks: taken, run, ended; in order, on time, cancelled, explained.

use std::time::Duration;

use deploymind_shared::domain::job::{Priority, Probe};
use deploymind_shared::error::Code;
use deploymind_shared::fleet::{Cancel, JobRequest, Waiting, Why};
use deploymind_shared::ids::{EnvironmentName, JobId, TargetName};
use deploymind_tests::rig::{Rig, production, request};
use deploymind_tests::script::{Script, Step};
use deploymind_tests::wait_for;

const SOON: Duration = Duration::from_secs(20);

/// A job that stays where it is until it is asked to stop.
fn forever() -> Script {
    Script::new([Step::Sleep { ms: 100_000 }])
}

async fn wait_running(rig: &Rig, job: JobId) {
    wait_for("the job to run", SOON, || async {
        let state = rig.state(job).await;
        if state == "running" { Ok(()) } else { Err(state) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_goes_all_the_way() {
    let rig = Rig::start().await;
    let _scheduler = rig.scheduler().spawn();
    let worker = rig.worker(4).ready().await;
    let probe = JobRequest::new(production(), &Probe {}).expect("request");
    let job = rig.submitter.submit(probe).await.expect("submit");
    rig.wait_ended(&[job], SOON).await;
    assert_eq!(rig.state(job).await, "succeeded");
    assert!(matches!(rig.fleet.why(job).await, Ok(Why::Ended { .. })));
    assert_eq!(worker.metric("deploymind_jobs_finished_total{kind=\"probe\",outcome=\"done\"}").await, 1.0);
    rig.verdict(&[job]).await.assert_clean();
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn high_ones_go_first_and_each_class_keeps_its_order() {
    let rig = Rig::start().await;
    let mut normal = Vec::new();
    let mut high = Vec::new();
    for number in 0..10 {
        let mut wish = request(&Script::effect());
        if number % 3 == 1 {
            wish.priority = Priority::High;
        }
        let list = if wish.priority == Priority::High { &mut high } else { &mut normal };
        list.push(rig.submitter.submit(wish).await.expect("submit"));
    }
    let last = *normal.last().expect("some");
    match rig.fleet.why(last).await.expect("why") {
        Why::Waiting { what: Waiting::Worker { ahead: Some(9), workers: 0, .. }, .. } => {}
        other => panic!("{other:?}"),
    }
    // One place, so that they run one after the other.
    let _worker = rig.worker(1).ready().await;
    let all: Vec<JobId> = high.iter().chain(&normal).copied().collect();
    rig.wait_ended(&all, SOON).await;
    let started: Vec<_> = rig
        .rows()
        .await
        .into_iter()
        .filter(|row| row.kind == "state" && row.detail["is"] == "running")
        .map(|row| JobId::from_uuid(row.job))
        .collect();
    assert_eq!(started, all);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_job_is_cancelled_at_once_and_a_running_one_within_its_grace() {
    let rig = Rig::start().await;
    let _worker = rig.worker(1).ready().await;
    let running = rig.submit(&forever()).await;
    wait_running(&rig, running).await;
    let waiting = rig.submit(&forever()).await;
    assert_eq!(rig.fleet.cancel(waiting).await.expect("cancel"), Cancel::Ended);
    assert_eq!(rig.state(waiting).await, "cancelled");
    assert_eq!(rig.fleet.cancel(running).await.expect("cancel"), Cancel::Stopping);
    rig.wait_ended(&[running], Duration::from_secs(10)).await;
    assert_eq!(rig.state(running).await, "cancelled");
    let late = rig.fleet.cancel(running).await.expect_err("ended");
    assert_eq!(late.code(), Code::JobEnded);
    // One that does not listen is dropped when its grace is over.
    let stubborn = rig.submit(&Script::new([Step::Stubborn { ms: 100_000 }])).await;
    wait_running(&rig, stubborn).await;
    let asked = std::time::Instant::now();
    rig.fleet.cancel(stubborn).await.expect("cancel");
    rig.wait_ended(&[stubborn], Duration::from_secs(10)).await;
    println!("stubborn job ended {} ms after its cancel", asked.elapsed().as_millis());
    assert_eq!(rig.state(stubborn).await, "cancelled");
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_target_parks_the_next_and_why_names_the_holder() {
    let rig = Rig::start().await;
    let targets = rig.targets(1).await;
    let _scheduler = rig.scheduler().spawn();
    let _worker = rig.worker(4).ready().await;
    let hold = Script::new([Step::Lock { targets: targets.clone() }, Step::Sleep { ms: 100_000 }]);
    let holder = rig.submit(&hold).await;
    wait_for("the lock to be taken", SOON, || async {
        let locked = rig.rows().await.iter().any(|row| row.kind == "locked");
        if locked { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    let mut early = request(&Script::effect());
    early.targets = targets.clone();
    let early = rig.submitter.submit(early).await.expect("submit");
    let late = rig
        .submit(&Script::new([
            Step::Note { label: "built".to_owned() },
            Step::Lock { targets: targets.clone() },
            Step::Effect { name: "roll out".to_owned(), target: Some(targets[0].clone()) },
        ]))
        .await;
    for job in [early, late] {
        wait_for("the job to be parked", SOON, || async {
            match rig.fleet.why(job).await {
                Ok(Why::Waiting {
                    what: Waiting::Target { holder: Some(by), held_for: Some(_), .. },
                    ..
                }) if by == holder => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
    println!("{}", rig.fleet.why(late).await.expect("why"));
    rig.fleet.cancel(holder).await.expect("cancel");
    rig.wait_ended(&[holder, early, late], SOON).await;
    assert_eq!(rig.state(early).await, "succeeded");
    assert_eq!(rig.state(late).await, "succeeded");
    rig.verdict(&[holder, early, late]).await.assert_clean();
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_end_retries_come_back_and_panics_are_contained() {
    let rig = Rig::start().await;
    let _scheduler = rig.scheduler().spawn();
    let _worker = rig.worker(4).ready().await;
    let fails = rig.submit(&Script::new([Step::Fail])).await;
    let panics = rig.submit(&Script::new([Step::Panic])).await;
    let retries = rig.submit(&Script::new([Step::RetryUntil { attempt: 3 }])).await;
    let gives_up = rig.submit(&Script::new([Step::RetryUntil { attempt: 99 }])).await;
    rig.wait_ended(&[fails, panics, retries, gives_up], SOON).await;
    let mut codes = Vec::new();
    for job in [fails, panics, retries, gives_up] {
        let record =
            deploymind_shared::db::jobs::job_get(&rig.fleet.db, job).await.expect("read").expect("there");
        codes.push((record.state.to_string(), record.code.unwrap_or_default()));
    }
    let expected = [("failed", "DM-3007"), ("failed", "DM-3006"), ("succeeded", ""), ("failed", "DM-3005")];
    for (got, (state, code)) in codes.iter().zip(expected) {
        assert_eq!((got.0.as_str(), got.1.as_str()), (state, code));
    }
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_wishes_are_refused_with_their_code() {
    let rig = Rig::start().await;
    let nowhere = EnvironmentName::parse("nowhere").expect("well-formed");
    let unknown = TargetName::parse("docker://unknown").expect("well-formed");
    let base = request(&Script::effect());
    let mut cases = Vec::new();
    cases.push((JobRequest { environment: nowhere, ..base.clone() }, Code::EnvironmentUnknown));
    cases.push((JobRequest { targets: vec![unknown], ..base.clone() }, Code::TargetUnknown));
    cases.push((JobRequest { kind: "Bad Kind".to_owned(), ..base.clone() }, Code::FieldTooLong));
    cases.push((JobRequest { kind: "k".repeat(41), ..base.clone() }, Code::FieldTooLong));
    cases.push((
        JobRequest { payload: serde_json::json!({ "x": "y".repeat(9_000) }), ..base.clone() },
        Code::FieldTooLong,
    ));
    cases.push((
        JobRequest { payload: serde_json::json!({ "x": "\0" }), ..base.clone() },
        Code::PayloadInvalid,
    ));
    let many = (0..65).map(deploymind_tests::rig::target).collect();
    cases.push((JobRequest { targets: many, ..base.clone() }, Code::FieldTooLong));
    // Together with a good one: what is wrong with one request must not touch another in the same commit.
    for (wish, code) in cases {
        let (bad, good) = tokio::join!(rig.submitter.submit(wish), rig.submitter.submit(base.clone()));
        assert_eq!(bad.expect_err("refused").code(), code);
        good.expect("accepted");
    }
    let missing = rig.fleet.why(JobId::generate()).await.expect_err("unknown");
    assert_eq!(missing.code(), Code::JobUnknown);
    let _worker = rig.worker(4).ready().await;
    wait_for("the good ones to end", SOON, || async {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs WHERE finished_at IS NULL")
            .fetch_one(&rig.pool)
            .await
            .map_err(|error| error.to_string())?;
        if left == 0 { Ok(()) } else { Err(format!("{left} left")) }
    })
    .await;
    rig.finish().await;
}
