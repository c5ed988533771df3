//! Changes of routes: what is refused, and that a refusal leaves traffic where it was.

use std::time::Duration;

use deploymind_shared::domain::slot::HealthCheck;
use deploymind_shared::error::Code;
use deploymind_shared::ids::TargetName;
use deploymind_shared::retry::Stop;

use super::super::{Answer, Holder};
use super::stage::{Slot, Stage, app, fence, free_port, get, route};

fn code<T: std::fmt::Debug>(result: Result<T, Stop>) -> Code {
    match result {
        Err(Stop::Terminal(error) | Stop::Retryable { error, .. }) => error.code(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_epoch_another_target_and_taken_routes_change_nothing() {
    let stage = Stage::started(&["DM_EDGE_CLOSING=0"]).await;
    let edge = &stage.edge;
    let (one, two) = (Slot::start("dm-shop-1").await, Slot::start("dm-shop-2").await);
    let (shop, other, port) = (app(), app(), free_port());
    edge.admit(&fence(5)).await.expect("first");
    edge.admit(&fence(5)).await.expect("again");
    assert_eq!(code(edge.admit(&fence(4)).await), Code::EpochRefused);
    let mut foreign = fence(9);
    foreign.target = TargetName::parse("docker://other").expect("target");
    assert_eq!(code(edge.admit(&foreign).await), Code::EpochRefused);

    let to_one = route(&shop, port, None, Some(&one.upstream), 100);
    assert_eq!(code(edge.route(&fence(4), &to_one, None, Some(&one.upstream)).await), Code::EpochRefused);
    assert_eq!(edge.standing(shop.id).await.expect("standing"), None);
    assert_eq!(edge.port_holder(port).await.expect("port"), Holder::Free);
    edge.route(&fence(5), &to_one, None, Some(&one.upstream)).await.expect("routed");
    let standing = edge.standing(shop.id).await.expect("standing").expect("one");
    assert_eq!((standing.epoch.0, standing.new, standing.weight), (5, Some(one.upstream.slot.clone()), 100));
    assert_eq!(edge.port_holder(port).await.expect("port"), Holder::Edge);
    let generation = edge.alive().await.expect("alive").generation;
    edge.route(&fence(5), &to_one, None, Some(&one.upstream)).await.expect("again");
    assert_eq!(edge.alive().await.expect("alive").generation, generation, "the same again is no change");

    let to_two = route(&other, port, None, Some(&two.upstream), 100);
    assert_eq!(code(edge.route(&fence(6), &to_two, None, Some(&two.upstream)).await), Code::RouteTaken);

    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let taken = listener.local_addr().expect("address").port();
    assert_eq!(edge.port_holder(taken).await.expect("port"), Holder::Foreign);
    let to_two = route(&other, taken, None, Some(&two.upstream), 100);
    assert_eq!(code(edge.route(&fence(6), &to_two, None, Some(&two.upstream)).await), Code::EdgePortTaken);

    // Bound without listening: nobody can see it before nginx tries.
    let socket = tokio::net::TcpSocket::new_v4().expect("socket");
    socket.bind(([0, 0, 0, 0], 0).into()).expect("bind");
    let taken = socket.local_addr().expect("address").port();
    let moved = route(&shop, taken, None, Some(&two.upstream), 100);
    assert_eq!(code(edge.route(&fence(6), &moved, None, Some(&two.upstream)).await), Code::EdgePortTaken);
    assert_eq!(get(port, "/", "").await.body, "dm-shop-1");
    let standing = edge.standing(shop.id).await.expect("standing").expect("one");
    assert_eq!((standing.epoch.0, standing.new), (5, Some(one.upstream.slot.clone())));

    // Made anew: the routes stay. Ended in order.
    stage.docker(&["restart"]);
    stage.ready().await;
    assert_eq!(get(port, "/", "").await.body, "dm-shop-1");
    assert_eq!(code(edge.admit(&fence(5)).await), Code::EpochRefused);

    let nowhere = route(&shop, port, None, None, 0);
    edge.route(&fence(6), &nowhere, None, None).await.expect("dropped");
    assert_eq!(edge.standing(shop.id).await.expect("standing"), None);
    assert_eq!(edge.port_holder(port).await.expect("port"), Holder::Free);
    assert!(edge.drained(Duration::from_secs(5)).await.expect("drained"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_taken_while_the_edge_was_away_keeps_one_app_out_and_no_other() {
    let stage = Stage::started(&["DM_EDGE_CLOSING=0"]).await;
    let edge = &stage.edge;
    let slot = Slot::start("dm-shop-1").await;
    let (first, second) = (free_port(), free_port());
    let (one, two) = (app(), app());
    for (app, port) in [(&one, first), (&two, second)] {
        let route = route(app, port, None, Some(&slot.upstream), 100);
        edge.route(&fence(1), &route, None, Some(&slot.upstream)).await.expect("routed");
    }
    stage.docker(&["stop"]);
    let listener = std::net::TcpListener::bind(("127.0.0.1", first)).expect("bind");
    stage.docker(&["start"]);
    stage.ready().await;
    assert_eq!(edge.alive().await.expect("alive").left_out, [one.id.to_string()]);
    assert_eq!(get(second, "/", "").await.body, "dm-shop-1");
    drop(listener);
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while !edge.alive().await.expect("alive").left_out.is_empty() {
        assert!(tokio::time::Instant::now() < end, "not served again");
    }
    assert_eq!(get(first, "/", "").await.body, "dm-shop-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_tells_how_it_was_answered() {
    use tokio::io::AsyncWriteExt as _;
    let stage = Stage::started(&[]).await;
    let slot = Slot::start("dm-shop-1").await;
    let garbage = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let redirect = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let addresses = [
        slot.upstream.addresses[0],
        ([127, 0, 0, 1], free_port()).into(),
        garbage.local_addr().expect("address"),
        silent.local_addr().expect("address"),
        redirect.local_addr().expect("address"),
    ];
    let answer = async |listener: tokio::net::TcpListener, text: &'static str| {
        loop {
            let (mut stream, _) = listener.accept().await.expect("accept");
            drop(stream.write_all(text.as_bytes()).await);
        }
    };
    let asking = async {
        let mut check = HealthCheck { path: "/health".into(), timeout_ms: 700, ..HealthCheck::default() };
        let answers = stage.edge.probe(&addresses, &check).await.expect("asked");
        assert_eq!(answers[..2], [Answer::Status(200), Answer::Refused]);
        assert!(matches!(answers[2], Answer::NotHttp(_)), "{answers:?}");
        assert_eq!(answers[3..], [Answer::TimedOut, Answer::Status(302)]);
        check.path = "/500".into();
        assert_eq!(stage.edge.probe(&addresses[..1], &check).await.expect("asked"), [Answer::Status(500)]);
        check.kind = deploymind_shared::domain::slot::HealthKind::Tcp;
        let answers = stage.edge.probe(&addresses[..4], &check).await.expect("asked");
        assert_eq!(answers, [Answer::Accepted, Answer::Refused, Answer::Accepted, Answer::Accepted]);
    };
    tokio::select! {
        () = asking => {}
        () = answer(garbage, "SSH-2.0-OpenSSH_9.2\r\n") => {}
        () = answer(redirect, "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n") => {}
    }
    drop(silent);
}
