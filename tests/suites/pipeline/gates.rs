//! The security gates, with the real scanner: what a policy stops, what it lets through, and what happens without a scan.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use deploymind_shared::clock::{Clock, Timestamp};
use deploymind_shared::db::builds::build_get;
use deploymind_shared::db::deployments::Created;
use deploymind_shared::db::logs::LogLine;
use deploymind_shared::db::releases::release_get;
use deploymind_shared::db::scans::{Allowance, Scan, ScanKind, ScanOutcome, allowance_put, scan_list};
use deploymind_shared::ids::{AllowanceId, AppId};
use deploymind_tests::delivery::{Delivery, Ended};
use deploymind_tests::git::Entry;
use deploymind_tests::rig::{Node, production};
use deploymind_tests::wait_for;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{SOON, small};

mod unscanned;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn setting(name: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "only scripts/test.sh knows where the real scanner is")]
    let value = std::env::var(name);
    value.unwrap_or_else(|_| {
        panic!("{name} is not set: run `make test`, which makes the scanner and its database")
    })
}

fn trivy() -> String {
    setting("DEPLOYMIND_TEST_TRIVY")
}

fn now() -> Timestamp {
    Clock::system().now()
}

/// Put together here: a scanner of this repository should not find a key in it.
fn key() -> String {
    format!("AKIA{}", "Q3EXAMPLF7KEYZ2A")
}

/// One of the invented advisories is about it, as critical as can be, and fixed in 2.20.0.
fn vulnerable() -> Vec<Entry> {
    [small(), vec![Entry::file("requirements.txt", "requests==2.19.1\n")]].concat()
}

fn with_dockerfile(text: &str) -> Vec<Entry> {
    [small(), vec![Entry::file("Dockerfile", text)]].concat()
}

/// An executable script in place of the scanner. Written by another process: while this one had it open for writing, a child
/// forked meanwhile could keep it busy.
fn script(folder: &Path, name: &str, body: &str) -> PathBuf {
    let path = folder.join(name);
    let mut install = Command::new("install")
        .args(["-m", "755", "/dev/stdin"])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("install");
    let text = format!("#!/bin/sh\n{body}\n");
    install.stdin.take().expect("piped").write_all(text.as_bytes()).expect("script");
    assert!(install.wait().expect("install").success());
    path
}

async fn nodes(delivery: &Delivery, settings: &[(&str, &str)]) -> (Node, Node) {
    let worker = settings.iter().fold(delivery.worker(), |node, (key, value)| node.set(key, value));
    (worker.ready().await, delivery.rig.scheduler().ready().await)
}

async fn deployed(delivery: &Delivery, app: AppId) -> (Created, Ended) {
    let created = delivery.deploy(app).await;
    let ended = delivery.ended(&created, SOON).await;
    (created, ended)
}

/// Of the source, then of the image.
async fn scans(delivery: &Delivery, created: &Created) -> Vec<Scan> {
    scan_list(&delivery.rig.fleet.db, created.deployment).await.expect("read scans")
}

fn outcomes(scans: &[Scan]) -> Vec<(ScanKind, ScanOutcome, Option<&str>)> {
    scans.iter().map(|scan| (scan.kind, scan.outcome, scan.code.as_deref())).collect()
}

/// Stopped at a gate, with its reason, and nothing is left of it.
async fn assert_stopped(delivery: &Delivery, ended: &Ended, code: &str) -> String {
    assert_eq!(
        (ended.status(), ended.code()),
        ("SECURITY_FAILED", code),
        "{:?}\n{}",
        ended.deployment.reason,
        ended.text()
    );
    assert_eq!(ended.deployment.release, None);
    let deployment = ended.deployment.id.to_string();
    let images: Vec<_> = delivery.images().into_iter().filter(|image| image.1 == deployment).collect();
    assert!(images.is_empty(), "left behind: {images:?}");
    assert!(!delivery.folders().contains(&deployment));
    let reason = ended.deployment.reason.clone().expect("a reason");
    // Whoever reads the log alone learns the same.
    assert!(ended.text().contains(&reason), "{reason}\n{}", ended.text());
    reason
}

/// Command lines of processes on this machine, in containers or not, that hold `mark`.
fn processes(mark: &str) -> Vec<String> {
    std::fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(mark))
        .collect()
}

