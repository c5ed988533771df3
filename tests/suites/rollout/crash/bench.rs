//! What is asked of a host and of the record after each crash.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use deploymind_shared::db::deployments::{Created, deployment_get};
use deploymind_shared::db::rollouts::{Rollout, rollout_get, serving_list};
use deploymind_shared::domain::app::AppSettings;
use deploymind_shared::domain::rollout::StrategyKind;
use deploymind_shared::ids::{DeploymentId, ReleaseId};
use deploymind_tests::delivery::{Delivery, Ended, docker};
use deploymind_tests::http;
use deploymind_tests::load::Load;
use deploymind_tests::rig::{Node, NodeBuilder};
use deploymind_tests::wait_for;
use serde_json::Value;

use crate::common::{SOON, Sample, quick};

const NOTHING_SENT: &str = "channel closed, after 0 bytes were sent";
/// How [`differs`] begins when only that is wrong.
pub const LEFT: &str = "left of the release that failed";
const EDGE_SCRIPT: &str = "/opt/deploymind-edge/dm-edge";
/// Requests that must all be answered by the same version. nginx has a few workers, and each counts for itself.
const ASKED: usize = 12;

/// Settings of an app whose windows are as short as they may be.
pub fn hasty(strategy: StrategyKind) -> AppSettings {
    let mut settings = quick();
    settings.run.health.start_period_s = 4;
    settings.run.stop.grace_s = 2;
    let rollout = &mut settings.rollout;
    rollout.strategy = strategy;
    rollout.observe_s = 1;
    rollout.canary.stages = vec![50, 100];
    rollout.canary.window_s = 1;
    rollout.canary.min_requests = 5;
    rollout.canary.hold_s = 60;
    settings
}

/// A slot's container on the engine.
#[derive(Debug)]
pub struct Container {
    pub name: String,
    pub running: bool,
    pub slot: String,
    pub release: String,
}

pub fn containers(sample: &Sample<'_>) -> Vec<Container> {
    let fleet = format!("label=deploymind.fleet={}", sample.delivery.rig.name);
    let app = format!("label=deploymind.app={}", sample.app);
    let format = "{{.Names}} {{.State}} {{.Label \"deploymind.slot\"}} {{.Label \"deploymind.release\"}}";
    let filters = ["--filter", &fleet, "--filter", &app, "--filter", "label=deploymind.role=slot"];
    docker(&[&["ps", "--all", "--no-trunc", "--format", format], &filters[..]].concat())
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').map(str::to_owned);
            Some(Container {
                name: words.next()?,
                running: matches!(words.next()?.as_str(), "running" | "restarting" | "paused"),
                slot: words.next()?,
                release: words.next()?,
            })
        })
        .collect()
}

pub fn edge_name(delivery: &Delivery) -> String {
    format!("{}-edge", delivery.rig.name)
}

/// Calls the script of the edge by hand.
pub fn edge_call(delivery: &Delivery, args: &[&str]) -> std::process::Output {
    let edge = edge_name(delivery);
    let args = [&["exec", "-i", &edge, EDGE_SCRIPT], args].concat();
    Command::new("docker").args(args).output().expect("the docker client is installed")
}

