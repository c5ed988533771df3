//! Pushes that come faster than they deploy: which run, which are replaced, which are stopped; and that deployment and
//! job never contradict each other meanwhile.

mod policies;
mod waiting;

use std::collections::BTreeMap;
use std::time::Duration;

use deploymind_shared::db::deployments::{Created, Trigger, deployment_get};
use deploymind_shared::db::environments::environment_put;
use deploymind_shared::domain::deployment::DeploymentStatus;
use deploymind_shared::domain::job::Priority;
use deploymind_shared::domain::overlap::OverlapPolicy;
use deploymind_shared::ids::{AppId, DeploymentId, TargetName};
use deploymind_tests::rig::{Node, Rig, production};
use deploymind_tests::wait_for;
use uuid::Uuid;

use crate::record;

const SOON: Duration = Duration::from_secs(20);

/// Records every move of a deployment, and, at each commit, a deployment and a job that contradict each other.
const WATCH: &str = "
    CREATE TABLE moves (at bigserial PRIMARY KEY, clock timestamptz NOT NULL DEFAULT clock_timestamp(),
                        deployment uuid NOT NULL, status text NOT NULL);
    CREATE TABLE contradictions (job uuid, state text, status text);
    CREATE FUNCTION history_of_deployments() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO moves (deployment, status) VALUES (NEW.id, NEW.status);
        RETURN NEW;
    END $$;
    CREATE TRIGGER history_of_deployments AFTER INSERT OR UPDATE OF status ON deployments FOR EACH ROW
        EXECUTE FUNCTION history_of_deployments();
    CREATE FUNCTION history_agrees() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO contradictions
        SELECT j.id, j.state, d.status FROM jobs j JOIN deployments d ON d.id = j.deployment_id
        WHERE (CASE TG_TABLE_NAME WHEN 'jobs' THEN j.id ELSE d.id END) = NEW.id AND NOT CASE j.state
            WHEN 'queued' THEN d.status IN ('QUEUED', 'DEPLOYING', 'ROLLING_BACK')
            WHEN 'running' THEN d.finished_at IS NULL
            WHEN 'succeeded' THEN d.status IN ('DEPLOYED', 'ROLLED_BACK')
            WHEN 'cancelled' THEN d.status IN ('CANCELLED', 'FAILED')
            WHEN 'superseded' THEN d.status IN ('SUPERSEDED', 'FAILED')
            ELSE d.status IN ('FAILED', 'SECURITY_FAILED', 'ROLLED_BACK') END;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER history_agrees AFTER INSERT OR UPDATE ON jobs DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION history_agrees();
    CREATE CONSTRAINT TRIGGER history_agrees AFTER INSERT OR UPDATE ON deployments DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION history_agrees();";

/// One app and what is needed to deploy it.
struct Shop {
    rig: Rig,
    app: AppId,
    owner: deploymind_shared::ids::UserId,
    targets: Vec<TargetName>,
    _nodes: Vec<Node>,
}

impl Shop {
    /// A worker with four places, whose deployments build for `build` and roll out for `rollout`, on one target if
    /// `locks`.
    async fn open(policy: OverlapPolicy, build: u64, rollout: u64, locks: bool) -> Self {
        let rig = Rig::start().await;
        sqlx::raw_sql(WATCH).execute(&rig.pool).await.expect("watch");
        environment_put(&rig.fleet.db, &production(), policy).await.expect("put");
        let targets = rig.targets(1).await;
        let owner = record::user(&rig, "owner").await;
        let app = record::app(&rig, owner, "shop", &targets).await;
        let mut worker = rig
            .worker(4)
            .set("FAULT_BUILD_MS", &build.to_string())
            .set("FAULT_ROLLOUT_MS", &rollout.to_string());
        if locks {
            worker = worker.set("FAULT_DEPLOY_TARGETS", targets[0].as_str());
        }
        let nodes = vec![rig.scheduler().spawn(), worker.ready().await];
        Self { rig, app, owner, targets, _nodes: nodes }
    }

    async fn trigger(&self, trigger: Trigger) -> Created {
        let priority = if trigger == Trigger::Rollback { Priority::High } else { Priority::Normal };
        self.rig.fleet.deploy(self.app, trigger, Some(self.owner), None, priority).await.expect("deploy")
    }

