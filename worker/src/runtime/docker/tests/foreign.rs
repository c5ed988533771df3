//! What is not ours stays as it is.

use super::*;

/// What tells whether anything was done to a container.
fn state(container: &str) -> String {
    let container = inspected(container);
    format!("{} {} {} {}", container["Id"], container["State"], container["Config"], container["HostConfig"])
}

struct Foreign(Vec<&'static str>, String);

impl Foreign {
    fn container(name: &str) -> Self {
        docker(&["create", "--name", name, APP_IMAGE, "true"]);
        Self(vec!["rm", "-f"], name.to_owned())
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        docker_quietly(&[&self.0[..], &[&self.1]].concat());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_container_with_a_slots_name_is_not_touched() {
    let bench = Bench::new();
    let launch = bench.launch(1, "good");
    let foreign = Foreign::container(&launch.slot.0);
    let before = state(&foreign.1);
    let result = bench.runtime.launch(&bench.fence(1), &launch).await;
    assert_eq!(code(&result), Some(Code::NameTaken), "{result:?}");
    assert!(sentence(result).contains(&launch.slot.0));
    bench.runtime.stop(&bench.fence(1), &launch.slot).await.expect("nothing to stop");
    bench.runtime.retire(&bench.fence(1), &launch.slot).await.expect("nothing to retire");
    assert!(bench.runtime.inspect(&bench.app).await.expect("inspect").slots.is_empty());
    assert_eq!(state(&foreign.1), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_fleets_slot_is_foreign_too() {
    let (bench, other) = (Bench::new(), Bench::new());
    let mut launch = other.launch(1, "good");
    launch.slot = bench.slot(1);
    other.start(&launch).await;
    let before = inspected(&launch.slot.0)["State"]["StartedAt"].clone();
    let result = bench.runtime.launch(&bench.fence(1), &bench.launch(1, "good")).await;
    assert_eq!(code(&result), Some(Code::NameTaken), "{result:?}");
    bench.runtime.retire(&bench.fence(1), &launch.slot).await.expect("nothing to retire");
    assert_eq!(inspected(&launch.slot.0)["State"]["StartedAt"], before);
    assert_eq!(inspected(&launch.slot.0)["State"]["Running"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_edges_networks_and_volumes_are_obstacles() {
    let bench = Bench::new();
    let mut run = bench.launch(1, "good").spec.run;
    let edge = Foreign::container(&format!("{}-edge", bench.fleet));
    let before = state(&edge.1);
    let found = bench.runtime.obstacles(&bench.app, &run).await.expect("obstacles");
    assert_eq!(found.iter().map(Error::code).collect::<Vec<_>>(), [Code::NameTaken], "{found:?}");
    let result = bench.runtime.launch(&bench.fence(1), &bench.launch(1, "good")).await;
    assert_eq!(code(&result), Some(Code::NameTaken), "{result:?}");
    assert_eq!(state(&edge.1), before);
    drop(edge);

    docker(&["network", "create", &bench.fleet]);
    let _network = Foreign(vec!["network", "rm"], bench.fleet.clone());
    let volume = bench.runtime.names.volume(bench.app.id, "data");
    docker(&["volume", "create", &volume]);
    let _volume = Foreign(vec!["volume", "rm"], volume.clone());
    run.volumes = vec![super::mount::volume("data", "/data")];
    let held = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    run.routes.port = Some(held.local_addr().expect("address").port());
    let found = bench.runtime.obstacles(&bench.app, &run).await.expect("obstacles");
    let codes: Vec<Code> = found.iter().map(Error::code).collect();
    assert_eq!(codes, [Code::NameTaken, Code::NameTaken, Code::EdgePortTaken], "{found:?}");
    let mut launch = bench.launch(1, "good");
    let result = bench.runtime.launch(&bench.fence(1), &launch).await;
    assert_eq!(code(&result), Some(Code::NameTaken), "{result:?}");
    docker(&["network", "rm", &bench.fleet]);
    launch.spec.run.volumes = run.volumes;
    let result = bench.runtime.launch(&bench.fence(1), &launch).await;
    assert_eq!(code(&result), Some(Code::NameTaken), "{result:?}");
    assert!(bench.runtime.inspect(&bench.app).await.expect("inspect").slots.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_another_network_has_and_one_that_is_full_are_refused() {
    let first = Bench::new();
    first.start(&first.launch(1, "good")).await;
    let subnet = first.runtime.config.subnet.clone();
    let second = Bench::with(|config| config.subnet = subnet.clone());
    let result = second.runtime.launch(&second.fence(1), &second.launch(1, "good")).await;
    assert_eq!(code(&result), Some(Code::NetworkUnusable), "{result:?}");
    assert!(sentence(result).contains(&subnet));

    let small = Bench::with(|config| config.subnet = config.subnet.replace("/24", "/29"));
    let mut launch = small.launch(1, "good");
    launch.spec.run.replicas = 6;
    let result = small.runtime.launch(&small.fence(1), &launch).await;
    assert_eq!(code(&result), Some(Code::NetworkUnusable), "{result:?}");
    assert!(sentence(result).contains("no free address"));
    // What was made of it goes like any slot.
    small.runtime.retire(&small.fence(1), &launch.slot).await.expect("retire");
    assert!(small.runtime.inspect(&small.app).await.expect("inspect").slots.is_empty());
}
