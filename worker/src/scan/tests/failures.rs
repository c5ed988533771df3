//! Each way a scan can fail to happen, with programs that really run.

use std::path::Path;
use std::time::{Duration, Instant};

use deploymind_shared::retry::Stop;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{cache, mouth, now, said, scanner, script};
use crate::scan::{Scan, ScanFailure, Scanner};

/// A whole, empty report.
const NOTHING: &str = r#"{"SchemaVersion":2,"Trivy":{"Version":"1"},"ArtifactName":"a"}"#;

async fn scan(scanner: &Scanner) -> Scan {
    let tree = TempDir::new().expect("tree");
    let (lines, _kept) = mouth();
    scanner.scan_tree(tree.path(), &[], None, &lines, &CancellationToken::new()).await.expect("not stopped")
}

async fn scan_with(body: &str) -> Scan {
    let (room, cache) = (TempDir::new().expect("room"), cache(now()));
    let mut scanner = scanner(script(room.path(), body), cache.path().into(), room.path());
    scanner.deadline = Duration::from_secs(10);
    scan(&scanner).await
}

fn failed(scan: Scan) -> String {
    match scan {
        Err(ScanFailure::Failed(what)) => what,
        other => panic!("{other:?}"),
    }
}

/// A command line no other process has, also no other run of these tests.
fn mark(seconds: u32) -> String {
    format!("sleep {seconds}.{}", std::process::id())
}

/// Command lines of processes that mention `mark`.
fn alive(mark: &str) -> Vec<String> {
    std::fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(mark))
        .collect()
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < end, "not within 10 s: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder)
        .expect("folder")
        .filter_map(Result::ok)
        .filter(|e| e.file_name() != "scanner")
        .count()
}

#[tokio::test]
async fn a_scanner_that_is_not_there() {
    let (room, cache) = (TempDir::new().expect("room"), cache(now()));
    let missing = room.path().join("trivy");
    let scan = scan(&scanner(missing.clone(), cache.path().into(), room.path())).await;
    assert!(matches!(scan, Err(ScanFailure::Missing(path)) if path == missing));
}

#[tokio::test]
async fn a_scanner_that_is_no_program() {
    let (room, cache) = (TempDir::new().expect("room"), cache(now()));
    let text = room.path().join("notes.txt");
    std::fs::write(&text, "hello").expect("text");
    assert!(failed(scan(&scanner(text, cache.path().into(), room.path())).await).contains("cannot be run"));
}

