//! Held to what the pinned Trivy really wrote. The recordings hold texts that look like secrets; all are invented.

use serde_json::{Value, json};

use super::now;
use crate::scan::parse::parse;
use crate::scan::report::Report;
use crate::scan::{Detail, Finding, Kind, ScanFailure, Severity};

const TREE: &str = include_str!("../recorded/fs.json");
const IMAGE: &str = include_str!("../recorded/image.json");

fn find<'a>(report: &'a Report, id: &str) -> &'a Finding {
    report
        .findings
        .iter()
        .find(|finding| finding.id == id)
        .unwrap_or_else(|| panic!("{id} is not in {report:#?}"))
}

#[test]
fn a_recorded_tree_is_read_in_full() {
    let report = parse(TREE.as_bytes(), now()).expect("parses");
    assert_eq!(report.scanner_version, "0.69.3");
    let critical = find(&report, "CVE-2099-0001");
    assert_eq!(critical.severity, Severity::Critical);
    assert_eq!(critical.target, "requirements.txt");
    assert_eq!(critical.title, "requests: invented: credentials sent to the wrong host");
    assert!(critical.url.as_deref().is_some_and(|url| url.ends_with("cve-2099-0001")));
    let Detail::Vulnerability { package, installed, fixed } = &critical.detail else {
        panic!("{critical:?}")
    };
    assert_eq!(
        (package.as_str(), installed.as_str(), fixed.as_deref()),
        ("requests", "2.19.1", Some("2.20.0"))
    );
    assert!(!find(&report, "CVE-2099-0002").is_fixable());

    let root = find(&report, "DS-0002");
    assert_eq!(
        (root.kind(), root.severity, root.target.as_str()),
        (Kind::Misconfiguration, Severity::High, "Dockerfile")
    );
    let Detail::Misconfiguration { message, resolution, first_line, .. } = &root.detail else {
        panic!("{root:?}")
    };
    assert!(message.contains("root") && !resolution.is_empty());
    assert_eq!(*first_line, 2);

    let key = find(&report, "aws-access-key-id");
    assert_eq!(key.detail, Detail::Secret { category: "AWS".into(), line: 1 });
    assert_eq!(key.target, "app/settings.py");

    assert_eq!((report.counts.vulnerabilities.critical, report.counts.vulnerabilities.total()), (2, 4));
    assert_eq!(report.counts.fixable.total(), 3);
    assert_eq!((report.counts.secrets.total(), report.counts.misconfigurations.total()), (2, 4));
}

#[test]
fn no_text_around_a_secret_is_kept() {
    // Trivy stars what it recognised and prints the lines around it as they are.
    assert!(TREE.contains("wJalrXUtnFEMI"), "the recording no longer shows what this test is about");
    let kept = serde_json::to_string(&parse(TREE.as_bytes(), now()).expect("parses")).expect("json");
    for text in ["wJalrXUtnFEMI", "****", "GITHUB_TOKEN", "Match", "Code"] {
        assert!(!kept.contains(text), "{text} is in {kept}");
    }
}

#[test]
fn a_recorded_image_is_read_without_the_place_it_lay_in() {
    let report = parse(IMAGE.as_bytes(), now()).expect("parses");
    assert_eq!(find(&report, "CVE-2099-1001").target, "image (debian 12.5)");
    assert_eq!(report.counts.vulnerabilities.total(), 2);
    assert!(!serde_json::to_string(&report).expect("json").contains("/srv/"));
}

#[test]
fn a_report_survives_being_kept() {
    let report = parse(TREE.as_bytes(), now()).expect("parses");
    let kept = serde_json::to_value(&report).expect("json");
    assert_eq!(serde_json::from_value::<Report>(kept).expect("reads"), report);
}

#[test]
fn a_report_cut_short_is_refused() {
    let whole = TREE.trim_end().len();
    for end in (0..whole).step_by(97).chain(whole - 50..whole) {
        assert!(matches!(parse(&TREE.as_bytes()[..end], now()), Err(ScanFailure::Failed(_))), "cut at {end}");
    }
}

