//! The rules that the schema itself keeps: which moves it refuses, what everything is called, what is indexed.

use deploymind_shared::db::deployments::Trigger;
use deploymind_shared::db::migration_sources;
use deploymind_shared::domain::deployment::DeploymentStatus;
use deploymind_shared::domain::job::JobState;
use deploymind_tests::rig::Rig;
use sqlx::PgPool;
use uuid::Uuid;

use super::{app, deploy, user};

/// Tables that are not ours: sqlx's, and the history that the harness records.
const FOREIGN: &str = "('_sqlx_migrations', 'history')";

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_may_become_in_sql_what_it_may_in_rust() {
    let rig = Rig::start().await;
    let mut legal = 0;
    for &from in DeploymentStatus::ALL {
        for &to in DeploymentStatus::ALL {
            let sql: bool = sqlx::query_scalar("SELECT deployment_may_become($1, $2)")
                .bind(from.as_str())
                .bind(to.as_str())
                .fetch_one(&rig.pool)
                .await
                .expect("ask");
            assert_eq!(sql, from.may_become(to), "{from} -> {to}");
            legal += usize::from(sql);
        }
    }
    let known: String = definition(&rig.pool, "deployments_status_known").await;
    for status in DeploymentStatus::ALL {
        assert!(known.contains(&format!("'{status}'")), "{status} is not in the schema");
    }
    println!("{legal} legal moves of {}", DeploymentStatus::ALL.len().pow(2));
    rig.finish().await;
}

async fn definition(pool: &PgPool, constraint: &str) -> String {
    sqlx::query_scalar("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = $1")
        .bind(constraint)
        .fetch_one(pool)
        .await
        .expect("the constraint")
}

