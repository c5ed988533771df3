//! The pinned Trivy itself, with a real database of invented advisories: `scripts/trivy.sh` makes both.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{mouth, now, said, scanner};
use crate::scan::{Detail, Kind, Outcome, Report, ScanFailure, ScanPolicy, Scanner, Severity, outcome};

fn setting(name: &str) -> PathBuf {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests are told by the environment where the real scanner is"
    )]
    let value = std::env::var(name);
    value
        .unwrap_or_else(|_| {
            panic!("{name} is not set: see scripts/trivy.sh, which makes what it should name")
        })
        .into()
}

fn real(scratch: &Path) -> Scanner {
    scanner(setting("DEPLOYMIND_TEST_TRIVY"), setting("DEPLOYMIND_TEST_TRIVY_CACHE"), scratch)
}

fn write(tree: &Path, file: &str, text: &str) {
    let path = tree.join(file);
    std::fs::create_dir_all(path.parent().expect("inside")).expect("folder");
    std::fs::write(path, text).expect("file");
}

/// Put together here: a scanner of this repository should not find a key in it.
fn key() -> String {
    format!("AKIA{}", "Q3EXAMPLF7KEYZ2A")
}

fn vulnerable(tree: &Path) {
    write(tree, "requirements.txt", "requests==2.19.1\nflask==0.12.2\n");
    write(tree, "Dockerfile", "FROM debian:12\nUSER root\nCMD [\"sh\"]\n");
    let near = "aws_secret_access_key = \"wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzKEYabcd\"";
    write(tree, "app/settings.py", &format!("aws_access_key_id = \"{}\"\n{near}\n", key()));
}

async fn scan(scanner: &Scanner, tree: &Path) -> Result<Report, ScanFailure> {
    let (lines, kept) = mouth();
    let scan =
        scanner.scan_tree(tree, &[], None, &lines, &CancellationToken::new()).await.expect("not stopped");
    let said = said(kept);
    assert!(!said.contains(&key()) && !said.contains("wJalrXUtnFEMI"), "{said}");
    scan
}

fn ids(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|finding| finding.id.as_str()).collect()
}

