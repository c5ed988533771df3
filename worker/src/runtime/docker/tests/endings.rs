//! Programs that end, and what is said of them.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_code_is_told_with_the_last_lines() {
    let bench = Bench::new();
    let launch = bench.launch(1, "exit");
    bench.start(&launch).await;
    let finding = bad(bench.settled(&launch.slot, &check("/")).await);
    assert_eq!((finding.code, finding.last), (FindingCode::Exited, true), "{finding:?}");
    assert!(finding.sentence.contains("exit code 3"), "{finding:?}");
    let remains = bench.runtime.remains(&launch.slot).await.expect("remains");
    assert_eq!(remains.ended.as_deref(), Some("exit code 3"));
    let mut log = remains.log;
    // The engine stamps what comes by two pipes in the order in which it happens to read them.
    log.sort();
    assert_eq!(log, ["mode exit", "the reason"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_always_ends_is_given_up() {
    let bench = Bench::new();
    let mut launch = bench.launch(1, "exit");
    launch.spec.run.restart = RestartPolicy::Always;
    bench.start(&launch).await;
    let finding = bad(bench.settled(&launch.slot, &check("/")).await);
    assert_eq!((finding.code, finding.last), (FindingCode::Exited, true), "{finding:?}");
    assert!(bench.only_slot().await.copies[0].restarts >= 3);
    let remains = bench.runtime.remains(&launch.slot).await.expect("remains");
    assert!(remains.log.iter().filter(|line| *line == "the reason").count() >= 3, "{remains:?}");
    bench.runtime.stop(&bench.fence(1), &launch.slot).await.expect("stop");
    assert!(!bench.only_slot().await.copies[0].running);
}

#[tokio::test(flavor = "multi_thread")]
async fn want_of_memory_is_told_from_other_ends() {
    let bench = Bench::new();
    for (epoch, restart) in [(1, RestartPolicy::Never), (2, RestartPolicy::Always)] {
        let mut launch = bench.launch(epoch, "memory");
        launch.spec.run.resources.memory_mb = Some(32);
        launch.spec.run.restart = restart;
        bench.start(&launch).await;
        let finding = bad(bench.settled(&launch.slot, &check("/")).await);
        assert_eq!(finding.code, FindingCode::OutOfMemory, "{restart:?} {finding:?}");
        let remains = bench.runtime.remains(&launch.slot).await.expect("remains");
        assert!(remains.ended.is_some_and(|how| how.contains("memory")), "{restart:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_started_is_refused_without_a_secret() {
    let bench = Bench::new();
    for (start, part) in [
        (vec![format!("no-such-{SECRET}")], "is not in the image"),
        (vec!["/etc/passwd".to_owned()], "may not be executed"),
    ] {
        let mut launch = bench.launch(1, "good");
        // As its own process 1, whose failure the engine sees.
        launch.spec.start = Some(start);
        let result = bench.runtime.launch(&bench.fence(1), &launch).await;
        if result.is_ok() {
            // The init program is what the engine starts; it ends with the status of a shell.
            let finding = bad(bench.settled(&launch.slot, &check("/")).await);
            assert_eq!((finding.code, finding.last), (FindingCode::Exited, true), "{finding:?}");
            assert!(finding.sentence.contains("exit code 12"), "{finding:?}");
            continue;
        }
        assert_eq!(code(&result), Some(Code::SlotRefused), "{result:?}");
        let sentence = sentence(result);
        assert!(sentence.contains(part) && !sentence.contains(SECRET), "{sentence}");
    }
}
