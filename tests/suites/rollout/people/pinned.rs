//! What a way back is remembered for: the app is pinned, and the commit that was left does not return by itself.

use deploymind_shared::db::pins::{app_unpin, bad_commit_forget};
use deploymind_tests::delivery::Delivery;

use super::follow::{assert_deployed, assert_ended, by_hand, pushed};
use crate::common::{SOON, Sample, quick};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_left_does_not_come_back_by_a_push() {
    let delivery = Delivery::on_docker().await;
    let mut settings = quick();
    settings.rollout.verify_s = 0;
    let sample = Sample::new(&delivery, "pinned", settings).await;
    let _nodes = delivery.nodes().await;
    assert_deployed(&sample.deploy("v1", &[]).await);
    let bad = sample.deploy("v2", &[]).await;
    assert_deployed(&bad);
    let bad = bad.deployment.commit.expect("a commit");
    let created =
        delivery.rig.fleet.rollback(sample.app, None, Some(delivery.owner)).await.expect("a way back");
    let ended = delivery.ended(&created, SOON).await;
    assert_deployed(&ended);
    assert!(ended.text().contains("pushes do not deploy this app any more"), "{}", ended.text());
    let code = |refused: deploymind_shared::error::Error| refused.code().as_str().to_owned();

    for commit in [None, Some(bad.as_str())] {
        let refused = pushed(&delivery, sample.app, commit).await.expect_err("it is pinned");
        println!("pinned: {refused}");
        assert_eq!(code(refused), "DM-4818");
    }
    let db = &delivery.rig.fleet.db;
    assert!(app_unpin(db, delivery.owner, sample.app).await.expect("unpin"));
    let refused = pushed(&delivery, sample.app, Some(&bad)).await.expect_err("it was rolled back");
    println!("unpinned: {refused}");
    assert_eq!(code(refused), "DM-4819");
    // Which commit the branch is at is known once it is fetched.
    let created = pushed(&delivery, sample.app, None).await.expect("pushes deploy again");
    let ended = delivery.ended(&created, SOON).await;
    assert_ended(&ended, "FAILED", "DM-4819");
    assert!(!ended.text().contains("building the image"), "{}", ended.text());
    sample.assert_answers("v1").await;

    assert_deployed(&by_hand(&delivery, sample.app).await);
    sample.assert_answers("v2").await;
    // It is held back until somebody says that it is good.
    assert_eq!(code(pushed(&delivery, sample.app, Some(&bad)).await.expect_err("still")), "DM-4819");
    assert!(bad_commit_forget(db, sample.app, &bad).await.expect("forget"));
    assert_deployed(&sample.deploy("v3", &[]).await);
    sample.assert_answers("v3").await;
    delivery.finish().await;
}
