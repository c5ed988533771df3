//! Jobs that do what a test tells them, recorded in the database of the test by the database itself.
//!
//! State changes of jobs are recorded by a trigger, so the product cannot forget to mention one. Effects are rows that
//! are accepted or refused by the same fences as the product's own sinks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use deploymind_shared::domain::deployment::DeploymentStatus;
use deploymind_shared::domain::job::{Deploy, JobKind, Locking, Rollback};
use deploymind_shared::error::{Code, Error};
use deploymind_shared::events::EventKind;
use deploymind_shared::ids::TargetName;
use deploymind_shared::retry::Stop;
use deploymind_worker::{Done, Handler, JobContext};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use crate::checker::{Effect, Event, History, Kind};

/// What a scripted job does, in order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Sleeps, ends early when asked to stop.
    Sleep {
        ms: u64,
    },
    /// Sleeps and does not care who asks.
    Stubborn {
        ms: u64,
    },
    /// Takes further locks, or parks.
    Lock {
        targets: Vec<TargetName>,
    },
    /// One fenced change of the outside world; on `target` if given. Journalled: a later attempt skips it.
    Effect {
        name: String,
        target: Option<TargetName>,
    },
    /// Marks a moment, for tests about what overlaps.
    Note {
        label: String,
    },
    /// Sleeps, then has its effect without asking whether it still may: only the fence can stop it.
    Careless {
        ms: u64,
        name: String,
        target: Option<TargetName>,
    },
    /// `kill -9` of its own process.
    KillWorker,
    /// `kill -9` of its own process, until this attempt.
    KillUntil {
        attempt: i32,
    },
    /// Fails in a way that may pass, until this attempt.
    RetryUntil {
        attempt: i32,
    },
    Fail,
    Panic,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    pub steps: Vec<Step>,
}

impl Script {
    #[must_use]
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect() }
    }

    /// One effect, fast: most of the jobs of a chaos run.
    #[must_use]
    pub fn effect() -> Self {
        Self::new([Step::Effect { name: "apply".to_owned(), target: None }])
    }
}

impl JobKind for Script {
    const KIND: &'static str = "script";
    const LOCKING: Locking = Locking::WhenAsked;
    const MAX_TRIES: i32 = 4;
    const DEADLINE: Duration = Duration::from_secs(120);
}

const SETUP: &str = "
    CREATE TABLE IF NOT EXISTS history (
        at bigserial PRIMARY KEY, clock timestamptz NOT NULL DEFAULT clock_timestamp(),
        job uuid NOT NULL, attempt integer NOT NULL, worker uuid, kind text NOT NULL, detail jsonb NOT NULL DEFAULT '{}');
    CREATE OR REPLACE FUNCTION history_of_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO history (job, attempt, worker, kind, detail)
        VALUES (NEW.id, NEW.attempt, NEW.worker_id, 'state', jsonb_build_object('was', OLD.state, 'is', NEW.state));
        RETURN NEW;
    END $$;
    CREATE OR REPLACE TRIGGER history_of_jobs AFTER UPDATE OF state ON jobs FOR EACH ROW
        WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION history_of_jobs();";

/// Creates the history in a migrated database.
///
/// # Errors
/// When the database refuses.
pub async fn record_history(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(SETUP).execute(pool).await.map(drop)
}

/// Runs scripts.
pub struct ScriptHandler {
    pub pool: PgPool,
}

impl ScriptHandler {
    async fn write(&self, context: &JobContext, kind: &str, detail: serde_json::Value) -> Result<(), Stop> {
        sqlx::query("INSERT INTO history (job, attempt, worker, kind, detail) VALUES ($1, $2, $3, $4, $5)")
            .bind(context.id().as_uuid())
            .bind(context.attempt().0)
            .bind(context.worker().as_uuid())
            .bind(kind)
            .bind(detail)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(|error| Stop::from(Error::from(error)))
    }

