//! Time, as something passed in. Decisions about the record use the database's clock and decisions about locks use
//! Redis's; this one is for what a single process measures, and tests can hold it still.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};

pub type Timestamp = DateTime<Utc>;

/// Wall-clock time from the system, or from a test.
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The machine's clock. It may jump, so nothing that must be safe may rest on it.
    pub const fn system() -> Self {
        Self(None)
    }

    /// A clock that stands still until [`Clock::advance`].
    pub fn fixed(at: Timestamp) -> Self {
        Self(Some(Arc::new(AtomicI64::new(at.timestamp_micros()))))
    }

    pub fn now(&self) -> Timestamp {
        match &self.0 {
            None => Utc::now(),
            Some(micros) => {
                DateTime::from_timestamp_micros(micros.load(Ordering::SeqCst)).unwrap_or_default()
            }
        }
    }

    /// Moves a fixed clock; the system's cannot be moved and stays as it is.
    pub fn advance(&self, by: Duration) {
        if let Some(micros) = &self.0 {
            let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
            micros.fetch_add(by, Ordering::SeqCst);
        }
    }
}

/// How long ago `then` was, never negative: a clock that jumped back must not turn an age into a panic or into
/// centuries.
pub fn age(now: Timestamp, then: Timestamp) -> Duration {
    (now - then).to_std().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_clock_moves_only_when_told_and_ages_are_never_negative() {
        let clock = Clock::fixed(DateTime::from_timestamp(1_000, 0).expect("valid"));
        let then = clock.now();
        clock.advance(Duration::from_secs(5));
        assert_eq!(age(clock.now(), then), Duration::from_secs(5));
        assert_eq!(age(then, clock.now()), Duration::ZERO);
    }
}