async fn gone(mark: &str) {
    wait_for("every process to be gone", Duration::from_secs(20), async || {
        let left = processes(mark);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}

async fn allow(delivery: &Delivery, until: Timestamp) {
    let allowance = Allowance {
        id: AllowanceId::generate(),
        finding: "CVE-2099-0001".to_owned(),
        package: Some("requests".to_owned()),
        reason: "the broken call is never reached".to_owned(),
        expires_at: until,
    };
    allowance_put(&delivery.rig.fleet.db, &production(), Some(delivery.owner), &allowance)
        .await
        .expect("allow");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vulnerable_dependency_is_judged_by_the_policy_of_its_environment() {
    use ScanKind::{Image, Source};
    let delivery = Delivery::start().await;
    let folder = TempDir::new().expect("folder");
    let calls = folder.path().join("calls");
    let counting = format!("echo \"$1\" >> '{}'\nexec '{}' \"$@\"", calls.display(), trivy());
    let counting = script(folder.path(), "trivy", &counting);
    let called = || std::fs::read_to_string(&calls).unwrap_or_default();
    let _nodes = nodes(&delivery, &[("DEPLOYMIND_TRIVY", &counting.display().to_string())]).await;
    let (app, _) = delivery.app("shop", &vulnerable()).await;

    delivery.policy(&json!({ "mode": "required" })).await;
    let (created, ended) = deployed(&delivery, app).await;
    let reason = assert_stopped(&delivery, &ended, "DM-4501").await;
    assert!(reason.contains("CVE-2099-0001: requests 2.19.1, fixed in 2.20.0"), "{reason}");
    let found = scans(&delivery, &created).await;
    assert_eq!(outcomes(&found), [(Source, ScanOutcome::Refused, Some("DM-4501"))]);
    assert_eq!(found[0].verdict["decision"], "fail");
    assert_eq!(found[0].verdict["reasons"][0]["severity"], "critical");
    let report = found[0].report.as_ref().expect("a report");
    assert_eq!(report["scanner_version"], "0.69.3");
    assert_eq!(report["counts"]["vulnerabilities"]["critical"], 1);
    let finding =
        report["findings"].as_array().expect("findings").iter().find(|it| it["id"] == "CVE-2099-0001");
    let finding = finding.expect("the finding");
    for (field, value) in [
        ("kind", "vulnerability"),
        ("severity", "critical"),
        ("package", "requests"),
        ("installed", "2.19.1"),
        ("fixed", "2.20.0"),
        ("target", "requirements.txt"),
    ] {
        assert_eq!(finding[field], value, "{field}: {finding}");
    }

    allow(&delivery, now() + DAY).await;
    let (created, ended) = deployed(&delivery, app).await;
    ended.assert_released();
    let found = scans(&delivery, &created).await;
    assert_eq!(outcomes(&found), [(Source, ScanOutcome::Passed, None), (Image, ScanOutcome::Passed, None)]);
    assert_eq!(found[0].verdict["allowed"][0]["id"], "CVE-2099-0001");
    assert_eq!(found[0].verdict["allowed"][0]["reason"], "the broken call is never reached");
    assert_bills(&delivery, &ended, &found).await;

    allow(&delivery, now() - DAY).await;
    let (created, ended) = deployed(&delivery, app).await;
    let reason = assert_stopped(&delivery, &ended, "DM-4501").await;
    let since = (now() - DAY).format("%Y-%m-%d").to_string();
    assert!(reason.contains(&format!("expired in the allow-list: CVE-2099-0001 since {since}")), "{reason}");
    assert_eq!(scans(&delivery, &created).await[0].verdict["expired"][0]["id"], "CVE-2099-0001");

    // An entry of the policy itself is as good as one of the list.
    let entry =
        json!({ "id": "CVE-2099-0001", "reason": "until the next release", "expires_at": now() + DAY });
    delivery.policy(&json!({ "mode": "required", "allow": [entry] })).await;
    let (created, ended) = deployed(&delivery, app).await;
    ended.assert_released();
    assert_eq!(scans(&delivery, &created).await[0].verdict["allowed"][0]["reason"], "until the next release");

    delivery.policy(&json!({ "mode": "warn" })).await;
    let (created, ended) = deployed(&delivery, app).await;
    ended.assert_released();
    let found = scans(&delivery, &created).await;
    assert_eq!(outcomes(&found), [(Source, ScanOutcome::Warned, None), (Image, ScanOutcome::Passed, None)]);
    let loud = |line: &LogLine| line.level == "warn" && line.line.contains("CVE-2099-0001");
    assert!(ended.log.iter().any(loud), "{}", ended.text());

    delivery.policy(&json!({ "mode": "off" })).await;
    let before = called();
    assert_eq!(before.lines().filter(|word| *word == "image").count(), 3, "{before}");
    let (created, ended) = deployed(&delivery, app).await;
    ended.assert_released();
    let found = scans(&delivery, &created).await;
    assert_eq!(outcomes(&found), [(Source, ScanOutcome::Skipped, None), (Image, ScanOutcome::Skipped, None)]);
    assert!(found.iter().all(|scan| scan.report.is_none() && scan.sbom.is_none()), "{found:?}");
    assert_eq!(called(), before, "nothing ran");
    delivery.assert_clean(SOON).await;
    delivery.finish().await;
}

/// What is in a release can be found out from its bills of materials, years later.
async fn assert_bills(delivery: &Delivery, ended: &Ended, found: &[Scan]) {
    let release = ended.deployment.release.expect("released");
    let release = release_get(&delivery.rig.fleet.db, release).await.expect("read").expect("a release");
    assert_eq!(release.deployment, ended.deployment.id);
    for (scan, part) in found.iter().zip(["pkg:pypi/requests@2.19.1", "pkg:deb/debian/bash@"]) {
        let bill = scan.sbom.as_ref().unwrap_or_else(|| panic!("the {} has no bill of materials", scan.kind));
        assert_eq!(bill["bomFormat"], "CycloneDX");
        let parts = bill["components"].as_array().expect("components");
        let named = |it: &Value| it["purl"].as_str().is_some_and(|purl| purl.starts_with(part));
        assert!(parts.iter().any(named), "{part} is not in the bill of the {}", scan.kind);
    }
}

/// The gate opens only when the build is seen to run, so that it is the failed gate that ends it.
async fn a_failed_gate_stops(builder: &str, seconds: u32) {
    let mark = format!("sleep {seconds}.{}", std::process::id());
    let delivery = Delivery::start().await;
    let folder = TempDir::new().expect("folder");
    let open = folder.path().join("open");
    let waiting =
        format!("while [ ! -e '{}' ]; do sleep 0.1; done\nexec '{}' \"$@\"", open.display(), trivy());
    let waiting = script(folder.path(), "trivy", &waiting).display().to_string();
    let settings = [
        ("DEPLOYMIND_TRIVY", &*waiting),
        ("DEPLOYMIND_BUILDER", builder),
        ("DEPLOYMIND_BUILD_REQUIRE_CAPS", "false"),
    ];
    let _nodes = nodes(&delivery, &settings).await;
    delivery.policy(&json!({ "mode": "required" })).await;
    let dockerfile = format!("FROM debian:bookworm-slim\nCOPY hello /hello\nRUN {mark}\nUSER 1000\n");
    let (app, _) =
        delivery.app("shop", &[vulnerable(), vec![Entry::file("Dockerfile", dockerfile)]].concat()).await;
    let created = delivery.deploy(app).await;
    wait_for("the build to run", SOON, async || {
        if processes(&mark).is_empty() { Err("no process of it".to_owned()) } else { Ok(()) }
    })
    .await;
    std::fs::write(&open, "").expect("open the gate");
    let opened = Instant::now();
    let ended = delivery.ended(&created, SOON).await;
    let took = opened.elapsed();
    println!("{builder}: from the gate to the end of a build that would run {seconds} s: {took:.1?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert_stopped(&delivery, &ended, "DM-4501").await;
    gone(&mark).await;
    // The engine takes a moment to clear away what it has killed.
    wait_for("no container of the build to be left", Duration::from_secs(20), async || {
        let left = delivery.containers(&mark);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    assert_eq!(build_get(&delivery.rig.fleet.db, created.deployment).await.expect("read"), None);
    delivery.assert_clean(SOON).await;
    delivery.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_gate_stops_the_classic_builder() {
    a_failed_gate_stops("classic", 311).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_gate_stops_buildkit() {
    a_failed_gate_stops("buildkit", 312).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_image_has_is_stopped_after_the_build_and_the_image_goes() {
    let delivery = Delivery::start().await;
    let _nodes = delivery.nodes().await;
    // As a package that somebody installed by hand.
    let dockerfile = "FROM debian:bookworm-slim\n\
        RUN printf 'Package: sl\\nStatus: install ok installed\\nArchitecture: amd64\\nMaintainer: Nobody\\nVersion: 5.02-1\\nDescription: a train\\n\\n' >> /var/lib/dpkg/status\n\
        USER 1000\nCMD [\"true\"]\n";
    let (app, _) = delivery.app("shop", &with_dockerfile(dockerfile)).await;
    delivery.policy(&json!({ "mode": "required" })).await;
    let (created, ended) = deployed(&delivery, app).await;
    let reason = assert_stopped(&delivery, &ended, "DM-4501").await;
    assert!(reason.contains("CVE-2099-1001: sl 5.02-1, fixed in 99.0-1"), "{reason}");
    let found = scans(&delivery, &created).await;
    let expected = [
        (ScanKind::Source, ScanOutcome::Passed, None),
        (ScanKind::Image, ScanOutcome::Refused, Some("DM-4501")),
    ];
    assert_eq!(outcomes(&found), expected);
    // It was built, and the record keeps how; the image itself is gone.
    let build = build_get(&delivery.rig.fleet.db, created.deployment).await.expect("read").expect("a build");
    let there = Command::new("docker").args(["image", "inspect", &build.image_id]).output().expect("docker");
    assert!(!there.status.success(), "{} is still there", build.image_id);

    delivery.policy(&json!({ "mode": "required", "limits": { "critical": 1 } })).await;
    deployed(&delivery, app).await.1.assert_released();
    delivery.assert_clean(SOON).await;
    delivery.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_a_file_is_found_and_its_text_is_kept_nowhere() {
    let delivery = Delivery::start().await;
    let _nodes = delivery.nodes().await;
    let secrets = [key(), "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzKEYabcd".to_owned()];
    let settings =
        format!("aws_access_key_id = \"{}\"\naws_secret_access_key = \"{}\"\n", secrets[0], secrets[1]);
    // No USER: one of the scanner's checks of Dockerfiles.
    let dockerfile = "FROM debian:bookworm-slim\nCOPY settings.py /settings.py\nCMD [\"true\"]\n";
    let files = [with_dockerfile(dockerfile), vec![Entry::file("settings.py", settings)]].concat();
    let (app, _) = delivery.app("shop", &files).await;

    delivery.policy(&json!({ "mode": "required" })).await;
    let (_, ended) = deployed(&delivery, app).await;
    let reason = assert_stopped(&delivery, &ended, "DM-4501").await;
    assert!(reason.contains("a secret in settings.py line 1"), "{reason}");

    delivery.policy(&json!({ "mode": "warn" })).await;
    let (created, ended) = deployed(&delivery, app).await;
    ended.assert_released();
    let found = scans(&delivery, &created).await;
    for (scan, target) in found.iter().zip(["settings.py", "/settings.py"]) {
        assert_eq!(scan.outcome, ScanOutcome::Warned, "{}", scan.kind);
        let findings = scan.report.as_ref().expect("a report")["findings"].clone();
        let secret = findings.as_array().expect("findings").iter().find(|it| it["kind"] == "secret");
        let secret = secret.unwrap_or_else(|| panic!("no secret in the {}: {findings}", scan.kind));
        assert_eq!((&secret["target"], &secret["line"]), (&json!(target), &json!(1)), "{secret}");
        assert!(scan.report.as_ref().expect("a report")["counts"]["secrets"]["critical"].as_u64() >= Some(1));
    }
    let report = found[0].report.as_ref().expect("a report");
    let dockerfile = report["findings"].as_array().expect("findings").iter().find(|it| it["id"] == "DS-0002");
    let dockerfile =
        dockerfile.unwrap_or_else(|| panic!("nothing about the user of the Dockerfile: {report}"));
    assert_eq!(
        (&dockerfile["kind"], &dockerfile["target"]),
        (&json!("misconfiguration"), &json!("Dockerfile"))
    );

    let record = everything(&delivery).await;
    assert!(record.contains("settings.py"), "the search itself works");
    for secret in &secrets {
        assert!(!record.contains(secret), "{secret} is in the record");
    }
    delivery.assert_clean(SOON).await;
    delivery.finish().await;
}

/// Every row of every table, as text.
async fn everything(delivery: &Delivery) -> String {
    let pool = &delivery.rig.pool;
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")
            .fetch_all(pool)
            .await
            .expect("tables");
    let mut text = String::new();
    for table in tables {
        let sql = format!("SELECT coalesce(string_agg(t::text, E'\\n'), '') FROM \"{table}\" t");
        let rows: String = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(pool).await.expect("rows");
        text.push_str(&rows);
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_cannot_be_read_stops_everything() {
    let delivery = Delivery::start().await;
    let _nodes = delivery.nodes().await;
    let (app, _) = delivery.app("shop", &small()).await;
    for (policy, word) in [
        (json!({ "mode": "requierd" }), "requierd"),
        (json!({ "mode": "required", "limit": { "critical": 0 } }), "limit"),
        (json!({}), "mode"),
        (json!("off"), "policy"),
    ] {
        // The product's own way to set one may refuse it; a hand in the database is not asked.
        sqlx::query("UPDATE environments SET scan_policy = $1 WHERE name = 'production'")
            .bind(&policy)
            .execute(&delivery.rig.pool)
            .await
            .expect("spoil");
        let (created, ended) = deployed(&delivery, app).await;
        let reason = assert_stopped(&delivery, &ended, "DM-4506").await;
        assert!(reason.contains(word), "{policy}: {reason}");
        assert!(scans(&delivery, &created).await.is_empty());
    }
    delivery.assert_clean(SOON).await;
    delivery.finish().await;
}
