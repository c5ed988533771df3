//! A client (a gateway, say) that is killed (-9) between its commit and its push. The reconciler brings the job.

use std::time::{Duration, Instant};

use deploymind_shared::fleet::{Waiting, Why};
use deploymind_shared::ids::JobId;
use deploymind_tests::rig::{NodeBuilder, Rig};
use deploymind_tests::script::Script;

use super::{SOON, app, job, wait_killed_at};

pub(super) const POINTS: &[&str] = &["submit.after_commit", "deploy.after_commit"];

#[tokio::test(flavor = "multi_thread")]
async fn dies_before_its_push() {
    let script = serde_json::to_string(&Script::effect()).expect("a script can be written down");
    let deployed = async {
        let rig = Rig::start().await;
        let app = app(&rig, "shop", &rig.targets(1).await).await;
        forgotten(rig, POINTS[1], |client| client.set("FAULT_APP", &app.to_string())).await;
    };
    let submitted = async {
        let rig = Rig::start().await;
        forgotten(rig, POINTS[0], |client| client.set("FAULT_SCRIPT", &script)).await;
    };
    tokio::join!(submitted, deployed);
}

async fn forgotten(rig: Rig, point: &str, what: impl Fn(NodeBuilder) -> NodeBuilder) {
    let _worker = rig.worker(2).set("FAULT_DEPLOY_TARGETS", "docker://host-0").ready().await;
    let mut client = what(rig.client()).kill_at(point, 0).spawn();
    wait_killed_at(&mut client, point).await;
    let orphan: uuid::Uuid =
        sqlx::query_scalar("SELECT id FROM jobs").fetch_one(&rig.pool).await.expect("it was committed");
    let orphan = JobId::from_uuid(orphan);
    // The same client when it does not die: its job runs, with the worker alone, past the forgotten one.
    let mut control = rig.client().set("FAULT_SCRIPT", r#"{"steps":[]}"#).spawn();
    assert!(control.process.wait_exit(SOON).await.success(), "{}", control.process.stderr());
    let pushed: JobId = control.process.stdout().trim().parse().expect("the client says its job");
    rig.wait_ended(&[pushed], SOON).await;
    let record = job(&rig, orphan).await;
    assert_eq!((record.state.as_str(), record.attempt.0), ("queued", 0), "nobody brought it yet");
    match rig.fleet.why(orphan).await.expect("why") {
        Why::Waiting { what: Waiting::Scheduler, .. } => {}
        other => panic!("{other}"),
    }
    let _scheduler = rig.scheduler().spawn();
    let started = Instant::now();
    rig.wait_ended(&[orphan], SOON).await;
    println!("{point}: ended {} ms after the scheduler's start", started.elapsed().as_millis());
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(rig.state(orphan).await, "succeeded");
    rig.verdict(&[orphan, pushed]).await.assert_clean();
    rig.finish().await;
}
