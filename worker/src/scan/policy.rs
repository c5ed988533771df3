//! What an environment demands of a scan. Kept as JSON; it cannot be read without being checked.

use std::collections::BTreeSet;

use deploymind_shared::clock::Timestamp;
use deploymind_shared::error::{Code, Error};
use serde::{Deserialize, Serialize};

use super::report::{Finding, Kind, Severity};

const ALLOWANCES: usize = 500;
const ID: usize = 128;
const PACKAGE: usize = 512;
const REASON: usize = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A breach refuses the deployment, and so does a scan that did not happen.
    Required,
    /// Both are said loudly, and the deployment continues.
    Warn,
    /// Nothing is scanned.
    Off,
}

/// The most findings of a severity that are let through. None: any number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub critical: Option<u32>,
    pub high: Option<u32>,
    pub medium: Option<u32>,
    pub low: Option<u32>,
    pub unknown: Option<u32>,
}

impl Limits {
    pub const fn of(&self, severity: Severity) -> Option<u32> {
        match severity {
            Severity::Critical => self.critical,
            Severity::High => self.high,
            Severity::Medium => self.medium,
            Severity::Low => self.low,
            Severity::Unknown => self.unknown,
        }
    }
}

/// A finding somebody decided to live with, until a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowance {
    /// Exactly one CVE, rule or check.
    pub id: String,
    /// Only in this package, or, for secrets and misconfigurations, only in this file.
    #[serde(default)]
    pub package: Option<String>,
    pub reason: String,
    pub expires_at: Timestamp,
}

impl Allowance {
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at <= now
    }

    /// A secret needs its file named: one rule covers every key of its shape in the whole tree.
    pub fn covers(&self, finding: &Finding) -> bool {
        self.id == finding.id
            && match &self.package {
                Some(package) => package == finding.place(),
                None => finding.kind() != Kind::Secret,
            }
    }
}

/// Checked whenever it is read: a policy with a mistake must not become a weaker one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Draft")]
pub struct ScanPolicy {
    mode: Mode,
    limits: Limits,
    only_fixable: bool,
    kinds: BTreeSet<Kind>,
    allow: Vec<Allowance>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    mode: Mode,
    #[serde(default = "default_limits")]
    limits: Limits,
    #[serde(default)]
    only_fixable: bool,
    #[serde(default = "default_kinds")]
    kinds: BTreeSet<Kind>,
    #[serde(default)]
    allow: Vec<Allowance>,
}

fn default_limits() -> Limits {
    Limits { critical: Some(0), ..Limits::default() }
}

fn default_kinds() -> BTreeSet<Kind> {
    [Kind::Vulnerability, Kind::Secret].into()
}

impl ScanPolicy {
    /// With the default limits (no critical finding), the default kinds (vulnerabilities and secrets), nothing allowed.
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            limits: default_limits(),
            only_fixable: false,
            kinds: default_kinds(),
            allow: Vec::new(),
        }
    }

    pub fn parse(json: &serde_json::Value) -> Result<Self, Error> {
        Self::deserialize(json).map_err(|error| {
            Error::new(
                Code::ScanPolicyInvalid,
                format!("the scan policy cannot be obeyed: {error}; correct it and deploy again"),
            )
            .context("read scan policy")
        })
    }

    pub const fn mode(&self) -> Mode {
        self.mode
    }

    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    pub const fn only_fixable(&self) -> bool {
        self.only_fixable
    }

    pub fn counts(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }

    pub fn allow(&self) -> &[Allowance] {
        &self.allow
    }
}

impl TryFrom<Draft> for ScanPolicy {
    type Error = String;

    fn try_from(draft: Draft) -> Result<Self, String> {
        let Draft { mode, limits, only_fixable, kinds, allow } = draft;
        if kinds.is_empty() {
            return Err("`kinds` is empty, so nothing could ever count; use `\"mode\": \"off\"`".into());
        }
        if allow.len() > ALLOWANCES {
            return Err(format!("`allow` has {} entries, at most {ALLOWANCES} are taken", allow.len()));
        }
        let mut seen = BTreeSet::new();
        for (index, entry) in allow.iter().enumerate() {
            check(entry).map_err(|what| format!("`allow` entry {}: {what}", index + 1))?;
            if !seen.insert((&entry.id, &entry.package)) {
                return Err(format!(
                    "`allow` entry {}: the same id and package stand there twice",
                    index + 1
                ));
            }
        }
        Ok(Self { mode, limits, only_fixable, kinds, allow })
    }
}

fn check(entry: &Allowance) -> Result<(), String> {
    word("id", &entry.id, ID)?;
    if let Some(package) = &entry.package {
        word("package", package, PACKAGE)?;
    }
    if entry.reason.trim().is_empty() {
        return Err("`reason` is empty; say why this may stay".into());
    }
    if entry.reason.chars().count() > REASON || entry.reason.chars().any(char::is_control) {
        return Err(format!("`reason` must be one line of at most {REASON} characters"));
    }
    Ok(())
}

fn word(field: &str, text: &str, limit: usize) -> Result<(), String> {
    if text.is_empty() || text.trim() != text {
        Err(format!("`{field}` is empty or has spaces around it"))
    } else if text.contains(['*', '?']) {
        Err(format!("`{field}` has a wildcard; an entry allows exactly one id"))
    } else if text.chars().count() > limit || text.chars().any(char::is_control) {
        Err(format!("`{field}` must be one line of at most {limit} characters"))
    } else {
        Ok(())
    }
}
