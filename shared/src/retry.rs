//! How work stops short, and how long to wait before trying again. Nobody reads an error's text to decide.

use std::time::Duration;

use crate::error::{Code, Error};

/// Why a unit of work did not end well. Work that did returns `Ok`.
#[derive(Debug)]
pub enum Stop {
    /// It may work later. `after` overrides the backoff when the other side said how long to wait.
    Retryable { after: Option<Duration>, error: Error },
    /// It will never work as it is.
    Terminal(Error),
    /// Somebody asked it to stop.
    Cancelled,
    /// It waits for a target that another job holds; it left its worker and resumes at its checkpoint.
    Parked,
    /// The claim is another worker's now. Nothing more may be touched.
    ClaimLost,
}

impl Stop {
    pub fn terminal(code: Code, sentence: impl Into<String>) -> Self {
        Stop::Terminal(Error::new(code, sentence))
    }
}

impl From<Error> for Stop {
    /// A store that could not be reached is tried again; every other error ends the work.
    fn from(error: Error) -> Self {
        if error.code() == Code::ClaimLost {
            Stop::ClaimLost
        } else if error.is_transient() {
            Stop::Retryable { after: None, error }
        } else {
            Stop::Terminal(error)
        }
    }
}

/// Exponential backoff with jitter (after Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog): the
/// wait after failure `n` is uniform in `[base, min(cap, base * 2^n)]`, so that many losers do not return together.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    pub base: Duration,
    pub cap: Duration,
}

impl Backoff {
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap }
    }

    /// The wait after `failures` failures before this one (0 for the first), given a random number in `[0, 1)`.
    pub fn wait(&self, failures: u32, random: f64) -> Duration {
        let ceiling =
            self.base.saturating_mul(2u32.saturating_pow(failures.min(30))).min(self.cap).max(self.base);
        self.base + (ceiling - self.base).mul_f64(random.clamp(0.0, 1.0))
    }

    /// [`Backoff::wait`] with the thread's random numbers.
    pub fn jittered(&self, failures: u32) -> Duration {
        self.wait(failures, rand::random())
    }
}

/// Between tries of a job.
pub const JOB_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));
/// Between tries to reach Postgres or Redis. Short: a store that is back should be used at once.
pub const STORE_BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_never_overflow() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        assert_eq!(backoff.wait(0, 0.99), Duration::from_secs(1));
        assert_eq!(backoff.wait(2, 0.0), Duration::from_secs(1));
        assert_eq!(backoff.wait(2, 1.0), Duration::from_secs(4));
        assert_eq!(backoff.wait(u32::MAX, 1.0), Duration::from_secs(60));
    }

    #[test]
    fn only_an_unreachable_store_is_tried_again() {
        let lost = Stop::from(Error::new(Code::RedisUnavailable, "gone"));
        assert!(matches!(lost, Stop::Retryable { .. }));
        let wrong = Stop::from(Error::new(Code::PayloadInvalid, "no"));
        assert!(matches!(wrong, Stop::Terminal(_)));
        let zombie = Stop::from(Error::new(Code::ClaimLost, "late"));
        assert!(matches!(zombie, Stop::ClaimLost));
    }
}
