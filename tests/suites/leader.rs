//! Several schedulers: one leads, and when it cannot, another does.

use std::time::{Duration, Instant};

use deploymind_tests::proxy::{FaultProxy, Mode};
use deploymind_tests::redis::TestRedis;
use deploymind_tests::rig::{Node, Rig, Stores, request};
use deploymind_tests::script::Script;
use deploymind_tests::wait_for;
use serde_json::Value;

/// `DEPLOYMIND_SCHEDULER_LEADER_TTL` of a rig.
const TTL: Duration = Duration::from_millis(1500);
const SOON: Duration = Duration::from_secs(20);
const TASKS: [&str; 8] = ["collect", "measure", "promote", "reap", "reconcile", "retain", "settle", "unpark"];

async fn status(node: &Node) -> Result<Value, String> {
    let response = node.get("/status").await?;
    serde_json::from_str(&response.body).map_err(|error| format!("{error}: {}", response.body))
}

/// The number of its term, while it leads.
async fn term(node: &Node) -> Option<i64> {
    let status = status(node).await.ok()?;
    assert_eq!(status["leader"], !status["term"].is_null(), "{status}");
    status["term"].as_i64()
}

async fn wait_leads(node: &Node) -> i64 {
    wait_for("it to lead", SOON, async || term(node).await.ok_or_else(|| "it follows".to_owned())).await
}

/// Leader first.
async fn two(rig: &Rig) -> (Node, Node) {
    let first = rig.scheduler().ready().await;
    wait_leads(&first).await;
    (first, rig.scheduler().ready().await)
}

