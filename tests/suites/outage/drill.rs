//! One outage under a steady trickle of jobs: what the probes said meanwhile, and how the fleet came back by itself.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use deploymind_shared::fleet::{JobRequest, Submitter};
use deploymind_shared::ids::{JobId, TargetName};
use deploymind_tests::postgres::{PrivatePostgres, base_database_url};
use deploymind_tests::proxy::{FaultProxy, Mode};
use deploymind_tests::redis::TestRedis;
use deploymind_tests::rig::{Node, NodeBuilder, Rig, Stores, request};
use deploymind_tests::script::{Script, Step};
use deploymind_tests::{free_port, http, wait_for};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use uuid::Uuid;

use super::meter::{Moments, now};

/// Drills at once, over all tests: each is a fleet and two servers of its own, and two cores carry only so many before
/// their patience is measured instead of the product's.
static PLACES: Semaphore = Semaphore::const_new(4);

const CLIENTS: usize = 4;
/// Between two jobs of one client.
const PACE: Duration = Duration::from_millis(800);
/// Rates are over this many seconds.
const RATED: f64 = 2.0;
/// The rate after the outage, of the rate before it.
const ENOUGH: f64 = 0.7;
const BACK: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(200);
/// Calmer than a rig's, in the same proportions: a dozen fleets share this machine, and none may starve another.
const CALM: &[(&str, &str)] = &[
    ("DEPLOYMIND_QUEUE_LOCK_TTL", "4s"),
    ("DEPLOYMIND_QUEUE_HEARTBEAT", "600ms"),
    ("DEPLOYMIND_QUEUE_WORKER_TTL", "3s"),
    ("DEPLOYMIND_QUEUE_RECONCILE", "800ms"),
    ("DEPLOYMIND_SCHEDULER_LEADER_TTL", "2s"),
    ("DEPLOYMIND_SCHEDULER_RECONCILE", "800ms"),
    ("DEPLOYMIND_SCHEDULER_REAP", "600ms"),
    ("DEPLOYMIND_SCHEDULER_PROMOTE", "200ms"),
    ("DEPLOYMIND_SCHEDULER_UNPARK", "600ms"),
    ("DEPLOYMIND_WORKER_CONCURRENCY", "12"),
    ("DEPLOYMIND_ENVIRONMENTS", "production"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    Redis,
    Postgres,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Stopped in order, started again with its data.
    Stop,
    /// SIGSTOP, SIGCONT.
    Freeze,
    /// Between nodes and store no byte passes; then everything arrives late.
    Swallow,
    /// The same, but the connections of that time are cut when it ends.
    SwallowThenCut,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) stores: &'static [Store],
    pub(super) fault: Fault,
    pub(super) length: Duration,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} {} s", self.stores, self.fault, self.length.as_secs())
    }
}

/// The servers of one drill: the one that goes away is its own. Proxies stand between them and the nodes.
struct Servers {
    redis: TestRedis,
    postgres: Option<PrivatePostgres>,
    redis_proxy: FaultProxy,
    postgres_proxy: FaultProxy,
}

impl Servers {
    async fn start(stores: &[Store]) -> Self {
        let redis = TestRedis::start().await;
        let postgres =
            if stores.contains(&Store::Postgres) { Some(PrivatePostgres::start().await) } else { None };
        let database = postgres.as_ref().map_or_else(base_database_url, PrivatePostgres::url);
        let redis_proxy = FaultProxy::before(&redis.url()).await;
        let postgres_proxy = FaultProxy::before(&database).await;
        Self { redis, postgres, redis_proxy, postgres_proxy }
    }

    async fn rig(&self) -> Rig {
        match &self.postgres {
            Some(postgres) => Rig::with_servers(postgres, &self.redis.url()).await,
            None => Rig::with_redis(&self.redis.url()).await,
        }
    }

    fn for_nodes(&self, direct: &Stores) -> Stores {
        Stores {
            database: self.postgres_proxy.url(&direct.database),
            redis: self.redis_proxy.url(&direct.redis),
        }
    }