#[tokio::test]
async fn a_vulnerable_tree() {
    let (room, tree) = (TempDir::new().expect("room"), TempDir::new().expect("tree"));
    vulnerable(tree.path());
    let scanner = real(room.path());
    let (lines, kept) = mouth();
    let sbom = room.path().join("sbom.json");
    let report = scanner
        .scan_tree(tree.path(), &[], Some(&sbom), &lines, &CancellationToken::new())
        .await
        .expect("not stopped")
        .expect("a report");
    assert_eq!(report.scanner_version, "0.69.3");
    assert!(
        ids(&report).contains(&"CVE-2099-0001") && ids(&report).contains(&"CVE-2099-0002"),
        "{report:#?}"
    );
    assert!(ids(&report).contains(&"DS-0002"), "the user of the Dockerfile: {report:#?}");
    let secret = report.findings.iter().find(|finding| finding.kind() == Kind::Secret).expect("a secret");
    assert_eq!((secret.target.as_str(), secret.severity), ("app/settings.py", Severity::Critical));
    assert!(matches!(&secret.detail, Detail::Secret { line: 1, .. }), "{secret:?}");

    let everything = format!("{report:?}{}", said(kept));
    assert!(!everything.contains(&key()) && !everything.contains("wJalrXUtnFEMI"));

    let sbom = std::fs::read_to_string(&sbom).expect("a bill of materials");
    assert!(!sbom.contains("wJalrXUtnFEMI"));
    let sbom: Value = serde_json::from_str(&sbom).expect("json");
    assert_eq!(sbom["bomFormat"], "CycloneDX");
    let parts = sbom["components"].as_array().expect("components");
    assert!(parts.iter().any(|part| part["purl"] == "pkg:pypi/requests@2.19.1"), "{parts:?}");
    assert_eq!(
        std::fs::read_dir(room.path()).expect("room").count(),
        1,
        "only the bill of materials is left"
    );

    let scan = Ok(report);
    let required =
        ScanPolicy::parse(&json!({ "mode": "required", "kinds": ["vulnerability"] })).expect("valid");
    match outcome(&scan, &required, now()) {
        Outcome::Refused { error, .. } => {
            assert!(error.sentence().contains("CVE-2099-0001: requests 2.19.1, fixed in 2.20.0"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    let entry = json!({ "id": "CVE-2099-0001", "package": "requests", "reason": "waiting for the release",
        "expires_at": now() + chrono::Duration::days(1) });
    let allowing = json!({ "mode": "required", "kinds": ["vulnerability"], "allow": [entry] });
    let allowing = ScanPolicy::parse(&allowing).expect("valid");
    assert!(matches!(outcome(&scan, &allowing, now()), Outcome::Passed(_)));
}

#[tokio::test]
async fn a_clean_tree_and_a_skipped_folder() {
    let (room, tree) = (TempDir::new().expect("room"), TempDir::new().expect("tree"));
    write(tree.path(), "requirements.txt", "requests==2.32.0\n");
    vulnerable(&tree.path().join("old"));
    let (lines, _kept) = mouth();
    let skip = ["old".to_owned()];
    let report = real(room.path())
        .scan_tree(tree.path(), &skip, None, &lines, &CancellationToken::new())
        .await
        .expect("not stopped")
        .expect("a report");
    assert_eq!(report.counts.total(), 0, "{report:#?}");
}

#[tokio::test]
async fn a_repository_cannot_configure_its_own_scan() {
    let (room, tree) = (TempDir::new().expect("room"), TempDir::new().expect("tree"));
    vulnerable(tree.path());
    write(tree.path(), "trivy.yaml", "severity: [LOW]\nscan:\n  scanners: []\n");
    write(tree.path(), ".trivyignore", "CVE-2099-0001\naws-access-key-id\n");
    write(tree.path(), ".trivyignore.yaml", "vulnerabilities:\n  - id: CVE-2099-0001\n");
    write(tree.path(), "trivy-secret.yaml", "disable-rules: [aws-access-key-id]\n");
    let report = scan(&real(room.path()), tree.path()).await.expect("a report");
    assert!(
        ids(&report).contains(&"CVE-2099-0001") && ids(&report).contains(&"aws-access-key-id"),
        "{report:#?}"
    );
}

#[tokio::test]
async fn a_repository_cannot_make_the_scanner_call_out() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("port");
    listener.set_nonblocking(true).expect("nonblocking");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    let (room, tree) = (TempDir::new().expect("room"), TempDir::new().expect("tree"));
    vulnerable(tree.path());
    write(tree.path(), "main.tf", &format!("module \"m\" {{\n  source = \"git::{url}/m.git\"\n}}\n"));
    let pom = format!(
        "<project><modelVersion>4.0.0</modelVersion><groupId>a</groupId><artifactId>b</artifactId>\
         <version>1</version><repositories><repository><id>r</id><url>{url}</url></repository></repositories>\
         <dependencies><dependency><groupId>c</groupId><artifactId>d</artifactId><version>1</version></dependency>\
         </dependencies></project>"
    );
    write(tree.path(), "pom.xml", &pom);
    let report = scan(&real(room.path()), tree.path()).await.expect("a report");
    assert!(ids(&report).contains(&"CVE-2099-0001"));
    let called = listener.accept();
    assert!(
        called.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock),
        "the scanner called out"
    );
}

#[tokio::test]
async fn an_image_from_its_archive() {
    let (room, root) = (TempDir::new().expect("room"), TempDir::new().expect("root"));
    write(root.path(), "etc/debian_version", "12.5\n");
    write(root.path(), "etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n");
    let package = |name: &str, version: &str| {
        format!("Package: {name}\nStatus: install ok installed\nVersion: {version}\nArchitecture: amd64\n\n")
    };
    write(root.path(), "var/lib/dpkg/status", &(package("bash", "5.2.15-2") + &package("sl", "5.02-1")));
    write(root.path(), "srv/app.env", &format!("AWS_ACCESS_KEY_ID={}\n", key()));

    let name = format!("deploymind-scan-test:{}", std::process::id());
    let archive = room.path().join("image.tar");
    let docker = |script: &str| {
        let output = Command::new("sh")
            .args(["-c", script, "sh", &name])
            .arg(root.path())
            .arg(&archive)
            .output()
            .expect("sh");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "this test needs a Docker engine: {text}");
    };
    docker("tar -C \"$2\" -c . | docker import - \"$1\" && docker save -o \"$3\" \"$1\"");
    docker("docker rmi \"$1\"");

    let (lines, kept) = mouth();
    let sbom = room.path().join("sbom.json");
    let report = real(room.path())
        .scan_image(&archive, Some(&sbom), &lines, &CancellationToken::new())
        .await
        .expect("not stopped")
        .expect("a report");
    assert_eq!(report.findings[0].severity, Severity::Critical);
    assert!(
        ids(&report).contains(&"CVE-2099-1001") && ids(&report).contains(&"CVE-2099-1002"),
        "{report:#?}"
    );
    assert_eq!(report.counts.secrets.total(), 1, "{report:#?}");
    assert!(!format!("{report:?}{}", said(kept)).contains(&key()));
    assert!(
        std::fs::read_to_string(&sbom).expect("a bill of materials").contains("pkg:deb/debian/sl@5.02-1")
    );
}

#[tokio::test]
async fn damage_that_only_trivy_sees_is_a_failure() {
    let (room, tree, copy) =
        (TempDir::new().expect("room"), TempDir::new().expect("tree"), TempDir::new().expect("copy"));
    vulnerable(tree.path());
    let mut scanner = real(room.path());
    let from = scanner.cache_dir.join("db");
    let to = copy.path().join("db");
    std::fs::create_dir(&to).expect("db");
    std::fs::copy(from.join("metadata.json"), to.join("metadata.json")).expect("metadata");
    let mut bytes = std::fs::read(from.join("trivy.db")).expect("database");
    bytes[8192..].fill(0xAA);
    std::fs::write(to.join("trivy.db"), bytes).expect("database");
    scanner.cache_dir = copy.path().into();
    match scan(&scanner, tree.path()).await {
        Err(ScanFailure::Failed(what)) => assert!(what.contains("panic:"), "{what}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_jar_without_a_java_database_fails_at_once_and_says_what_is_missing() {
    let (room, tree, copy) =
        (TempDir::new().expect("room"), TempDir::new().expect("tree"), TempDir::new().expect("copy"));
    let mut scanner = real(room.path());
    let to = copy.path().join("db");
    std::fs::create_dir(&to).expect("db");
    for file in ["metadata.json", "trivy.db"] {
        std::fs::copy(scanner.cache_dir.join("db").join(file), to.join(file)).expect("copied");
    }
    write(tree.path(), "etc/debian_version", "12.5\n");
    // An empty zip archive: its end record is all there is.
    let mut jar = b"PK\x05\x06".to_vec();
    jar.resize(22, 0);
    std::fs::write(tree.path().join("app.jar"), jar).expect("jar");
    let archive = room.path().join("image.tar");
    let name = format!("deploymind-scan-jar-test:{}", std::process::id());
    let script =
        "tar -C \"$2\" -c . | docker import - \"$1\" && docker save -o \"$3\" \"$1\" && docker rmi \"$1\"";
    let done = Command::new("sh")
        .args(["-c", script, "sh", &name])
        .arg(tree.path())
        .arg(&archive)
        .output()
        .expect("sh");
    assert!(
        done.status.success(),
        "this test needs a Docker engine: {}",
        String::from_utf8_lossy(&done.stderr)
    );

    let (lines, _kept) = mouth();
    let cancel = CancellationToken::new();
    scanner
        .scan_image(&archive, None, &lines, &cancel)
        .await
        .expect("runs")
        .expect("with the Java database it is fine");
    scanner.cache_dir = copy.path().into();
    match scanner.scan_image(&archive, None, &lines, &cancel).await.expect("runs") {
        Err(ScanFailure::Failed(what)) => assert!(what.contains("--download-java-db-only"), "{what}"),
        other => panic!("{other:?}"),
    }
}
