//! Holds a report to a policy. Pure: the same report, policy and moment give the same verdict.

use deploymind_shared::clock::Timestamp;
use serde::{Deserialize, Serialize};

use super::policy::{Allowance, Mode, ScanPolicy};
use super::report::{Counts, Detail, Finding, Kind, Report, Severity};

/// Findings named in a reason; the report has them all.
const EXAMPLES: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Pass,
    Warn,
    Fail,
}

/// One limit that was exceeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    pub severity: Severity,
    pub found: u32,
    pub limit: u32,
    /// The first few, as a person would name them.
    pub examples: Vec<String>,
}

/// A finding that did not count, and by whose leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    pub id: String,
    pub place: String,
    pub reason: String,
    pub expires_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub decision: Decision,
    pub reasons: Vec<Reason>,
    pub allowed: Vec<Allowed>,
    /// Entries of the allow-list that no longer count.
    pub expired: Vec<Allowance>,
    /// One sentence for a person.
    pub summary: String,
}

pub fn judge(report: &Report, policy: &ScanPolicy, now: Timestamp) -> Verdict {
    let (expired, active): (Vec<_>, Vec<_>) = policy.allow().iter().partition(|entry| entry.is_expired(now));
    let mut allowed = Vec::new();
    let mut counted = Vec::new();
    for finding in &report.findings {
        if !policy.counts(finding.kind()) || (policy.only_fixable() && !finding.is_fixable()) {
            continue;
        }
        match active.iter().find(|entry| entry.covers(finding)) {
            Some(entry) => allowed.push(Allowed {
                id: finding.id.clone(),
                place: finding.place().to_owned(),
                reason: entry.reason.clone(),
                expires_at: entry.expires_at,
            }),
            None => counted.push(finding),
        }
    }
    let reasons: Vec<Reason> = Severity::ALL
        .into_iter()
        .filter_map(|severity| breach(severity, &counted, &report.omitted, policy))
        .collect();
    let decision = match (reasons.is_empty(), policy.mode()) {
        (true, _) | (_, Mode::Off) => Decision::Pass,
        (false, Mode::Warn) => Decision::Warn,
        (false, Mode::Required) => Decision::Fail,
    };
    let expired: Vec<Allowance> = expired.into_iter().cloned().collect();
    let summary = summarise(report, &reasons, allowed.len(), &expired);
    Verdict { decision, reasons, allowed, expired, summary }
}

fn breach(severity: Severity, counted: &[&Finding], omitted: &Counts, policy: &ScanPolicy) -> Option<Reason> {
    let limit = policy.limits().of(severity)?;
    let here: Vec<&&Finding> = counted.iter().filter(|finding| finding.severity == severity).collect();
    let found =
        u32::try_from(here.len()).unwrap_or(u32::MAX).saturating_add(without_room(severity, omitted, policy));
    if found <= limit {
        return None;
    }
    let examples = here.iter().take(EXAMPLES).map(|finding| name(finding)).collect();
    Some(Reason { severity, found, limit, examples })
}

/// What the report only counts. No entry of the allow-list can be matched to it, so all of it counts.
fn without_room(severity: Severity, omitted: &Counts, policy: &ScanPolicy) -> u32 {
    let vulnerabilities = if policy.only_fixable() { &omitted.fixable } else { &omitted.vulnerabilities };
    [
        (Kind::Vulnerability, vulnerabilities),
        (Kind::Secret, &omitted.secrets),
        (Kind::Misconfiguration, &omitted.misconfigurations),
    ]
    .into_iter()
    .filter(|(kind, _)| policy.counts(*kind))
    .fold(0, |sum: u32, (_, tally)| sum.saturating_add(tally.of(severity)))
}

fn name(finding: &Finding) -> String {
    let id = &finding.id;
    match &finding.detail {
        Detail::Vulnerability { package, installed, fixed: Some(fixed) } => {
            format!("{id}: {package} {installed}, fixed in {fixed}")
        }
        Detail::Vulnerability { package, installed, fixed: None } => {
            format!("{id}: {package} {installed}, not fixed yet")
        }
        Detail::Secret { line, .. } => format!("{id}: a secret in {} line {line}", finding.target),
        Detail::Misconfiguration { first_line, .. } => {
            format!("{id}: {} line {first_line}", finding.target)
        }
    }
}

fn summarise(report: &Report, reasons: &[Reason], allowed: usize, expired: &[Allowance]) -> String {
    let mut text = if reasons.is_empty() {
        format!("within the policy's limits; {} findings in all", report.counts.total())
    } else {
        let parts: Vec<String> = reasons.iter().map(sentence).collect();
        format!("over the policy's limits: {}", parts.join("; "))
    };
    if allowed > 0 {
        text.push_str(&format!("; {allowed} allowed by the allow-list"));
    }
    if !expired.is_empty() {
        let names: Vec<String> = expired
            .iter()
            .take(EXAMPLES)
            .map(|entry| format!("{} since {}", entry.id, entry.expires_at.format("%Y-%m-%d")))
            .collect();
        let more = if expired.len() > EXAMPLES { ", …" } else { "" };
        text.push_str(&format!("; expired in the allow-list: {}{more}", names.join(", ")));
    }
    text
}

fn sentence(reason: &Reason) -> String {
    let Reason { severity, found, limit, examples } = reason;
    let more = (*found as usize).saturating_sub(examples.len());
    let mut named = examples.join("; ");
    if more > 0 {
        named.push_str(&format!("{}{more} more", if examples.is_empty() { "" } else { "; " }));
    }
    format!("{found} {} ({named}), at most {limit} allowed", severity.as_str())
}