    fn postgres(&mut self) -> &mut PrivatePostgres {
        self.postgres.as_mut().expect("a plan that names Postgres has one of its own")
    }

    fn proxy(&self, store: Store) -> &FaultProxy {
        match store {
            Store::Redis => &self.redis_proxy,
            Store::Postgres => &self.postgres_proxy,
        }
    }

    async fn begin(&mut self, store: Store, fault: Fault) {
        match (fault, store) {
            (Fault::Stop, Store::Redis) => self.redis.stop().await,
            (Fault::Stop, Store::Postgres) => self.postgres().stop().await,
            (Fault::Freeze, Store::Redis) => self.redis.sigstop(),
            (Fault::Freeze, Store::Postgres) => self.postgres().sigstop(),
            (Fault::Swallow | Fault::SwallowThenCut, _) => self.proxy(store).set(Mode::Swallow).await,
        }
    }

    async fn end(&mut self, store: Store, fault: Fault) {
        match (fault, store) {
            (Fault::Stop, Store::Redis) => self.redis.restart().await,
            (Fault::Stop, Store::Postgres) => self.postgres().restart().await,
            (Fault::Freeze, Store::Redis) => self.redis.sigcont(),
            (Fault::Freeze, Store::Postgres) => self.postgres().sigcont(),
            (Fault::Swallow, _) => self.proxy(store).set(Mode::Pass).await,
            (Fault::SwallowThenCut, _) => {
                self.proxy(store).set(Mode::Cut).await;
                self.proxy(store).set(Mode::Pass).await;
            }
        }
    }
}

/// What the clients saw.
#[derive(Debug, Default)]
struct Accepted {
    jobs: Vec<JobId>,
    errors: usize,
    slowest: Duration,
}

/// Every kind of life a job may have when the lights go out: short, long, locked early, locked late.
fn wish(number: usize, targets: &[TargetName]) -> JobRequest {
    let target = targets[number % targets.len()].clone();
    let apply = |target| Step::Effect { name: "apply".to_owned(), target };
    match number % 5 {
        0 => {
            let mut early = request(&Script::new([Step::Sleep { ms: 100 }, apply(Some(target.clone()))]));
            early.targets = vec![target];
            early
        }
        1 => {
            let lock = Step::Lock { targets: vec![target.clone()] };
            request(&Script::new([lock, Step::Sleep { ms: 150 }, apply(Some(target))]))
        }
        2 => request(&Script::new([Step::Sleep { ms: 500 }, apply(None)])),
        _ => request(&Script::effect()),
    }
}

/// A steady trickle until told to stop. A client that gets a transient error asks again, which makes another job.
fn trickle(submitter: &Submitter, targets: &[TargetName], stop: &Arc<AtomicBool>) -> JoinSet<Accepted> {
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (submitter, targets, stop) = (submitter.clone(), targets.to_vec(), Arc::clone(stop));
        clients.spawn(async move {
            sleep(PACE * u32::try_from(client).expect("few clients") / u32::try_from(CLIENTS).expect("few"))
                .await;
            let mut accepted = Accepted::default();
            let mut pace = interval(PACE);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for number in (client..).step_by(CLIENTS) {
                pace.tick().await;
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let asked = Instant::now();
                loop {
                    match submitter.submit(wish(number, &targets)).await {
                        Ok(job) => {
                            accepted.jobs.push(job);
                            accepted.slowest = accepted.slowest.max(asked.elapsed());
                            break;
                        }
                        Err(error) => {
                            assert!(error.is_transient(), "an outage is no reason for {error}");
                            accepted.errors += 1;
                            sleep(Duration::from_millis(100)).await;
                        }
                    }
                }
            }
            accepted
        });
    }
    clients
}

async fn gather(clients: JoinSet<Accepted>) -> Accepted {
    let mut all = Accepted::default();
    for one in clients.join_all().await {
        all.jobs.extend(one.jobs);
        all.errors += one.errors;
        all.slowest = all.slowest.max(one.slowest);
    }
    all
}

