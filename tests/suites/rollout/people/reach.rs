//! How else users reach an app, or not at all.

use std::net::UdpSocket;
use std::time::Duration;

use deploymind_tests::delivery::Delivery;
use deploymind_tests::git::Entry;
use deploymind_tests::{http, sample};

use super::follow::{address, assert_deployed, copies, pushed, users};
use super::visitor::visit;
use crate::common::{SOON, Sample, quick};

#[tokio::test(flavor = "multi_thread")]
async fn two_copies_change_together_and_share_the_requests() {
    let delivery = Delivery::on_docker().await;
    let mut settings = quick();
    settings.rollout.verify_s = 0;
    settings.run.replicas = 2;
    let sample = Sample::new(&delivery, "twins", settings).await;
    let _nodes = delivery.nodes().await;
    assert_deployed(&sample.deploy("v1", &[]).await);
    // WebSockets, too.
    let load = users(&sample.url()).websockets(2, Duration::from_millis(100)).start().await;
    assert_deployed(&sample.deploy("v2", &[]).await);
    let mut hits = Vec::new();
    for copy in copies(sample.app).into_iter().filter(|copy| copy.running) {
        let url = format!("http://{}:8080/hits", address(&copy.id));
        let answer = http::get(&url).await.expect("the copy answers");
        hits.push((copy.name, answer.body.parse::<u64>().expect("a number")));
    }
    let seen = load.finish().await;
    println!("two copies: {hits:?}; {} echoes, {} times anew", seen.ws_echoes, seen.ws_reopened);
    seen.assert_nothing_lost();
    assert!(seen.ws_echoes > 0 && seen.ws_reopened >= 2, "{seen:#?}");
    assert!(hits.len() == 2 && hits.iter().all(|(_, hits)| *hits > 0), "{hits:?}");
    delivery.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn host_names_and_addresses_of_clients() {
    let delivery = Delivery::on_docker().await;
    let mut settings = quick();
    settings.rollout.verify_s = 0;
    settings.run.routes.hosts = vec!["shop.test".to_owned(), "*.shop.test".to_owned()];
    // It has a port as well, so both ways are tried.
    let sample = Sample::new(&delivery, "named", settings.clone()).await;
    let _nodes = delivery.nodes().await;
    settings.run.routes.port = None;
    delivery.settings(sample.app, &settings).await;
    assert_deployed(&sample.deploy("v1", &[]).await);
    let shared = delivery.http_port();
    for host in ["shop.test", "www.shop.test", "SHOP.test"] {
        let answer = visit(shared, "/", &[("Host", host)]).await.expect("an answer");
        assert_eq!((answer.status, answer.version.as_str()), (200, "v1"), "{host}");
    }
    for host in ["other.test", "127.0.0.1", "shop.test.evil"] {
        let answer = visit(shared, "/", &[("Host", host)]).await;
        println!("{host}: {answer:?}");
        assert!(
            answer.as_ref().is_err() || answer.as_ref().is_ok_and(|answer| answer.status == 404),
            "{answer:?}"
        );
    }
    visit(sample.port, "/", &[]).await.expect_err("a port of its own it has no more");
    let url = format!("http://127.0.0.1:{shared}/");
    let load = users(&url).host("shop.test").websockets(1, Duration::from_millis(100)).start().await;
    assert_deployed(&sample.deploy("v2", &[]).await);
    let seen = load.finish().await;
    seen.assert_nothing_lost();
    assert!(seen.of("v1") > 0 && seen.ws_echoes > 0, "{seen:#?}");

    // What the client says of itself is replaced by what is so.
    let lies = [
        ("Host", "shop.test"),
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Real-IP", "6.6.6.6"),
        ("Forwarded", "for=6.6.6.6"),
        ("X-Forwarded-Host", "evil.test"),
        ("X-Forwarded-Proto", "https"),
    ];
    let answer = visit(shared, "/headers", &lies).await.expect("an answer");
    println!("{}", answer.body);
    assert!(!answer.body.contains("6.6.6.6") && !answer.body.contains("evil.test"), "{}", answer.body);
    for header in [
        "[\"x-forwarded-for\",\"127.0.0.1\"]",
        "[\"x-real-ip\",\"127.0.0.1\"]",
        "[\"x-forwarded-proto\",\"http\"]",
        "[\"x-forwarded-host\",\"shop.test\"]",
        "[\"host\",\"shop.test\"]",
    ] {
        assert!(answer.body.contains(header), "{header}: {}", answer.body);
    }
    if let Some(own) = own_address() {
        let url = format!("http://{own}:{shared}/headers");
        let program = std::process::Command::new("curl").args(["-s", "-H", "Host: shop.test", &url]).output();
        let body = String::from_utf8_lossy(&program.expect("curl is installed").stdout).into_owned();
        assert!(body.contains(&format!("[\"x-forwarded-for\",\"{own}\"]")), "{own}: {body}");
    }
    delivery.finish().await;
}

/// An address of this machine that is not its loopback, where it has a way out.
fn own_address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_nobody_asks_is_deployed_all_the_same() {
    let delivery = Delivery::on_docker().await;
    let (_worker, _scheduler) = delivery.nodes().await;
    let dockerfile = |env: &str| format!("FROM {}\n{env}USER nobody\nCMD [\"sample-app\"]\n", sample::base());
    let (app, repository) = delivery.app("background", &[]).await;
    let mut settings = quick();
    settings.run.health.settle_s = 1;
    settings.run.restart = deploymind_shared::domain::slot::RestartPolicy::Never;
    delivery.settings(app, &settings).await;
    let deploy = async |version: &str, env: &str| {
        repository.commit("main", version, &[Entry::file("Dockerfile", dockerfile(env))]);
        let created = pushed(&delivery, app, None).await.expect("accepted");
        delivery.ended(&created, SOON).await
    };
    let first = deploy("v1", "").await;
    assert_deployed(&first);
    let second = deploy("v2", "ENV VERSION=v2\n").await;
    assert_deployed(&second);
    let now: Vec<bool> = copies(app).iter().map(|copy| copy.running).collect();
    assert_eq!(now, [false, true], "the old one is stopped");
    let bad = deploy("v3", "ENV EXIT_AT_START=7\n").await;
    assert_eq!((bad.status(), bad.code()), ("FAILED", "DM-4801"), "{}", bad.text());
    let now: Vec<bool> = copies(app).iter().map(|copy| copy.running).collect();
    assert_eq!(now, [false, true]);
    delivery.finish().await;
}
