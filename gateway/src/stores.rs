//! Whether the gateway can do what it is for: reach the record and Redis. Asked by the clock, so that probes cost the
//! stores nothing.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use deploymind_shared::admin::Readiness;
use deploymind_shared::error::Result;
use deploymind_shared::fleet::Fleet;
use deploymind_shared::lifecycle::{ExitPolicy, Lifecycle};
use deploymind_shared::queue::line::depth;

const PERIOD: Duration = Duration::from_secs(1);
/// An answer older than this says nothing about now.
const FRESH: Duration = Duration::from_secs(5);

pub(crate) fn watch(fleet: &Fleet, lifecycle: &Lifecycle, readiness: &Readiness) {
    let record = fleet.clone();
    ask(lifecycle, readiness, "record", move || {
        let fleet = record.clone();
        async move { fleet.db.now().await.map(drop) }
    });
    let queue = fleet.clone();
    ask(lifecycle, readiness, "redis", move || {
        let fleet = queue.clone();
        async move { depth(&fleet.queue, &[]).await.map(drop) }
    });
}

fn ask<F, Fut>(lifecycle: &Lifecycle, readiness: &Readiness, name: &'static str, question: F)
where
    F: Fn() -> Fut + Send + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let answered = Arc::new(Mutex::new(None::<Instant>));
    let seen = Arc::clone(&answered);
    readiness.register(name, move || match *seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(at) if at.elapsed() < FRESH => Ok(()),
        Some(at) => Err(format!("last answered {} ms ago", at.elapsed().as_millis())),
        None => Err("has not answered yet".to_owned()),
    });
    let stop = lifecycle.token().clone();
    lifecycle.spawn("ask stores", ExitPolicy::FailProcess, async move {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            match question().await {
                Ok(()) => {
                    *answered.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                        Some(Instant::now());
                }
                Err(error) => tracing::warn!(store = name, error = error.chain(), "a store does not answer"),
            }
        }
    });
}