/// That somebody does the leader's work: a delayed job is put in line by nobody else.
async fn assert_work_goes_on(rig: &Rig) {
    let worker = rig.worker(2).ready().await;
    let mut later = request(&Script::effect());
    later.delay = Duration::from_millis(100);
    let job = rig.submitter.submit(later).await.expect("submit");
    rig.wait_ended(&[job], SOON).await;
    rig.verdict(&[job]).await.assert_clean();
    drop(worker);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_is_followed_within_its_lease() {
    let rig = Rig::start().await;
    let (mut leader, follower) = two(&rig).await;
    let before = wait_leads(&leader).await;
    assert_eq!(term(&follower).await, None);
    leader.process.kill9();
    let killed = Instant::now();
    let after = wait_leads(&follower).await;
    let took = killed.elapsed();
    println!(
        "kill -9 of the leader: the next leads after {} ms (lease {} ms)",
        took.as_millis(),
        TTL.as_millis()
    );
    assert!(took < TTL + Duration::from_secs(1), "{took:?}");
    assert!(after > before, "term {after} follows {before}");
    assert_work_goes_on(&rig).await;
    drop(follower);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_froze_follows_when_it_thaws() {
    let rig = Rig::start().await;
    let (mut leader, mut follower) = two(&rig).await;
    let before = wait_leads(&leader).await;
    leader.process.sigstop();
    let frozen = Instant::now();
    let after = wait_leads(&follower).await;
    let took = frozen.elapsed();
    println!(
        "SIGSTOP of the leader: the next leads after {} ms (lease {} ms)",
        took.as_millis(),
        TTL.as_millis()
    );
    assert!(took < TTL + Duration::from_secs(1), "{took:?}");
    leader.process.sigcont();
    // Its very first answer must already know, and nothing may change for a while.
    let thawed = Instant::now();
    let mut asked = 0;
    while thawed.elapsed() < TTL * 2 {
        assert_eq!(term(&leader).await, None, "it leads {} ms after it thawed", thawed.elapsed().as_millis());
        asked += 1;
    }
    println!("thawed, it never claimed to lead in {asked} answers over {} ms", thawed.elapsed().as_millis());
    assert_eq!(term(&follower).await, Some(after));
    assert!(after > before);
    assert!(leader.is_ready().await, "a follower is as ready as a leader");
    // And it is not out of the race.
    follower.process.kill9();
    assert!(wait_leads(&leader).await > after);
    assert_work_goes_on(&rig).await;
    drop(leader);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_told_to_stop_hands_over_at_once() {
    let rig = Rig::start().await;
    let (mut leader, follower) = two(&rig).await;
    let before = wait_leads(&leader).await;
    leader.process.sigterm();
    let told = Instant::now();
    let after = wait_leads(&follower).await;
    let took = told.elapsed();
    println!(
        "SIGTERM of the leader: the next leads after {} ms (it asks every {} ms)",
        took.as_millis(),
        TTL.as_millis() / 4
    );
    // One of its questions, not the rest of the lease.
    assert!(took < TTL * 3 / 4, "{took:?}");
    assert!(after > before);
    assert_eq!(leader.process.wait_exit(SOON).await.code(), Some(0));
    assert_work_goes_on(&rig).await;
    drop(follower);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_cut_off_from_the_record_stops_leading_before_another_begins() {
    let rig = Rig::start().await;
    let proxy = FaultProxy::before(&rig.stores.database).await;
    let stores = Stores { database: proxy.url(&rig.stores.database), ..rig.stores.clone() };
    let leader = rig.node("scheduler", &stores).ready().await;
    let before = wait_leads(&leader).await;
    let follower = rig.scheduler().ready().await;
    proxy.set(Mode::Swallow).await;
    let cut = Instant::now();
    let resigned = wait_for("the leader to resign", SOON, async || match term(&leader).await {
        None => Ok(cut.elapsed()),
        Some(term) => {
            // Asked after: if both lead in this order, they led at one moment.
            let other = self::term(&follower).await;
            assert_eq!(other, None, "terms {term} and {other:?} at one time");
            Err(format!("still in term {term}"))
        }
    })
    .await;
    let after = wait_leads(&follower).await;
    println!(
        "cut off, the leader resigned after {} ms and the next led after {} ms",
        resigned.as_millis(),
        cut.elapsed().as_millis()
    );
    assert!(cut.elapsed() < TTL + Duration::from_secs(1));
    assert!(after > before);
    wait_for("it to be red", SOON, async || {
        if leader.is_ready().await { Err("it is ready".to_owned()) } else { Ok(()) }
    })
    .await;
    proxy.set(Mode::Cut).await;
    proxy.set(Mode::Pass).await;
    leader.wait_ready(SOON).await;
    assert_eq!(term(&leader).await, None);
    assert_eq!(term(&follower).await, Some(after));
    drop((leader, follower));
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reconcilers_show_what_they_did_last() {
    let mut redis = TestRedis::start().await;
    let rig = Rig::with_redis(&redis.url()).await;
    let (leader, follower) = two(&rig).await;
    let tasks = wait_for("every reconciler to have run", SOON, async || {
        let tasks = status(&leader).await?["tasks"].clone();
        let done = TASKS.iter().all(|task| {
            let line = &tasks[*task];
            line["runs"].as_u64() > Some(0)
                && line["last_result"].is_object()
                && line["last_run_at"].is_string()
                && line["last_error"].is_null()
        });
        if done { Ok(tasks) } else { Err(tasks.to_string()) }
    })
    .await;
    assert_eq!(
        tasks.as_object().map(|tasks| tasks.keys().map(String::as_str).collect()),
        Some(TASKS.to_vec())
    );
    println!("{tasks}");
    let idle = status(&follower).await.expect("status");
    assert_eq!((&idle["leader"], &idle["tasks"]), (&Value::Bool(false), &serde_json::json!({})), "{idle}");
    // One that fails says why, keeps its last good answer, and forgets the error when it is over.
    redis.stop().await;
    let failing = wait_for("the error to be shown", SOON, async || {
        let line = status(&leader).await?["tasks"]["reconcile"].clone();
        if line["last_error"].is_string() { Ok(line) } else { Err(line.to_string()) }
    })
    .await;
    println!("{failing}");
    assert!(failing["failures"].as_u64() > Some(0) && failing["last_result"].is_object(), "{failing}");
    assert!(failing["last_error"].as_str().is_some_and(|error| error.starts_with("DM-1102")), "{failing}");
    redis.restart().await;
    wait_for("the error to be forgotten", SOON, async || {
        let line = status(&leader).await?["tasks"]["reconcile"].clone();
        if line["last_error"].is_null() { Ok(()) } else { Err(line.to_string()) }
    })
    .await;
    drop((leader, follower));
    rig.finish().await;
}
