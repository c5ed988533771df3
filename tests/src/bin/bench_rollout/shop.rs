//! A fleet of shipped programs that rolls out one app on this machine's engine.

use std::time::{SystemTime, UNIX_EPOCH};

use deploymind_shared::domain::app::AppSettings;
use deploymind_shared::ids::ReleaseId;
use deploymind_tests::delivery::{Delivery, docker};
use deploymind_tests::rig::{Node, NodeBuilder};
use deploymind_tests::rolling::Sample;

pub struct Shop {
    pub delivery: Delivery,
    _nodes: [Node; 2],
}

impl Shop {
    pub async fn open() -> Self {
        let delivery = Delivery::on_docker().await;
        let rig = &delivery.rig;
        let worker = delivery.shipped().unhurried().set("DEPLOYMIND_SWEEP", "").ready().await;
        let scheduler = NodeBuilder::shipped("scheduler", &rig.stores, &rig.name).unhurried().ready().await;
        Self { delivery, _nodes: [worker, scheduler] }
    }

    /// Addresses at which the slots that run are reached without the edge.
    pub fn direct(&self) -> Vec<String> {
        let fleet = format!("label=deploymind.fleet={}", self.delivery.rig.name);
        let ids = docker(&["ps", "--quiet", "--filter", &fleet, "--filter", "label=deploymind.role=slot"]);
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let address = |id| docker(&["inspect", "--format", format, id]).trim().to_owned();
        ids.lines().map(|id| format!("http://{}:8080/", address(id))).collect()
    }

    /// What it left on the engine goes.
    pub async fn close(self) {
        self.delivery.finish().await;
    }
}

/// As it is by default, but for what the sample app needs and the time in which nothing happens after a roll-out.
pub fn settings() -> AppSettings {
    let mut settings = AppSettings::default();
    settings.run.health.path = "/health".to_owned();
    settings.rollout.verify_s = 1;
    settings
}

pub async fn release(sample: &Sample<'_>, version: &str) -> ReleaseId {
    let ended = sample.deploy_well(version, &[]).await;
    ended.deployment.release.expect("what was deployed has a release")
}

/// Seconds of the clock that the record and the load have, too.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64()
}
