use std::time::Duration;

use deploymind_shared::error::Code;
use serde_json::{Value, json};

use super::{now, secret, vulnerability};
use crate::scan::report::Report;
use crate::scan::{Decision, Finding, Outcome, ScanFailure, ScanPolicy, Severity, judge, outcome};

fn policy(json: Value) -> ScanPolicy {
    ScanPolicy::parse(&json).expect("a policy that can be obeyed")
}

fn report(findings: Vec<Finding>) -> Report {
    Report::new("0.69.3".into(), now(), findings)
}

fn holes() -> Report {
    report(vec![
        vulnerability("CVE-1", Severity::Critical, "requests", Some("2.31.0")),
        vulnerability("CVE-2", Severity::High, "flask", None),
        secret("aws-access-key-id", "app/settings.py"),
    ])
}

fn in_days(days: i64) -> Value {
    json!(now() + chrono::Duration::days(days))
}

fn allow(id: &str, package: Option<&str>, days: i64) -> Value {
    json!({ "id": id, "package": package, "reason": "not reachable", "expires_at": in_days(days) })
}

#[test]
fn limits_kinds_and_fixes_decide() {
    let cases = [
        ("the default lets no critical through", json!({ "mode": "required" }), Decision::Fail),
        ("warn does not stop", json!({ "mode": "warn" }), Decision::Warn),
        (
            "both criticals are within two",
            json!({ "mode": "required", "limits": { "critical": 2 } }),
            Decision::Pass,
        ),
        ("and not within one", json!({ "mode": "required", "limits": { "critical": 1 } }), Decision::Fail),
        ("no limit, no breach", json!({ "mode": "required", "limits": {} }), Decision::Pass),
        ("a limit on high alone", json!({ "mode": "required", "limits": { "high": 0 } }), Decision::Fail),
        (
            "nobody can fix the high one",
            json!({ "mode": "required", "limits": { "high": 0 }, "only_fixable": true }),
            Decision::Pass,
        ),
        (
            "a secret can always be removed",
            json!({ "mode": "required", "only_fixable": true, "kinds": ["secret"] }),
            Decision::Fail,
        ),
        (
            "misconfigurations alone: there are none",
            json!({ "mode": "required", "kinds": ["misconfiguration"] }),
            Decision::Pass,
        ),
    ];
    for (what, json, expected) in cases {
        let verdict = judge(&holes(), &policy(json), now());
        assert_eq!(verdict.decision, expected, "{what}: {verdict:?}");
        assert_eq!(verdict.reasons.is_empty(), expected == Decision::Pass, "{what}");
    }
}

#[test]
fn an_entry_allows_its_own_finding_and_no_other() {
    let only = report(vec![vulnerability("CVE-1", Severity::Critical, "requests", Some("2.31.0"))]);
    let key = report(vec![secret("aws-access-key-id", "app/settings.py")]);
    let cases = [
        ("by id", &only, allow("CVE-1", None, 30), Decision::Pass),
        ("by id and package", &only, allow("CVE-1", Some("requests"), 30), Decision::Pass),
        ("another package", &only, allow("CVE-1", Some("flask"), 30), Decision::Fail),
        ("a longer id", &only, allow("CVE-10", None, 30), Decision::Fail),
        ("a shorter id", &only, allow("CVE-", None, 30), Decision::Fail),
        ("other letters", &only, allow("cve-1", None, 30), Decision::Fail),
        ("expired", &only, allow("CVE-1", None, -1), Decision::Fail),
        (
            "a secret in its file",
            &key,
            allow("aws-access-key-id", Some("app/settings.py"), 30),
            Decision::Pass,
        ),
        ("a secret in any file", &key, allow("aws-access-key-id", None, 30), Decision::Fail),
        ("a secret in another file", &key, allow("aws-access-key-id", Some("app"), 30), Decision::Fail),
    ];
    for (what, report, entry, expected) in cases {
        let verdict = judge(report, &policy(json!({ "mode": "required", "allow": [entry] })), now());
        assert_eq!(verdict.decision, expected, "{what}: {verdict:?}");
        assert_eq!(verdict.allowed.len(), usize::from(expected == Decision::Pass), "{what}");
        assert_eq!(verdict.expired.len(), usize::from(what == "expired"), "{what}");
    }
}

#[test]
fn an_entry_ends_at_its_moment() {
    let at = now();
    let entry = json!({ "id": "CVE-1", "reason": "waiting", "expires_at": at });
    let policy = policy(json!({ "mode": "required", "allow": [entry] }));
    let report = report(vec![vulnerability("CVE-1", Severity::Critical, "requests", None)]);
    assert_eq!(judge(&report, &policy, at - Duration::from_millis(1)).decision, Decision::Pass);
    assert_eq!(judge(&report, &policy, at).decision, Decision::Fail);
}

