//! Windows of a few microseconds, held open.

use std::time::{Duration, Instant};

use deploymind_shared::fleet::{Cancel, JobRequest};
use deploymind_tests::rig::{Rig, request};
use deploymind_tests::script::Script;

use super::{SOON, wait_running};

/// A job that was claimed, not begun, and is given back, is cancelled in between: the record refuses to take it back,
/// and nothing runs it that could hear the cancel.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_between_claim_and_hand_back_is_heard() {
    let rig = Rig::start().await;
    let _scheduler = rig.scheduler().ready().await;
    let _worker = rig.worker(2).pause_at("worker.claimed", Duration::from_secs(1)).ready().await;
    let strange = JobRequest { kind: "no_such_kind".to_owned(), ..request(&Script::effect()) };
    let id = rig.submitter.submit(strange).await.expect("submit");
    wait_running(&rig, id, 1).await;
    assert_eq!(rig.fleet.cancel(id).await.expect("cancel"), Cancel::Stopping);
    let asked = Instant::now();
    rig.wait_ended(&[id], SOON).await;
    println!("cancelled between claim and hand-back: ended after {} ms", asked.elapsed().as_millis());
    assert_eq!(rig.state(id).await, "cancelled");
    assert!(asked.elapsed() < Duration::from_secs(10), "the promise about a cancel");
    rig.finish().await;
}