/// Tries every move of `column`, each on a row of its own, and gives those that were refused by `constraint`.
async fn refused(
    pool: &PgPool,
    insert: &str,
    update: &str,
    constraint: &str,
    words: &[&str],
) -> Vec<(String, String)> {
    let mut refused = Vec::new();
    for from in words {
        for to in words {
            let id = Uuid::now_v7();
            let mut txn = pool.begin().await.expect("begin");
            sqlx::query(sqlx::AssertSqlSafe(insert))
                .bind(id)
                .bind(from)
                .execute(&mut *txn)
                .await
                .expect("insert");
            match sqlx::query(sqlx::AssertSqlSafe(update)).bind(id).bind(to).execute(&mut *txn).await {
                Ok(done) => assert_eq!(done.rows_affected(), 1),
                Err(error) => {
                    let by = error.as_database_error().and_then(|error| error.constraint());
                    assert_eq!(by, Some(constraint), "{from} -> {to}: {error}");
                    refused.push(((*from).to_owned(), (*to).to_owned()));
                }
            }
            txn.rollback().await.expect("rollback");
        }
    }
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn illegal_moves_of_deployments_are_refused_by_name() {
    let rig = Rig::start().await;
    let owner = user(&rig, "owner").await;
    let shop = app(&rig, owner, "shop", &[]).await;
    let words: Vec<&str> = DeploymentStatus::ALL.iter().map(|status| status.as_str()).collect();
    let insert = format!(
        "INSERT INTO deployments (id, app_id, environment, trigger, status)
         VALUES ($1, '{shop}', 'production', 'push', $2)"
    );
    let update = "UPDATE deployments SET status = $2 WHERE id = $1";
    let refused = refused(&rig.pool, &insert, update, "deployments_status_transition", &words).await;
    let mut expected = Vec::new();
    for &from in DeploymentStatus::ALL {
        for &to in DeploymentStatus::ALL {
            if from != to && !from.may_become(to) {
                expected.push((from.to_string(), to.to_string()));
            }
        }
    }
    assert_eq!(refused, expected);
    println!("{} of {} moves refused", refused.len(), words.len().pow(2));
    rig.finish().await;
}

/// Every legal move of a job; written out here, apart from the trigger, on purpose.
const JOB_MOVES: &[(JobState, &[JobState])] = {
    use JobState as S;
    &[
        (S::Queued, &[S::Running, S::Failed, S::Cancelled, S::Superseded]),
        (S::Running, &[S::Queued, S::Succeeded, S::Failed, S::Cancelled, S::Superseded, S::Quarantined]),
        (S::Quarantined, &[S::Queued, S::Failed]),
    ]
};

#[tokio::test(flavor = "multi_thread")]
async fn illegal_moves_of_jobs_are_refused_by_name() {
    let rig = Rig::start().await;
    let words: Vec<&str> = JobState::ALL.iter().map(|state| state.as_str()).collect();
    let ends = "CASE WHEN $2 NOT IN ('queued', 'running') THEN now() END";
    let insert = format!(
        "INSERT INTO jobs (id, kind, environment, worker_id, state, finished_at)
         VALUES ($1, 'probe', 'production', '{}', $2, {ends})",
        Uuid::now_v7()
    );
    let update = format!("UPDATE jobs SET state = $2, finished_at = {ends} WHERE id = $1");
    let refused = refused(&rig.pool, &insert, &update, "jobs_state_transition", &words).await;
    let mut expected = Vec::new();
    for &from in JobState::ALL {
        let legal = JOB_MOVES.iter().find(|(state, _)| *state == from).map_or(&[][..], |(_, to)| to);
        for &to in JobState::ALL {
            if from != to && !legal.contains(&to) {
                expected.push((from.to_string(), to.to_string()));
            }
        }
    }
    assert_eq!(refused, expected);
    println!("{} of {} moves refused", refused.len(), words.len().pow(2));
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_in_the_schema_has_the_name_we_gave_it() {
    let rig = Rig::start().await;
    let sql = format!(
        "SELECT r.relname::text, c.conname::text FROM pg_constraint c JOIN pg_class r ON r.oid = c.conrelid
         WHERE c.connamespace = 'public'::regnamespace AND r.relname NOT IN {FOREIGN}
         UNION SELECT r.relname::text, i.relname::text
         FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class r ON r.oid = x.indrelid
         WHERE i.relnamespace = 'public'::regnamespace AND r.relname NOT IN {FOREIGN}
         UNION SELECT r.relname::text, t.tgname::text FROM pg_trigger t JOIN pg_class r ON r.oid = t.tgrelid
         WHERE NOT t.tgisinternal AND r.relnamespace = 'public'::regnamespace AND t.tgname NOT LIKE 'history%'"
    );
    let names: Vec<(String, String)> =
        sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(&rig.pool).await.expect("list");
    let written: String = migration_sources().collect();
    for (table, name) in &names {
        // A name that nobody wrote down is one that Postgres made up.
        assert!(written.contains(name.as_str()), "{name} of {table} is not named in a migration");
        assert!(name.starts_with(&format!("{table}_")), "{name} does not begin with its table, {table}");
    }
    println!("{} constraints, indexes and triggers", names.len());
    assert!(names.len() > 60, "the list has {} entries only", names.len());
    rig.finish().await;
}

/// Foreign keys whose other side is never deleted by the product: looking back from it is not worth an index that every
/// insert has to keep.
const NEVER_DELETED: &[&str] = &["jobs_environment_fkey", "deployments_environment_fkey"];

#[tokio::test(flavor = "multi_thread")]
async fn every_foreign_key_has_an_index_that_begins_with_it() {
    let rig = Rig::start().await;
    // A partial index serves only if its condition is that the key is there.
    let keys: Vec<(String, Vec<String>)> = sqlx::query_as(
        "SELECT c.conname::text, ARRAY(
             SELECT i.indexrelid::regclass::text FROM pg_index i
             WHERE i.indrelid = c.conrelid
               AND (i.indkey::smallint[])[0:cardinality(c.conkey) - 1] = c.conkey
               AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) = '(' || (
                   SELECT attname FROM pg_attribute WHERE attrelid = c.conrelid AND attnum = c.conkey[1]
               ) || ' IS NOT NULL)'))
         FROM pg_constraint c WHERE c.contype = 'f' AND c.connamespace = 'public'::regnamespace",
    )
    .fetch_all(&rig.pool)
    .await
    .expect("list");
    let without: Vec<&str> = keys
        .iter()
        .filter(|(key, indexes)| indexes.is_empty() && !NEVER_DELETED.contains(&key.as_str()))
        .map(|(key, _)| key.as_str())
        .collect();
    println!("{} foreign keys, {} excepted", keys.len(), NEVER_DELETED.len());
    assert!(keys.len() >= 12 && NEVER_DELETED.iter().all(|key| keys.iter().any(|(name, _)| name == key)));
    assert!(without.is_empty(), "deleting what these point to reads the whole table: {without:?}");
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_begun_jobs_of_one_app_are_refused_by_name() {
    let rig = Rig::start().await;
    let owner = user(&rig, "owner").await;
    let shop = app(&rig, owner, "shop", &[]).await;
    deploy(&rig, shop, Trigger::Rollback).await;
    deploy(&rig, shop, Trigger::Push).await;
    let both = sqlx::query("UPDATE jobs SET started_at = now()").execute(&rig.pool).await;
    assert_eq!(super::refused_by(both), "jobs_one_begun_per_app");
    rig.finish().await;
}
