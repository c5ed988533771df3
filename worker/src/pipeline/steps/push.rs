//! To the registry that the app names, for targets that are other machines.

use std::time::Duration;

use async_trait::async_trait;
use deploymind_shared::db::builds::{Build as BuildRow, build_get, build_write};
use deploymind_shared::retry::Stop;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::build;
use crate::pipeline::run::Run;
use crate::pipeline::step::Step;

pub(in crate::pipeline) struct Push<'a> {
    pub(in crate::pipeline) image_id: &'a str,
    /// `host[:port]/name`.
    pub(in crate::pipeline) repository: &'a str,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::pipeline) struct Pushed {
    /// With the deployment as the tag.
    pub(in crate::pipeline) reference: String,
    pub(in crate::pipeline) digest: String,
    image_id: String,
}

#[async_trait]
impl Step for Push<'_> {
    const NAME: &'static str = "push";
    type Output = Pushed;

    fn deadline(&self, _: &Run) -> Duration {
        Duration::from_secs(30 * 60)
    }

    async fn usable(&self, _: &Run, output: &Self::Output) -> Result<bool, Stop> {
        Ok(output.image_id == self.image_id)
    }

    async fn run(&self, run: &Run, cancel: &CancellationToken) -> Result<Self::Output, Stop> {
        let reference = format!("{}:{}", self.repository, run.deployment);
        let engine = run.engine().await?;
        let credential = run.secrets.registry.as_ref();
        let digest = build::push(&engine, self.image_id, &reference, credential, &run.lines, cancel).await?;
        // Only the registry knows it, so the build's row learns of it now.
        let db = run.context.db();
        if let Some(build) = build_get(db, run.deployment).await? {
            let pushed = BuildRow { digest: Some(digest.clone()), ..build };
            build_write(db, run.context.id(), run.context.attempt(), &pushed).await?;
        }
        Ok(Pushed { reference, digest, image_id: self.image_id.to_owned() })
    }
}