/// Where the edge sends users of the app.
pub fn standing(sample: &Sample<'_>) -> Result<Value, String> {
    let output = edge_call(sample.delivery, &["standing", &sample.app.to_string()]);
    if !output.status.success() {
        return Err(format!("the edge says {}", String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

/// Answers by version, of a few requests.
pub async fn answers(sample: &Sample<'_>) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for _ in 0..ASKED {
        let version = match http::get(&sample.url()).await {
            Ok(answer) => match serde_json::from_str::<Value>(&answer.body) {
                Ok(body) => body["version"].as_str().unwrap_or("none").to_owned(),
                Err(_) => format!("{} {}", answer.status, answer.body),
            },
            Err(error) => error,
        };
        *seen.entry(version).or_default() += 1;
    }
    seen
}

pub async fn rollout(delivery: &Delivery, id: DeploymentId) -> Option<Rollout> {
    rollout_get(&delivery.rig.fleet.db, id).await.expect("read roll-out")
}

/// How the host differs from the record, or the record from what is expected: users on this version and nothing half way.
pub async fn differs(sample: &Sample<'_>, version: &str, deployment: DeploymentId) -> Result<(), String> {
    let db = &sample.delivery.rig.fleet.db;
    let now = deployment_get(db, deployment).await.expect("read deployment").expect("it is there");
    if !now.status.is_terminal() {
        return Err(format!("the deployment is {}", now.status));
    }
    if let Some(rollout) = rollout(sample.delivery, deployment).await
        && rollout.outcome.is_none()
    {
        return Err(format!("its roll-out is in progress: {}", rollout.state));
    }
    let serving = serving_list(db, sample.app).await.expect("read what serves");
    let [served] = &serving[..] else { return Err(format!("serving: {serving:?}")) };
    let stands = standing(sample)?;
    let reached = match stands["weight"].as_u64() {
        Some(0) => &stands["old"],
        Some(100) => &stands["new"],
        _ => return Err(format!("users are shared: {stands}")),
    };
    if reached.as_str() != Some(&served.slot) {
        return Err(format!("the record says {}, the edge {stands}", served.slot));
    }
    let all = containers(sample);
    let running: Vec<&Container> = all.iter().filter(|one| one.running).collect();
    let right = running.len() == 1 && running[0].slot == served.slot;
    if !right || running[0].release != served.release.to_string() {
        return Err(format!("{served:?} serves, and these are there: {all:#?}"));
    }
    let failed = now.release.filter(|release| *release != served.release && !was_reached(&now));
    if let Some(left) = failed.and_then(|failed| all.iter().find(|one| one.release == failed.to_string())) {
        return Err(format!("{LEFT}: {left:?}"));
    }
    let answered = answers(sample).await;
    if answered.len() != 1 || !answered.contains_key(version) {
        return Err(format!("not all of {version}: {answered:?}"));
    }
    Ok(())
}

/// It was good, and is kept ready.
fn was_reached(deployment: &deploymind_shared::db::deployments::Deployment) -> bool {
    deployment.status.as_str() == "DEPLOYED"
}

pub async fn assert_settled(what: &str, sample: &Sample<'_>, version: &str, deployment: DeploymentId) {
    if let Err(difference) = differs(sample, version, deployment).await {
        let log = sample.delivery.log(deployment).await;
        let log: String = log.iter().map(|line| format!("  {}\n", line.line)).collect();
        panic!("{what}: {difference}\n{log}");
    }
}

/// The same for what is seen to after the deployment's end.
pub async fn settles(sample: &Sample<'_>, version: &str, deployment: DeploymentId) {
    wait_for("users to be brought back", SOON, async || differs(sample, version, deployment).await).await;
}

/// Waits until the worker has died at its fail point, or the deployment has ended without.
pub async fn died(delivery: &Delivery, node: &mut Node, created: &Created) -> bool {
    wait_for("the worker to die", SOON, async || {
        if node.process.exit().is_some() {
            return Ok(true);
        }
        let now = delivery.get(created.deployment).await;
        if now.status.is_terminal() { Ok(false) } else { Err(now.status.to_string()) }
    })
    .await
}

/// A first release, rolled out by a worker that leaves again.
pub async fn base(sample: &Sample<'_>) -> ReleaseId {
    let _worker = worker(sample.delivery).ready().await;
    deployed(sample, "v0").await
}

pub async fn deployed(sample: &Sample<'_>, version: &str) -> ReleaseId {
    let ended = sample.deploy(version, &[]).await;
    assert_eq!(ended.status(), "DEPLOYED", "{}", ended.text());
    ended.deployment.release.expect("a release")
}

/// Nobody is to count as dead or unreachable because this machine is busy.
fn patient(node: NodeBuilder) -> NodeBuilder {
    node.set("DEPLOYMIND_QUEUE_WORKER_TTL", "3s")
        .set("DEPLOYMIND_QUEUE_LOCK_TTL", "4s")
        .set("DEPLOYMIND_DATABASE_ACQUIRE_TIMEOUT", "5s")
        .set("DEPLOYMIND_DATABASE_STATEMENT_TIMEOUT", "5s")
        .set("DEPLOYMIND_REDIS_RESPONSE_TIMEOUT", "2s")
}

/// Waits until the roll-out has been saved so often, or says something of its state.
pub async fn until(
    delivery: &Delivery,
    created: &Created,
    what: &str,
    mut judge: impl FnMut(&Rollout) -> bool,
) {
    wait_for(what, SOON, async || match rollout(delivery, created.deployment).await {
        Some(rollout) if judge(&rollout) => Ok(()),
        Some(rollout) => Err(rollout.state.to_string()),
        None => Err("no roll-out yet".to_owned()),
    })
    .await;
}

pub fn shown(ended: &Ended) -> String {
    format!("{} {}: {:?}\n{}", ended.status(), ended.code(), ended.deployment.reason, ended.text())
}

pub fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// What the roll-out is about to do, or does.
pub fn move_of(rollout: &Rollout) -> &str {
    rollout.state["machine"]["moves"][0]["move"].as_str().unwrap_or("none")
}

/// Waits until the roll-out is at a move.
pub async fn comes_to(delivery: &Delivery, created: &Created, step: &str) {
    until(delivery, created, step, |now| move_of(now) == step).await;
}

pub fn scheduler(delivery: &Delivery) -> NodeBuilder {
    patient(delivery.rig.scheduler())
}

pub fn worker(delivery: &Delivery) -> NodeBuilder {
    patient(delivery.worker())
}

/// One that looks often for roll-outs that were left.
pub fn watchful(delivery: &Delivery) -> NodeBuilder {
    scheduler(delivery).set("DEPLOYMIND_SCHEDULER_SETTLE", "300ms")
}

/// Nobody lost anything. What the client itself could not send, as nginx had closed the connection that very moment, any
/// client sends again; it is counted and shown, and not held against the roll-out.
pub async fn assert_nobody_lost(load: Load) {
    let report = load.finish().await;
    let unsent = report.first_failures.iter().filter(|failed| failed.text == NOTHING_SENT).count() as u64;
    assert!(report.failures == unsent && report.requests > 0, "{report:#?}");
    println!("{} requests, none lost, {unsent} not sent", report.requests);
}

/// A few users, all the while.
pub async fn users(sample: &Sample<'_>) -> Load {
    Load::of(&sample.url()).rate(30.0).connections(4).start().await
}

/// The save at which a canary is first counted, at half of the requests.
const AT_HALF: usize = 3;

/// A canary whose worker died while it was counted: users are shared, and nobody sees to it.
pub async fn left_half_way(sample: &Sample<'_>, version: &str) -> Created {
    let mut node = worker(sample.delivery).kill_at("rollout.saved", AT_HALF).ready().await;
    let created = sample.push(version, &[]).await;
    assert!(died(sample.delivery, &mut node, &created).await, "it did not die");
    let stands = standing(sample).expect("the edge answers");
    assert_eq!(stands["weight"], 50, "{stands}");
    created
}
