//! What a scan means for the deployment, also when it did not happen.

use deploymind_shared::clock::Timestamp;
use deploymind_shared::error::{Code, Error};

use super::failure::ScanFailure;
use super::judge::{Decision, Verdict, judge};
use super::policy::{Mode, ScanPolicy};
use super::report::Report;

#[derive(Debug)]
pub enum Outcome {
    Passed(Verdict),
    /// It continues, and the sentence must be said. Without a verdict, nothing was scanned.
    Warned {
        sentence: String,
        verdict: Option<Verdict>,
    },
    /// It stops. Without a verdict, the scan did not happen and the policy requires it.
    Refused {
        error: Error,
        verdict: Option<Verdict>,
    },
    /// The policy is off.
    Skipped,
}

/// Fails closed: under `required` only a report within the limits passes.
pub fn outcome(scan: &Result<Report, ScanFailure>, policy: &ScanPolicy, now: Timestamp) -> Outcome {
    match (scan, policy.mode()) {
        (_, Mode::Off) => Outcome::Skipped,
        (Ok(report), _) => {
            let verdict = judge(report, policy, now);
            match verdict.decision {
                Decision::Pass => Outcome::Passed(verdict),
                Decision::Warn => {
                    Outcome::Warned { sentence: verdict.summary.clone(), verdict: Some(verdict) }
                }
                Decision::Fail => Outcome::Refused {
                    error: Error::new(
                        Code::SecurityGate,
                        format!(
                            "the security scan is {}; update what it names, or allow it with a reason and a date",
                            verdict.summary
                        ),
                    ),
                    verdict: Some(verdict),
                },
            }
        }
        (Err(failure), Mode::Warn) => Outcome::Warned {
            sentence: format!(
                "the security scan did NOT happen ({}: {failure}); the policy is `warn`, so the deployment \
                 continues unscanned",
                failure.code()
            ),
            verdict: None,
        },
        (Err(failure), Mode::Required) => Outcome::Refused { error: failure.error(), verdict: None },
    }
}
