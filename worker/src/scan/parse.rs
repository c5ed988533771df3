//! Trivy's JSON report, schema 2. Unknown fields are ignored; what a verdict rests on must be there and make sense.
//!
//! The matched text of a secret and the source around a finding are never read into memory as values.

use std::io::Read;

use deploymind_shared::clock::Timestamp;
use serde::Deserialize;

use super::failure::ScanFailure;
use super::report::{Detail, Finding, Report, Severity};

const SCHEMA: u32 = 2;
const ID: usize = 128;
const NAME: usize = 256;
const PATH: usize = 512;
const PROSE: usize = 300;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawReport {
    schema_version: u32,
    trivy: RawTrivy,
    artifact_name: String,
    #[serde(default)]
    results: Option<Vec<RawResult>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawTrivy {
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawResult {
    target: String,
    #[serde(default)]
    vulnerabilities: Option<Vec<RawVulnerability>>,
    #[serde(default)]
    secrets: Option<Vec<RawSecret>>,
    #[serde(default)]
    misconfigurations: Option<Vec<RawMisconfiguration>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawVulnerability {
    #[serde(rename = "VulnerabilityID")]
    id: String,
    pkg_name: String,
    installed_version: String,
    #[serde(default)]
    fixed_version: String,
    severity: RawSeverity,
    #[serde(default)]
    title: String,
    #[serde(rename = "PrimaryURL", default)]
    url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawSecret {
    #[serde(rename = "RuleID")]
    id: String,
    #[serde(default)]
    category: String,
    severity: RawSeverity,
    #[serde(default)]
    title: String,
    #[serde(default)]
    start_line: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawMisconfiguration {
    #[serde(rename = "ID")]
    id: String,
    severity: RawSeverity,
    #[serde(default)]
    status: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    resolution: String,
    #[serde(rename = "PrimaryURL", default)]
    url: String,
    #[serde(default)]
    cause_metadata: RawCause,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawCause {
    #[serde(default)]
    start_line: u32,
    #[serde(default)]
    end_line: u32,
}

/// A word we do not know is an error: a severity must not vanish by being misread.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum RawSeverity {
    Unknown,
    Low,
    Medium,
    High,
    Critical,
}

impl From<RawSeverity> for Severity {
    fn from(raw: RawSeverity) -> Self {
        match raw {
            RawSeverity::Unknown => Self::Unknown,
            RawSeverity::Low => Self::Low,
            RawSeverity::Medium => Self::Medium,
            RawSeverity::High => Self::High,
            RawSeverity::Critical => Self::Critical,
        }
    }
}

/// Reads a whole report. `json` must be bounded by the caller.
pub(super) fn parse(json: impl Read, database_updated_at: Timestamp) -> Result<Report, ScanFailure> {
    let raw: RawReport = serde_json::from_reader(json).map_err(|error| {
        // The message of a type error quotes the value; the place is enough, and quotes nothing.
        unreadable(&format!(
            "its report cannot be read at line {}, column {} ({:?} error)",
            error.line(),
            error.column(),
            error.classify()
        ))
    })?;
    if raw.schema_version != SCHEMA {
        return Err(unreadable(&format!("its report has schema {}, not {SCHEMA}", raw.schema_version)));
    }
    if raw.artifact_name.is_empty() {
        return Err(unreadable("its report does not say what was scanned"));
    }
    let mut findings = Vec::new();
    for mut result in raw.results.unwrap_or_default() {
        // Where the archive lay on the worker is nobody's business, and differs from run to run.
        if let Some(rest) = result.target.strip_prefix(&raw.artifact_name) {
            result.target = format!("image{rest}");
        }
        collect(result, &mut findings)?;
    }
    Ok(Report::new(clean(&raw.trivy.version, NAME), database_updated_at, findings))
}

fn unreadable(what: &str) -> ScanFailure {
    ScanFailure::Failed(format!("{what}; use a Trivy release this version of DeployMind was tested with"))
}

fn collect(result: RawResult, findings: &mut Vec<Finding>) -> Result<(), ScanFailure> {
    let target = clean(&result.target, PATH);
    for raw in result.vulnerabilities.unwrap_or_default() {
        findings.push(Finding {
            id: named(&raw.id, ID)?,
            severity: raw.severity.into(),
            title: clean(&raw.title, PROSE),
            target: target.clone(),
            url: link(&raw.url),
            detail: Detail::Vulnerability {
                package: named(&raw.pkg_name, NAME)?,
                installed: clean(&raw.installed_version, NAME),
                fixed: Some(clean(&raw.fixed_version, NAME)).filter(|version| !version.is_empty()),
            },
        });
    }
    for raw in result.secrets.unwrap_or_default() {
        findings.push(Finding {
            id: named(&raw.id, ID)?,
            severity: raw.severity.into(),
            title: clean(&raw.title, PROSE),
            target: target.clone(),
            url: None,
            detail: Detail::Secret { category: clean(&raw.category, NAME), line: raw.start_line },
        });
    }
    for raw in result.misconfigurations.unwrap_or_default() {
        if matches!(raw.status.as_str(), "PASS" | "EXCEPTION") {
            continue;
        }
        findings.push(Finding {
            id: named(&raw.id, ID)?,
            severity: raw.severity.into(),
            title: clean(&raw.title, PROSE),
            target: target.clone(),
            url: link(&raw.url),
            detail: Detail::Misconfiguration {
                message: clean(&raw.message, PROSE),
                resolution: clean(&raw.resolution, PROSE),
                first_line: raw.cause_metadata.start_line,
                last_line: raw.cause_metadata.end_line,
            },
        });
    }
    Ok(())
}

fn named(text: &str, limit: usize) -> Result<String, ScanFailure> {
    let text = clean(text, limit);
    if text.is_empty() { Err(unreadable("its report has a finding without a name")) } else { Ok(text) }
}

fn link(url: &str) -> Option<String> {
    let url = clean(url, PATH);
    url.starts_with("https://").then_some(url)
}

/// One line, without control characters (also Postgres cannot keep NUL), at most `limit` characters.
pub(super) fn clean(text: &str, limit: usize) -> String {
    let text = text.trim();
    let mut short: String = text.chars().take(limit).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(limit).is_some() {
        short.pop();
        short.push('…');
    }
    short
}
