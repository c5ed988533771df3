//! The log writer, against bare statements of the same size: one `INSERT … SELECT FROM unnest` and one `PUBLISH` per 2,000
//! lines, one after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deploymind_shared::clock::Clock;
use deploymind_shared::db::apps::{NewApp, app_create};
use deploymind_shared::db::deployments::Trigger;
use deploymind_shared::db::users::user_create;
use deploymind_shared::domain::job::Priority;
use deploymind_shared::ids::Attempt;
use deploymind_tests::rig::{Rig, production};
use deploymind_worker::log::{Limits, Lines, Place, Redactor, Writer, writer};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const LINES: usize = 300_000;
const BATCH: usize = 2_000;
const ROUNDS: usize = 3;
const SECRETS: usize = 40;
const TARGET_PER_S: f64 = 50_000.0;

pub async fn measure() {
    let rig = Rig::start().await;
    let secrets = (0..SECRETS).map(|n| (format!("S{n}"), format!("value-{n}-{}", "Ab9/+x".repeat(4))));
    let redactor = Arc::new(Redactor::new(secrets).expect("secrets"));
    let (mut ours, mut floors, mut peak) = (Vec::new(), Vec::new(), 0.0_f64);
    for round in 0..ROUNDS {
        floors.push(floor(&rig, round).await);
        let (per_s, grown_mb) = write(&rig, round, &redactor).await;
        ours.push(per_s);
        peak = peak.max(grown_mb);
    }
    let more = json!({ "target": TARGET_PER_S });
    crate::figure("log_lines_per_s", crate::median(ours), "1/s", Some(crate::median(floors)), &more);
    crate::figure("log_peak_mb", peak, "MB", None, &json!({ "lines": LINES }));
}

/// A deployment whose job runs, as far as the record knows.
async fn place(rig: &Rig, name: &str) -> Place {
    let db = &rig.fleet.db;
    let app = NewApp {
        owner: user_create(db, name, None).await.expect("create user").id,
        name: name.to_owned(),
        repository: "https://git.example/shop.git".to_owned(),
        branch: "main".to_owned(),
        environment: production(),
        targets: Vec::new(),
    };
    let app = app_create(db, &app).await.expect("create app");
    let created =
        rig.fleet.deploy(app, Trigger::Push, None, None, Priority::Normal).await.expect("accept deployment");
    sqlx::query(
        "UPDATE jobs SET state = 'running', attempt = 1, worker_id = $2, claimed_at = now(), started_at = now()
         WHERE id = $1",
    )
    .bind(created.job.as_uuid())
    .bind(uuid::Uuid::new_v4())
    .execute(&rig.pool)
    .await
    .expect("start job");
    Place { job: created.job, attempt: Attempt(1), deployment: created.deployment }
}

/// As a compiler talks.
fn text(number: usize) -> String {
    format!(
        "#{} 12.{:03} Compiling package-{number} v1.{}.0 (registry+https://index.example/{}) in 0.{}s",
        number % 40,
        number % 1000,
        number % 9,
        number * 7919,
        number % 10
    )
}

async fn floor(rig: &Rig, round: usize) -> f64 {
    let place = place(rig, &format!("floor-{round}")).await;
    let mut postgres = PgConnection::connect(&rig.stores.database).await.expect("connect to postgres");
    let mut redis = rig.redis().await;
    let begun = Instant::now();
    for first in (0..LINES).step_by(BATCH) {
        let seqs: Vec<i64> = (first..first + BATCH).map(|n| i64::try_from(n + 1).expect("fits")).collect();
        let at = vec![Clock::system().now(); BATCH];
        let levels = vec!["info"; BATCH];
        let lines: Vec<String> = (first..first + BATCH).map(text).collect();
        sqlx::query(
            "INSERT INTO deployment_logs (deployment_id, seq, at, level, line)
             SELECT $1, w.* FROM unnest($2::bigint[], $3::timestamptz[], $4::text[], $5::text[]) AS w (seq, at, level, line)",
        )
        .bind(place.deployment.as_uuid())
        .bind(&seqs)
        .bind(&at)
        .bind(&levels)
        .bind(&lines)
        .execute(&mut postgres)
        .await
        .expect("postgres answers");
        let message = serde_json::to_string(&lines).expect("lines are JSON");
        let _: i64 = redis::cmd("PUBLISH")
            .arg("floor:log")
            .arg(message)
            .query_async(&mut redis)
            .await
            .expect("redis answers");
    }
    LINES as f64 / begun.elapsed().as_secs_f64()
}

/// Lines per second, and by how many MB this process grew at most meanwhile.
async fn write(rig: &Rig, round: usize, redactor: &Arc<Redactor>) -> (f64, f64) {
    let place = place(rig, &format!("ours-{round}")).await;
    let deployment = place.deployment;
    let (lines, received) = Lines::channel(writer::ROOM);
    let (writer, _flusher) =
        Writer::new(&rig.fleet, place, Arc::clone(redactor), Limits::default(), 0, received);
    let before = memory_mb("VmRSS:");
    // Sets the peak back to what is used now (proc(5)).
    std::fs::write("/proc/self/clear_refs", "5").expect("Linux");
    let begun = Instant::now();
    let mut saying = JoinSet::new();
    saying.spawn(async move {
        for number in 0..LINES {
            lines.info(text(number)).await;
        }
    });
    let totals =
        Box::pin(writer.run(&CancellationToken::new(), Duration::from_secs(30))).await.expect("written");
    let per_s = LINES as f64 / begun.elapsed().as_secs_f64();
    let grown = memory_mb("VmHWM:") - before;
    saying.join_next().await.expect("one task").expect("no panic");
    let counted: (i64, i64) =
        sqlx::query_as("SELECT count(*), max(seq) FROM deployment_logs WHERE deployment_id = $1")
            .bind(deployment.as_uuid())
            .fetch_one(&rig.pool)
            .await
            .expect("postgres answers");
    let all = i64::try_from(LINES).expect("fits");
    assert_eq!((counted, totals.dropped), ((all, all), 0), "every line is there, once");
    (per_s, grown)
}

fn memory_mb(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field is there");
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().expect("a number");
    kib / 1024.0
}
