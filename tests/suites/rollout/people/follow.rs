//! A roll-out while it happens, as its log tells it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use deploymind_shared::clock::Timestamp;
use deploymind_shared::db::deployments::{Created, Trigger};
use deploymind_shared::db::logs::LogLine;
use deploymind_shared::db::rollouts::{Rollout, rollout_get};
use deploymind_shared::domain::app::AppSettings;
use deploymind_shared::domain::job::Priority;
use deploymind_shared::domain::rollout::{CanarySettings, RolloutCommand, StrategyKind};
use deploymind_shared::error::Error;
use deploymind_shared::ids::AppId;
use deploymind_tests::delivery::{Delivery, Ended, docker};
use deploymind_tests::load::{Load, LoadBuilder};
use deploymind_tests::wait_for;

use crate::common::{SOON, quick};

/// A canary that is watched for this long at each stage, and done when it has all requests.
pub fn canary(stages: &[u8], window_s: u32, min_requests: u32) -> AppSettings {
    let mut settings = quick();
    settings.rollout.strategy = StrategyKind::Canary;
    settings.rollout.verify_s = 0;
    settings.rollout.canary =
        CanarySettings { stages: stages.to_vec(), window_s, min_requests, ..CanarySettings::default() };
    settings
}

/// Waits until the log says this; when it said it first.
pub async fn said(delivery: &Delivery, created: &Created, words: &str) -> Timestamp {
    said_times(delivery, created, words, 1).await
}

/// Waits until it was said so often; when it was said the last of these times.
pub async fn said_times(delivery: &Delivery, created: &Created, words: &str, times: usize) -> Timestamp {
    wait_for(&format!("the log to say `{words}`"), SOON, async || {
        let log = delivery.log(created.deployment).await;
        let text = || log.iter().map(|line| format!("{}\n", line.line)).collect::<String>();
        match log.iter().filter(|line| line.line.contains(words)).nth(times - 1) {
            Some(line) => Ok(line.at),
            None if delivery.get(created.deployment).await.status.is_terminal() => {
                panic!("it ended without `{words}`:\n{}", text())
            }
            None => Err(text()),
        }
    })
    .await
}

pub fn count(log: &[LogLine], words: &str) -> usize {
    log.iter().filter(|line| line.line.contains(words)).count()
}

/// From the first line with these words to the next that begins with those.
pub fn between(log: &[LogLine], from: &str, to: &str) -> Duration {
    let begin = log.iter().position(|line| line.line.contains(from));
    let begin = begin.unwrap_or_else(|| panic!("nothing says `{from}`: {log:#?}"));
    let end = log[begin..].iter().find(|line| line.line.starts_with(to));
    let end = end.unwrap_or_else(|| panic!("nothing says `{to}` after `{from}`: {log:#?}"));
    (end.at - log[begin].at).to_std().unwrap_or_default()
}

/// Patient users: what is counted here are answers that are lost or wrong. How late they are on a machine that is busy with
/// other tests says nothing of a roll-out.
pub fn users(url: &str) -> LoadBuilder {
    Load::of(url).rate(100.0).timeout(Duration::from_secs(30))
}

/// The line that gives a stage's verdict.
pub fn verdict(ended: &Ended) -> String {
    let line = ended.log.iter().find(|line| line.line.contains("; old: "));
    line.unwrap_or_else(|| panic!("no verdict in\n{}", ended.text())).line.clone()
}

pub async fn rollout(delivery: &Delivery, created: &Created) -> Rollout {
    let found = rollout_get(&delivery.rig.fleet.db, created.deployment).await.expect("read roll-out");
    found.expect("it began")
}

/// Whether there was a roll-out to ask it of.
pub async fn ask(delivery: &Delivery, created: &Created, command: RolloutCommand) -> bool {
    let by = Some(delivery.owner);
    delivery.rig.fleet.rollout_command(created.deployment, command, by).await.expect("ask")
}

/// What a repository's hook does.
pub async fn pushed(delivery: &Delivery, app: AppId, commit: Option<&str>) -> Result<Created, Error> {
    let commit = commit.map(str::to_owned);
    delivery.rig.fleet.deploy(app, Trigger::Push, None, commit, Priority::Normal).await
}

/// The newest commit, because a person wants it.
pub async fn by_hand(delivery: &Delivery, app: AppId) -> Ended {
    let fleet = &delivery.rig.fleet;
    let by = Some(delivery.owner);
    let created = fleet.deploy(app, Trigger::Manual, by, None, Priority::Normal).await.expect("deploy");
    delivery.ended(&created, SOON).await
}

#[track_caller]
pub fn assert_ended(ended: &Ended, status: &str, code: &str) {
    assert_eq!(
        (ended.status(), ended.code()),
        (status, code),
        "{:?}\n{}",
        ended.deployment.reason,
        ended.text()
    );
}

#[track_caller]
pub fn assert_deployed(ended: &Ended) {
    assert_ended(ended, "DEPLOYED", "none");
}

/// A copy of a slot, as the engine tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    pub name: String,
    pub id: String,
    pub running: bool,
    pub epoch: u64,
}

/// The app's containers, the oldest slot first.
pub fn copies(app: AppId) -> Vec<Copy> {
    let filter = format!("label=deploymind.app={app}");
    let format = "{{.Names}} {{.ID}} {{.State}} {{.Label \"deploymind.epoch\"}}";
    let listed = docker(&["ps", "--all", "--no-trunc", "--filter", &filter, "--format", format]);
    let mut copies: Vec<Copy> = listed
        .lines()
        .filter_map(|line| {
            let [name, id, state, epoch] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
            Some(Copy {
                name: name.to_owned(),
                id: id.to_owned(),
                running: state == "running",
                epoch: epoch.parse().ok()?,
            })
        })
        .collect();
    copies.sort_by_key(|copy| (copy.epoch, copy.name.clone()));
    copies
}

/// The one copy that runs.
#[track_caller]
pub fn running(app: AppId) -> Copy {
    let mut running: Vec<Copy> = copies(app).into_iter().filter(|copy| copy.running).collect();
    assert_eq!(running.len(), 1, "{running:?}");
    running.remove(0)
}

/// One value of what the engine knows of a container.
pub fn inspected(container: &str, format: &str) -> String {
    docker(&["inspect", "--format", format, container]).trim().to_owned()
}

/// Where a container listens on the slots' network.
pub fn address(container: &str) -> String {
    inspected(container, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
}

pub fn unix_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_micros()).expect("before the year 500,000")
}