    /// Applies an effect if every fence is the present one; journals it in the same statement.
    async fn effect(
        &self,
        context: &JobContext,
        name: &str,
        target: Option<&TargetName>,
    ) -> Result<(), Stop> {
        let epoch = target.and_then(|target| context.epoch(target)).map(|epoch| epoch.0);
        let detail = serde_json::json!({ "name": name, "target": target, "epoch": epoch });
        let applied: Option<bool> = sqlx::query_scalar(
            "WITH mine AS (
                 SELECT 1 FROM jobs WHERE id = $1 AND attempt = $2 AND state = 'running' FOR UPDATE
             ), fence AS (
                 SELECT 1 FROM targets WHERE name = $5 AND epoch = $6 FOR UPDATE
             ), done AS (
                 SELECT 1 FROM history WHERE job = $1 AND kind = 'effect' AND detail ->> 'name' = $7
             ), applied AS (
                 INSERT INTO history (job, attempt, worker, kind, detail)
                 SELECT $1, $2, $3, 'effect', $4 FROM mine
                 WHERE ($5 IS NULL OR EXISTS (SELECT 1 FROM fence)) AND NOT EXISTS (SELECT 1 FROM done)
                 RETURNING true
             )
             SELECT EXISTS (SELECT 1 FROM applied) OR
                    (EXISTS (SELECT 1 FROM done) AND EXISTS (SELECT 1 FROM mine))",
        )
        .bind(context.id().as_uuid())
        .bind(context.attempt().0)
        .bind(context.worker().as_uuid())
        .bind(&detail)
        .bind(target.map(ToString::to_string))
        .bind(epoch)
        .bind(name)
        .fetch_one(&self.pool)
        .await
        .map_err(|error| Stop::from(Error::from(error)))?;
        if applied == Some(true) {
            return Ok(());
        }
        self.write(context, "refused", detail).await?;
        Err(Stop::ClaimLost)
    }

    async fn locked(&self, context: &JobContext, targets: &[TargetName]) -> Result<(), Stop> {
        let epochs: BTreeMap<String, i64> = targets
            .iter()
            .filter_map(|target| Some((target.to_string(), context.epoch(target)?.0)))
            .collect();
        if epochs.is_empty() {
            return Ok(());
        }
        self.write(context, "locked", serde_json::json!(epochs)).await
    }

    async fn steps(
        &self,
        script: &Script,
        context: &JobContext,
        held: &mut Vec<TargetName>,
    ) -> Result<(), Stop> {
        for step in &script.steps {
            context.check()?;
            match step {
                Step::Sleep { ms } => {
                    tokio::select! {
                        () = tokio::time::sleep(Duration::from_millis(*ms)) => {}
                        () = context.stopping().cancelled() => return Err(Stop::Cancelled),
                    }
                }
                Step::Stubborn { ms } => tokio::time::sleep(Duration::from_millis(*ms)).await,
                Step::Lock { targets } => {
                    context.lock(targets).await?;
                    let new: Vec<TargetName> =
                        targets.iter().filter(|target| !held.contains(target)).cloned().collect();
                    held.extend(new.iter().cloned());
                    self.locked(context, &new).await?;
                }
                Step::Effect { name, target } => self.effect(context, name, target.as_ref()).await?,
                Step::Note { label } => {
                    self.write(context, "note", serde_json::json!({ "label": label })).await?;
                }
                Step::Careless { ms, name, target } => {
                    tokio::time::sleep(Duration::from_millis(*ms)).await;
                    self.effect(context, name, target.as_ref()).await?;
                }
                Step::KillWorker => kill_self(),
                Step::KillUntil { attempt } if context.attempt().0 < *attempt => kill_self(),
                Step::KillUntil { .. } => {}
                Step::RetryUntil { attempt } if context.attempt().0 < *attempt => {
                    let error = Error::new(Code::JobFailed, "not yet");
                    return Err(Stop::Retryable { after: Some(Duration::from_millis(50)), error });
                }
                Step::RetryUntil { .. } => {}
                Step::Fail => return Err(Stop::terminal(Code::JobFailed, "told to fail")),
                #[expect(clippy::panic, reason = "the test asks for it")]
                Step::Panic => panic!("told to panic"),
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Handler for ScriptHandler {
    type Kind = Script;

    async fn run(&self, script: Script, context: JobContext) -> Result<Done, Stop> {
        let mut held = context.job().targets.clone();
        self.locked(&context, &held.clone()).await?;
        let ended = self.steps(&script, &context, &mut held).await;
        // Only an owner says that it lets go: one that lost its claim has nothing to say.
        if !matches!(ended, Err(Stop::ClaimLost | Stop::Parked)) && !held.is_empty() {
            self.unlocked(&context, &held).await?;
        }
        ended.map(|()| Done::default())
    }
}

impl ScriptHandler {
    /// Names only the targets whose present epoch is still this attempt's: of the others (Redis forgot the lock, and another
    /// took it) it was no longer the owner, and may not have known.
    async fn unlocked(&self, context: &JobContext, held: &[TargetName]) -> Result<(), Stop> {
        let epochs: BTreeMap<&str, i64> =
            held.iter().filter_map(|target| Some((target.as_str(), context.epoch(target)?.0))).collect();
        sqlx::query(
            "WITH own AS (
                 SELECT t.name FROM targets t JOIN jsonb_each_text($4) AS e ON t.name = e.key AND t.epoch = e.value::bigint
                 ORDER BY t.name FOR SHARE OF t
             )
             INSERT INTO history (job, attempt, worker, kind, detail)
             SELECT $1, $2, $3, 'unlocked', (SELECT jsonb_agg(name) FROM own) FROM jobs
             WHERE id = $1 AND attempt = $2 AND state = 'running' AND EXISTS (SELECT 1 FROM own)",
        )
        .bind(context.id().as_uuid())
        .bind(context.attempt().0)
        .bind(context.worker().as_uuid())
        .bind(serde_json::json!(epochs))
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(|error| Stop::from(Error::from(error)))
    }
}

/// `kill -9` of this process, at once.
pub fn kill_self() {
    let this = nix::unistd::Pid::this();
    nix::sys::signal::kill(this, nix::sys::signal::Signal::SIGKILL).expect("a process may kill itself");
    // The signal is delivered before the call returns to user space; nothing after this line runs.
    std::process::abort();
}

/// Stands in for the pipeline: the statuses of a deployment, with a build that takes a while and a locked roll-out.
pub struct DeployHandler {
    pub build: Duration,
    pub rollout: Duration,
    pub targets: Vec<TargetName>,
}

/// Ends early when asked to stop.
async fn last(context: &JobContext, time: Duration) -> Result<(), Stop> {
    tokio::select! {
        () = tokio::time::sleep(time) => Ok(()),
        () = context.stopping().cancelled() => Err(Stop::Cancelled),
    }
}

#[async_trait]
impl Handler for DeployHandler {
    type Kind = Deploy;

    async fn run(&self, _: Deploy, context: JobContext) -> Result<Done, Stop> {
        if context.job().targets.is_empty() {
            context.tell(EventKind::DeploymentStarted, &serde_json::json!({})).await?;
            for status in [DeploymentStatus::Cloning, DeploymentStatus::Building] {
                context.advance(status).await?;
                last(&context, self.build / 2).await?;
            }
        }
        context.lock(&self.targets).await?;
        context.advance(DeploymentStatus::Deploying).await?;
        last(&context, self.rollout).await?;
        context.tell(EventKind::DeploymentCompleted, &serde_json::json!({})).await?;
        Ok(Done::deployment(DeploymentStatus::Deployed))
    }
}

/// Rolls an earlier release out: no build, its targets are locked from the start.
pub struct RollbackHandler {
    pub rollout: Duration,
}

#[async_trait]
impl Handler for RollbackHandler {
    type Kind = Rollback;

    async fn run(&self, _: Rollback, context: JobContext) -> Result<Done, Stop> {
        context.advance(DeploymentStatus::Deploying).await?;
        last(&context, self.rollout).await?;
        Ok(Done::deployment(DeploymentStatus::Deployed))
    }
}

/// A recorded row.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Row {
    pub at: i64,
    /// Seconds since 1970, by the database.
    pub clock: f64,
    pub job: Uuid,
    pub attempt: i32,
    pub worker: Option<Uuid>,
    pub kind: String,
    pub detail: serde_json::Value,
}

/// Everything recorded so far.
///
/// # Errors
/// When the database does not answer.
pub async fn rows(pool: &PgPool) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as(
        "SELECT at, extract(epoch FROM clock)::float8 AS clock, job, attempt, worker, kind, detail
         FROM history ORDER BY at",
    )
    .fetch_all(pool)
    .await
}

