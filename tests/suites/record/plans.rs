//! How Postgres runs the statements of the product on a large table. The statements are read from the query data that
//! the build keeps (`shared/.sqlx`), so that what is explained is what runs.

use std::collections::BTreeMap;

use deploymind_tests::rig::Rig;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

use super::{app, sources, user};

/// 50,000 ended jobs, half of them of deployments; 200 waiting, 100 of them of apps; 60 running.
const FILL: &str = "
    INSERT INTO apps (id, owner_id, name, repository, branch, environment)
        SELECT gen_random_uuid(), (SELECT id FROM users LIMIT 1), 'app-' || n, 'r', 'b', 'production'
        FROM generate_series(1, 200) n;
    CREATE TEMPORARY TABLE numbered AS SELECT id, row_number() OVER () AS n FROM apps;
    INSERT INTO deployments (id, app_id, environment, trigger, status, finished_at)
        SELECT gen_random_uuid(), a.id, 'production', 'push', 'FAILED', now() - s * interval '1 minute'
        FROM generate_series(1, 25000) s JOIN numbered a ON a.n = s % 200 + 1;
    INSERT INTO jobs (id, kind, environment, state, app_id, deployment_id, started_at, finished_at)
        SELECT gen_random_uuid(), 'deploy', 'production', 'failed', app_id, id, now(), finished_at FROM deployments;
    INSERT INTO jobs (id, kind, environment, state, finished_at)
        SELECT gen_random_uuid(), 'probe', 'production', 'succeeded', now() - n * interval '1 minute'
        FROM generate_series(1, 25000) n;
    INSERT INTO jobs (id, kind, environment, app_id)
        SELECT gen_random_uuid(), 'deploy', 'production', id FROM numbered WHERE n <= 100;
    INSERT INTO jobs (id, kind, environment) SELECT gen_random_uuid(), 'probe', 'production' FROM generate_series(1, 100);
    INSERT INTO workers (id, environments, concurrency, hostname, version)
        SELECT gen_random_uuid(), '{production}', 4, 'h', 'v' FROM generate_series(1, 20);
    INSERT INTO jobs (id, kind, environment, state, worker_id, started_at)
        SELECT gen_random_uuid(), 'probe', 'production', 'running', w.id, now()
        FROM workers w, generate_series(1, 3);
    INSERT INTO targets (name) SELECT 'docker://host-' || n FROM generate_series(1, 500) n;
    INSERT INTO deployment_logs (deployment_id, seq, level, line)
        SELECT id, s, 'info', 'line' FROM (SELECT id FROM deployments LIMIT 2000) d, generate_series(1, 10) s;
    INSERT INTO events (deployment_id, seq, kind)
        SELECT id, s, 'status' FROM (SELECT id FROM deployments LIMIT 2000) d, generate_series(1, 5) s;
    ANALYZE;";

/// The statements that run all day, by a piece of their text, and the indexes by one of which each must find its jobs.
const WATCHED: &[(&str, &str, &[&str])] = &[
    ("reconcile", "AND queued_at <= now() - make_interval", &["jobs_queued_idx"]),
    ("claim", "SET state = 'running', attempt = j.attempt + 1", &["jobs_pkey", "jobs_queued_idx"]),
    (
        "explain unclaimed",
        "(state = 'queued' AND app_id IS NOT NULL AND started_at IS NULL)",
        &["jobs_pkey", "jobs_held_idx"],
    ),
    ("finish", "UPDATE jobs j SET state = w.state, code = w.code", &["jobs_pkey"]),
    ("requeue", "tries = tries + $4", &["jobs_pkey"]),
    ("next of apps", "SELECT DISTINCT ON (app_id)", &["jobs_app_unfinished_idx"]),
    ("held", "WHERE worker_id = $1 AND state = $2", &["jobs_held_idx"]),
    ("reap", "WITH lost AS", &["jobs_held_idx"]),
    ("ended", "FROM unnest($1::uuid[]) AS w (id)", &["jobs_pkey"]),
    ("quarantined", "state = 'quarantined' AND id > $1", &["jobs_quarantined_idx"]),
    ("overrides", "SELECT count(*)::integer", &["jobs_app_"]),
    ("retain", "AND state <> 'quarantined' AND deployment_id IS NULL", &["jobs_finished_at_idx"]),
];

struct Statement {
    text: String,
    parameters: usize,
}

fn statements() -> Vec<Statement> {
    sources("shared/.sqlx", "json")
        .into_iter()
        .map(|(path, text)| {
            let data: serde_json::Value = serde_json::from_str(&text).expect("query data");
            let parameters = data["describe"]["parameters"]["Left"].as_array().map_or(0, Vec::len);
            let text = data["query"].as_str().unwrap_or_else(|| panic!("{path} holds no query")).to_owned();
            Statement { text, parameters }
        })
        .collect()
}

/// The plan Postgres makes once and keeps: the one a statement that runs for days has, whatever its parameters.
async fn plan(connection: &mut PgConnection, statement: &Statement) -> String {
    let prepare = format!("PREPARE explained AS {}", statement.text);
    connection.execute(AssertSqlSafe(prepare)).await.expect("prepare");
    let nothing = vec!["NULL"; statement.parameters].join(", ");
    let call = if nothing.is_empty() { String::new() } else { format!("({nothing})") };
    let explain = format!("EXPLAIN EXECUTE explained{call}");
    let lines: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(explain)).fetch_all(&mut *connection).await.expect("explain");
    connection.execute("DEALLOCATE explained").await.expect("deallocate");
    lines.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_all_day_finds_its_rows_by_an_index() {
    let rig = Rig::start().await;
    let owner = user(&rig, "owner").await;
    app(&rig, owner, "first", &[]).await;
    let mut connection = rig.pool.acquire().await.expect("connect");
    sqlx::raw_sql(FILL).execute(&mut *connection).await.expect("fill");
    connection.execute("SET plan_cache_mode = force_generic_plan").await.expect("set");
    let all = statements();
    let mut plans = BTreeMap::new();
    for statement in &all {
        plans.insert(&statement.text, plan(&mut connection, statement).await);
    }
    for (what, piece, indexes) in WATCHED {
        let found: Vec<_> = plans.iter().filter(|(text, _)| text.contains(piece)).collect();
        let [(_, plan)] = found[..] else { panic!("{} statements hold {piece:?}", found.len()) };
        println!(
            "{what}: {}",
            plan.lines().filter(|line| line.contains("Scan")).map(str::trim).collect::<Vec<_>>().join(" | ")
        );
        assert!(indexes.iter().any(|index| plan.contains(index)), "{what} uses none of {indexes:?}:\n{plan}");
    }
    // No statement at all reads a large table from end to end.
    for (text, plan) in &plans {
        for table in ["jobs", "deployments", "deployment_logs", "events"] {
            assert!(!plan.contains(&format!("Seq Scan on {table} ")), "{text}\n{plan}");
        }
    }
    println!("{} statements, none reads a large table from end to end", plans.len());
    // The control: the same question without its index would be answered by reading everything, and be seen.
    connection.execute("DROP INDEX jobs_queued_idx").await.expect("drop");
    let reconcile = all.iter().find(|statement| statement.text.contains(WATCHED[0].1)).expect("there");
    let plan = plan(&mut connection, reconcile).await;
    assert!(!plan.contains("jobs_queued_idx"), "{plan}");
    drop(connection);
    rig.finish().await;
}
