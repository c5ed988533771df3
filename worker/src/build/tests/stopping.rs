//! Builds that are stopped: nothing of them runs on.

use super::*;

/// A step that runs until it is killed, recognisable among the processes of this machine.
fn endless() -> (String, String) {
    let mark = format!("{}", 1_000_000_000 + uuid::Uuid::new_v4().as_u128() % 1_000_000_000);
    (format!("RUN exec sleep {mark}"), mark)
}

#[tokio::test]
async fn a_cancelled_build_leaves_nothing_running() {
    for builder in both() {
        let (step, mark) = endless();
        let bench = Bench::with(&step).await;
        let request = bench.request(builder);
        let stop = async {
            wait_until("the step runs", Duration::from_secs(60), || running(&mark)).await;
            bench.cancel.cancel();
            Instant::now()
        };
        let (result, cancelled) = tokio::join!(bench.build(&request), stop);
        assert!(matches!(result, Err(Stop::Cancelled)), "{builder:?} {result:?}");
        assert!(cancelled.elapsed() < GONE);
        wait_until("the step is gone", GONE, || !running(&mark)).await;
        println!("{builder:?}: gone {:?} after the cancel", cancelled.elapsed());
        nothing_left(&mark).await;
    }
}

#[tokio::test]
async fn a_build_without_end_is_ended() {
    for builder in both() {
        let (step, mark) = endless();
        let bench = Bench::with(&step).await;
        let mut request = bench.request(builder);
        request.limits.deadline = Duration::from_secs(4);
        let result = bench.build(&request).await;
        assert_eq!(code(&result), Some(Code::BuildDeadline), "{builder:?} {result:?}");
        wait_until("the step is gone", GONE, || !running(&mark)).await;
        nothing_left(&mark).await;
    }
}

#[tokio::test]
async fn a_dropped_build_leaves_nothing_running() {
    for builder in both() {
        let (step, mark) = endless();
        let bench = Bench::with(&step).await;
        let request = bench.request(builder);
        // As the kernel does for a process that is killed: the connections close and nothing more is said.
        tokio::select! {
            result = bench.build(&request) => panic!("{builder:?} ended: {result:?}"),
            _begun = wait_until("the step runs", Duration::from_secs(60), || running(&mark)) => {}
        }
        let took = wait_until("the step is gone", GONE, || !running(&mark)).await;
        println!("{builder:?}: gone {took:?} after the connection");
        nothing_left(&mark).await;
    }
}

async fn nothing_left(mark: &str) {
    let begun = Instant::now();
    loop {
        let list = tokio::process::Command::new("docker")
            .args(["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Command}}"])
            .output()
            .await
            .expect("docker ps");
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        if !list.contains(mark) {
            return;
        }
        assert!(begun.elapsed() < GONE, "left: {list}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
