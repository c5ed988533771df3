//! Deployments that wait: at their checkpoint for a target, beside another app, and until somebody cancels them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use deploymind_shared::db::deployments::{Trigger, deployment_get};
use deploymind_shared::domain::deployment::DeploymentStatus;
use deploymind_shared::domain::job::Priority;
use deploymind_shared::domain::overlap::OverlapPolicy;
use deploymind_shared::fleet::{Cancel, Waiting, Why};
use deploymind_tests::script::{Script, Step};
use deploymind_tests::wait_for;

use super::{SOON, Shop, overlap, phase};
use crate::record;

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_parked_at_its_checkpoint_is_not_replaced() {
    for policy in [OverlapPolicy::Newest, OverlapPolicy::Override] {
        let shop = Shop::open(policy, 100, 0, true).await;
        let hold = Script::new([Step::Lock { targets: shop.targets.clone() }, Step::Sleep { ms: 100_000 }]);
        let holder = shop.rig.submit(&hold).await;
        wait_for("the target to be held", SOON, async || {
            let held = shop.rig.rows().await.iter().any(|row| row.kind == "locked");
            if held { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
        let built = shop.push().await;
        wait_for("it to wait for the target", SOON, async || match shop.rig.fleet.why(built.job).await {
            Ok(Why::Waiting { what: Waiting::Target { holder: Some(by), .. }, .. }) if by == holder => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        assert_eq!(shop.status(built.deployment).await, DeploymentStatus::Queued);
        let newer = shop.push().await;
        assert_eq!((newer.superseded.len(), newer.stopping), (0, None));
        let why = shop.rig.fleet.why(newer.job).await.expect("why");
        assert!(
            matches!(why, Why::Waiting { what: Waiting::App { behind }, .. } if behind == built.job),
            "{why}"
        );
        let newest = shop.push().await;
        assert_eq!((newest.superseded.as_slice(), newest.stopping), (&[newer.job][..], None));
        shop.rig.fleet.cancel(holder).await.expect("cancel");
        let ends = shop.ends(&[built.clone(), newer, newest.clone()]).await;
        println!("{policy}: {ends:?}");
        assert_eq!(ends, BTreeMap::from([("DEPLOYED".to_owned(), 2), ("SUPERSEDED".to_owned(), 1)]));
        let moves = shop.moves().await;
        let (first, second) = (&moves[&built.deployment.as_uuid()], &moves[&newest.deployment.as_uuid()]);
        assert!(
            phase(first, "CLONING", "DEPLOYED").1 <= phase(second, "CLONING", "DEPLOYED").0,
            "one after the other"
        );
        let clones = first.iter().filter(|(_, status)| status == "CLONING").count();
        assert_eq!(clones, 1, "it went on from its checkpoint: {first:?}");
        shop.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_apps_on_one_target_build_side_by_side_and_roll_out_one_after_the_other() {
    let shop = Shop::open(OverlapPolicy::Newest, 600, 500, true).await;
    let other = record::app(&shop.rig, shop.owner, "blog", &shop.targets).await;
    let deploy = |app| shop.rig.fleet.deploy(app, Trigger::Push, None, None, Priority::Normal);
    let (one, two) = tokio::join!(deploy(shop.app), deploy(other));
    let both = [one.expect("deploy"), two.expect("deploy")];
    assert_eq!(shop.ends(&both).await, BTreeMap::from([("DEPLOYED".to_owned(), 2)]));
    let moves = shop.moves().await;
    let of = |index: usize, from, until| phase(&moves[&both[index].deployment.as_uuid()], from, until);
    let builds = [of(0, "CLONING", "DEPLOYING"), of(1, "CLONING", "DEPLOYING")];
    let rollouts = [of(0, "DEPLOYING", "DEPLOYED"), of(1, "DEPLOYING", "DEPLOYED")];
    assert!(overlap(builds[0], builds[1]), "{builds:?}");
    assert!(!overlap(rollouts[0], rollouts[1]), "{rollouts:?}");
    let gap = rollouts[0].0.max(rollouts[1].0) - rollouts[0].1.min(rollouts[1].1);
    println!("the second roll-out began {:.0} ms after the first had ended", gap * 1_000.0);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_and_running_deployments_are_cancelled() {
    let shop = Shop::open(OverlapPolicy::Newest, 100_000, 0, false).await;
    let running = shop.push().await;
    shop.wait_status(running.deployment, DeploymentStatus::Cloning).await;
    let waiting = shop.push().await;
    assert_eq!(shop.rig.fleet.cancel(waiting.job).await.expect("cancel"), Cancel::Ended);
    assert_eq!(shop.status(waiting.deployment).await, DeploymentStatus::Cancelled);
    let asked = Instant::now();
    assert_eq!(shop.rig.fleet.cancel(running.job).await.expect("cancel"), Cancel::Stopping);
    shop.wait_status(running.deployment, DeploymentStatus::Cancelled).await;
    let took = asked.elapsed();
    println!("a running deployment was cancelled within {} ms", took.as_millis());
    assert!(took < Duration::from_secs(10));
    for created in [&running, &waiting] {
        let read =
            deployment_get(&shop.rig.fleet.db, created.deployment).await.expect("read").expect("there");
        assert!(read.reason.is_some() && read.finished_at.is_some(), "{read:?}");
    }
    // The app is free for the next.
    let next = shop.push().await;
    shop.wait_status(next.deployment, DeploymentStatus::Cloning).await;
    shop.rig.fleet.cancel(next.job).await.expect("cancel");
    shop.ends(&[running, waiting, next]).await;
    shop.close().await;
}
