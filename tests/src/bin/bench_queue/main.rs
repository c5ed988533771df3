//! The queue against its floors, on the same Postgres and Redis in one run. One JSON line per figure on stdout:
//! `{"name", "value", "unit", "floor", "ratio"}`. Workers are the program that ships, doing no-op jobs.
//!
//! The machine is noisy: the ratio counts, not the value.
#![expect(clippy::expect_used, reason = "a benchmark that cannot go on must stop, and say why")]

mod floors;
mod ours;

use deploymind_tests::rig::Rig;
use floors::Floors;

/// A figure and what it is held against. `floor` is `None` where there is nothing to compare with.
fn figure(name: &str, value: f64, unit: &str, floor: Option<f64>) {
    let round = |number: f64| (number * 1000.0).round() / 1000.0;
    let line = serde_json::json!({
        "name": name,
        "value": round(value),
        "unit": unit,
        "floor": floor.map(round),
        "ratio": floor.filter(|floor| *floor > 0.0).map(|floor| round(value / floor)),
    });
    println!("{line}");
}

#[tokio::main]
async fn main() {
    let rig = Rig::start().await;
    eprintln!("floors");
    let floors = Floors::measure(&rig.stores).await;
    figure("floor_list_per_s", floors.list_per_s, "1/s", None);
    figure("floor_insert_per_s", floors.insert_per_s, "1/s", None);
    figure("floor_update_per_s", floors.update_per_s, "1/s", None);
    figure("floor_redis_pickup_p50_ms", floors.redis_pickup.p50, "ms", None);
    figure("floor_commit_p50_ms", floors.commit.p50, "ms", None);

    let _scheduler = ours::scheduler(&rig);
    if std::env::args().nth(1).as_deref() == Some("backlog") {
        return backlog(&rig, &floors, f64::NAN).await;
    }
    eprintln!("pickup");
    pickup(&rig, &floors, "pickup").await;
    eprintln!("enqueue and drain");
    let enqueue = ours::enqueue(&rig, 40_000).await;
    figure("enqueue_per_s", enqueue, "1/s", Some(floors.insert_per_s));
    let one = ours::drain(&rig, 1).await;
    figure("drain_1w_per_s", one.per_s, "1/s", Some(floors.update_per_s));
    ours::enqueue(&rig, 40_000).await;
    let two = ours::drain(&rig, 2).await;
    figure("drain_2w_per_s", two.per_s, "1/s", Some(floors.update_per_s));
    let idle = ours::idle_memory(&rig).await;
    figure("worker_idle_mb", idle, "MB", None);

    backlog(&rig, &floors, two.per_s).await;
}

async fn backlog(rig: &Rig, floors: &Floors, drain_2w_per_s: f64) {
    eprintln!("the same with 100,000 waiting and 10,000 parked");
    ours::park(rig, 10_000).await;
    ours::enqueue(rig, 100_000).await;
    let enqueue = ours::enqueue(rig, 20_000).await;
    figure("enqueue_backlog_per_s", enqueue, "1/s", Some(floors.insert_per_s));
    pickup(rig, floors, "pickup_backlog").await;
    let idle = ours::idle_memory(rig).await;
    figure("worker_idle_backlog_mb", idle, "MB", None);
    let backlog = ours::drain(rig, 2).await;
    figure("drain_backlog_per_s", backlog.per_s, "1/s", Some(drain_2w_per_s));
    figure("worker_drained_mb", backlog.memory_mb, "MB", None);
}

/// One job every 20 ms in an environment where nothing else waits.
async fn pickup(rig: &Rig, floors: &Floors, name: &str) {
    let pickup = ours::pickup(rig).await;
    let floor = |redis: f64, commit: f64| Some(redis + 3.0 * commit);
    figure(&format!("{name}_p50_ms"), pickup.p50, "ms", floor(floors.redis_pickup.p50, floors.commit.p50));
    figure(&format!("{name}_p95_ms"), pickup.p95, "ms", floor(floors.redis_pickup.p95, floors.commit.p95));
    figure(&format!("{name}_p99_ms"), pickup.p99, "ms", floor(floors.redis_pickup.p99, floors.commit.p99));
}