    async fn push(&self) -> Created {
        self.trigger(Trigger::Push).await
    }

    async fn status(&self, deployment: DeploymentId) -> DeploymentStatus {
        deployment_get(&self.rig.fleet.db, deployment).await.expect("read").expect("there").status
    }

    async fn wait_status(&self, deployment: DeploymentId, wanted: DeploymentStatus) {
        wait_for(&format!("the deployment to be {wanted}"), SOON, async || {
            let now = self.status(deployment).await;
            if now == wanted { Ok(()) } else { Err(now.to_string()) }
        })
        .await;
    }

    /// Waits for all to end; answers how many ended in each status.
    async fn ends(&self, pushes: &[Created]) -> BTreeMap<String, usize> {
        let jobs: Vec<_> = pushes.iter().map(|push| push.job).collect();
        self.rig.wait_ended(&jobs, Duration::from_secs(40)).await;
        let mut ends = BTreeMap::new();
        for push in pushes {
            let status = self.status(push.deployment).await;
            assert!(status.is_terminal(), "{status}");
            *ends.entry(status.to_string()).or_default() += 1;
        }
        ends
    }

    /// Each deployment's moves, by the database's clock, in order.
    async fn moves(&self) -> BTreeMap<Uuid, Vec<(f64, String)>> {
        let rows: Vec<(f64, Uuid, String)> = sqlx::query_as(
            "SELECT extract(epoch FROM clock)::float8, deployment, status FROM moves ORDER BY at",
        )
        .fetch_all(&self.rig.pool)
        .await
        .expect("read");
        let mut moves: BTreeMap<Uuid, Vec<(f64, String)>> = BTreeMap::new();
        for (clock, deployment, status) in rows {
            moves.entry(deployment).or_default().push((clock, status));
        }
        moves
    }

    /// How the jobs that ever began ended, in the order in which they began.
    async fn begun(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT state FROM jobs WHERE started_at IS NOT NULL ORDER BY started_at")
            .fetch_all(&self.rig.pool)
            .await
            .expect("read")
    }

    async fn contradictions(&self) -> Vec<(Uuid, String, String)> {
        sqlx::query_as("SELECT job, state, status FROM contradictions")
            .fetch_all(&self.rig.pool)
            .await
            .expect("read")
    }

    /// Ends the test: nothing contradicted itself, at no commit; and one that does would have been noticed.
    async fn close(self) {
        let found = self.contradictions().await;
        assert!(found.is_empty(), "deployment and job contradict each other: {found:?}");
        let push = self.push().await;
        sqlx::query("UPDATE jobs SET state = 'cancelled', finished_at = now() WHERE id = $1 AND state IN ('queued', 'running')")
            .bind(push.job.as_uuid())
            .execute(&self.rig.pool)
            .await
            .expect("contradict");
        assert!(!self.contradictions().await.is_empty(), "the control was not noticed");
        drop(self._nodes);
        let queue = &self.rig.fleet.queue;
        deploymind_shared::queue::line::withdraw(queue, &[push.job]).await.expect("withdraw");
        clear(&self.rig).await;
        self.rig.finish().await;
    }
}

/// What the control's job left in the hands of a worker that is gone.
async fn clear(rig: &Rig) {
    let mut redis = crate::lua::connect(&rig.stores.redis).await;
    let keys: Vec<String> =
        redis::cmd("KEYS").arg(format!("{{{}}}:*", rig.name)).query_async(&mut redis).await.expect("KEYS");
    if !keys.is_empty() {
        let _: i64 = redis::cmd("DEL").arg(keys).query_async(&mut redis).await.expect("DEL");
    }
}

/// When a deployment was in a status first, and when it left it.
fn phase(moves: &[(f64, String)], from: &str, until: &str) -> (f64, f64) {
    let at = |status: &str| moves.iter().find(|(_, now)| now == status).map(|(clock, _)| *clock);
    (
        at(from).unwrap_or_else(|| panic!("never {from}: {moves:?}")),
        at(until).unwrap_or_else(|| panic!("never {until}: {moves:?}")),
    )
}

fn overlap(one: (f64, f64), other: (f64, f64)) -> bool {
    one.0 < other.1 && other.0 < one.1
}
