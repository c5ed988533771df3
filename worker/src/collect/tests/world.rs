//! An engine and a record made up for the planner.

use std::collections::HashMap;
use std::time::Duration;

use chrono::DateTime;
use deploymind_shared::clock::Timestamp;
use deploymind_shared::ids::{AppId, DeploymentId, ReleaseId};
use uuid::Uuid;

use crate::collect::*;

pub(super) const FLEET: &str = "testfleet";
pub(super) const HOUR: u64 = 3600;

pub(super) fn app(number: u128) -> AppId {
    AppId::from_uuid(Uuid::from_u128(number))
}

pub(super) fn release(number: u128) -> ReleaseId {
    ReleaseId::from_uuid(Uuid::from_u128(1_000 + number))
}

pub(super) fn deployment(number: u128) -> DeploymentId {
    DeploymentId::from_uuid(Uuid::from_u128(1_000_000 + number))
}

pub(super) fn now() -> Timestamp {
    DateTime::from_timestamp(2_000_000_000, 0).expect("time")
}

pub(super) fn before(hours: u64) -> Timestamp {
    now() - Duration::from_secs(hours * HOUR)
}

pub(super) fn budget() -> Budget {
    Budget {
        images_keep: 1,
        images_max_bytes: None,
        slots_keep: 1,
        cache_max_bytes: None,
        cache_is_ours: false,
        min_age: Duration::from_secs(HOUR),
    }
}

pub(super) struct World {
    pub(super) survey: Survey,
    pub(super) known: Known,
}

impl World {
    pub(super) fn new() -> Self {
        let survey = Survey { fleet: FLEET.to_owned(), names_layers: true, ..Survey::default() };
        let mut known = Known::default();
        known.apps.insert(app(1));
        Self { survey, known }
    }

    /// Release `number` of an app, deployed from deployment `number`, and its image, `number` hours old with `bytes` of its own.
    pub(super) fn released(&mut self, of: u128, number: u128, rank: Option<usize>, bytes: u64) -> &mut Image {
        let fate = ReleaseFate {
            app: app(of),
            images: vec![format!("sha256:i{number}")],
            serving: false,
            in_rollout: false,
            rank,
        };
        self.known.releases.insert(release(number), fate);
        self.known.deployments.insert(deployment(number), DeploymentFate { ended: true, released: true });
        self.image(of, number, bytes)
    }

    pub(super) fn image(&mut self, of: u128, number: u128, bytes: u64) -> &mut Image {
        let layer = format!("sha256:l{number}");
        self.survey.layers.insert(layer.clone(), Layer { bytes, in_cache: false });
        self.survey.layers.insert("sha256:base".into(), Layer { bytes: 100, in_cache: false });
        self.survey.images.push(Image {
            id: format!("sha256:i{number}"),
            parent: None,
            names: vec![format!("deploymind/app:{}", deployment(number))],
            digests: Vec::new(),
            labels: HashMap::from([
                (LABEL_FLEET.into(), FLEET.into()),
                (LABEL_APP.into(), app(of).to_string()),
                (LABEL_DEPLOYMENT.into(), deployment(number).to_string()),
            ]),
            created: before(number as u64),
            layers: vec!["sha256:base".into(), layer],
            continues: Vec::new(),
        });
        self.survey.images.last_mut().expect("pushed")
    }

    /// A step of a build: nameless, with the fleet's and the app's label only.
    pub(super) fn step(&mut self, of: u128, number: u128, bytes: u64) -> &mut Image {
        let image = self.image(of, number, bytes);
        image.names.clear();
        image.labels.remove(LABEL_DEPLOYMENT);
        image
    }

    /// A slot of release `number`, as old as its image.
    pub(super) fn slot(&mut self, of: u128, number: u128, running: bool) -> &mut Container {
        self.survey.containers.push(Container {
            id: format!("c{number}"),
            name: format!("dm-app-{number}"),
            image: format!("sha256:i{number}"),
            labels: HashMap::from([
                (LABEL_FLEET.into(), FLEET.into()),
                (LABEL_APP.into(), app(of).to_string()),
                (LABEL_RELEASE.into(), release(number).to_string()),
                (LABEL_DEPLOYMENT.into(), deployment(number).to_string()),
                (LABEL_ROLE.into(), "slot".into()),
                (LABEL_SLOT.into(), format!("dm-app-{number}")),
                (LABEL_EPOCH.into(), (1_000 - number).to_string()),
            ]),
            created: before(number as u64),
            running,
            bytes: 7,
        });
        self.survey.containers.last_mut().expect("pushed")
    }

    pub(super) fn fate(&mut self, number: u128) -> &mut ReleaseFate {
        self.known.releases.get_mut(&release(number)).expect("release")
    }

    pub(super) fn plan(&self, budget: &Budget) -> Plan {
        plan(&self.survey, &self.known, budget, now())
    }
}

pub(super) fn ids(plan: &Plan) -> Vec<&str> {
    plan.items.iter().map(|item| item.id.trim_start_matches("sha256:")).collect()
}

pub(super) fn why<'a>(plan: &'a Plan, id: &str) -> &'a WhyKept {
    let kept = plan.kept.iter().find(|kept| kept.id.trim_start_matches("sha256:") == id);
    &kept.unwrap_or_else(|| panic!("{id} is not kept: {plan:?}")).why
}

/// The engine after a plan, as it would be.
pub(super) fn after(survey: &Survey, plan: &Plan) -> Survey {
    let gone = |id: &str| plan.items.iter().any(|item| item.id == id);
    let mut left = survey.clone();
    left.images.retain(|image| !gone(&image.id));
    left.containers.retain(|container| !gone(&container.id));
    let there: std::collections::HashSet<&String> =
        left.images.iter().flat_map(|image| &image.layers).collect();
    for (id, layer) in &survey.layers {
        if layer.in_cache
            && !there.contains(id)
            && let Some(cache) = &mut left.cache
        {
            cache.records.push(CacheRecord { bytes: layer.bytes, in_use: false, last_used: before(1_000) });
        }
    }
    left.layers.retain(|id, _| there.contains(id));
    if let Some(cache) = &mut left.cache {
        let mut due = plan.items.iter().find(|item| item.kind == Kind::Cache).map_or(0, |item| item.bytes);
        for record in cache.records.iter_mut().filter(|record| !record.in_use) {
            let taken = record.bytes.min(due);
            record.bytes -= taken;
            due -= taken;
        }
    }
    left
}
