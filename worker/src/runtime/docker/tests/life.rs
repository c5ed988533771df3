//! From the first launch to the end.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_lives_as_it_was_launched_and_every_call_may_be_made_twice() {
    let bench = Bench::new();
    let runtime = &bench.runtime;
    assert_eq!(runtime.inspect(&bench.app).await.expect("inspect"), Scene::default());
    let mut launch = bench.launch(7, "good");
    launch.spec.run.replicas = 2;
    launch.spec.run.restart = RestartPolicy::OnFailure;
    let slot = launch.slot.clone();
    for _ in 0..2 {
        runtime.provide(&launch).await.expect("provide");
        bench.start(&launch).await;
    }
    bench.healthy(&slot).await;
    let found = bench.only_slot().await;
    assert_eq!((&found.name, found.epoch, found.release), (&slot, Epoch(7), launch.release));
    assert_eq!(found.deployment, launch.deployment);
    assert_eq!(
        found.copies.iter().map(|copy| copy.name.clone()).collect::<Vec<_>>(),
        [slot.copy(0), slot.copy(1)]
    );
    assert!(found.copies.iter().all(|copy| copy.running && copy.restarts == 0));
    assert_ne!(found.copies[0].address, found.copies[1].address);

    let route = Route {
        app: bench.app.clone(),
        routes: Routes { port: Some(free_port()), hosts: Vec::new() },
        old: None,
        new: Some(slot.clone()),
        weight: 100,
        sticky: false,
        header: false,
    };
    runtime.route(&bench.fence(7), &route, 3000).await.expect("route");
    assert_eq!(ask(route.routes.port.expect("port")).await, "good");
    let standing = runtime.inspect(&bench.app).await.expect("inspect").route.expect("a route");
    assert_eq!((standing.epoch, standing.new.as_ref(), standing.weight), (Epoch(7), Some(&slot), 100));
    let (traffic, _) = runtime.traffic(&bench.app, &Cursor::default()).await.expect("traffic");
    assert_eq!(traffic.slots.get(&slot).map(|tally| tally.requests), Some(1), "{traffic:?}");

    for _ in 0..2 {
        runtime.stop(&bench.fence(7), &slot).await.expect("stop");
    }
    let stopped = bench.only_slot().await;
    assert!(stopped.copies.iter().all(|copy| !copy.running && copy.address.is_some()), "{stopped:?}");
    assert_eq!(
        inspected(&slot.0)["HostConfig"]["RestartPolicy"]["Name"],
        "no",
        "an engine would start it again"
    );
    let health = bad(runtime.probe(&slot, 3000, &check("/")).await.expect("probe"));
    assert!(health.last, "{health:?}");
    let id = inspected(&slot.0)["Id"].clone();
    bench.start(&launch).await;
    bench.healthy(&slot).await;
    assert_eq!(inspected(&slot.0)["Id"], id, "a stopped copy is started, not made anew");
    assert_eq!(inspected(&slot.0)["HostConfig"]["RestartPolicy"]["Name"], "on-failure");
    docker(&["restart", "-t", "1", &slot.0]);
    assert_eq!(bench.only_slot().await.copies[0].address, found.copies[0].address);
    bench.healthy(&slot).await;

    let nowhere = Route { new: None, ..route };
    runtime.route(&bench.fence(7), &nowhere, 3000).await.expect("no route");
    assert!(runtime.drained(SOON).await.expect("drained"));
    for _ in 0..2 {
        runtime.retire(&bench.fence(7), &slot).await.expect("retire");
    }
    assert_eq!(runtime.inspect(&bench.app).await.expect("inspect"), Scene::default());
    let health = bad(runtime.probe(&slot, 3000, &check("/")).await.expect("probe"));
    assert_eq!((health.code, health.last), (FindingCode::Absent, true));
}