/// What `/readyz` and `/healthz` of one node answered, over time.
#[derive(Debug, Default)]
struct Probes {
    ready: Vec<(f64, bool)>,
    unhealthy: usize,
}

fn probe(node: &Node, stop: &Arc<AtomicBool>) -> JoinSet<Probes> {
    let (admin, stop) = (node.admin, Arc::clone(stop));
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut probes = Probes::default();
        let mut ticks = interval(LOOK);
        while !stop.load(Ordering::Relaxed) {
            ticks.tick().await;
            let answer = |path: &'static str| async move {
                let answer = http::get(&format!("http://127.0.0.1:{admin}{path}")).await;
                answer.is_ok_and(|response| response.status == 200)
            };
            probes.ready.push((now(), answer("/readyz").await));
            probes.unhealthy += usize::from(!answer("/healthz").await);
        }
        probes
    });
    task
}

/// When a node turned red after the outage began, and green for good after it ended; in seconds.
#[derive(Debug, Clone, Copy)]
struct Light {
    red_after: Option<f64>,
    green_after: f64,
    flickers: usize,
}

impl Light {
    fn read(probes: &Probes, began: f64, ending: f64, ended: f64) -> Self {
        let first_red = probes.ready.iter().find(|(at, ready)| *at >= began && !ready).map(|(at, _)| *at);
        let last_red = probes.ready.iter().rfind(|(_, ready)| !ready).map_or(ended, |(at, _)| *at);
        let green_while_gone = |first: f64| {
            probes.ready.iter().filter(|(at, ready)| *ready && *at > first && *at < ending).count()
        };
        Self {
            red_after: first_red.map(|at| at - began),
            green_after: (last_red - ended).max(0.0),
            flickers: first_red.map_or(0, green_while_gone),
        }
    }
}

impl fmt::Display for Light {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.red_after {
            Some(after) => write!(f, "red after {after:.1} s, green {:.1} s after the end", self.green_after),
            None => write!(f, "never red"),
        }
    }
}

/// Jobs that ended in the last seconds, per second.
async fn rate(rig: &Rig) -> Result<f64, String> {
    let ended: i64 =
        sqlx::query_scalar("SELECT count(*) FROM jobs WHERE finished_at > now() - make_interval(secs => $1)")
            .bind(RATED)
            .fetch_one(&rig.pool)
            .await
            .map_err(|error| error.to_string())?;
    Ok(ended as f64 / RATED)
}

