//! What kind of program it is, the Dockerfile it is built from, and what there is to say about that file.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::build::limits;
use crate::build::{self, UsedBuilder};
use crate::detect::{DetectSettings, Detection, detect};
use crate::dockerfile::{Finding, GenerateOptions, Severity, generate, lint};
use crate::log::Level;
use crate::pipeline::run::Run;
use crate::pipeline::step::Step;

pub(in crate::pipeline) struct Detect;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::pipeline) struct Detected {
    pub(in crate::pipeline) detection: Detection,
    pub(in crate::pipeline) dockerfile: String,
    /// Only of a generated Dockerfile; the repository's own file counts otherwise.
    pub(in crate::pipeline) dockerignore: Option<String>,
    /// As the record keeps it, and JSON already since the rules' names are ours alone.
    pub(in crate::pipeline) lint: serde_json::Value,
}

#[async_trait]
impl Step for Detect {
    const NAME: &'static str = "detect";
    type Output = Detected;

    fn deadline(&self, _: &Run) -> Duration {
        Duration::from_secs(60)
    }

    async fn usable(&self, _: &Run, _: &Self::Output) -> Result<bool, Stop> {
        // Cheap, and which builder will be used may have changed with the worker.
        Ok(false)
    }

    async fn run(&self, run: &Run, _: &CancellationToken) -> Result<Self::Output, Stop> {
        let settings = &run.plan.settings;
        let wanted = DetectSettings {
            root: settings.root.clone(),
            dockerfile: settings.dockerfile.clone(),
            port: settings.port,
            start: settings.start.clone(),
        };
        let options = GenerateOptions {
            buildkit: uses_buildkit(run).await?,
            cache_scope: run.plan.app.id.to_string(),
            build_variables: run.secrets.build.iter().map(|variable| variable.name.clone()).collect(),
        };
        let (tree, root) = (run.workspace.tree(), run.root());
        let work = move || look(&tree, &root, &wanted, &options);
        let (detected, findings) = tokio::task::spawn_blocking(work).await.map_err(|panic| {
            Error::new(Code::JobPanicked, "looking at the repository's files failed").because(panic)
        })??;
        say(run, &detected.detection, &findings).await;
        Ok(detected)
    }
}

fn look(
    tree: &Path,
    root: &Path,
    wanted: &DetectSettings,
    options: &GenerateOptions,
) -> Result<(Detected, Vec<Finding>), Error> {
    let detection = detect(tree, wanted)?;
    let (dockerfile, dockerignore) = match &detection.dockerfile {
        Some(path) => (own(root, path)?, None),
        None => {
            let made = generate(&detection, options)?;
            (made.dockerfile, Some(made.dockerignore))
        }
    };
    let findings = lint(&dockerfile, dockerignore.is_some() || detection.has_dockerignore)?;
    let lint = serde_json::json!(findings);
    Ok((Detected { detection, dockerfile, dockerignore, lint }, findings))
}

/// The repository's own file. That it is a regular one inside the tree was seen by the detection; nothing has changed
/// the tree since.
fn own(root: &Path, path: &str) -> Result<String, Error> {
    let refused = |sentence: String| Error::new(Code::DockerfileInvalid, sentence);
    let bytes = std::fs::read(root.join(path))
        .map_err(|error| refused(format!("{path} cannot be read")).because(error))?;
    String::from_utf8(bytes)
        .map_err(|_| refused(format!("{path} is not UTF-8 text; save it as UTF-8 and commit it again")))
}

/// Whether the builder to come understands cache mounts.
async fn uses_buildkit(run: &Run) -> Result<bool, Stop> {
    let engine = run.engine().await?;
    let (builder, _) = build::choose(&engine, run.tools.builder(), &limits(run))?;
    Ok(builder == UsedBuilder::BuildKit)
}

async fn say(run: &Run, detection: &Detection, findings: &[Finding]) {
    let Detection { language, version, framework, port, .. } = detection;
    let what: Vec<String> = [
        language.map(|language| language.to_string()),
        version.clone(),
        framework.clone(),
        port.map(|port| format!("port {port}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !what.is_empty() {
        run.lines.info(format!("detected: {}", what.join(", "))).await;
    }
    for reason in &detection.reasons {
        run.lines.info(format!("  {} {}", reason.file, reason.says)).await;
    }
    for finding in findings {
        let Finding { rule, line, message, fix, .. } = finding;
        let level = match finding.severity {
            Severity::Error | Severity::Warning => Level::Warn,
            Severity::Info => Level::Info,
        };
        run.lines.say(level, format!("Dockerfile:{line} {rule}: {message}; {fix}")).await;
    }
}
