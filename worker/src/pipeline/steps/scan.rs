//! The two scans: of the source, beside the build, and of the image. The environment's policy decides what they mean.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use deploymind_shared::clock::Clock;
use deploymind_shared::db::scans::{
    self, ScanKind, ScanOutcome, allowance_list, scan_policy_get, scan_write,
};
use deploymind_shared::error::{Code, Error};
use deploymind_shared::events::EventKind;
use deploymind_shared::retry::Stop;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::build;
use crate::pipeline::run::Run;
use crate::pipeline::step::Step;
use crate::scan::{Mode, Outcome, Scan, ScanPolicy, outcome};

/// Beside the scanner's own deadline: exporting the image, writing the result.
const MARGIN: Duration = Duration::from_secs(300);
/// An image larger than this is not scanned, which under `required` means not deployed.
const ARCHIVE_MAX: u64 = 32 * 1024 * 1024 * 1024;
/// A bill of materials larger than this is not kept.
const SBOM_MAX: u64 = 32 * 1024 * 1024;

pub(in crate::pipeline) struct ScanSource;

pub(in crate::pipeline) struct ScanImage<'a> {
    pub(in crate::pipeline) image_id: &'a str,
}

/// What the journal keeps; findings are in the record's own table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::pipeline) struct Scanned {
    outcome: String,
    summary: String,
    /// Of the image that was scanned: a later build of the same deployment is another one.
    #[serde(default)]
    image_id: Option<String>,
}

#[async_trait]
impl Step for ScanSource {
    const NAME: &'static str = "scan_source";
    type Output = Scanned;

    fn deadline(&self, run: &Run) -> Duration {
        run.tools.config.scan.deadline + MARGIN
    }

    async fn usable(&self, _: &Run, _: &Self::Output) -> Result<bool, Stop> {
        Ok(true)
    }

    async fn run(&self, run: &Run, cancel: &CancellationToken) -> Result<Self::Output, Stop> {
        let policy = policy(run).await?;
        if policy.mode() == Mode::Off {
            return skipped(run, ScanKind::Source).await;
        }
        run.tell(EventKind::SecurityScanStarted, json!({ "kind": ScanKind::Source })).await?;
        let started = Instant::now();
        let (scanner, sbom) =
            (run.tools.scanner(run.workspace.file(".")), run.workspace.file("sbom-source.json"));
        let scan = scanner.scan_tree(&run.root(), &[], Some(&sbom), &run.lines, cancel).await?;
        // What is compiled into a program is named here alone.
        let bill = read_sbom(&sbom).await;
        conclude(run, ScanKind::Source, &policy, scan, bill, started).await
    }
}

#[async_trait]
impl Step for ScanImage<'_> {
    const NAME: &'static str = "scan_image";
    type Output = Scanned;

    fn deadline(&self, run: &Run) -> Duration {
        run.tools.config.scan.deadline + MARGIN
    }

    async fn usable(&self, _: &Run, output: &Self::Output) -> Result<bool, Stop> {
        Ok(output.image_id.as_deref() == Some(self.image_id))
    }

    async fn run(&self, run: &Run, cancel: &CancellationToken) -> Result<Self::Output, Stop> {
        let scanned = self.scan(run, cancel).await?;
        Ok(Scanned { image_id: Some(self.image_id.to_owned()), ..scanned })
    }
}

impl ScanImage<'_> {
    async fn scan(&self, run: &Run, cancel: &CancellationToken) -> Result<Scanned, Stop> {
        let policy = policy(run).await?;
        if policy.mode() == Mode::Off {
            return skipped(run, ScanKind::Image).await;
        }
        run.tell(EventKind::SecurityScanStarted, json!({ "kind": ScanKind::Image })).await?;
        let started = Instant::now();
        // The scanner reads untrusted files, so it gets the image as a file and never the engine.
        let (archive, sbom) = (run.workspace.file("image.tar"), run.workspace.file("sbom.json"));
        run.workspace.create().await?;
        build::export(&run.engine().await?, self.image_id, &archive, ARCHIVE_MAX, cancel).await?;
        let scanner = run.tools.scanner(run.workspace.file("."));
        let scan = scanner.scan_image(&archive, Some(&sbom), &run.lines, cancel).await;
        tokio::fs::remove_file(&archive).await.ok();
        let bill = read_sbom(&sbom).await;
        conclude(run, ScanKind::Image, &policy, scan?, bill, started).await
    }
}

