//! What a deployment that goes well leaves behind.

use deploymind_shared::db::builds::build_get;
use deploymind_shared::db::releases::release_get;
use deploymind_shared::domain::app::VariableScope;
use deploymind_shared::domain::release::ReleaseSpec;
use deploymind_tests::delivery::{Delivery, docker};

use crate::common::{SOON, small};

#[tokio::test(flavor = "multi_thread")]
async fn a_push_becomes_a_labelled_image_and_an_immutable_release() {
    let delivery = Delivery::start().await;
    let (app, repository) = delivery.app("shop", &small()).await;
    delivery.variable(app, "API_TOKEN", "value-of-the-token", VariableScope::Run).await;
    let commit = repository.tip("main").expect("a commit");
    let _nodes = delivery.nodes().await;
    let created = delivery.deploy(app).await;
    let ended = delivery.ended(&created, SOON).await;
    ended.assert_released();
    assert_eq!(ended.deployment.commit.as_deref(), Some(commit.as_str()));
    assert_eq!(ended.deployment.commit_message.as_deref(), Some("first"));
    assert_eq!(ended.deployment.commit_author.as_deref(), Some("Test"));
    let numbers: Vec<i64> = ended.log.iter().map(|line| line.seq).collect();
    assert_eq!(numbers, (1..=i64::try_from(numbers.len()).expect("few")).collect::<Vec<_>>());

    let db = &delivery.rig.fleet.db;
    let build = build_get(db, created.deployment).await.expect("read").expect("a build");
    let release =
        release_get(db, ended.deployment.release.expect("released")).await.expect("read").expect("a release");
    let spec: ReleaseSpec = serde_json::from_value(release.spec).expect("a spec");
    assert_eq!((&spec.image.id, &spec.commit), (&build.image_id, &commit));
    assert_eq!(delivery.images(), [(build.image_id.clone(), created.deployment.to_string())]);
    let labels = docker(&["image", "inspect", "--format", "{{json .Config.Labels}}", &build.image_id]);
    for (label, value) in [
        ("deploymind.app", app.to_string()),
        ("deploymind.deployment", created.deployment.to_string()),
        ("deploymind.commit", commit),
    ] {
        assert!(labels.contains(&format!("\"{label}\":\"{value}\"")), "{labels}");
    }
    assert_eq!(docker(&["run", "--rm", &spec.image.reference]), "hello\n");
    delivery.assert_clean(SOON).await;
    delivery.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_as_it_ships_deploys() {
    let delivery = Delivery::start().await;
    let (app, _) = delivery.app("shop", &small()).await;
    delivery.variable(app, "API_TOKEN", "value-of-the-token", VariableScope::Run).await;
    let _nodes = (delivery.shipped().ready().await, delivery.rig.scheduler().ready().await);
    let ended = delivery.ended(&delivery.deploy(app).await, SOON).await;
    ended.assert_released();
    delivery.assert_clean(SOON).await;
    delivery.finish().await;
}
