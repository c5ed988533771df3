//! What ended deployments left on this machine although nobody was there to undo it: a worker was killed, an engine away.
//!
//! Looks at what carries this fleet's name and nothing else, and removes it only when the record says that its deployment
//! has ended (and, for an image, that its release is not of that image).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use deploymind_shared::db::Db;
use deploymind_shared::db::deployments::{Fate, deployment_fates};
use deploymind_shared::error::Result;
use deploymind_shared::ids::DeploymentId;
use deploymind_shared::retry::Stop;

use super::tools::Tools;
use super::{LABEL_FLEET, workspace};
use crate::build;

/// How long a folder that the record does not know is left alone. Longer than any deployment runs.
const FORGOTTEN: Duration = Duration::from_secs(24 * 60 * 60);

/// Sweeps at once and then periodically, until it is dropped.
pub(super) async fn keep_clean(tools: Arc<Tools>, db: Db) {
    loop {
        if let Err(error) = folders(&tools, &db).await {
            tracing::warn!(error = error.chain(), "folders of ended deployments not swept now");
        }
        if let Err(stop) = images(&tools, &db).await {
            tracing::debug!(stop = ?stop, "images of ended deployments not swept now");
        }
        tokio::time::sleep(tools.config.sweep).await;
    }
}

async fn folders(tools: &Tools, db: &Db) -> Result<()> {
    let found = tools.workspaces.list().await.map_err(workspace::failed)?;
    let fates = fates(db, &found).await?;
    for id in found {
        let ended = match fates.get(&id) {
            Some(fate) => fate.ended,
            // Deleted from the record, or another fleet's of the same name, whose record this is not.
            None => tools.workspaces.of(id).untouched_for(FORGOTTEN).await,
        };
        if ended {
            tools.workspaces.of(id).remove().await?;
            tracing::info!(deployment.id = %id, "removed the folder of an ended deployment");
        }
    }
    Ok(())
}

async fn images(tools: &Tools, db: &Db) -> Result<(), Stop> {
    let engine = tools.engine().await?;
    let mut images = build::images_labelled(&engine).await?;
    images.retain(|image| image.labels.get(LABEL_FLEET) == Some(&tools.fleet_name));
    let owner = |image: &build::LabelledImage| image.deployment.parse().ok();
    let ids: Vec<DeploymentId> = images.iter().filter_map(owner).collect();
    let fates = fates(db, &ids).await?;
    for image in &images {
        let fate = owner(image).and_then(|id| fates.get(&id));
        // Of a deployment that was built twice, here or on another machine, the release names one.
        let kept = |fate: &Fate| fate.released && fate.image.as_ref().is_none_or(|kept| *kept == image.id);
        if fate.is_some_and(|fate| fate.ended && !kept(fate)) {
            build::image_remove(&engine, &image.id).await?;
            tracing::info!(image.id = image.id, "removed an image that no release names");
        }
    }
    Ok(())
}

async fn fates(db: &Db, ids: &[DeploymentId]) -> Result<HashMap<DeploymentId, Fate>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let fates = deployment_fates(db, ids).await?;
    Ok(fates.into_iter().map(|fate| (fate.deployment, fate)).collect())
}