#[tokio::test]
async fn a_database_that_cannot_be_relied_on() {
    type Damage = fn(&Path);
    let damage: [(&str, Damage); 8] = [
        ("no metadata", |db| std::fs::remove_file(db.join("metadata.json")).expect("removed")),
        ("no database", |db| std::fs::remove_file(db.join("trivy.db")).expect("removed")),
        ("empty metadata", |db| std::fs::write(db.join("metadata.json"), "").expect("written")),
        ("half of metadata", |db| {
            std::fs::write(db.join("metadata.json"), r#"{"Version":2,"#).expect("written")
        }),
        ("metadata without a date", |db| {
            std::fs::write(db.join("metadata.json"), r#"{"Version":2}"#).expect("written")
        }),
        ("an empty database", |db| std::fs::write(db.join("trivy.db"), "").expect("written")),
        ("a database cut short", |db| {
            let page = std::fs::read(db.join("trivy.db")).expect("read");
            std::fs::write(db.join("trivy.db"), &page[..2048]).expect("written");
        }),
        ("a database overwritten", |db| std::fs::write(db.join("trivy.db"), [0xAA; 8192]).expect("written")),
    ];
    let room = TempDir::new().expect("room");
    let program = script(room.path(), &format!("echo '{NOTHING}'"));
    for (what, damage) in damage {
        let cache = cache(now());
        let scanner = scanner(program.clone(), cache.path().into(), room.path());
        scan(&scanner).await.unwrap_or_else(|error| panic!("before {what}: {error}"));
        damage(&cache.path().join("db"));
        assert!(matches!(scan(&scanner).await, Err(ScanFailure::Database(_))), "{what}");
    }
}

#[tokio::test]
async fn a_database_of_another_time() {
    let room = TempDir::new().expect("room");
    let program = script(room.path(), &format!("echo '{NOTHING}'"));
    for (days, fine) in [(-6, true), (-8, false), (0, true), (2, false)] {
        let cache = cache(now() + chrono::Duration::days(days));
        let scan = scan(&scanner(program.clone(), cache.path().into(), room.path())).await;
        assert_eq!(scan.is_ok(), fine, "{days} days: {scan:?}");
        assert!(fine || matches!(scan, Err(ScanFailure::Database(_))));
    }
}

#[tokio::test]
async fn a_renewal_that_fails_is_said_and_a_young_database_is_used() {
    let room = TempDir::new().expect("room");
    let body = format!(
        "case \"$*\" in *--download-db-only*) echo \"$PROXY_FOR_TEST\" >&2; exit 1;; esac\n\
         test -z \"$PROXY_FOR_TEST\" || exit 9\necho '{NOTHING}'"
    );
    let program = script(room.path(), &body);
    for (hours, fine) in [(-30, true), (-24 * 30, false)] {
        let cache = cache(now() + chrono::Duration::hours(hours));
        let mut scanner = scanner(program.clone(), cache.path().into(), room.path());
        scanner.update = true;
        scanner.update_env = vec![("PROXY_FOR_TEST".into(), "proxy was given".into())];
        let (lines, kept) = mouth();
        let tree = TempDir::new().expect("tree");
        let scan =
            scanner.scan_tree(tree.path(), &[], None, &lines, &CancellationToken::new()).await.expect("runs");
        assert_eq!(scan.is_ok(), fine, "{hours} hours: {scan:?}");
        let said = said(kept);
        assert!(said.contains("could not be renewed") && said.contains("proxy was given"), "{said}");
    }
}

#[tokio::test]
async fn a_scanner_that_crashes_or_talks_nonsense() {
    assert!(failed(scan_with("kill -SEGV $$").await).contains("signal 11"));
    assert!(failed(scan_with("kill -KILL $$").await).contains("signal 9"));
    let panicked = failed(scan_with("echo 'panic: page 8' >&2; echo 'main.main()' >&2; exit 2").await);
    assert!(panicked.contains("exit code 2: panic: page 8"), "{panicked}");
    failed(scan_with("true").await);
    failed(scan_with("echo '<html>'").await);
    failed(scan_with(&format!("printf '%s' '{}'", &NOTHING[..NOTHING.len() - 1])).await);
    // A whole report does not help one that says it failed.
    failed(scan_with(&format!("echo '{NOTHING}'; exit 1")).await);
    scan_with(&format!("echo '{NOTHING}'")).await.expect("the control: this one is fine");
}

#[tokio::test]
async fn an_endless_report_ends() {
    let mut said = None;
    for body in ["exec yes", "yes >&2"] {
        let started = Instant::now();
        let (room, cache) = (TempDir::new().expect("room"), cache(now()));
        let mut scanner = scanner(script(room.path(), body), cache.path().into(), room.path());
        scanner.deadline = Duration::from_secs(3);
        let scan = scan(&scanner).await;
        assert!(matches!(scan, Err(ScanFailure::Failed(_) | ScanFailure::Deadline(_))), "{body}: {scan:?}");
        assert!(started.elapsed() < Duration::from_secs(9), "{body}");
        said = Some(entries(room.path()));
    }
    assert_eq!(said, Some(0), "the private folder is gone");
}

#[tokio::test]
async fn a_hanging_scanner_meets_its_deadline_and_leaves_nothing() {
    let (room, cache) = (TempDir::new().expect("room"), cache(now()));
    // A grandchild in the background holds the pipes open.
    let program = script(room.path(), &format!("{0} &\n{0}", mark(3611)));
    let mut scanner = scanner(program, cache.path().into(), room.path());
    scanner.deadline = Duration::from_secs(1);
    assert!(matches!(scan(&scanner).await, Err(ScanFailure::Deadline(limit)) if limit == scanner.deadline));
    until("its processes are gone", || alive(&mark(3611)).is_empty()).await;
    assert_eq!(entries(room.path()), 0, "the private folder is gone");
}

#[tokio::test]
async fn a_grandchild_left_behind_does_not_hold_the_scan() {
    let scan = scan_with(&format!("{} &\necho '{NOTHING}'", mark(3613))).await;
    scan.expect("it ended well");
    until("it is gone", || alive(&mark(3613)).is_empty()).await;
}

#[tokio::test]
async fn cancelling_leaves_no_process() {
    let (room, cache) = (TempDir::new().expect("room"), cache(now()));
    let program =
        script(room.path(), &format!("trap '' TERM INT\n{0} &\nwhile true; do {0}; done", mark(3612)));
    let scanner = scanner(program, cache.path().into(), room.path());
    let (lines, _kept) = mouth();
    let cancel = CancellationToken::new();
    let running = scanner.scan_image(room.path(), None, &lines, &cancel);
    let stopping = async {
        until("it runs", || alive(&mark(3612)).len() >= 2).await;
        cancel.cancel();
        Instant::now()
    };
    let (scan, cancelled) = tokio::join!(running, stopping);
    assert!(matches!(scan, Err(Stop::Cancelled)));
    assert!(cancelled.elapsed() < Duration::from_secs(2));
    until("its processes are gone", || alive(&mark(3612)).is_empty()).await;
    assert!(matches!(scanner.scan_image(room.path(), None, &lines, &cancel).await, Err(Stop::Cancelled)));
}

#[tokio::test]
async fn dropping_the_scan_leaves_no_process() {
    let (room, cache) = (TempDir::new().expect("room"), cache(now()));
    let program = script(room.path(), &format!("{0} &\n{0}", mark(3614)));
    let scanner = scanner(program, cache.path().into(), room.path());
    let (lines, _kept) = mouth();
    let cancel = CancellationToken::new();
    tokio::select! {
        scan = scanner.scan_image(room.path(), None, &lines, &cancel) => panic!("{scan:?}"),
        () = until("it runs", || alive(&mark(3614)).len() >= 2) => {}
    }
    until("its processes are gone", || alive(&mark(3614)).is_empty()).await;
}

#[tokio::test]
async fn the_scanner_sees_none_of_our_environment_and_an_empty_folder() {
    let body = format!(
        "env | cut -d= -f1 | sort | tr '\\n' ' ' >&2\nls -a | tr '\\n' ' ' >&2\necho >&2\necho '{NOTHING}'"
    );
    let (room, cache) = (TempDir::new().expect("room"), cache(now()));
    let scanner = scanner(script(room.path(), &body), cache.path().into(), room.path());
    let (lines, kept) = mouth();
    scanner
        .scan_tree(room.path(), &[], None, &lines, &CancellationToken::new())
        .await
        .expect("runs")
        .expect("fine");
    assert_eq!(said(kept).trim(), "trivy: HOME PATH PWD TMPDIR . ..");
}
