//! What each role shows on its admin port, what the gateway shows to the public, and what a taken port means.

use std::net::TcpListener;

use deploymind_shared::config::EXIT_CONFIG;
use deploymind_tests::rig::{NodeBuilder, Rig};
use deploymind_tests::{free_port, http};
use serde_json::Value;

use super::{SOON, deploymind, ended};

#[tokio::test(flavor = "multi_thread")]
async fn every_role_answers_operators_and_the_gateway_the_public() {
    let rig = Rig::start().await;
    let listen = free_port();
    let shipped = |role| NodeBuilder::shipped(role, &rig.stores, &rig.name);
    let nodes = [
        ("worker", shipped("worker").set("DEPLOYMIND_ENVIRONMENTS", "production,staging")),
        ("gateway", shipped("gateway").set("DEPLOYMIND_LISTEN", &format!("127.0.0.1:{listen}"))),
        ("scheduler", shipped("scheduler")),
    ];
    for (role, node) in nodes {
        let mut node = node.ready().await;
        let get = async |path: &str| node.get(path).await.expect("answers");
        let healthy = get("/healthz").await;
        assert_eq!((healthy.status, healthy.body.as_str()), (200, "ok\n"), "{role}");
        let ready: Value = serde_json::from_str(&get("/readyz").await.body).expect("JSON");
        assert_eq!(
            (&ready["ready"], &ready["draining"]),
            (&Value::Bool(true), &Value::Bool(false)),
            "{role}"
        );
        let checks: Vec<&str> = ready["checks"]
            .as_array()
            .expect("checks")
            .iter()
            .filter_map(|check| check["name"].as_str())
            .collect();
        let expected: &[&str] = match role {
            "worker" => &["started", "renew locks", "record", "pop production", "pop staging"],
            "gateway" => &["started", "record", "redis"],
            _ => &["started", "lease"],
        };
        assert_eq!(checks, expected, "{role}");
        let status: Value = serde_json::from_str(&get("/status").await.body).expect("JSON");
        match role {
            "worker" => assert!(status["worker"].as_str().is_some_and(|id| id.parse::<uuid::Uuid>().is_ok())),
            "scheduler" => assert!(status["leader"].is_boolean() && status["tasks"].is_object()),
            _ => assert!(status.is_object()),
        }
        let metrics = get("/metrics").await;
        let families = metrics.body.lines().filter(|line| line.starts_with("# TYPE deploymind_")).count();
        println!("{role}: checks {checks:?}, {families} metric families, status {status}");
        assert!(metrics.status == 200 && families > 5, "{role}: {}", metrics.body);
        let lost = get("/nothing").await;
        assert_eq!(lost.status, 404);
        let problem: Value = serde_json::from_str(&lost.body).expect("a problem document");
        assert_eq!((problem["status"].as_u64(), problem["title"].as_str()), (Some(404), Some("Not Found")));
        if role == "gateway" {
            assert_public(listen).await;
        }
        node.process.sigterm();
        assert_eq!(node.process.wait_exit(SOON).await.code(), Some(0), "{role}: {}", node.process.log());
    }
    rig.finish().await;
}

async fn assert_public(port: u16) {
    let get = async |path: &str| http::get(&format!("http://127.0.0.1:{port}{path}")).await.expect("answers");
    assert_eq!(get("/healthz").await.status, 200);
    assert_eq!(get("/readyz").await.status, 200);
    // Nothing for operators on the public port.
    for path in ["/metrics", "/status", "/", "/no/such/thing"] {
        let lost = get(path).await;
        assert_eq!(lost.status, 404, "{path}");
        let problem: Value = serde_json::from_str(&lost.body).expect("a problem document");
        assert_eq!(problem["status"].as_u64(), Some(404), "{path}: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named_and_is_a_wrong_setting() {
    let rig = Rig::start().await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("bound").to_string();
    let stores = |role| {
        deploymind(role)
            .env("DEPLOYMIND_DATABASE_URL", &rig.stores.database)
            .env("DEPLOYMIND_REDIS_URL", &rig.stores.redis)
            .env("DEPLOYMIND_FLEET", &rig.name)
            .env("DEPLOYMIND_ENVIRONMENTS", "production")
    };
    let admin = format!("127.0.0.1:{}", free_port());
    let mut cases: Vec<_> = ["worker", "gateway", "scheduler"]
        .map(|role| (role, stores(role).env("DEPLOYMIND_ADMIN_ADDR", &address)))
        .into();
    let public = stores("gateway").env("DEPLOYMIND_ADMIN_ADDR", admin).args(["--listen", &address]);
    cases.push(("gateway's public", public));
    for (what, process) in cases {
        let (code, log) = ended(process).await;
        assert_eq!(code, Some(i32::from(EXIT_CONFIG)), "{what}: {log}");
        let told = log.lines().find(|line| line.starts_with("deploymind: ")).unwrap_or_default();
        println!("{what}: {told}");
        assert!(told.contains("DM-1001") && told.contains(&address), "{what}: {log}");
        assert!(log.to_lowercase().contains("address already in use"), "{what}: {log}");
    }
    rig.finish().await;
}
