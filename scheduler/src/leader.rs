//! Who leads: a lease in Postgres, by Postgres's clock.
//!
//! # Guarantees
//! A leader that dies, freezes or is cut off is followed by another within the lease's time. A leader believes in its
//! lease for a shorter time than Postgres does, measured from before it asked.
//!
//! # Caveats
//! A process frozen in the middle of a task goes on with it when it thaws, beside the new leader. Tasks are idempotent
//! and every statement names the state it expects, so this wastes work and harms nothing.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use deploymind_shared::admin::Readiness;
use deploymind_shared::db::leases::{lease_release, lease_take};
use deploymind_shared::fleet::Fleet;
use deploymind_shared::lifecycle::{ExitPolicy, Lifecycle};
use tokio::sync::Notify;
use uuid::Uuid;

const LEASE: &str = "scheduler";

#[derive(Debug, Clone, Copy)]
struct Term {
    number: i64,
    until: Instant,
}

/// What this process knows about its own leadership.
#[derive(Debug, Clone)]
pub(crate) struct Leadership(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    term: Mutex<Option<Term>>,
    gained: Notify,
}

impl Leadership {
    fn get(&self) -> Option<Term> {
        *self.0.term.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn set(&self, term: Option<Term>) {
        let mut held = self.0.term.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if held.is_none() && term.is_some() {
            self.0.gained.notify_waiters();
        }
        *held = term;
    }

    /// The term's number while this process leads.
    pub(crate) fn term(&self) -> Option<i64> {
        self.get().filter(|term| Instant::now() < term.until).map(|term| term.number)
    }

    /// Returns when leadership begins.
    pub(crate) async fn gained(&self) {
        self.0.gained.notified().await;
    }
}

pub(crate) fn start(
    fleet: &Fleet,
    ttl: Duration,
    lifecycle: &Lifecycle,
    readiness: &Readiness,
) -> Leadership {
    let leadership = Leadership(Arc::new(Inner { term: Mutex::new(None), gained: Notify::new() }));
    let answered = Arc::new(Mutex::new(None::<Instant>));
    let watched = Arc::clone(&answered);
    // A scheduler that cannot reach the record can neither lead nor follow.
    readiness.register("lease", move || {
        let last = *watched.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match last {
            Some(at) if at.elapsed() <= ttl => Ok(()),
            Some(at) => Err(format!("the record last answered {} ms ago", at.elapsed().as_millis())),
            None => Err("the record has not answered yet".to_owned()),
        }
    });
    let (fleet, held, token) = (fleet.clone(), leadership.clone(), lifecycle.token().clone());
    lifecycle.spawn("lead", ExitPolicy::FailProcess, async move {
        let holder = Uuid::now_v7();
        let mut ticks = tokio::time::interval(ttl / 4);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = token.cancelled() => break,
            }
            let asked = Instant::now();
            match lease_take(&fleet.db, LEASE, holder, ttl).await {
                Ok(term) => {
                    *answered.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                        Some(Instant::now());
                    announce(&held, term);
                    held.set(term.map(|number| Term { number, until: asked + ttl * 9 / 10 }));
                }
                Err(error) => {
                    tracing::warn!(error = error.chain(), "the leader's lease cannot be taken or renewed");
                }
            }
        }
        if held.term().is_some() {
            held.set(None);
            if let Err(error) = lease_release(&fleet.db, LEASE, holder).await {
                tracing::warn!(error = error.chain(), "the lease was not given up; it expires by itself");
            }
        }
    });
    leadership
}

fn announce(held: &Leadership, term: Option<i64>) {
    match (held.term(), term) {
        (None, Some(term)) => tracing::info!(term, "this scheduler leads"),
        (Some(_), None) => tracing::info!("another scheduler leads now"),
        _ => {}
    }
}
