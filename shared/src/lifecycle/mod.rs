//! How a process lives and ends: every task is spawned here, and shutdown waits for all of them.
//!
//! Owns spawning, the stop signal, the panic hook and the order of the end. Must not know what a task does.
//!
//! There are two groups of tasks. *Work* is told to stop first and is given the grace. *Supporting* tasks (the admin
//! server) serve until the work has ended, so that a draining process can still be asked how it is.
//!
//! # Guarantees
//! - Nothing spawned here is lost sight of: [`Lifecycle::shutdown`] waits for it or names it in its report.
//! - A [`ExitPolicy::FailProcess`] task that ends or panics before shutdown starts the shutdown, and the report says so.
//! - Each task sees the stop signal at once; [`Lifecycle::shutdown`] returns after `grace` + [`SUPPORT_GRACE`] at most.
//!
//! # Assumptions
//! - Tasks watch [`Lifecycle::token`] and return soon after it fires. Nothing is aborted: a task cut between two effects
//!   is what the rest of the design works to avoid.
//! - `main` waits for the token, calls [`Lifecycle::shutdown`] and exits with [`ShutdownReport::exit_code`].
//!
//! # Caveats
//! - A task that blocks its thread is waited for like any other, but the runtime itself cannot end while it does.
//! - A task spawned while `shutdown` is about to return may be missed. Stop what spawns before what is spawned.
//! - Panics are caught where the task was spawned, so shared state a panic left half-changed stays that way.

mod group;
mod panics;
mod report;
pub mod signals;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use self::group::Group;
pub use self::panics::{install_panic_hook, panic_text};
pub use self::report::ShutdownReport;
use crate::retry::Backoff;

/// How long supporting tasks may take to end after the work has.
pub const SUPPORT_GRACE: Duration = Duration::from_secs(1);

/// The target of task spans. They live as long as the process, so trace exporters leave them out: a trace that never
/// ends would swallow everything below it.
pub const TASK_SPAN_TARGET: &str = "deploymind::task";

/// Between restarts of a task that keeps ending.
const RESTART_BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
/// A task that ran this long was well; its next restart starts the backoff anew.
const STEADY: Duration = Duration::from_secs(60);

/// What it means when a task ends, or panics, although nobody asked the process to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitPolicy {
    /// The process cannot do its work without it: shut down and exit non-zero, so that a supervisor restarts all of it.
    FailProcess,
    /// It may end; a panic is logged and the process goes on.
    Log,
}

/// The one way to spawn. Clones share everything.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    work: Group,
    support: Group,
    failed: OnceLock<String>,
}

impl Lifecycle {
    pub fn new() -> Self {
        Self::default()
    }

    /// Fires when the process is to stop. Cancelling it is the same as [`Lifecycle::begin_shutdown`].
    pub fn token(&self) -> &CancellationToken {
        self.0.work.token()
    }

    /// A token that fires with the process's, and can be fired alone.
    pub fn child(&self) -> CancellationToken {
        self.token().child_token()
    }

    /// Tells all work to stop. Returns at once; [`Lifecycle::shutdown`] does the waiting.
    pub fn begin_shutdown(&self) {
        self.token().cancel();
    }

    /// Runs a task for the life of the process.
    pub fn spawn<F>(&self, name: &'static str, policy: ExitPolicy, future: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_in(|inner| &inner.work, name, policy, future)
    }

    /// Runs a task that must still serve while the work drains. The token it gets fires after the work has ended; ending
    /// before that fails the process.
    pub fn spawn_supporting<F, Fut>(&self, name: &'static str, start: F) -> JoinHandle<()>
    where
        F: FnOnce(CancellationToken) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let future = start(self.0.support.token().clone());
        self.spawn_in(|inner| &inner.support, name, ExitPolicy::FailProcess, future)
    }

    /// Runs what `factory` makes, again and again: when it ends or panics, a fresh one starts after a growing wait.
    pub fn spawn_restarting<F, Fut>(&self, name: &'static str, mut factory: F) -> JoinHandle<()>
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let token = self.token().clone();
        let supervisor = async move {
            let mut failures = 0;
            while !token.is_cancelled() {
                let started = Instant::now();
                let end = AssertUnwindSafe(async { factory().await }).catch_unwind().await;
                if token.is_cancelled() {
                    break;
                }
                if started.elapsed() >= STEADY {
                    failures = 0;
                }
                let wait = RESTART_BACKOFF.jittered(failures);
                failures = failures.saturating_add(1);
                let restart_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(task.name = name, restart_in_ms, "task {}, restarting it", how(&end));
                // A wait cut short is a shutdown, which the condition of the loop sees.
                tokio::time::timeout(wait, token.cancelled()).await.ok();
            }
        };
        self.spawn(name, ExitPolicy::Log, supervisor)
    }

    /// Runs one of many short tasks, such as a job. Costs one lock and no span: the task brings its own, and a panic is
    /// the caller's to read from the handle.
    pub fn spawn_scoped<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.work.spawn(name, future)
    }

    /// Tells the work to stop, waits up to `grace` for it, then ends the supporting tasks. Says every five seconds what
    /// still runs.
    pub async fn shutdown(&self, grace: Duration) -> ShutdownReport {
        self.begin_shutdown();
        let work = self.0.work.drain(grace).await;
        self.0.support.token().cancel();
        let support = self.0.support.drain(SUPPORT_GRACE).await;
        ShutdownReport {
            forced: work.is_err() || support.is_err(),
            still_running: [work, support].into_iter().filter_map(Result::err).flatten().collect(),
            failed: self.0.failed.get().cloned(),
        }
    }

    fn spawn_in<F>(
        &self,
        group: impl FnOnce(&Inner) -> &Group,
        name: &'static str,
        policy: ExitPolicy,
        future: F,
    ) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let lifecycle = self.clone();
        let task = async move {
            let end = AssertUnwindSafe(future).catch_unwind().await;
            lifecycle.ended(name, policy, &end);
        };
        group(&self.0).spawn(name, task.instrument(task_span(name)))
    }

    fn ended(&self, name: &'static str, policy: ExitPolicy, end: &std::thread::Result<()>) {
        let how = how(end);
        match policy {
            _ if self.token().is_cancelled() && end.is_ok() => {
                tracing::debug!(task.name = name, "task {how}")
            }
            ExitPolicy::Log if end.is_ok() => tracing::info!(task.name = name, "task {how}"),
            ExitPolicy::FailProcess if !self.token().is_cancelled() => {
                tracing::error!(task.name = name, "task {how} unexpectedly, shutting the process down");
                // The first failure is the cause; those after it are mostly its consequences.
                self.0.failed.get_or_init(|| format!("task {name} {how}"));
                self.begin_shutdown();
            }
            ExitPolicy::FailProcess | ExitPolicy::Log => {
                tracing::warn!(task.name = name, "task {how}")
            }
        }
    }
}

fn task_span(name: &'static str) -> Span {
    tracing::info_span!(target: TASK_SPAN_TARGET, parent: None, "task", task.name = name)
}

fn how(end: &std::thread::Result<()>) -> String {
    match end {
        Ok(()) => "ended".to_owned(),
        Err(payload) => format!("panicked ({})", panic_text(payload.as_ref())),
    }
}

#[cfg(test)]
mod tests;