async fn ask(port: u16) -> String {
    let run = tokio::process::Command::new("curl")
        .args(["-sS", "--max-time", "5", &format!("http://127.0.0.1:{port}/")])
        .output()
        .await
        .expect("curl");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8_lossy(&run.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_safeguards_are_what_the_engine_says_they_are() {
    let bench = Bench::new();
    let launch = bench.launch(1, "good");
    bench.start(&launch).await;
    let container = inspected(&launch.slot.0);
    let limits = &container["HostConfig"];
    for (name, value) in [
        ("Memory", serde_json::json!(64 << 20)),
        ("MemorySwap", serde_json::json!(64 << 20)),
        ("NanoCpus", serde_json::json!(500_000_000)),
        ("PidsLimit", serde_json::json!(128)),
        ("Init", serde_json::json!(true)),
        ("Privileged", serde_json::json!(false)),
        ("CapDrop", serde_json::json!(["NET_RAW"])),
        ("SecurityOpt", serde_json::json!(["no-new-privileges:true"])),
    ] {
        assert_eq!(limits[name], value, "{name}");
    }
    assert_eq!(limits["LogConfig"]["Type"], "json-file");
    assert_eq!(limits["LogConfig"]["Config"], serde_json::json!({"max-size": "1048576", "max-file": "2"}));
    assert_eq!(container["Config"]["StopSignal"], "SIGTERM");
    assert_eq!(container["Config"]["StopTimeout"], 5);
    assert_eq!(container["Image"], launch.spec.image.id);
    let labels = &container["Config"]["Labels"];
    assert_eq!(labels["deploymind.app"], bench.app.id.to_string());
    assert!(!labels.to_string().contains(SECRET));
    let inside = docker(&["exec", &launch.slot.0, "sh", "-c", "echo $TOKEN; ulimit -c; id -u"]);
    assert!(inside.starts_with(SECRET), "{inside}");
    let edge = inspected(&format!("{}-edge", bench.fleet));
    assert_eq!(edge["HostConfig"]["NetworkMode"], "host");
    assert_eq!(edge["HostConfig"]["CapDrop"], serde_json::json!(["ALL"]));
    assert_eq!(edge["HostConfig"]["RestartPolicy"]["Name"], "always");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_epoch_changes_nothing() {
    let bench = Bench::new();
    let launch = bench.launch(5, "good");
    bench.start(&launch).await;
    let before = bench.only_slot().await;
    let late = bench.fence(4);
    let mut results = vec![bench.runtime.launch(&late, &bench.launch(4, "good")).await];
    results.push(bench.runtime.stop(&late, &launch.slot).await);
    results.push(bench.runtime.retire(&late, &launch.slot).await);
    for result in results {
        assert_eq!(code(&result), Some(Code::EpochRefused), "{result:?}");
    }
    assert_eq!(bench.only_slot().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_was_made_from_something_else_is_made_anew() {
    let bench = Bench::new();
    let mut launch = bench.launch(3, "good");
    bench.start(&launch).await;
    let before = inspected(&launch.slot.0)["Id"].clone();
    launch.spec.run.resources.memory_mb = Some(128);
    bench.start(&launch).await;
    let after = inspected(&launch.slot.0);
    assert_ne!(after["Id"], before);
    assert_eq!(after["HostConfig"]["Memory"], 128 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_sent_on_although_the_side_that_gets_nothing_is_gone() {
    let bench = Bench::new();
    let launch = bench.launch(2, "good");
    let port = free_port();
    let mut route = Route {
        app: bench.app.clone(),
        routes: Routes { port: Some(port), hosts: Vec::new() },
        old: Some(bench.slot(1)),
        new: Some(launch.slot.clone()),
        weight: 100,
        sticky: false,
        header: false,
    };
    let result = bench.runtime.route(&bench.fence(2), &route, 3000).await;
    assert_eq!(code(&result), Some(Code::SlotExited), "{result:?}");
    bench.start(&launch).await;
    bench.healthy(&launch.slot).await;
    bench.runtime.route(&bench.fence(2), &route, 3000).await.expect("route");
    assert_eq!(ask(port).await, "good");
    route.weight = 50;
    let result = bench.runtime.route(&bench.fence(2), &route, 3000).await;
    assert_eq!(code(&result), Some(Code::SlotExited), "{result:?}");
    // Another app that wants the port hears of it before it is built.
    let other = AppRef { id: AppId::generate(), name: "other".to_owned() };
    let mut run = launch.spec.run.clone();
    run.routes = route.routes.clone();
    let found = bench.runtime.obstacles(&other, &run).await.expect("obstacles");
    assert_eq!(found.iter().map(Error::code).collect::<Vec<_>>(), [Code::RouteTaken], "{found:?}");
    let found = bench.runtime.obstacles(&bench.app, &run).await.expect("obstacles");
    assert!(found.is_empty(), "{found:?}");
}
