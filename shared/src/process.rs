//! The life of a role's process, the same for all: settings → telemetry → admin server → stores checked → migrations →
//! the role → drain → flush.

use std::net::SocketAddr;
use std::time::Duration;

use crate::admin::{AdminServer, AdminState, Readiness};
use crate::config::{AdminConfig, DatabaseConfig, Reader, RedisConfig, TelemetryConfig};
use crate::db::Db;
use crate::error::{Code, Error, Result};
use crate::fleet::Fleet;
use crate::lifecycle::{Lifecycle, install_panic_hook, signals};
use crate::queue::{Queue, check_server};
use crate::retry::STORE_BACKOFF;
use crate::telemetry::{self, Metrics};

/// The exit code when the process could not do what it is for.
pub const EXIT_FAILED: u8 = 1;

/// Settings every role has.
pub struct Common {
    pub database: DatabaseConfig,
    pub redis: RedisConfig,
    pub telemetry: TelemetryConfig,
    pub admin: AdminConfig,
}

impl Common {
    /// `admin` is where the role's admin server listens by default.
    pub fn read(reader: &mut Reader, admin: SocketAddr) -> Self {
        Self {
            database: DatabaseConfig::read(reader),
            redis: RedisConfig::read(reader),
            telemetry: TelemetryConfig::read(reader),
            admin: AdminConfig::read(reader, admin),
        }
    }
}

/// What a role starts on.
pub struct Ground {
    pub fleet: Fleet,
    pub lifecycle: Lifecycle,
    pub readiness: Readiness,
}

/// A started role.
pub struct Role {
    /// How long it may take to end.
    pub grace: Duration,
    /// What the admin server shows at `/status`.
    pub status: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
}

pub fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|source| {
        Error::new(Code::Config, "the threads of this process cannot be started").because(source)
    })
}

/// Runs one role to its end; answers the exit code. `kinds` are the job kinds that metrics name.
pub async fn run(
    role: &'static str,
    common: Common,
    kinds: &[&'static str],
    start: impl AsyncFnOnce(Ground) -> Result<Role>,
) -> Result<u8> {
    let telemetry = telemetry::init(role, &common.telemetry)
        .map_err(|source| Error::new(Code::Config, "logs and traces cannot be set up").because(source))?;
    install_panic_hook();
    let lifecycle = Lifecycle::new();
    signals::listen(&lifecycle)
        .map_err(|source| Error::new(Code::Config, "signals cannot be received").because(source))?;
    let ended = live(role, common, kinds, start, &lifecycle).await;
    if let Err(error) = &ended {
        tracing::error!(role, error = error.chain(), "this process cannot go on");
    }
    telemetry.shutdown().await;
    ended
}

async fn live(
    role: &'static str,
    common: Common,
    kinds: &[&'static str],
    start: impl AsyncFnOnce(Ground) -> Result<Role>,
    lifecycle: &Lifecycle,
) -> Result<u8> {
    let metrics = Metrics::new(kinds);
    let readiness = Readiness::new();
    let started = std::sync::Arc::new(std::sync::OnceLock::<Role>::new());
    let (starting, shown) = (std::sync::Arc::clone(&started), std::sync::Arc::clone(&started));
    readiness.register("started", move || starting.get().map(drop).ok_or("still starting".to_owned()));
    let state = AdminState::new(readiness.clone(), metrics.clone())
        .with_status(move || shown.get().map_or(serde_json::Value::Null, |role| (role.status)()));
    // First, so that a process that waits for its stores can be asked how it is.
    let admin = AdminServer::bind(common.admin.addr).await.map_err(|source| {
        Error::new(Code::Config, format!("the admin server cannot listen on {}", common.admin.addr))
            .because(source)
    })?;
    tracing::info!(role, admin = %admin.local_addr(), version = env!("CARGO_PKG_VERSION"), "starting");
    admin.serve(state, lifecycle);
    let fleet = Fleet {
        db: Db::open(&common.database, metrics.clone())?,
        queue: Queue::open(&common.redis)?,
        metrics,
    };
    if !prepared(&fleet, lifecycle).await? {
        return Ok(lifecycle.shutdown(Duration::ZERO).await.exit_code());
    }
    let ground = Ground { fleet, lifecycle: lifecycle.clone(), readiness: readiness.clone() };
    let role = start(ground).await?;
    let grace = role.grace;
    if started.set(role).is_err() {
        tracing::debug!("the role was started twice");
    }
    lifecycle.token().cancelled().await;
    readiness.start_draining();
    let report = lifecycle.shutdown(grace).await;
    tracing::info!(forced = report.forced, "ended");
    Ok(report.exit_code())
}

/// Waits for both stores, checks them, migrates. `false`: told to stop before they were there.
async fn prepared(fleet: &Fleet, lifecycle: &Lifecycle) -> Result<bool> {
    let checks = async {
        reach("redis", || check_server(&fleet.queue)).await?;
        reach("postgres", || fleet.db.migrate()).await
    };
    tokio::select! {
        done = checks => done.map(|()| true),
        () = lifecycle.token().cancelled() => Ok(false),
    }
}

/// Tries until the store is there: a process may start before its stores do. What waiting cannot mend is an error.
async fn reach<F, Fut>(store: &'static str, ask: F) -> Result<()>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<()>>,
{
    let mut failures = 0;
    loop {
        match ask().await {
            Err(error) if error.is_transient() => {
                if failures % 10 == 0 {
                    tracing::warn!(store, error = error.chain(), "waiting for a store");
                }
                tokio::time::sleep(STORE_BACKOFF.jittered(failures)).await;
                failures += 1;
            }
            ended => return ended,
        }
    }
}
