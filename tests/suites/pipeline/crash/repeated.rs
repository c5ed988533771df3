//! Every step twice: the journal forgets what was done, and the second time comes to the same end.

use std::time::Instant;

use deploymind_shared::db::deployments::Created;
use deploymind_shared::db::steps::StepState;
use deploymind_tests::registry::Registry;

use super::bench::{Bench, steps, table};
use crate::common::SOON;

#[tokio::test(flavor = "multi_thread")]
async fn any_step_may_run_twice() {
    let registry = Registry::start().await;
    let mut cases: Vec<Vec<&str>> = steps().map(|step| vec![step]).collect();
    cases.push(steps().collect());
    table("run twice, until the end", cases, async |forgotten| {
        let took = twice(&registry, &forgotten).await;
        (forgotten.join(" "), took)
    })
    .await;
}

async fn twice(registry: &Registry, forgotten: &[&str]) -> std::time::Duration {
    let bench = Bench::small(registry).await;
    let created = bench.dies_at(bench.worker(), "pipeline.release.done").await;
    let (release, images) = (releases(&bench, &created).await, bench.images(&created));
    assert_eq!((release.len(), images.len()), (1, 1), "{forgotten:?}");
    forget(&bench, &created, forgotten).await;
    let began = Instant::now();
    let second = bench.worker().ready().await;
    bench.released(&created).await;
    let took = began.elapsed();
    for (name, step) in bench.journal(&created).await {
        let state = if name == "checkout" { StepState::Undone } else { StepState::Done };
        assert_eq!(step.state, state, "{name}");
        if forgotten.contains(&name.as_str()) {
            assert_eq!(step.attempt.0, 2, "{name} did not run again");
        }
    }
    assert_eq!(releases(&bench, &created).await, release, "{forgotten:?}");
    assert_eq!(bench.images(&created), images, "{forgotten:?}");
    bench.delivery.assert_clean(SOON).await;
    drop(second);
    bench.finish().await;
    took
}

async fn forget(bench: &Bench, created: &Created, steps: &[&str]) {
    let steps: Vec<String> = steps.iter().map(|step| (*step).to_owned()).collect();
    let done = sqlx::query(
        "UPDATE deployment_steps SET state = 'started', output = NULL, finished_at = NULL
         WHERE deployment_id = $1 AND step = ANY ($2)",
    )
    .bind(created.deployment.as_uuid())
    .bind(&steps)
    .execute(&bench.delivery.rig.pool)
    .await
    .expect("forget");
    assert_eq!(done.rows_affected(), steps.len() as u64);
}

async fn releases(bench: &Bench, created: &Created) -> Vec<uuid::Uuid> {
    sqlx::query_scalar("SELECT id FROM releases WHERE deployment_id = $1")
        .bind(created.deployment.as_uuid())
        .fetch_all(&bench.delivery.rig.pool)
        .await
        .expect("read releases")
}
