//! A fleet of shipped programs that deploys one app.

use std::path::PathBuf;
use std::time::Duration;

use deploymind_shared::config::{EnvSource, Source as _};
use deploymind_shared::db::apps::{NewApp, app_create};
use deploymind_shared::db::deployments::{Trigger, deployment_get};
use deploymind_shared::db::logs::log_list;
use deploymind_shared::db::scans::scan_policy_put;
use deploymind_shared::db::users::user_create;
use deploymind_shared::domain::job::Priority;
use deploymind_shared::ids::{AppId, DeploymentId};
use deploymind_tests::delivery::docker;
use deploymind_tests::process::{Proc, workspace_binary};
use deploymind_tests::rig::{Rig, housed, production};
use deploymind_tests::{free_port, wait_for};
use serde_json::json;

const DEADLINE: Duration = Duration::from_secs(900);

pub struct Ours {
    rig: Rig,
    app: AppId,
    _nodes: [Proc; 2],
}

/// One deployment, from its acceptance to its release, by the database's clock.
pub struct Run {
    pub seconds: f64,
    pub builder: String,
    /// Until the first step began, then each step, in milliseconds, in their order; `rest` is the time between steps.
    pub parts: Vec<(String, f64)>,
}

impl Ours {
    pub async fn start(repository: &str) -> Self {
        let rig = Rig::start().await;
        let new = NewApp {
            owner: user_create(&rig.fleet.db, "owner", None).await.expect("create user").id,
            name: "bench".to_owned(),
            repository: repository.to_owned(),
            branch: "main".to_owned(),
            environment: production(),
            targets: Vec::new(),
        };
        let app = app_create(&rig.fleet.db, &new).await.expect("create app");
        let nodes = [node(&rig, "worker"), node(&rig, "scheduler")];
        let this = Self { rig, app, _nodes: nodes };
        this.scans("off").await;
        this
    }

    /// `off`, `warn` or `required`.
    pub async fn scans(&self, mode: &str) {
        let policy = json!({ "mode": mode });
        scan_policy_put(&self.rig.fleet.db, &production(), &policy).await.expect("set policy");
    }

    pub async fn commit_to_image(&self, commit: &str) -> Run {
        let accepted: f64 = sqlx::query_scalar("SELECT extract(epoch FROM clock_timestamp())::float8")
            .fetch_one(&self.rig.pool)
            .await
            .expect("postgres answers");
        let commit = Some(commit.to_owned());
        let fleet = &self.rig.fleet;
        let created = fleet
            .deploy(self.app, Trigger::Push, None, commit, Priority::Normal)
            .await
            .expect("accept deployment");
        let id = created.deployment;
        wait_for("the deployment to end", DEADLINE, async || match deployment_get(&fleet.db, id).await {
            Ok(Some(now)) if now.status.is_terminal() => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        let released: Option<f64> = sqlx::query_scalar(
            "SELECT extract(epoch FROM created_at)::float8 FROM releases WHERE deployment_id = $1",
        )
        .bind(id.as_uuid())
        .fetch_optional(&self.rig.pool)
        .await
        .expect("postgres answers");
        let Some(released) = released else { panic!("there is no release:\n{}", self.log(id).await) };
        let builder = sqlx::query_scalar("SELECT builder FROM builds WHERE deployment_id = $1")
            .bind(id.as_uuid())
            .fetch_one(&self.rig.pool)
            .await
            .expect("postgres answers");
        Run { seconds: released - accepted, builder, parts: self.parts(id, accepted, released).await }
    }

    async fn parts(&self, id: DeploymentId, accepted: f64, released: f64) -> Vec<(String, f64)> {
        // Unwinding writes a new end over that of the step it undoes; then the next one's beginning stands for it.
        let steps: Vec<(String, f64, f64)> = sqlx::query_as(
            "SELECT step, extract(epoch FROM started_at)::float8, extract(epoch FROM CASE WHEN state = 'undone'
                 THEN lead(started_at) OVER (ORDER BY started_at) ELSE finished_at END)::float8
             FROM deployment_steps WHERE deployment_id = $1 ORDER BY started_at",
        )
        .bind(id.as_uuid())
        .fetch_all(&self.rig.pool)
        .await
        .expect("postgres answers");
        let mut parts = Vec::new();
        // How far time is accounted for: a step that runs beside another counts only for what it lasts longer.
        let (mut reached, mut rest) = (accepted, 0.0);
        for (step, began, ended) in steps {
            let waited = (began - reached).max(0.0);
            if parts.is_empty() {
                parts.push(("pickup".to_owned(), waited * 1e3));
            } else {
                rest += waited;
            }
            // The release's row is what counts; the step writes its journal after that.
            let ended = ended.min(released.max(began));
            parts.push((step, (ended - began) * 1e3));
            reached = reached.max(ended);
        }
        parts.push(("rest".to_owned(), rest * 1e3));
        parts
    }

    async fn log(&self, id: DeploymentId) -> String {
        let lines = log_list(&self.rig.fleet.db, id, 0, 10_000).await.expect("read log");
        lines.iter().map(|line| format!("{}\n", line.line)).collect()
    }

    /// Removes the images of all releases.
    pub fn clean(&self) {
        let filter = format!("label=deploymind.fleet={}", self.rig.name);
        for image in docker(&["image", "ls", "--quiet", "--filter", &filter]).lines() {
            docker(&["image", "rm", "--force", image]);
        }
    }
}

/// Where the scanner and its database are, when there is one.
pub fn trivy() -> Option<(String, String)> {
    let (program, cache) =
        (EnvSource.get("DEPLOYMIND_TEST_TRIVY")?, EnvSource.get("DEPLOYMIND_TEST_TRIVY_CACHE")?);
    PathBuf::from(&program).is_file().then_some((program, cache))
}

/// With the timings that ship.
fn node(rig: &Rig, role: &str) -> Proc {
    let mut builder = housed(Proc::builder(role, shipped()))
        .arg(role)
        .env("DEPLOYMIND_DATABASE_URL", &rig.stores.database)
        .env("DEPLOYMIND_REDIS_URL", &rig.stores.redis)
        .env("DEPLOYMIND_FLEET", &rig.name)
        .env("DEPLOYMIND_ENVIRONMENTS", "production")
        .env("DEPLOYMIND_LOG_FILTER", "warn")
        .env("DEPLOYMIND_ADMIN_ADDR", format!("127.0.0.1:{}", free_port()));
    if let Some((program, cache)) = trivy() {
        builder = builder
            .env("DEPLOYMIND_TRIVY", program)
            .env("DEPLOYMIND_TRIVY_CACHE", cache)
            .env("DEPLOYMIND_TRIVY_UPDATE", "false");
    }
    builder.start()
}

fn shipped() -> PathBuf {
    let this = std::env::current_exe().expect("a running program has a path");
    let beside = this.with_file_name("deploymind");
    if beside.is_file() { beside } else { workspace_binary("deploymind") }
}
