//! Tests of policies and of the shutdown order, with a clock that only moves when nothing else can.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::config::{EnvSource, Source};

const CHILD: &str = "DEPLOYMIND_TEST_CHILD";
const GRACE: Duration = Duration::from_secs(12);

/// Whether this is the process that [`run_in_child`] started.
pub(super) fn in_child() -> bool {
    EnvSource.get(CHILD).is_some()
}

/// Runs one test of this binary in a process of its own, for what changes a whole process.
pub(super) fn run_in_child(test: &str) -> Child {
    let program = std::env::current_exe().expect("own path");
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start child")
}

#[tokio::test(start_paused = true)]
async fn an_orderly_end_reports_nothing() {
    let lifecycle = Lifecycle::new();
    let token = lifecycle.child();
    lifecycle.spawn("loop", ExitPolicy::FailProcess, async move { token.cancelled().await });
    let report = lifecycle.shutdown(GRACE).await;
    assert_eq!(report, ShutdownReport { forced: false, still_running: vec![], failed: None });
    assert_eq!(report.exit_code(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_vital_task_that_ends_takes_the_process_down() {
    let lifecycle = Lifecycle::new();
    lifecycle.spawn("vital", ExitPolicy::FailProcess, async {});
    lifecycle.token().cancelled().await;
    let report = lifecycle.shutdown(GRACE).await;
    assert_eq!(report.failed.as_deref(), Some("task vital ended"));
    assert_eq!(report.exit_code(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_vital_task_that_panics_takes_the_process_down() {
    let lifecycle = Lifecycle::new();
    lifecycle.spawn("vital", ExitPolicy::FailProcess, async { panic!("on purpose") });
    lifecycle.token().cancelled().await;
    let report = lifecycle.shutdown(GRACE).await;
    assert_eq!(report.failed.as_deref(), Some("task vital panicked (on purpose)"));
}

#[tokio::test(start_paused = true)]
async fn other_tasks_may_end_or_panic() {
    let lifecycle = Lifecycle::new();
    let ended = lifecycle.spawn("short", ExitPolicy::Log, async {});
    let panicked = lifecycle.spawn("loud", ExitPolicy::Log, async { panic!("on purpose") });
    assert!(ended.await.is_ok() && panicked.await.is_ok());
    assert!(!lifecycle.token().is_cancelled());
    assert_eq!(lifecycle.shutdown(GRACE).await.exit_code(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_does_not_stop_is_named_when_the_grace_is_over() {
    let lifecycle = Lifecycle::new();
    for _ in 0..2 {
        lifecycle.spawn_scoped("job", std::future::pending::<()>());
    }
    let started = Instant::now();
    let report = lifecycle.shutdown(GRACE).await;
    assert_eq!(started.elapsed(), GRACE);
    assert!(report.forced);
    assert_eq!(report.still_running, ["job x2"]);
    assert_eq!(report.exit_code(), 1);
}

#[tokio::test(start_paused = true)]
async fn supporting_tasks_serve_until_the_work_has_ended() {
    let lifecycle = Lifecycle::new();
    let support = lifecycle.spawn_supporting("admin", |stop| async move { stop.cancelled().await });
    let token = lifecycle.child();
    let work = lifecycle.spawn_scoped("job", async move {
        token.cancelled().await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        !support.is_finished()
    });
    assert_eq!(lifecycle.shutdown(GRACE).await.exit_code(), 0);
    assert!(work.await.expect("job"), "the admin server ended before the work");
}

#[tokio::test(start_paused = true)]
async fn a_restarting_task_starts_again_with_growing_waits_and_stops_with_the_process() {
    let lifecycle = Lifecycle::new();
    let starts = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&starts);
    lifecycle.spawn_restarting("flaky", move || {
        let start = count.fetch_add(1, Ordering::SeqCst);
        async move {
            match start % 2 {
                0 => panic!("on purpose"),
                _ => tokio::task::yield_now().await,
            }
        }
    });
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let seen = starts.load(Ordering::SeqCst);
    // An hour of waits between 0.1 s and 30 s each: far from a spin, and never given up.
    assert!((100..2000).contains(&seen), "{seen} starts");
    let report = lifecycle.shutdown(GRACE).await;
    assert_eq!(report.exit_code(), 0);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(starts.load(Ordering::SeqCst), seen, "nothing restarts after the end");
}

#[tokio::test]
async fn many_short_tasks_leave_nothing_behind() {
    let lifecycle = Lifecycle::new();
    let handles: Vec<_> = (0..10_000).map(|n| lifecycle.spawn_scoped("job", async move { n })).collect();
    let sum: usize = futures::future::join_all(handles).await.into_iter().map(|n| n.expect("job")).sum();
    assert_eq!(sum, 10_000 * 9_999 / 2);
    assert_eq!(lifecycle.shutdown(GRACE).await.still_running, Vec::<String>::new());
}
