//! What a scan found, in a shape that can be kept with a release. Bounded, ordered, and free of secrets.

use std::collections::BTreeSet;

use deploymind_shared::clock::Timestamp;
use serde::{Deserialize, Serialize};

/// How bad a finding is, as the scanner rates it. The worst is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Unknown,
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// Worst first.
    pub const ALL: [Self; 5] = [Self::Critical, Self::High, Self::Medium, Self::Low, Self::Unknown];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Vulnerability,
    Secret,
    Misconfiguration,
}

/// What only one kind of finding has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Detail {
    Vulnerability {
        package: String,
        installed: String,
        /// None: nobody has fixed it yet.
        fixed: Option<String>,
    },
    /// Where a secret lies and which rule saw it. Its text is not kept, not even in part.
    Secret {
        category: String,
        line: u32,
    },
    Misconfiguration {
        message: String,
        resolution: String,
        first_line: u32,
        last_line: u32,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// CVE or advisory, rule, or check.
    pub id: String,
    pub severity: Severity,
    pub title: String,
    /// The file, or the image's package database.
    pub target: String,
    pub url: Option<String>,
    #[serde(flatten)]
    pub detail: Detail,
}

impl Finding {
    pub const fn kind(&self) -> Kind {
        match self.detail {
            Detail::Vulnerability { .. } => Kind::Vulnerability,
            Detail::Secret { .. } => Kind::Secret,
            Detail::Misconfiguration { .. } => Kind::Misconfiguration,
        }
    }

    /// Whether a person can end it by an update or a change. Only a vulnerability nobody fixed yet cannot be.
    pub const fn is_fixable(&self) -> bool {
        !matches!(self.detail, Detail::Vulnerability { fixed: None, .. })
    }

    /// What an allow-list entry may be narrowed to: the package of a vulnerability, else the file.
    pub fn place(&self) -> &str {
        match &self.detail {
            Detail::Vulnerability { package, .. } => package,
            _ => &self.target,
        }
    }

    fn order(&self) -> impl Ord + '_ {
        (std::cmp::Reverse(self.severity), &self.id, &self.target, &self.detail)
    }
}

/// How many of each severity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub critical: u32,
    pub high: u32,
    pub medium: u32,
    pub low: u32,
    pub unknown: u32,
}

impl Tally {
    pub const fn of(&self, severity: Severity) -> u32 {
        match severity {
            Severity::Critical => self.critical,
            Severity::High => self.high,
            Severity::Medium => self.medium,
            Severity::Low => self.low,
            Severity::Unknown => self.unknown,
        }
    }

    pub const fn total(&self) -> u64 {
        self.critical as u64 + self.high as u64 + self.medium as u64 + self.low as u64 + self.unknown as u64
    }

    fn add(&mut self, severity: Severity) {
        let slot = match severity {
            Severity::Critical => &mut self.critical,
            Severity::High => &mut self.high,
            Severity::Medium => &mut self.medium,
            Severity::Low => &mut self.low,
            Severity::Unknown => &mut self.unknown,
        };
        *slot = slot.saturating_add(1);
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub vulnerabilities: Tally,
    /// Those of the vulnerabilities that have a fixed version.
    pub fixable: Tally,
    pub secrets: Tally,
    pub misconfigurations: Tally,
}

impl Counts {
    pub const fn total(&self) -> u64 {
        self.vulnerabilities.total() + self.secrets.total() + self.misconfigurations.total()
    }

    fn add(&mut self, finding: &Finding) {
        match finding.kind() {
            Kind::Vulnerability => {
                self.vulnerabilities.add(finding.severity);
                if finding.is_fixable() {
                    self.fixable.add(finding.severity);
                }
            }
            Kind::Secret => self.secrets.add(finding.severity),
            Kind::Misconfiguration => self.misconfigurations.add(finding.severity),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub scanner_version: String,
    pub database_updated_at: Timestamp,
    /// Worst first, each once, at most [`Report::FINDINGS`].
    pub findings: Vec<Finding>,
    /// Of everything found, also of what `findings` has no room for.
    pub counts: Counts,
    /// Of what `findings` has no room for. The policy counts it too.
    pub omitted: Counts,
}

impl Report {
    /// Findings kept one by one: some 3 MB at the very most, in practice a tenth.
    pub const FINDINGS: usize = 2_000;

    pub(super) fn new(
        scanner_version: String,
        database_updated_at: Timestamp,
        mut findings: Vec<Finding>,
    ) -> Self {
        findings.sort_by(|a, b| a.order().cmp(&b.order()));
        let mut seen = BTreeSet::new();
        // Two sources may rate or title the same finding differently; sorted, the worst rating comes first and stays.
        findings.retain(|finding| {
            seen.insert((finding.id.clone(), finding.target.clone(), finding.detail.clone()))
        });
        let mut counts = Counts::default();
        let mut omitted = Counts::default();
        for (index, finding) in findings.iter().enumerate() {
            counts.add(finding);
            if index >= Self::FINDINGS {
                omitted.add(finding);
            }
        }
        findings.truncate(Self::FINDINGS);
        Self { scanner_version, database_updated_at, findings, counts, omitted }
    }
}
