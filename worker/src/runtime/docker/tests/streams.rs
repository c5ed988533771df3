//! What copies write and use, live.

use futures::StreamExt;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_all_copies_come_live_and_end_with_them() {
    let bench = Bench::new();
    let mut launch = bench.launch(1, "talk");
    launch.spec.run.replicas = 2;
    bench.start(&launch).await;
    bench.healthy(&launch.slot).await;
    let mut lines = bench.runtime.logs(&launch.slot, 10_000).await.expect("logs");
    let mut seen: Vec<SlotLine> = Vec::new();
    while seen.len() < 2 * 302 {
        let line =
            tokio::time::timeout(SOON, lines.next()).await.expect("in time").expect("more").expect("a line");
        seen.push(line);
    }
    for index in 0..2 {
        let of: Vec<&SlotLine> = seen.iter().filter(|line| line.copy == launch.slot.copy(index)).collect();
        let out: Vec<&str> = of.iter().filter(|line| !line.stderr).map(|line| line.line.as_str()).collect();
        let expected: Vec<String> = (0..300).map(|n| format!("line {n}")).collect();
        assert_eq!(out[0], "mode talk");
        assert_eq!(out[1..], expected);
        let err: Vec<&str> = of.iter().filter(|line| line.stderr).map(|line| line.line.as_str()).collect();
        assert_eq!(err, ["oops"]);
    }
    let mut tail = bench.runtime.logs(&launch.slot, 1).await.expect("logs");
    let first =
        tokio::time::timeout(SOON, tail.next()).await.expect("in time").expect("one").expect("a line");
    assert!(["oops", "line 299"].contains(&first.line.as_str()), "{first:?}");
    bench.runtime.stop(&bench.fence(1), &launch.slot).await.expect("stop");
    let rest = tokio::time::timeout(SOON, lines.collect::<Vec<_>>()).await.expect("ends with the copies");
    assert!(rest.is_empty(), "{rest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_go_on_when_the_engine_starts_a_copy_again() {
    let bench = Bench::new();
    let mut launch = bench.launch(1, "exit");
    launch.spec.run.restart = RestartPolicy::OnFailure;
    bench.start(&launch).await;
    let mut lines = bench.runtime.logs(&launch.slot, 10_000).await.expect("logs");
    let mut seen = Vec::new();
    while seen.len() < 6 {
        let line =
            tokio::time::timeout(SOON, lines.next()).await.expect("in time").expect("more").expect("a line");
        seen.push(line.line);
    }
    for part in ["mode exit", "the reason"] {
        assert_eq!(seen.iter().filter(|line| *line == part).count(), 3, "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_told_for_each_copy_until_it_ends() {
    let bench = Bench::new();
    let launch = bench.launch(1, "good");
    bench.start(&launch).await;
    bench.healthy(&launch.slot).await;
    let mut usage = bench.runtime.usage(&launch.slot).await.expect("usage");
    for _ in 0..2 {
        let one =
            tokio::time::timeout(SOON, usage.next()).await.expect("in time").expect("more").expect("usage");
        assert_eq!(one.copy, launch.slot.0);
        assert_eq!(one.memory_limit_bytes, Some(64 << 20));
        assert!((1 << 20..64 << 20).contains(&one.memory_bytes), "{one:?}");
        assert!((0.0..300.0).contains(&one.cpu_percent), "{one:?}");
        assert!(one.network_received_bytes > 0, "{one:?}");
    }
    bench.runtime.retire(&bench.fence(1), &launch.slot).await.expect("retire");
    let _rest = tokio::time::timeout(SOON, usage.collect::<Vec<_>>()).await.expect("ends with the copy");
}