#[test]
fn what_a_verdict_rests_on_must_be_there() {
    let good: Value = serde_json::from_str(TREE).expect("json");
    let at = good["Results"]
        .as_array()
        .expect("results")
        .iter()
        .position(|result| result["Target"] == "requirements.txt");
    let at = at.expect("requirements.txt");
    type Damage = fn(&mut Value, usize);
    let cases: [(&str, Damage); 8] = [
        ("an error instead of a report", |json, _| *json = json!({ "error": "no" })),
        ("another schema", |json, _| json["SchemaVersion"] = json!(3)),
        ("no subject", |json, _| json["ArtifactName"] = json!("")),
        ("results of another shape", |json, _| json["Results"] = json!("none")),
        ("an unknown severity", |json, at| {
            json["Results"][at]["Vulnerabilities"][0]["Severity"] = json!("SEVERE")
        }),
        ("no severity", |json, at| json["Results"][at]["Vulnerabilities"][0]["Severity"] = Value::Null),
        ("no id", |json, at| json["Results"][at]["Vulnerabilities"][0]["VulnerabilityID"] = json!(" ")),
        ("no package", |json, at| json["Results"][at]["Vulnerabilities"][0]["PkgName"] = json!("")),
    ];
    for (what, damage) in cases {
        let mut json = good.clone();
        damage(&mut json, at);
        let result = parse(json.to_string().as_bytes(), now());
        assert!(matches!(result, Err(ScanFailure::Failed(_))), "{what}: {result:?}");
    }
    let mut more = good;
    more["Results"][at]["FieldOfTomorrow"] = json!({ "any": [1, 2] });
    parse(more.to_string().as_bytes(), now()).expect("unknown fields do no harm");
}

#[test]
fn an_unreadable_value_is_not_quoted() {
    let text = r#"{ "SchemaVersion": "ghp_a1B2c3D4e5F6g7H8", "Trivy": {} }"#;
    let failure = parse(text.as_bytes(), now()).expect_err("not a report");
    assert!(!failure.to_string().contains("ghp_"), "{failure}");
}

#[test]
fn nothing_found_is_a_report_and_hostile_text_is_made_safe() {
    let empty = json!({ "SchemaVersion": 2, "Trivy": { "Version": "1" }, "ArtifactName": "a" });
    assert_eq!(parse(empty.to_string().as_bytes(), now()).expect("parses").counts.total(), 0);

    let hostile = json!({ "SchemaVersion": 2, "Trivy": { "Version": "1" }, "ArtifactName": "a", "Results": [{
        "Target": "a\u{0}\u{1b}[2Jb".repeat(1000),
        "Secrets": [{ "RuleID": "r", "Severity": "HIGH", "Title": "x".repeat(100_000), "Match": "hunter2" }],
        "Misconfigurations": [{ "ID": "m", "Severity": "LOW", "Status": "PASS" }],
        "Vulnerabilities": [{ "VulnerabilityID": "C", "PkgName": "p", "InstalledVersion": "1", "Severity": "LOW",
            "PrimaryURL": "javascript:alert(1)" }],
    }] });
    let report = parse(hostile.to_string().as_bytes(), now()).expect("parses");
    let kept = serde_json::to_string(&report).expect("json");
    assert!(kept.len() < 4_000, "{} bytes", kept.len());
    assert!(!kept.contains("\\u0000") && !kept.contains("\\u001b") && !kept.contains("hunter2"));
    assert!(!kept.contains("javascript"));
    assert_eq!(report.counts.misconfigurations.total(), 0, "a check that passed is no finding");
}

#[test]
fn the_same_finding_counts_once_and_what_has_no_room_still_counts() {
    let one = |id: usize, severity: &str| {
        json!({ "VulnerabilityID": format!("CVE-{id}"), "PkgName": "p", "InstalledVersion": "1",
            "FixedVersion": if id.is_multiple_of(2) { "2" } else { "" }, "Severity": severity })
    };
    let mut list: Vec<Value> = (0..Report::FINDINGS + 500).map(|id| one(id, "LOW")).collect();
    list.push(one(1, "CRITICAL"));
    list.push(one(7, "LOW"));
    let json = json!({ "SchemaVersion": 2, "Trivy": { "Version": "1" }, "ArtifactName": "a",
        "Results": [{ "Target": "t", "Vulnerabilities": list }] });
    let report = parse(json.to_string().as_bytes(), now()).expect("parses");
    assert_eq!(report.findings.len(), Report::FINDINGS);
    assert_eq!(report.findings[0].severity, Severity::Critical, "worst first");
    assert_eq!(report.counts.vulnerabilities.total(), Report::FINDINGS as u64 + 500);
    assert_eq!(report.counts.fixable.total(), Report::FINDINGS as u64 / 2 + 250);
    assert_eq!(report.omitted.vulnerabilities.low, 500);
}
