//! Whether this worker really works: it popped, or its pop timed out as it should, a moment ago.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The health of one thing that is done over and over. Starts red.
#[derive(Debug, Clone)]
pub(crate) struct Pulse(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    origin: Instant,
    /// When the present turn began or the last one went well, in milliseconds after `origin`.
    mark: AtomicU64,
    /// Nothing to do just now, for a good reason; time that passes says nothing.
    resting: AtomicBool,
    failing: AtomicBool,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Self::since(Instant::now())
    }

    fn since(origin: Instant) -> Self {
        Self(Arc::new(Inner {
            origin,
            mark: AtomicU64::new(0),
            resting: AtomicBool::new(false),
            failing: AtomicBool::new(true),
        }))
    }

    fn mark(&self) {
        let now = u64::try_from(self.0.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.mark.store(now, Ordering::Relaxed);
    }

    /// It waits for something that is not its own fault: all places are taken.
    pub(crate) fn rest(&self) {
        self.0.resting.store(true, Ordering::Relaxed);
    }

    /// A turn begins and has to end within the limit.
    pub(crate) fn begin(&self) {
        self.mark();
        self.0.resting.store(false, Ordering::Relaxed);
    }

    pub(crate) fn succeed(&self) {
        self.mark();
        self.0.failing.store(false, Ordering::Relaxed);
    }

    pub(crate) fn fail(&self) {
        self.0.failing.store(true, Ordering::Relaxed);
    }

    /// Red while the last turn failed, or the present one takes longer than `limit`.
    pub(crate) fn check(&self, limit: Duration) -> Result<(), String> {
        if self.0.failing.load(Ordering::Relaxed) {
            return Err("the last try failed, or there was none yet".to_owned());
        }
        let mark = Duration::from_millis(self.0.mark.load(Ordering::Relaxed));
        let age = self.0.origin.elapsed().saturating_sub(mark);
        if age <= limit || self.0.resting.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err(format!("last went well {} ms ago, the limit is {} ms", age.as_millis(), limit.as_millis()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[test]
    fn red_until_it_went_well_and_when_it_fails() {
        let pulse = Pulse::new();
        assert!(pulse.check(LIMIT).is_err());
        pulse.begin();
        assert!(pulse.check(LIMIT).is_err(), "begun is not done");
        pulse.succeed();
        assert!(pulse.check(LIMIT).is_ok());
        pulse.begin();
        pulse.fail();
        assert!(pulse.check(LIMIT).is_err());
    }

    #[test]
    fn red_when_a_turn_hangs_but_not_while_it_rests() {
        let before = Instant::now().checked_sub(LIMIT * 2).expect("a machine that runs for two minutes");
        let pulse = Pulse::since(before);
        pulse.0.failing.store(false, Ordering::Relaxed);
        assert!(pulse.check(LIMIT).is_err(), "nothing for two minutes");
        pulse.rest();
        assert!(pulse.check(LIMIT).is_ok(), "all places taken");
        pulse.begin();
        assert!(pulse.check(LIMIT).is_ok(), "a turn has just begun");
    }
}
