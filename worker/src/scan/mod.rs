//! Security scans with Trivy: runs the program, reads its whole answer, and holds what it found to a policy.
//!
//! - [`Scanner`] runs Trivy over a source tree or an exported image, and makes the software bill of materials;
//! - [`Report`] is what it found, without the text of any secret;
//! - [`ScanPolicy`] is what an environment demands, [`judge`] compares the two;
//! - [`outcome`] says what becomes of the deployment, also when the scan did not happen.
//!
//! It never talks to Docker, never runs without a deadline, and never takes a scan that failed for a scan that found
//! nothing.

mod child;
mod database;
mod failure;
mod judge;
mod outcome;
mod parse;
mod policy;
mod report;
mod scanner;

pub use failure::ScanFailure;
pub use judge::{Allowed, Decision, Reason, Verdict, judge};
pub use outcome::{Outcome, outcome};
pub use policy::{Allowance, Limits, Mode, ScanPolicy};
pub use report::{Counts, Detail, Finding, Kind, Report, Severity, Tally};
pub use scanner::{Scan, Scanner};

#[cfg(test)]
mod tests;
