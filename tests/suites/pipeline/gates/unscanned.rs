//! When there was no scan, and what the scanner could reach while there was one.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use deploymind_shared::db::scans::{ScanKind, ScanOutcome};
use deploymind_shared::domain::app::VariableScope;
use deploymind_shared::ids::AppId;
use deploymind_tests::delivery::Delivery;
use deploymind_tests::rig::Node;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{DAY, assert_stopped, deployed, gone, nodes, now, outcomes, scans, script, setting, trivy};
use crate::common::{SOON, small};

/// Where a worker looks for its scanner and the database; a test puts other things there.
struct Stand {
    folder: TempDir,
}

impl Stand {
    fn new() -> Self {
        Self { folder: TempDir::new().expect("folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn nodes(&self, delivery: &Delivery, deadline: &str) -> (Node, Node) {
        let (program, cache) =
            (self.path("trivy").display().to_string(), self.path("cache").display().to_string());
        let settings = [
            ("DEPLOYMIND_TRIVY", &*program),
            ("DEPLOYMIND_TRIVY_CACHE", &*cache),
            ("DEPLOYMIND_SCAN_DEADLINE", deadline),
        ];
        nodes(delivery, &settings).await
    }

    fn put(&self, program: Option<&Path>, cache: &Path) {
        for (name, target) in [("trivy", program), ("cache", Some(cache))] {
            let link = self.path(name);
            std::fs::remove_file(&link).ok();
            if let Some(target) = target {
                symlink(target, link).expect("link");
            }
        }
    }

    /// The real database, but 30 days old.
    fn stale(&self) -> PathBuf {
        let (real, stale) = (PathBuf::from(setting("DEPLOYMIND_TEST_TRIVY_CACHE")), self.path("stale"));
        std::fs::create_dir_all(stale.join("db")).expect("folder");
        std::fs::copy(real.join("db/trivy.db"), stale.join("db/trivy.db")).expect("database");
        let text = std::fs::read_to_string(real.join("db/metadata.json")).expect("metadata");
        let mut metadata: Value = serde_json::from_str(&text).expect("metadata");
        for field in ["UpdatedAt", "NextUpdate", "DownloadedAt"] {
            metadata[field] = json!(now() - 30 * DAY);
        }
        std::fs::write(stale.join("db/metadata.json"), metadata.to_string()).expect("metadata");
        stale
    }
}

/// Under `required` a scan that did not happen stops the deployment; under `warn` it says so and goes on.
async fn without_a_scan(mode: &str) {
    let delivery = Delivery::start().await;
    let stand = Stand::new();
    let _nodes = stand.nodes(&delivery, "120s").await;
    let real = PathBuf::from(trivy());
    let cache = PathBuf::from(setting("DEPLOYMIND_TEST_TRIVY_CACHE"));
    let empty = stand.path("empty");
    std::fs::create_dir(&empty).expect("folder");
    let stale = stand.stale();
    let crash = script(stand.folder.path(), "crash", "kill -SEGV $$");
    let nonsense = script(stand.folder.path(), "nonsense", "echo '<html>'");
    let (app, _) = delivery.app("shop", &small()).await;
    delivery.policy(&json!({ "mode": mode })).await;
    for (what, program, cache, code, word) in [
        ("no scanner", None, &cache, "DM-4502", "not installed"),
        ("no database", Some(&real), &empty, "DM-4503", "metadata.json"),
        ("a stale database", Some(&real), &stale, "DM-4503", "hours ago"),
        ("a crash", Some(&crash), &cache, "DM-4504", "signal 11"),
        ("nonsense", Some(&nonsense), &cache, "DM-4504", "report cannot be read"),
    ] {
        stand.put(program.map(PathBuf::as_path), cache);
        println!("{mode}: {what}");
        assert_unscanned(&delivery, app, mode, code, word).await;
    }
    if mode == "required" {
        // Also when it happens only after the build.
        let body = format!("[ \"$1\" != image ] || kill -KILL $$\nexec '{}' \"$@\"", trivy());
        stand.put(Some(&script(stand.folder.path(), "late", &body)), &cache);
        let (created, ended) = deployed(&delivery, app).await;
        assert_stopped(&delivery, &ended, "DM-4504").await;
        let expected = [
            (ScanKind::Source, ScanOutcome::Passed, None),
            (ScanKind::Image, ScanOutcome::Refused, Some("DM-4504")),
        ];
        assert_eq!(outcomes(&scans(&delivery, &created).await), expected);
    }
    // The control: with the real one the same repository passes.
    stand.put(Some(&real), &cache);
    let (created, ended) = deployed(&delivery, app).await;
    ended.assert_released();
    assert!(scans(&delivery, &created).await.iter().all(|scan| scan.outcome == ScanOutcome::Passed));
    delivery.assert_clean(SOON).await;
    delivery.finish().await;
}

async fn assert_unscanned(delivery: &Delivery, app: AppId, mode: &str, code: &str, word: &str) {
    let (created, ended) = deployed(delivery, app).await;
    let found = scans(delivery, &created).await;
    assert!(found.iter().all(|scan| scan.report.is_none() && scan.sbom.is_none()), "{found:?}");
    if mode == "required" {
        let reason = assert_stopped(delivery, &ended, code).await;
        assert!(reason.contains(word), "{reason}");
        assert_eq!(outcomes(&found), [(ScanKind::Source, ScanOutcome::Refused, Some(code))]);
    } else {
        ended.assert_released();
        let expected = [
            (ScanKind::Source, ScanOutcome::Warned, Some(code)),
            (ScanKind::Image, ScanOutcome::Warned, Some(code)),
        ];
        assert_eq!(outcomes(&found), expected);
        let loud = ended.log.iter().filter(|line| {
            line.level == "warn"
                && line.line.contains("did NOT happen")
                && line.line.contains(code)
                && line.line.contains(word)
        });
        assert_eq!(loud.count(), 2, "{}", ended.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_that_does_not_happen_fails_closed_where_it_is_required() {
    without_a_scan("required").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_that_does_not_happen_is_said_loudly_where_it_is_not() {
    without_a_scan("warn").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_scanner_meets_its_deadline_and_leaves_nothing() {
    let mark = format!("sleep 313.{}", std::process::id());
    let delivery = Delivery::start().await;
    let stand = Stand::new();
    let _nodes = stand.nodes(&delivery, "2s").await;
    // A grandchild in the background holds the pipes open.
    let hanging = script(stand.folder.path(), "hanging", &format!("{mark} &\n{mark}"));
    stand.put(Some(&hanging), Path::new(&setting("DEPLOYMIND_TEST_TRIVY_CACHE")));
    let (app, _) = delivery.app("shop", &small()).await;
    for mode in ["required", "warn"] {
        delivery.policy(&json!({ "mode": mode })).await;
        assert_unscanned(&delivery, app, mode, "DM-4505", "longer than 2 s").await;
        gone(&mark).await;
    }
    delivery.assert_clean(SOON).await;
    delivery.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scanner_gets_no_secret_and_no_way_to_the_engine() {
    let delivery = Delivery::start().await;
    let folder = TempDir::new().expect("folder");
    let seen = folder.path().join("seen");
    let body = format!(
        "{{ echo \"== $1\"; env; echo '@@ argv'; printf '%s\\n' \"$@\"; echo '@@ cwd'; pwd; ls -A; \
         echo '@@ files'; ls -l /proc/$$/fd; }} >> '{}' 2>&1\nexec '{}' \"$@\"",
        seen.display(),
        trivy()
    );
    let program = script(folder.path(), "trivy", &body).display().to_string();
    let (app, _) = delivery.app("shop", &small()).await;
    for (name, scope) in [("API_TOKEN", VariableScope::Run), ("BUILD_TOKEN", VariableScope::Build)] {
        delivery.variable(app, name, &format!("value-of-{name}"), scope).await;
    }
    let _nodes = nodes(&delivery, &[("DEPLOYMIND_TRIVY", &program)]).await;
    delivery.policy(&json!({ "mode": "required" })).await;
    deployed(&delivery, app).await.1.assert_released();
    let record = std::fs::read_to_string(&seen).expect("it ran");
    for secret in ["value-of-", "docker.sock", "unix://", &delivery.rig.stores.database] {
        assert!(!record.contains(secret), "{secret}: {record}");
    }
    let work = delivery.work.path().display().to_string();
    let calls: Vec<&str> = record.split("== ").skip(1).collect();
    let kinds: BTreeSet<&str> = calls.iter().filter_map(|call| call.lines().next()).collect();
    assert_eq!(kinds, BTreeSet::from(["fs", "image", "convert"]), "{record}");
    for call in calls {
        let parts: Vec<&str> = call.split("@@ ").collect();
        let [variables, _argv, folder, files] = parts[..] else { panic!("{call}") };
        let names: BTreeSet<&str> =
            variables.lines().skip(1).filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
        assert_eq!(names, BTreeSet::from(["HOME", "PATH", "PWD", "TMPDIR"]), "{call}");
        // A folder of its own, and nothing in it.
        let folder: Vec<&str> = folder.lines().skip(1).collect();
        assert!(folder.len() == 1 && folder[0].starts_with(&work), "{call}");
        // Its input, its pipes, and what this test itself has open: the script and its notes.
        let known = ["/dev/null", &*program, &*seen.display().to_string()].map(str::to_owned);
        for file in files.lines().filter_map(|line| line.split_once(" -> ")).map(|(_, file)| file) {
            assert!(file.starts_with("pipe:") || known.contains(&file.to_owned()), "{file}: {call}");
        }
    }
    delivery.assert_clean(SOON).await;
    delivery.finish().await;
}
