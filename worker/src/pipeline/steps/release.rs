//! The immutable record of what can run from now on.

use std::time::Duration;

use async_trait::async_trait;
use deploymind_shared::db::releases::{NewRelease, release_create};
use deploymind_shared::domain::app::AppSettings;
use deploymind_shared::domain::release::{ImageSpec, ReleaseSpec};
use deploymind_shared::ids::ReleaseId;
use deploymind_shared::retry::Stop;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::detect::Detected;
use super::push::Pushed;
use crate::build::Built;
use crate::dockerfile::exposed_ports;
use crate::pipeline::run::Run;
use crate::pipeline::step::Step;

pub(in crate::pipeline) struct Release<'a> {
    pub(in crate::pipeline) commit: &'a str,
    pub(in crate::pipeline) detected: &'a Detected,
    pub(in crate::pipeline) built: &'a Built,
    pub(in crate::pipeline) pushed: Option<&'a Pushed>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(in crate::pipeline) struct Released {
    pub(in crate::pipeline) release: ReleaseId,
}

#[async_trait]
impl Step for Release<'_> {
    const NAME: &'static str = "release";
    type Output = Released;

    fn deadline(&self, _: &Run) -> Duration {
        Duration::from_secs(60)
    }

    async fn usable(&self, _: &Run, _: &Self::Output) -> Result<bool, Stop> {
        Ok(true)
    }

    async fn run(&self, run: &Run, _: &CancellationToken) -> Result<Self::Output, Stop> {
        let settings = &run.plan.settings;
        let spec = ReleaseSpec {
            commit: self.commit.to_owned(),
            image: ImageSpec {
                id: self.built.image_id.clone(),
                reference: self.pushed.map_or_else(|| run.tag(), |pushed| pushed.reference.clone()),
                digest: self.pushed.map(|pushed| pushed.digest.clone()),
            },
            port: release_port(settings, self.detected),
            start: settings.start.clone(),
            run: settings.run.clone(),
        };
        let new = NewRelease {
            app: run.plan.app.id,
            deployment: run.deployment,
            image_digest: spec.image.digest.clone().unwrap_or_else(|| spec.image.id.clone()),
            spec: serde_json::json!(spec),
        };
        let release = release_create(run.context.db(), run.context.id(), run.context.attempt(), &new).await?;
        Ok(Released { release })
    }
}

/// Where the program will listen, as far as anything says it.
pub(in crate::pipeline) fn release_port(settings: &AppSettings, detected: &Detected) -> Option<u16> {
    // A file of ours says where it listens, whatever was wished for: a web server of static files has one port.
    let generated = match detected.dockerignore {
        Some(_) => exposed_ports(&detected.dockerfile).first().copied(),
        None => None,
    };
    generated.or(settings.port).or(detected.detection.port)
}
