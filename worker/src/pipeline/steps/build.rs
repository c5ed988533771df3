//! The image, in the engine of this worker.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deploymind_shared::db::builds::{Build as Row, build_write};
use deploymind_shared::events::EventKind;
use deploymind_shared::retry::Stop;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::detect::Detected;
use crate::build::{
    self, Built, Dockerfile, LABEL_APP, LABEL_COMMIT, LABEL_DEPLOYMENT, Limits, Request, UsedBuilder,
};
use crate::pipeline::LABEL_FLEET;
use crate::pipeline::run::Run;
use crate::pipeline::step::Step;

const MIB: u64 = 1024 * 1024;

pub(in crate::pipeline) struct Build<'a> {
    pub(in crate::pipeline) detected: &'a Detected,
    pub(in crate::pipeline) commit: &'a str,
}

#[async_trait]
impl Step for Build<'_> {
    const NAME: &'static str = "build";
    type Output = Built;

    fn deadline(&self, run: &Run) -> Duration {
        // Its own deadline has the better words; this one is for a build that does not even end at that.
        run.build_deadline() + Duration::from_secs(60)
    }

    async fn usable(&self, run: &Run, output: &Self::Output) -> Result<bool, Stop> {
        let label = (LABEL_DEPLOYMENT.to_owned(), run.deployment.to_string());
        build::image_usable(&run.engine().await?, &output.image_id, &[label]).await
    }

    async fn run(&self, run: &Run, cancel: &CancellationToken) -> Result<Self::Output, Stop> {
        let detected = self.detected;
        let engine = run.engine().await?;
        let root = run.root();
        let request = Request {
            context: &root,
            dockerfile: match (&detected.detection.dockerfile, &detected.dockerignore) {
                (Some(path), None) => Dockerfile::InTree(path),
                (_, dockerignore) => Dockerfile::Generated {
                    dockerfile: &detected.dockerfile,
                    dockerignore: dockerignore.as_deref().unwrap_or_default(),
                },
            },
            tag: run.tag(),
            labels: labels(run, self.commit),
            variables: run.secrets.build.clone(),
            limits: limits(run),
            builder: run.tools.builder(),
            network: run.tools.config.build.network.clone(),
            redactor: Arc::clone(&run.redactor),
        };
        run.tell(EventKind::BuildStarted, json!({ "commit": self.commit })).await?;
        let mut built = Box::pin(build::build(&engine, &request, &run.lines, cancel)).await?;
        for layer in &mut built.layers {
            layer.created_by = run.redactor.redact_text(&layer.created_by).into_owned();
        }
        for warning in &mut built.warnings {
            *warning = run.redactor.redact_text(warning).into_owned();
        }
        build_write(run.context.db(), run.context.id(), run.context.attempt(), &row(run, detected, &built))
            .await?;
        let body = json!({
            "image_id": built.image_id,
            "size_bytes": built.size_bytes,
            "duration_ms": millis(built.duration),
            "cached_steps": built.cached_steps,
        });
        run.tell(EventKind::BuildCompleted, body).await?;
        Ok(built)
    }
}

fn labels(run: &Run, commit: &str) -> Vec<(String, String)> {
    [
        (LABEL_FLEET, run.tools.fleet_name.clone()),
        (LABEL_APP, run.plan.app.id.to_string()),
        (LABEL_DEPLOYMENT, run.deployment.to_string()),
        (LABEL_COMMIT, commit.to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// What the app asks for, and never more than the worker allows.
pub(super) fn limits(run: &Run) -> Limits {
    let (config, asked) = (&run.tools.config.build, run.plan.settings.build);
    Limits {
        memory_bytes: asked
            .memory_mb
            .map_or(config.memory_bytes, |mb| (u64::from(mb) * MIB).min(config.memory_bytes)),
        cpus: asked.cpus.map_or(config.cpus, |cpus| cpus.min(config.cpus)),
        caps: run.tools.caps(),
        cgroup_parent: config.cgroup_parent.clone(),
        deadline: run.build_deadline(),
        context_bytes: config.max_context_bytes,
        min_free_disk: config.min_free_bytes,
    }
}

fn row(run: &Run, detected: &Detected, built: &Built) -> Row {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let mut row = Row {
        builder: match built.builder {
            UsedBuilder::BuildKit => "buildkit",
            UsedBuilder::Classic => "classic",
        }
        .to_owned(),
        image_id: built.image_id.clone(),
        digest: None,
        size_bytes: number(built.size_bytes),
        layers: i32::try_from(built.layers.len()).unwrap_or(i32::MAX),
        duration_ms: number(millis(built.duration)),
        detection: json!(detected.detection),
        // A repository's own file may hold a value that it should not.
        dockerfile: run.redactor.redact_text(&detected.dockerfile).into_owned(),
        lint: json!(detected.lint),
        warnings: json!(built.warnings),
    };
    for value in [&mut row.detection, &mut row.lint] {
        run.redactor.redact_json(value);
    }
    row
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
