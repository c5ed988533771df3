//! The check that nothing is left behind can fail.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use deploymind_tests::registry::Registry;
use futures::FutureExt as _;

use super::bench::Bench;
use crate::common::SOON;

#[tokio::test(flavor = "multi_thread")]
async fn without_an_undo_and_without_a_sweep_the_check_says_what_is_left() {
    let registry = Registry::start().await;
    // With the build not undone an image is left, too.
    for undoing in ["build", "checkout"] {
        let bench = Bench::small(&registry).await;
        let node = bench.unswept().set("FAULT_REFUSE_AT", "pipeline.release.started");
        // Its one sweep comes before there is anything to sweep.
        let created = bench.dies_at(node, &format!("pipeline.{undoing}.undoing")).await;
        bench.delivery.rig.fleet.cancel(created.job).await.expect("cancel");
        bench.delivery.ended(&created, SOON).await;
        let check = AssertUnwindSafe(bench.delivery.assert_clean(Duration::from_secs(3))).catch_unwind();
        let panic = check.await.expect_err("the check passes whatever is left");
        let says = panic.downcast_ref::<String>().expect("a sentence");
        assert!(says.contains("folders"), "{says}");
        assert_eq!(bench.images(&created).len(), usize::from(undoing == "build"));

        let _second = bench.worker().ready().await;
        bench.delivery.assert_clean(SOON).await;
        bench.finish().await;
    }
}
