//! What is told about a deployment: recorded first, numbered, published, and never by one that lost its claim.

use std::time::Duration;

use deploymind_shared::db::apps::{NewApp, app_create};
use deploymind_shared::db::deployments::Trigger;
use deploymind_shared::db::events::event_list;
use deploymind_shared::db::users::user_create;
use deploymind_shared::domain::job::Priority;
use deploymind_shared::error::Code;
use deploymind_shared::events::{EventKind, tell};
use deploymind_shared::ids::Attempt;
use deploymind_tests::rig::{Rig, production};
use futures::StreamExt as _;

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn listeners_hear_in_order_what_the_record_holds() {
    let rig = Rig::start().await;
    let owner = user_create(&rig.fleet.db, "somebody", None).await.expect("user").id;
    let app = NewApp {
        owner,
        name: "shop".to_owned(),
        repository: "https://example.test/shop.git".to_owned(),
        branch: "main".to_owned(),
        environment: production(),
        targets: Vec::new(),
    };
    let app = app_create(&rig.fleet.db, &app).await.expect("app");
    let mut pubsub = redis::Client::open(rig.stores.redis.as_str())
        .expect("a redis address")
        .get_async_pubsub()
        .await
        .expect("subscribe");
    pubsub.psubscribe(format!("{}:*", rig.name)).await.expect("subscribe");
    let created = rig.fleet.deploy(app, Trigger::Push, None, None, Priority::Normal).await.expect("accepted");
    let _worker = rig.worker(1).ready().await;
    rig.wait_ended(&[created.job], SOON).await;

    let mut heard = Vec::new();
    let mut messages = pubsub.on_message();
    while heard.len() < 4 {
        let message = tokio::time::timeout(SOON, messages.next()).await.expect("in time").expect("connected");
        let channel = message.get_channel_name().to_owned();
        if channel.contains(":control:") {
            continue;
        }
        let body: serde_json::Value =
            serde_json::from_str(&message.get_payload::<String>().expect("text")).expect("JSON");
        heard.push((channel, body["seq"].as_i64(), body["kind"].as_str().map(ToOwned::to_owned)));
    }
    let deployment = format!("{}:deployment:{}", rig.name, created.deployment);
    let fleet = format!("{}:events", rig.name);
    let expected = [
        (&deployment, 1, "deployment_started"),
        (&fleet, 1, "deployment_started"),
        (&deployment, 2, "deployment_completed"),
        (&fleet, 2, "deployment_completed"),
    ];
    for (heard, (channel, seq, kind)) in heard.iter().zip(expected) {
        assert_eq!(heard, &(channel.clone(), Some(seq), Some(kind.to_owned())));
    }
    let recorded = event_list(&rig.fleet.db, created.deployment, 0, 100).await.expect("events");
    assert_eq!(recorded.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 2]);

    // The run is over: its claim is worth nothing now.
    let late = tell(
        &rig.fleet,
        created.job,
        Attempt(1),
        created.deployment,
        EventKind::Progress,
        &serde_json::json!({ "progress_percentage": 100 }),
    )
    .await
    .expect_err("refused");
    assert_eq!(late.code(), Code::ClaimLost);
    assert!(
        tokio::time::timeout(Duration::from_millis(300), async {
            while let Some(message) = messages.next().await {
                if !message.get_channel_name().contains(":control:") {
                    return;
                }
            }
        })
        .await
        .is_err()
    );
    rig.finish().await;
}
