//! Whether this process should get work, and if not, why.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;

type CheckFn = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The named conditions a process needs to be of use. Clones share them.
#[derive(Clone, Default)]
pub struct Readiness(Arc<Inner>);

#[derive(Default)]
struct Inner {
    draining: AtomicBool,
    checks: RwLock<Vec<(Arc<str>, CheckFn)>>,
}

/// The answer of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: String,
    pub ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The answers of all checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// All checks passed and the process is not draining.
    pub ready: bool,
    pub draining: bool,
    pub checks: Vec<Check>,
}

impl Readiness {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition. The check runs at each request and must only look at what is known already (a flag, the time of
    /// the last success), never ask a store: probes come often, and most of all when stores are slow. Its reason is
    /// shown to anybody who can reach the port. A name given twice replaces the first check.
    pub fn register(&self, name: &str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        let mut checks = self.0.checks.write().unwrap_or_else(PoisonError::into_inner);
        checks.retain(|(known, _)| **known != *name);
        checks.push((name.into(), Arc::new(check)));
    }

    /// Turns readiness off for good: the first step of a shutdown.
    pub fn start_draining(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire)
    }

    pub fn report(&self) -> Report {
        // Copied out, so that a check may itself register one without locking up.
        let checks = self.0.checks.read().unwrap_or_else(PoisonError::into_inner).clone();
        let answer = |(name, check): (Arc<str>, CheckFn)| {
            let reason = check().err();
            Check { name: name.to_string(), ready: reason.is_none(), reason }
        };
        let checks: Vec<_> = checks.into_iter().map(answer).collect();
        let draining = self.is_draining();
        Report { ready: !draining && checks.iter().all(|check| check.ready), draining, checks }
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.report().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failing_check_is_enough_and_is_named() {
        let readiness = Readiness::new();
        assert!(readiness.report().ready);
        readiness.register("redis", || Ok(()));
        readiness.register("postgres", || Err("no connection for 12s".into()));
        let report = readiness.report();
        assert!(!report.ready);
        let failing: Vec<_> = report.checks.iter().filter(|check| !check.ready).collect();
        assert_eq!(failing.len(), 1);
        assert_eq!(
            (failing[0].name.as_str(), failing[0].reason.as_deref()),
            ("postgres", Some("no connection for 12s"))
        );
        readiness.register("postgres", || Ok(()));
        assert!(readiness.report().ready);
    }

    #[test]
    fn draining_turns_readiness_off_for_every_clone() {
        let readiness = Readiness::new();
        readiness.clone().start_draining();
        assert!(readiness.is_draining());
        assert!(!readiness.report().ready);
    }
}
