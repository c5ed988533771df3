//! The handler of `collect` jobs, and the same by hand: what no app needs any more goes from a Docker host.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use deploymind_shared::clock::Clock;
use deploymind_shared::db::Db;
use deploymind_shared::db::deployments::deployment_fates;
use deploymind_shared::db::inventory::{inventory_apps, inventory_releases};
use deploymind_shared::domain::job::Collect;
use deploymind_shared::domain::rollout::KEEP_MAX;
use deploymind_shared::ids::{AppId, DeploymentId, TargetName};
use deploymind_shared::retry::Stop;
use tokio_util::sync::CancellationToken;

use super::session::Pipeline;
use super::targets::Targets;
use crate::collect::{
    Budget, Collected, DeploymentFate, Known, LABEL_APP, LABEL_DEPLOYMENT, LABEL_FLEET, Plan, ReleaseFate,
    Survey, carry_out, plan, report, survey,
};
use crate::context::JobContext;
use crate::registry::{Done, Handler};

pub(super) struct CollectHandler(pub(super) Pipeline);

#[async_trait]
impl Handler for CollectHandler {
    type Kind = Collect;

    async fn run(&self, job: Collect, context: JobContext) -> Result<Done, Stop> {
        let targets = &self.0.tools.targets;
        let cancel = context.stopping();
        let done = Box::pin(targets.collect(context.db(), &job.target, job.dry_run, cancel)).await?;
        tracing::info!(
            target = %job.target,
            dry_run = job.dry_run,
            planned = done.plan.items.len(),
            removed = done.collected.removed.len(),
            left = done.collected.left.len(),
            freed_bytes = done.collected.bytes(),
            "housekeeping"
        );
        Ok(Done::default())
    }
}

/// What housekeeping found on a host, and what it did about it.
pub struct Housekeeping {
    pub plan: Plan,
    pub collected: Collected,
}

impl Housekeeping {
    /// For a person.
    pub fn report(&self) -> String {
        report(&self.plan)
    }
}

impl Targets {
    /// Looks at a host and, unless it is to be dry, removes what the plan says.
    pub async fn collect(
        &self,
        db: &Db,
        target: &TargetName,
        dry_run: bool,
        cancel: &CancellationToken,
    ) -> Result<Housekeeping, Stop> {
        // It holds the way to the engine open.
        let runtime = self.docker(db, None, target).await?;
        let docker = runtime.engine().await?;
        let found = survey(&docker, self.fleet()).await?;
        // After the survey: what was made meanwhile is in the record, or too young.
        let known = known(db, &found).await?;
        let plan = plan(&found, &known, &self.budget(), Clock::system().now());
        let collected = match dry_run {
            true => Collected::default(),
            false => carry_out(&docker, self.fleet(), &plan, cancel).await?,
        };
        Ok(Housekeeping { plan, collected })
    }

    fn budget(&self) -> Budget {
        let config = &self.hosts().collect;
        Budget {
            images_keep: config.images_keep,
            images_max_bytes: config.images_max_bytes,
            // How many stay is each app's own wish, and its roll-outs see to it.
            slots_keep: usize::from(KEEP_MAX),
            cache_max_bytes: Some(config.cache_max_bytes),
            cache_is_ours: config.engine_is_ours,
            min_age: config.min_age,
        }
    }
}

async fn known(db: &Db, survey: &Survey) -> Result<Known, Stop> {
    let ours = |labels: &&HashMap<String, String>| labels.get(LABEL_FLEET) == Some(&survey.fleet);
    let labels: Vec<&HashMap<String, String>> = survey
        .images
        .iter()
        .map(|image| &image.labels)
        .chain(survey.containers.iter().map(|container| &container.labels))
        .filter(ours)
        .collect();
    let apps: HashSet<AppId> =
        labels.iter().filter_map(|labels| labels.get(LABEL_APP)?.parse().ok()).collect();
    let deployments: HashSet<DeploymentId> =
        labels.iter().filter_map(|labels| labels.get(LABEL_DEPLOYMENT)?.parse().ok()).collect();
    let apps: Vec<AppId> = apps.into_iter().collect();
    let deployments: Vec<DeploymentId> = deployments.into_iter().collect();
    let mut known = Known { apps: inventory_apps(db).await?.into_iter().collect(), ..Known::default() };
    for one in inventory_releases(db, &apps).await? {
        let fate = ReleaseFate {
            app: one.app,
            images: one.image_id.into_iter().chain([one.digest]).collect(),
            serving: one.serving,
            in_rollout: one.busy,
            rank: one.rank.and_then(|rank| usize::try_from(rank).ok()),
        };
        known.releases.insert(one.release, fate);
    }
    for fate in deployment_fates(db, &deployments).await? {
        known
            .deployments
            .insert(fate.deployment, DeploymentFate { ended: fate.ended, released: fate.released });
    }
    Ok(known)
}
