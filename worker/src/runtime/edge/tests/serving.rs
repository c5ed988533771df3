//! Who gets which request, with what, and how it is counted.

use deploymind_shared::domain::slot::Routes;

use super::stage::{Slot, Stage, app, fence, free_port, get, header, many, route};
use crate::runtime::{Cursor, Tally};

fn count(traffic: &crate::runtime::Traffic, slot: &Slot) -> (u64, u64) {
    let none = Tally::default();
    let tally = traffic.slots.get(&slot.upstream.slot).unwrap_or(&none);
    (tally.requests, tally.errors)
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_headers_cookies_and_counts() {
    let stage = Stage::started(&["DM_EDGE_CLOSING=0"]).await;
    let edge = &stage.edge;
    let (old, new) = (Slot::start("dm-shop-1").await, Slot::start("dm-shop-2").await);
    let (shop, port) = (app(), free_port());
    let sides = (Some(&old.upstream), Some(&new.upstream));

    let mut canary = route(&shop, port, sides.0, sides.1, 10);
    edge.route(&fence(1), &canary, sides.0, sides.1).await.expect("routed");
    let names = many(port, 4000).await;
    // 400 are expected; six standard deviations of the binomial are 114.
    assert!((286..=514).contains(&names["dm-shop-2"]), "{names:?}");
    let (traffic, cursor) = edge.traffic(shop.id, &Cursor::default()).await.expect("traffic");
    assert_eq!(count(&traffic, &old), (names["dm-shop-1"] as u64, 0));
    assert_eq!(count(&traffic, &new), (names["dm-shop-2"] as u64, 0));
    let tally = &traffic.slots[&old.upstream.slot];
    assert_eq!(tally.latency.values().sum::<u64>(), tally.requests);
    let (traffic, again) = edge.traffic(shop.id, &cursor).await.expect("traffic");
    assert!(traffic.slots.is_empty() && again == cursor, "{traffic:?} {again:?}");

    // At no share, only who asks for it gets the new one.
    (canary.weight, canary.header) = (0, true);
    edge.route(&fence(1), &canary, sides.0, sides.1).await.expect("routed");
    assert_eq!(many(port, 300).await.len(), 1);
    assert_eq!(get(port, "/", "X-DeployMind-Slot: new\r\n").await.body, "dm-shop-2");
    let failed = get(port, "/500", "").await;
    assert_eq!(failed.status(), 500);
    let (traffic, _) = edge.traffic(shop.id, &cursor).await.expect("traffic");
    assert_eq!((count(&traffic, &old), count(&traffic, &new)), ((301, 1), (1, 0)), "of this route alone");

    // A visitor stays with the one that answered first, as long as there is one of this name.
    (canary.weight, canary.sticky) = (50, true);
    edge.route(&fence(1), &canary, sides.0, sides.1).await.expect("routed");
    for _ in 0..8 {
        let first = get(port, "/", "").await;
        let cookie = header(&first.head, "set-cookie").expect("cookie");
        let cookie = cookie.split(';').next().expect("value").to_owned();
        assert!(cookie.ends_with(&first.body), "{cookie} {}", first.body);
        for _ in 0..6 {
            let next = get(port, "/", &format!("Cookie: {cookie}\r\n")).await;
            assert_eq!(next.body, first.body);
            assert_eq!(header(&next.head, "set-cookie"), None);
        }
        let name = cookie.split('=').next().expect("name");
        let gone = get(port, "/", &format!("Cookie: {name}=dm-shop-0\r\n")).await;
        assert!(header(&gone.head, "set-cookie").is_some(), "{}", gone.head);
        let asked = get(port, "/", &format!("Cookie: {cookie}\r\nX-DeployMind-Slot: old\r\n")).await;
        assert_eq!(asked.body, "dm-shop-1");
    }

    // What cannot be delivered to the new one goes to the old one, and is counted at both.
    (canary.weight, canary.sticky, canary.header) = (100, false, false);
    edge.route(&fence(1), &canary, sides.0, sides.1).await.expect("routed");
    assert_eq!(many(port, 50).await["dm-shop-2"], 50);
    let (slot, address) = (new.upstream.slot.clone(), new.upstream.clone());
    drop(new);
    assert_eq!(many(port, 50).await["dm-shop-1"], 50);
    let (traffic, _) = edge.traffic(shop.id, &Cursor::default()).await.expect("traffic");
    assert_eq!(count(&traffic, &old), (50, 0));
    assert_eq!((traffic.slots[&slot].requests, traffic.slots[&slot].errors), (100, 50));
    // Never the other way round.
    let mut back = canary.clone();
    (back.weight, back.new) = (0, Some(slot));
    let old_gone = super::super::Upstream { addresses: address.addresses.clone(), ..old.upstream.clone() };
    let live = super::super::Upstream { addresses: old.upstream.addresses.clone(), ..address };
    edge.route(&fence(1), &back, Some(&old_gone), Some(&live)).await.expect("routed");
    assert_eq!(get(port, "/", "").await.status(), 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_app_sees_of_a_request() {
    let stage = Stage::started(&["DM_EDGE_CLOSING=0"]).await;
    let slot = Slot::start("dm-shop-1").await;
    let (shop, shared) = (app(), free_port());
    let settings = super::super::Settings { shared_port: shared, ..Default::default() };
    let edge = super::super::Edge { settings, ..stage.edge_again() };
    let mut to = route(&shop, 1, None, Some(&slot.upstream), 100);
    to.routes = Routes { port: None, hosts: vec!["shop.example".into(), "*.shop.example".into()] };
    edge.route(&fence(1), &to, None, Some(&slot.upstream)).await.expect("routed");
    let odd = "/echo/a%2Fb//c/../d?x=%20&y={z}";
    let forged =
        "X-Forwarded-For: 9.9.9.9\r\nX-Real-IP: 9.9.9.9\r\nForwarded: for=9.9.9.9\r\nProxy: evil\r\n";
    // Also while connections are closed for a change.
    for closing in [false, true] {
        if closing {
            stage.exec(&["touch", "/run/deploymind-edge/closing"]);
        }
        let got = get(shared, odd, forged).await;
        assert_eq!(got.status(), 200, "{}", got.head);
        assert!(got.body.starts_with(&format!("GET {odd} HTTP/1.1\r\n")), "{}", got.body);
        assert!(!got.body.contains("9.9.9.9") && !got.body.contains("evil"), "{}", got.body);
        for (name, value) in [
            ("host", Some("shop.example")),
            ("x-real-ip", Some("127.0.0.1")),
            ("x-forwarded-for", Some("127.0.0.1")),
            ("x-forwarded-proto", Some("http")),
            ("x-forwarded-host", Some("shop.example")),
            ("connection", None),
            ("upgrade", None),
        ] {
            assert_eq!(header(&got.body, name).as_deref(), value, "{name}: {}", got.body);
        }
    }
    stage.exec(&["rm", "-f", "/run/deploymind-edge/closing"]);
    assert_eq!(get(shared, "/", "Host: www.shop.example\r\n").await.body, "dm-shop-1");
    let unknown = get(shared, "/", "Host: other.example\r\n").await;
    assert_eq!(unknown.status(), 404);
    assert!(header(&unknown.head, "server").is_none_or(|server| server == "nginx"));
    assert_eq!(slot.seen(), 3);
    // The log holds neither paths nor addresses of clients.
    let log = stage.exec(&["sh", "-c", "cat /var/lib/deploymind-edge/log/*.log"]);
    assert_eq!(log.lines().count(), 3, "{log}");
    assert!(!log.contains("echo") && !log.contains("9.9.9.9"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_survive_the_cutting_of_a_log() {
    let stage = Stage::started(&["DM_EDGE_CLOSING=0", "DM_EDGE_PART_MAX=20000"]).await;
    let edge = &stage.edge;
    let (old, new) = (Slot::start("dm-shop-1").await, Slot::start("dm-shop-2").await);
    let (shop, port) = (app(), free_port());
    let sides = (Some(&old.upstream), Some(&new.upstream));
    let canary = route(&shop, port, sides.0, sides.1, 50);
    edge.route(&fence(1), &canary, sides.0, sides.1).await.expect("routed");
    let (mut cursor, mut step) = (Cursor::default(), crate::runtime::Tally::default());
    let sums = "/var/lib/deploymind-edge/log";
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(40);
    let mut made = 0;
    // Until two parts were put aside: the first has been added up then.
    while !stage.exec(&["ls", sums]).contains(".sum") {
        assert!(tokio::time::Instant::now() < end, "no part was added up");
        many(port, 200).await;
        made += 200;
        let (traffic, next) = edge.traffic(shop.id, &cursor).await.expect("traffic");
        cursor = next;
        traffic.slots.values().for_each(|tally| step.add(tally));
    }
    let (traffic, _) = edge.traffic(shop.id, &cursor).await.expect("traffic");
    traffic.slots.values().for_each(|tally| step.add(tally));
    let (all, _) = edge.traffic(shop.id, &Cursor::default()).await.expect("traffic");
    let mut whole = Tally::default();
    all.slots.values().for_each(|tally| whole.add(tally));
    assert_eq!((step.requests, whole.requests), (made, made));
    assert_eq!(whole.latency, step.latency);
    assert_eq!((count(&all, &old).0, count(&all, &new).0), (old.seen(), new.seen()));
}
