//! The edge's container: made once, mended, and made anew.

use super::*;

fn name(bench: &Bench) -> String {
    format!("{}-edge", bench.fleet)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_that_begin_at_once_make_one_edge_and_one_network() {
    let bench = Bench::new();
    let other = DockerRuntime::new((*bench.runtime.config).clone());
    let (mine, theirs) = (bench.launch(1, "good"), bench.launch(2, "good"));
    // The fence is the same: neither is a zombie.
    let fence = bench.fence(2);
    let (one, two) = tokio::join!(bench.runtime.launch(&fence, &mine), other.launch(&fence, &theirs));
    one.expect("one");
    two.expect("two");
    bench.healthy(&mine.slot).await;
    bench.healthy(&theirs.slot).await;
    let networks =
        docker(&["network", "ls", "-q", "--filter", &format!("label=deploymind.fleet={}", bench.fleet)]);
    assert_eq!(networks.lines().count(), 1, "{networks}");
    let again = bench.launch(3, "good");
    let fence = bench.fence(3);
    let (one, two) = tokio::join!(bench.runtime.launch(&fence, &again), other.launch(&fence, &again));
    one.expect("one");
    two.expect("two");
    bench.healthy(&again.slot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_was_stopped_killed_or_removed_serves_again() {
    let bench = Bench::new();
    let name = name(&bench);
    bench.runtime.ping().await.expect("ping");
    bench.runtime.edge.admit(&bench.fence(4)).await.expect("admit");
    let id = inspected(&name)["Id"].clone();
    docker(&["stop", "-t", "1", &name]);
    bench.runtime.edge.alive().await.expect("stopped");
    docker(&["pause", &name]);
    bench.runtime.edge.alive().await.expect("paused");
    assert_eq!(inspected(&name)["Id"], id);
    docker(&["rm", "-f", &name]);
    bench.runtime.edge.alive().await.expect("removed");
    assert_ne!(inspected(&name)["Id"], id);
    // What it has seen is in its volume.
    let late = bench.runtime.edge.admit(&bench.fence(3)).await;
    assert_eq!(code(&late), Some(Code::EpochRefused), "{late:?}");
    // A container that a dying worker made and did not start.
    docker(&["rm", "-f", &name]);
    bench.runtime.shell.create().await.expect("create");
    bench.runtime.edge.alive().await.expect("created only");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_of_another_make_is_made_anew_and_keeps_its_state() {
    let bench = Bench::new();
    bench.runtime.edge.admit(&bench.fence(4)).await.expect("admit");
    let id = inspected(&name(&bench))["Id"].clone();
    let mut config = (*bench.runtime.config).clone();
    config.log_max_files += 1;
    let newer = DockerRuntime::new(config);
    newer.edge.alive().await.expect("alive");
    assert_ne!(inspected(&name(&bench))["Id"], id);
    let late = newer.edge.admit(&bench.fence(3)).await;
    assert_eq!(code(&late), Some(Code::EpochRefused), "{late:?}");
    // The worker that knew the one before finds the new one.
    let late = bench.runtime.edge.admit(&bench.fence(2)).await;
    assert_eq!(code(&late), Some(Code::EpochRefused), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_in_the_edge_says_and_how_it_ends_comes_back_whole() {
    use crate::runtime::edge::Shell as _;
    let bench = Bench::new();
    let sh = |script: &str| ["sh", "-c", script].map(str::to_owned).to_vec();
    let input: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    let output =
        bench.runtime.shell.run(&sh("cat; echo oops >&2; exit 13"), &input, SOON).await.expect("run");
    assert_eq!(
        (output.code, output.stdout.len(), output.stderr.as_slice()),
        (13, input.len(), &b"oops\n"[..])
    );
    assert!(output.stdout == input);
    let begun = Instant::now();
    let late = bench.runtime.shell.run(&sh("exec sleep 7"), b"", Duration::from_millis(500)).await;
    assert_eq!(code(&late), Some(Code::EdgeUnavailable), "{late:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    let flood = bench.runtime.shell.run(&sh("head -c 5000000 /dev/zero"), b"", SOON).await.expect("run");
    assert_eq!((flood.code, flood.stdout.len()), (0, 1 << 20));
}