/// Runs the plan and judges it. Everything is asserted here, so that a matrix is a list of plans.
pub(super) async fn drill(plan: Plan) {
    let _place = PLACES.acquire().await.expect("never closed");
    let mut servers = Servers::start(plan.stores).await;
    let rig = servers.rig().await;
    let targets = rig.targets(6).await;
    let stores = servers.for_nodes(&rig.stores);
    let listen = format!("127.0.0.1:{}", free_port());
    let mut nodes = [
        ("worker", rig.node("worker", &stores)),
        ("gateway", NodeBuilder::shipped("gateway", &stores, &rig.name).set("DEPLOYMIND_LISTEN", &listen)),
        ("scheduler", rig.node("scheduler", &stores)),
    ]
    .map(|(role, node)| (role, CALM.iter().fold(node, |node, (key, value)| node.set(key, value)).spawn()));
    for (_, node) in &nodes {
        node.wait_ready(Duration::from_secs(30)).await;
    }

    let stop = Arc::new(AtomicBool::new(false));
    let clients = trickle(&rig.submitter, &targets, &stop);
    wait_for("a steady trickle", Duration::from_secs(30), async || {
        let rate = rate(&rig).await?;
        let full = CLIENTS as f64 / PACE.as_secs_f64();
        if rate >= 0.9 * full { Ok(()) } else { Err(format!("{rate}/s of {full}/s")) }
    })
    .await;
    let probes: Vec<_> = nodes.iter().map(|(_, node)| probe(node, &stop)).collect();

    let began = now();
    for store in plan.stores {
        servers.begin(*store, plan.fault).await;
    }
    sleep(plan.length).await;
    // A server that is started takes its time, and answers a moment before it is known to.
    let ending = now();
    for store in plan.stores {
        servers.end(*store, plan.fault).await;
    }
    let ended = now();

    let before = Moments::ends(&rig).await.rate(began - RATED, began);
    wait_for("the throughput to return", BACK, async || {
        let rate = rate(&rig).await?;
        let late: Vec<Uuid> = sqlx::query_scalar(
            "SELECT id FROM jobs WHERE finished_at IS NULL AND created_at < now() - interval '3 s' ORDER BY id",
        )
        .fetch_all(&rig.pool)
        .await
        .map_err(|error| error.to_string())?;
        let why = match late.first() {
            Some(job) => format!("{:?}", rig.fleet.why(JobId::from_uuid(*job)).await),
            None => String::new(),
        };
        let back = rate >= ENOUGH * before && late.is_empty();
        if back { Ok(()) } else { Err(format!("{plan}: {rate}/s, {} late jobs, the first: {why}", late.len())) }
    })
    .await;
    for (_, node) in &nodes {
        node.wait_ready(BACK).await;
    }
    let settled = now();
    stop.store(true, Ordering::Relaxed);
    let accepted = gather(clients).await;
    rig.wait_ended(&accepted.jobs, BACK).await;
    let uncertain = rig.uncertain(&accepted.jobs).await;
    rig.wait_ended(&uncertain, BACK).await;

    let ends = Moments::ends(&rig).await;
    // By half of it, what was in a worker's hands when it began has ended.
    let during = ends.between((began + ending) / 2.0, ending);
    println!(
        "{plan}: accepted {} (errors {}, slowest {:.1} s), uncertain {}; {before:.1}/s before, {during} ended in it, \
         back at {:.1}/s after {:.1} s, settled after {:.1} s",
        accepted.jobs.len(),
        accepted.errors,
        accepted.slowest.as_secs_f64(),
        uncertain.len(),
        ENOUGH * before,
        ends.back_at(ended, ENOUGH * before).unwrap_or(f64::NAN),
        settled - ended,
    );
    let mut complaints = Vec::new();
    for ((role, node), mut probes) in nodes.iter_mut().zip(probes) {
        let probes = probes.join_next().await.expect("one probe").expect("it does not panic");
        let light = Light::read(&probes, began, ending, ended);
        println!("{plan}: {role} {light}");
        let judged = plan.length >= Duration::from_secs(10)
            && (*role != "scheduler" || plan.stores.contains(&Store::Postgres));
        let seen = light.red_after.is_some_and(|after| after < plan.length.as_secs_f64());
        if judged && (!seen || light.flickers > 0) {
            complaints.push(format!("{role} was not red throughout: {light:?}"));
        }
        if probes.unhealthy > 0 || node.process.exit().is_some() {
            complaints.push(format!(
                "{role}: {} unhealthy answers, exit {:?}",
                probes.unhealthy,
                node.process.exit()
            ));
        }
    }
    // The control of all this: the outage was one.
    if plan.length >= Duration::from_secs(10) && during > 0 {
        complaints.push(format!("{during} jobs ended while the store was gone"));
    }
    assert!(complaints.is_empty(), "{plan}: {complaints:#?}");
    let verdict = rig.verdict_with(&accepted.jobs, &uncertain).await;
    verdict.assert_clean();
    let outcomes: Vec<&str> = verdict.outcomes.keys().map(String::as_str).collect();
    assert_eq!(outcomes, ["succeeded"], "an outage is no reason to fail: {verdict}");
    let blamed: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs WHERE recoveries > 0")
        .fetch_one(&rig.pool)
        .await
        .expect("count recoveries");
    println!("{plan}: jobs taken from a worker that was alive: {blamed}");
    drop(nodes);
    rig.finish().await;
}
