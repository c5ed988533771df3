//! What the security scans of a deployment found, and what an environment makes of it.

use super::{Db, claim_lost, measured, word};
use crate::clock::Timestamp;
use crate::error::{Code, Error, Result};
use crate::ids::{AllowanceId, Attempt, DeploymentId, EnvironmentName, JobId, UserId};

crate::domain::text_enum! {
    ScanKind {
        Source = "source",
        Image = "image",
    }
}

crate::domain::text_enum! {
    ScanOutcome {
        Passed = "passed",
        /// The policy let it through with a warning.
        Warned = "warned",
        Refused = "refused",
        /// The policy asked for none.
        Skipped = "skipped",
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Scan {
    pub kind: ScanKind,
    pub outcome: ScanOutcome,
    /// Of the refusal or of the scanner's failure.
    pub code: Option<String>,
    pub summary: String,
    /// `None`: no scan took place.
    pub report: Option<serde_json::Value>,
    pub verdict: serde_json::Value,
    /// CycloneDX.
    pub sbom: Option<serde_json::Value>,
    pub duration_ms: i64,
}

/// Keeps a scan, fenced by the attempt; a repeated one replaces what was there.
pub async fn scan_write(db: &Db, job: JobId, attempt: Attempt, scan: &Scan) -> Result<()> {
    let written = measured!(db, ScanWrite, |conn| {
        sqlx::query!(
        "WITH mine AS (
             SELECT deployment_id FROM jobs
             WHERE id = $1 AND attempt = $2 AND state = 'running' AND deployment_id IS NOT NULL FOR UPDATE
         )
         INSERT INTO scans (deployment_id, kind, outcome, code, summary, report, verdict, sbom, duration_ms)
         SELECT deployment_id, $3, $4, $5, left($6, 4000), $7, $8, $9, $10 FROM mine
         ON CONFLICT (deployment_id, kind) DO UPDATE
         SET outcome = EXCLUDED.outcome, code = EXCLUDED.code, summary = EXCLUDED.summary, report = EXCLUDED.report,
             verdict = EXCLUDED.verdict, sbom = EXCLUDED.sbom, duration_ms = EXCLUDED.duration_ms, created_at = now()",
        job.as_uuid(),
        attempt.0,
        scan.kind.as_str(),
        scan.outcome.as_str(),
        scan.code,
        scan.summary,
        scan.report,
        scan.verdict,
        scan.sbom,
        scan.duration_ms,
    )
    .execute(conn)
    })?;
    if written.rows_affected() == 1 { Ok(()) } else { Err(claim_lost()) }
}

/// The scans of a deployment: of its source, then of its image.
pub async fn scan_list(db: &Db, deployment: DeploymentId) -> Result<Vec<Scan>> {
    let rows = measured!(db, ScanList, |conn| sqlx::query!(
        "SELECT kind, outcome, code, summary, report, verdict, sbom, duration_ms
         FROM scans WHERE deployment_id = $1 ORDER BY kind DESC",
        deployment.as_uuid()
    )
    .fetch_all(conn))?;
    rows.into_iter()
        .map(|row| {
            Ok(Scan {
                kind: word(row.kind)?,
                outcome: word(row.outcome)?,
                code: row.code,
                summary: row.summary,
                report: row.report,
                verdict: row.verdict,
                sbom: row.sbom,
                duration_ms: row.duration_ms,
            })
        })
        .collect()
}

/// A finding that an environment lives with, until a date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    pub id: AllowanceId,
    pub finding: String,
    /// `None`: in whichever package it is found.
    pub package: Option<String>,
    pub reason: String,
    pub expires_at: Timestamp,
}

/// Allows a finding; an allowance for the same finding and package is replaced.
pub async fn allowance_put(
    db: &Db,
    environment: &EnvironmentName,
    by: Option<UserId>,
    new: &Allowance,
) -> Result<()> {
    measured!(db, AllowancePut, |conn| sqlx::query!(
        "INSERT INTO scan_allowances (id, environment, finding, package, reason, expires_at, created_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (environment, finding, coalesce(package, '')) DO UPDATE
         SET id = EXCLUDED.id, reason = EXCLUDED.reason, expires_at = EXCLUDED.expires_at,
             created_by = EXCLUDED.created_by, created_at = now()",
        new.id.as_uuid(),
        environment.as_str(),
        new.finding,
        new.package,
        new.reason,
        new.expires_at,
        by.map(UserId::as_uuid),
    )
    .execute(conn))
    .map_err(|error| match super::violated(&error) {
        Some("scan_allowances_environment_fkey") => {
            Error::new(Code::EnvironmentUnknown, format!("there is no environment {environment}"))
        }
        Some(
            "scan_allowances_finding_shape"
            | "scan_allowances_package_length"
            | "scan_allowances_reason_length",
        ) => Error::new(
            Code::ScanPolicyInvalid,
            "an allowance names one finding by its id (CVE-2024-1234), has a reason of 1 to 500 characters, and a \
             package of at most 512",
        ),
        _ => error,
    })?;
    Ok(())
}

/// Whether there was one.
pub async fn allowance_delete(db: &Db, environment: &EnvironmentName, id: AllowanceId) -> Result<bool> {
    let gone = measured!(db, AllowanceDelete, |conn| sqlx::query!(
        "DELETE FROM scan_allowances WHERE environment = $1 AND id = $2",
        environment.as_str(),
        id.as_uuid()
    )
    .execute(conn))?;
    Ok(gone.rows_affected() == 1)
}

/// All of an environment's, expired ones too: a verdict names them.
pub async fn allowance_list(db: &Db, environment: &EnvironmentName) -> Result<Vec<Allowance>> {
    measured!(db, AllowanceList, |conn| sqlx::query_as!(
        Allowance,
        r#"SELECT id AS "id: AllowanceId", finding, package, reason, expires_at FROM scan_allowances
           WHERE environment = $1 ORDER BY finding, package"#,
        environment.as_str()
    )
    .fetch_all(conn))
}

/// The environment's policy as it was written. `None`: there is no such environment.
pub async fn scan_policy_get(db: &Db, environment: &EnvironmentName) -> Result<Option<serde_json::Value>> {
    measured!(db, ScanPolicyGet, |conn| sqlx::query_scalar!(
        "SELECT scan_policy FROM environments WHERE name = $1",
        environment.as_str()
    )
    .fetch_optional(conn))
}

pub async fn scan_policy_put(
    db: &Db,
    environment: &EnvironmentName,
    policy: &serde_json::Value,
) -> Result<()> {
    let changed = measured!(db, ScanPolicyPut, |conn| sqlx::query!(
        "UPDATE environments SET scan_policy = $2 WHERE name = $1",
        environment.as_str(),
        policy
    )
    .execute(conn))?;
    if changed.rows_affected() == 1 {
        Ok(())
    } else {
        Err(Error::new(Code::EnvironmentUnknown, format!("there is no environment {environment}")))
    }
}
