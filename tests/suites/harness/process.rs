use std::fs;
use std::path::Path;
use std::time::Duration;

use deploymind_tests::process::{Proc, ProcBuilder};
use deploymind_tests::wait_for;

const DEADLINE: Duration = Duration::from_secs(10);

fn shell(script: &str) -> ProcBuilder {
    Proc::builder("a shell", "sh").args(["-c", script])
}

async fn first_line(proc: &Proc) -> String {
    wait_for("a line on stdout", DEADLINE, async || {
        let stdout = proc.stdout();
        stdout.split_once('\n').map(|(line, _)| line.to_owned()).ok_or(stdout)
    })
    .await
}

fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    // A zombie nobody has waited for yet does not run.
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn what_it_writes_and_how_it_ends_is_known() {
    let mut proc = shell("echo out; echo \"$GIVEN\" >&2; exit 3").env("GIVEN", "err").start();
    assert_eq!(proc.wait_exit(DEADLINE).await.code(), Some(3));
    assert_eq!((&*proc.stdout(), &*proc.stderr(), &*proc.log()), ("out\n", "err\n", "out\nerr\n"));
}

#[tokio::test]
async fn it_sees_little_of_the_environment_of_the_test() {
    let mut proc = shell("env").start();
    proc.wait_exit(DEADLINE).await;
    assert!(!proc.stdout().contains("CARGO"), "{}", proc.stdout());
    assert!(proc.stdout().contains("PATH="));
}

#[tokio::test]
async fn sigterm_can_be_handled() {
    let mut proc =
        shell("trap 'echo drained; exit 0' TERM; echo ready; while :; do sleep 0.01; done").start();
    first_line(&proc).await;
    proc.sigterm();
    assert!(proc.wait_exit(DEADLINE).await.success());
    assert_eq!(proc.stdout(), "ready\ndrained\n");
}

#[tokio::test]
async fn a_stopped_process_makes_no_step_until_it_continues() {
    let mut proc = shell("while :; do echo step; done").start();
    first_line(&proc).await;
    proc.sigstop();
    let before = proc.stdout().len();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(proc.stdout().len(), before);
    assert_eq!(proc.exit(), None);
    proc.sigcont();
    wait_for("another step", DEADLINE, async || {
        if proc.stdout().len() > before { Ok(()) } else { Err("none yet".to_owned()) }
    })
    .await;
}

#[tokio::test]
async fn a_kill_reaches_what_it_started_also_in_other_groups() {
    let mut proc = shell("setsid sleep 1000 & echo $!; sleep 1000").start();
    let child = first_line(&proc).await;
    assert!(runs(&child));
    proc.kill9();
    assert!(!runs(&child));
    assert!(!proc.wait_exit(DEADLINE).await.success());
}

#[tokio::test]
async fn a_drop_leaves_nothing_running_even_if_it_was_stopped() {
    let mut proc = shell("sleep 1000 & echo $!; wait").start();
    let (parent, child) = (proc.pid().to_string(), first_line(&proc).await);
    proc.sigstop();
    drop(proc);
    assert!(!runs(&parent));
    assert!(!runs(&child));
}

#[tokio::test]
#[should_panic(
    expected = "a shell ends: not within 200ms; last status: still running; its log ends with\nlast words"
)]
async fn one_that_does_not_end_is_reported_with_its_log() {
    let mut proc = shell("echo last words; sleep 1000").start();
    first_line(&proc).await;
    proc.wait_exit(Duration::from_millis(200)).await;
}