async fn policy(run: &Run) -> Result<ScanPolicy, Stop> {
    let (db, environment) = (run.context.db(), &run.plan.app.environment);
    let mut policy = scan_policy_get(db, environment).await?.ok_or_else(|| {
        Error::new(Code::EnvironmentUnknown, format!("there is no environment {environment}"))
    })?;
    let allowed = allowance_list(db, environment).await?.into_iter().map(|one| {
        json!({ "id": one.finding, "package": one.package, "reason": one.reason, "expires_at": one.expires_at })
    });
    // A policy may bring entries of its own. One that is not even of this shape is for the parser to refuse.
    if let Some(fields) = policy.as_object_mut()
        && let Some(entries) = fields.entry("allow").or_insert_with(|| json!([])).as_array_mut()
    {
        entries.extend(allowed);
    }
    Ok(ScanPolicy::parse(&policy)?)
}

async fn skipped(run: &Run, kind: ScanKind) -> Result<Scanned, Stop> {
    let summary = format!("the {kind} was not scanned: the environment's policy is off");
    run.lines.warn(summary.clone()).await;
    let row = scans::Scan {
        kind,
        outcome: ScanOutcome::Skipped,
        code: None,
        summary: summary.clone(),
        report: None,
        verdict: json!({}),
        sbom: None,
        duration_ms: 0,
    };
    scan_write(run.context.db(), run.context.id(), run.context.attempt(), &row).await?;
    Ok(Scanned { outcome: ScanOutcome::Skipped.to_string(), summary, image_id: None })
}

/// Writes down what the scan found and what the policy makes of it, then lets the deployment go on or ends it.
async fn conclude(
    run: &Run,
    kind: ScanKind,
    policy: &ScanPolicy,
    scan: Scan,
    sbom: Option<serde_json::Value>,
    started: Instant,
) -> Result<Scanned, Stop> {
    let (word, summary, error, verdict) = match outcome(&scan, policy, Clock::system().now()) {
        Outcome::Passed(verdict) => {
            let summary = format!("the scan of the {kind}: {}", verdict.summary);
            run.lines.info(&*summary).await;
            (ScanOutcome::Passed, summary, None, Some(verdict))
        }
        Outcome::Warned { sentence, verdict } => {
            run.lines.warn(&*sentence).await;
            (ScanOutcome::Warned, sentence, None, verdict)
        }
        Outcome::Refused { error, verdict } => {
            (ScanOutcome::Refused, error.sentence().to_owned(), Some(error), verdict)
        }
        Outcome::Skipped => return skipped(run, kind).await,
    };
    let mut row = scans::Scan {
        kind,
        outcome: word,
        code: error
            .as_ref()
            .map(Error::code)
            .or(scan.as_ref().err().map(|failure| failure.code()))
            .map(|code| code.to_string()),
        summary: run.redactor.redact_text(&summary).into_owned(),
        report: scan.as_ref().ok().map(|report| json!(report)),
        verdict: verdict.map_or(json!({}), |verdict| json!(verdict)),
        // One that an earlier run left is not of this scan.
        sbom: sbom.filter(|_| scan.is_ok()),
        duration_ms: i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX),
    };
    for value in [row.report.as_mut(), Some(&mut row.verdict), row.sbom.as_mut()].into_iter().flatten() {
        run.redactor.redact_json(value);
    }
    scan_write(run.context.db(), run.context.id(), run.context.attempt(), &row).await?;
    let body = json!({ "kind": kind, "outcome": word, "code": row.code, "summary": row.summary });
    run.tell(EventKind::SecurityScanCompleted, body).await?;
    match error {
        Some(error) => Err(Stop::Terminal(error)),
        None => Ok(Scanned { outcome: word.to_string(), summary: row.summary, image_id: None }),
    }
}

/// `None` where there is none, or it is too large to be kept.
async fn read_sbom(path: &std::path::Path) -> Option<serde_json::Value> {
    let size = tokio::fs::metadata(path).await.ok()?.len();
    if size > SBOM_MAX {
        return None;
    }
    serde_json::from_slice(&tokio::fs::read(path).await.ok()?).ok()
}