#[test]
fn what_the_report_only_counts_counts_too() {
    let many = |fixed| {
        let findings = (0..Report::FINDINGS + 3)
            .map(|n| vulnerability(&format!("CVE-{n}"), Severity::Low, "p", fixed))
            .collect();
        report(findings)
    };
    let limits = json!({ "mode": "required", "limits": { "low": Report::FINDINGS + 2 } });
    let verdict = judge(&many(None), &policy(limits.clone()), now());
    assert_eq!(verdict.reasons[0].found as usize, Report::FINDINGS + 3);
    let mut fixable = limits;
    fixable["only_fixable"] = json!(true);
    assert_eq!(judge(&many(None), &policy(fixable.clone()), now()).decision, Decision::Pass);
    assert_eq!(judge(&many(Some("2")), &policy(fixable), now()).decision, Decision::Fail);
}

#[test]
fn the_summary_can_be_read_by_a_person() {
    let mut json =
        json!({ "mode": "required", "limits": { "critical": 0, "high": 0 }, "kinds": ["vulnerability"] });
    json["allow"] = json!([allow("CVE-2", Some("flask"), 30), allow("CVE-1", None, -400)]);
    let verdict = judge(&holes(), &policy(json), now());
    let since = (now() - chrono::Duration::days(400)).format("%Y-%m-%d");
    assert_eq!(
        verdict.summary,
        format!(
            "over the policy's limits: 1 critical (CVE-1: requests 2.0.0, fixed in 2.31.0), at most 0 allowed; \
             1 allowed by the allow-list; expired in the allow-list: CVE-1 since {since}"
        )
    );
    let kept = serde_json::to_value(&verdict).expect("json");
    assert_eq!(serde_json::from_value::<crate::scan::Verdict>(kept).expect("reads"), verdict);
}

#[test]
fn a_policy_with_a_mistake_is_refused() {
    let good = || allow("CVE-1", None, 30);
    let with = |field: &str, value: Value| {
        let mut entry = good();
        entry[field] = value;
        json!({ "mode": "required", "allow": [entry] })
    };
    let mut undated = good();
    undated.as_object_mut().expect("entry").remove("expires_at");
    let cases = [
        ("no mode", json!({})),
        ("another mode", json!({ "mode": "maybe" })),
        ("a misspelt field", json!({ "mode": "required", "limit": { "critical": 0 } })),
        ("a misspelt severity", json!({ "mode": "required", "limits": { "critcal": 0 } })),
        ("a negative limit", json!({ "mode": "required", "limits": { "critical": -1 } })),
        ("no kinds", json!({ "mode": "required", "kinds": [] })),
        ("an unknown kind", json!({ "mode": "required", "kinds": ["license"] })),
        ("no date", json!({ "mode": "required", "allow": [undated] })),
        ("a date of no calendar", with("expires_at", json!("2026-02-31T00:00:00Z"))),
        ("no reason", with("reason", json!("  "))),
        ("everything", with("id", json!("*"))),
        ("a family", with("id", json!("CVE-2026-*"))),
        ("any package", with("package", json!("*"))),
        ("an empty package", with("package", json!(""))),
        ("an empty id", with("id", json!(""))),
        ("the same twice", json!({ "mode": "required", "allow": [good(), good()] })),
        (
            "too many",
            json!({ "mode": "required", "allow": (0..501).map(|n| allow(&format!("CVE-{n}"), None, 1)).collect::<Vec<_>>() }),
        ),
    ];
    for (what, json) in cases {
        let error = ScanPolicy::parse(&json).err().unwrap_or_else(|| panic!("{what} was taken"));
        assert_eq!(error.code(), Code::ScanPolicyInvalid, "{what}");
    }
}

#[test]
fn a_scan_that_did_not_happen_is_never_a_pass() {
    let failures = [
        (ScanFailure::Missing("/opt/trivy".into()), Code::ScannerMissing),
        (ScanFailure::Database("it is gone".into()), Code::ScannerDatabase),
        (ScanFailure::Failed("it crashed".into()), Code::ScannerFailed),
        (ScanFailure::Deadline(Duration::from_secs(60)), Code::ScannerDeadline),
    ];
    for (failure, code) in failures {
        let scan = Err(failure);
        match outcome(&scan, &policy(json!({ "mode": "required" })), now()) {
            Outcome::Refused { error, verdict: None } => assert_eq!(error.code(), code),
            other => panic!("{code} under required: {other:?}"),
        }
        match outcome(&scan, &policy(json!({ "mode": "warn" })), now()) {
            Outcome::Warned { sentence, verdict: None } => {
                assert!(
                    sentence.contains("did NOT happen") && sentence.contains(code.as_str()),
                    "{sentence}"
                );
            }
            other => panic!("{code} under warn: {other:?}"),
        }
        assert!(matches!(outcome(&scan, &policy(json!({ "mode": "off" })), now()), Outcome::Skipped));
    }
}

#[test]
fn a_breach_refuses_with_its_own_code() {
    let scan = Ok(holes());
    match outcome(&scan, &policy(json!({ "mode": "required" })), now()) {
        Outcome::Refused { error, verdict: Some(_) } => {
            assert_eq!(error.code(), Code::SecurityGate);
            assert!(error.sentence().contains("CVE-1: requests 2.0.0, fixed in 2.31.0"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        outcome(&scan, &policy(json!({ "mode": "warn" })), now()),
        Outcome::Warned { verdict: Some(_), .. }
    ));
    let lax = policy(json!({ "mode": "required", "limits": {} }));
    assert!(matches!(outcome(&scan, &lax, now()), Outcome::Passed(_)));
}
