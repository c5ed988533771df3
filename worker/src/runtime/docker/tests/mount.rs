//! Volumes and paths of the host.

use deploymind_shared::domain::slot::Volume;

use super::*;

pub(super) fn volume(source: &str, path: &str) -> Volume {
    Volume { source: source.to_owned(), path: path.to_owned(), read_only: false, exclusive: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_volume_outlives_the_slots_that_have_it() {
    let bench = Bench::new();
    let mut launch = bench.launch(1, "good");
    launch.spec.run.volumes = vec![volume("data", "/data")];
    bench.start(&launch).await;
    bench.healthy(&launch.slot).await;
    let health = bench.runtime.probe(&launch.slot, 3000, &check("/remember")).await.expect("probe");
    assert!(matches!(health, Health::Good { .. }), "{health:?}");
    bench.runtime.retire(&bench.fence(1), &launch.slot).await.expect("retire");
    let name = bench.runtime.names.volume(bench.app.id, "data");
    assert_eq!(
        docker(&["volume", "inspect", "-f", "{{index .Labels \"deploymind.app\"}}", &name]),
        bench.app.id.to_string()
    );
    let mut next = bench.launch(2, "good");
    next.spec.run.volumes = vec![Volume { read_only: true, ..volume("data", "/data") }];
    bench.start(&next).await;
    assert_eq!(docker(&["exec", &next.slot.0, "cat", "/data/seen"]), "x");
    let write =
        Command::new("docker").args(["exec", &next.slot.0, "touch", "/data/more"]).output().expect("docker");
    assert!(!write.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_of_the_host_need_the_permission_and_some_are_never_mounted() {
    let bench = Bench::new();
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().to_str().expect("utf-8").to_owned();
    let mut launch = bench.launch(1, "good");
    launch.spec.run.volumes = vec![volume(&path, "/data")];
    let result = bench.runtime.launch(&bench.fence(1), &launch).await;
    assert_eq!(code(&result), Some(Code::HostMountRefused), "{result:?}");
    launch.host_mounts = true;
    for never in [
        "/",
        "//",
        "/proc",
        "/sys/fs",
        "/etc/",
        "/./etc",
        "/var",
        "/var/run/docker.sock",
        "/run",
        "/var/lib/docker/volumes",
        "/usr/local/bin",
        "/root/.ssh",
    ] {
        launch.spec.run.volumes = vec![volume(never, "/data")];
        let result = bench.runtime.launch(&bench.fence(1), &launch).await;
        assert_eq!(code(&result), Some(Code::HostMountRefused), "{never} {result:?}");
    }
    launch.spec.run.volumes = vec![volume("/nowhere/at/all", "/data")];
    let result = bench.runtime.launch(&bench.fence(1), &launch).await;
    assert_eq!(code(&result), Some(Code::SlotRefused), "{result:?}");
    assert!(sentence(result).contains("create it there"));
    std::fs::write(folder.path().join("greeting"), "hello").expect("write");
    launch.spec.run.volumes = vec![volume(&path, "/data")];
    bench.start(&launch).await;
    assert_eq!(docker(&["exec", &launch.slot.0, "cat", "/data/greeting"]), "hello");
}
