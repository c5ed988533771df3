use proptest::prelude::*;
use serde_json::{Value, json};

use super::{now, secret, vulnerability};
use crate::scan::report::Report;
use crate::scan::{Decision, Finding, ScanPolicy, Severity, judge};

fn severity() -> impl Strategy<Value = Severity> {
    prop::sample::select(Severity::ALL.to_vec())
}

fn finding() -> impl Strategy<Value = Finding> {
    prop_oneof![
        (0..6u8, severity(), 0..3u8, any::<bool>()).prop_map(|(id, severity, package, fixed)| {
            vulnerability(&format!("CVE-{id}"), severity, &format!("p{package}"), fixed.then_some("9"))
        }),
        (0..3u8, 0..2u8).prop_map(|(rule, file)| secret(&format!("rule-{rule}"), &format!("f{file}"))),
    ]
}

fn findings() -> impl Strategy<Value = Vec<Finding>> {
    prop::collection::vec(finding(), 0..20)
}

/// Entry and whether it is still good.
fn allow() -> impl Strategy<Value = Vec<(u8, Option<u8>, bool)>> {
    prop::collection::btree_map((0..6u8, prop::option::of(0..3u8)), any::<bool>(), 0..6)
        .prop_map(|map| map.into_iter().map(|((id, package), good)| (id, package, good)).collect())
}

fn policy(limit: u32, only_fixable: bool, allow: &[(u8, Option<u8>, bool)]) -> ScanPolicy {
    let allow: Vec<Value> = allow
        .iter()
        .map(|(id, package, good)| {
            let days = chrono::Duration::days(if *good { 1 } else { -1 });
            json!({ "id": format!("CVE-{id}"), "package": package.map(|p| format!("p{p}")), "reason": "r",
                "expires_at": now() + days })
        })
        .collect();
    let limits = json!({ "critical": limit, "high": limit, "medium": limit, "low": limit, "unknown": limit });
    let json = json!({ "mode": "required", "limits": limits, "only_fixable": only_fixable, "allow": allow });
    ScanPolicy::parse(&json).expect("valid")
}

fn decide(findings: Vec<Finding>, policy: &ScanPolicy) -> Decision {
    judge(&Report::new("1".into(), now(), findings), policy, now()).decision
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn order_and_repetition_change_nothing(findings in findings(), limit in 0..4u32, allow in allow()) {
        let policy = policy(limit, false, &allow);
        let report = Report::new("1".into(), now(), findings.clone());
        let mut twice = findings.clone();
        twice.extend(findings.into_iter().rev());
        let again = Report::new("1".into(), report.database_updated_at, twice);
        prop_assert_eq!(&again.findings, &report.findings);
        prop_assert_eq!(&again.counts, &report.counts);
        prop_assert_eq!(judge(&again, &policy, now()).decision, judge(&report, &policy, now()).decision);
    }

    #[test]
    fn one_more_finding_never_turns_a_refusal_into_a_pass(
        findings in findings(), more in finding(), limit in 0..4u32, allow in allow(),
    ) {
        let policy = policy(limit, false, &allow);
        if decide(findings.clone(), &policy) == Decision::Fail {
            let mut all = findings;
            all.push(more);
            prop_assert_eq!(decide(all, &policy), Decision::Fail);
        }
    }

    #[test]
    fn a_stricter_policy_never_passes_more(findings in findings(), limit in 1..4u32, allow in allow()) {
        if decide(findings.clone(), &policy(limit, true, &allow)) == Decision::Fail {
            prop_assert_eq!(decide(findings.clone(), &policy(limit - 1, true, &allow)), Decision::Fail);
            prop_assert_eq!(decide(findings, &policy(limit, false, &allow)), Decision::Fail);
        }
    }

    #[test]
    fn an_expired_entry_is_the_same_as_none(findings in findings(), limit in 0..4u32, allow in allow()) {
        let good: Vec<_> = allow.iter().copied().filter(|(_, _, good)| *good).collect();
        let report = Report::new("1".into(), now(), findings);
        let with = judge(&report, &policy(limit, false, &allow), now());
        let without = judge(&report, &policy(limit, false, &good), now());
        prop_assert_eq!(with.decision, without.decision);
        prop_assert_eq!(with.allowed.len(), without.allowed.len());
        prop_assert_eq!(with.expired.len(), allow.len() - good.len());
    }

    #[test]
    fn nothing_is_allowed_that_no_good_entry_names(findings in findings(), allow in allow()) {
        let policy = policy(0, false, &allow);
        let report = Report::new("1".into(), now(), findings);
        for allowed in judge(&report, &policy, now()).allowed {
            let named = allow.iter().any(|(id, package, good)| {
                *good && allowed.id == format!("CVE-{id}")
                    && package.is_none_or(|package| allowed.place == format!("p{package}"))
            });
            prop_assert!(named, "{:?}", allowed);
        }
    }
}