/// What the checker judges.
#[must_use]
pub fn history(accepted: impl IntoIterator<Item = Uuid>, rows: &[Row]) -> History {
    History::new(accepted, rows.iter().filter_map(event).collect())
}

fn event(row: &Row) -> Option<Event> {
    let text = |key: &str| row.detail.get(key).and_then(|value| value.as_str()).map(ToOwned::to_owned);
    let effect = || {
        let fence = text("target").zip(row.detail.get("epoch").and_then(serde_json::Value::as_i64));
        Some(Effect { name: text("name")?, fence })
    };
    let kind = match (row.kind.as_str(), text("is").as_deref()) {
        ("state", Some("running")) => Kind::Started,
        ("state", Some("queued")) => return None,
        ("state", Some(outcome)) => Kind::FinishAccepted { outcome: outcome.to_owned() },
        ("effect", _) => Kind::EffectAccepted(effect()?),
        ("refused", _) => Kind::EffectRefused(effect()?),
        ("locked", _) => {
            Kind::Locked(serde_json::from_value::<BTreeMap<String, i64>>(row.detail.clone()).ok()?)
        }
        ("unlocked", _) => {
            Kind::Unlocked(serde_json::from_value::<BTreeSet<String>>(row.detail.clone()).ok()?)
        }
        _ => return None,
    };
    let worker = row.worker.map(|worker| worker.to_string()).unwrap_or_default();
    Some(Event { at: row.at, job: row.job, attempt: row.attempt, worker, kind })
}
