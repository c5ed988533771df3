//! How a release behaves where it runs, and what else is wrong in the world at which time.

use std::time::Duration;

use crate::runtime::FindingCode;

/// How each copy of a release behaves, from its start on.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// `None`: it never passes a health check.
    pub ready_after: Option<Duration>,
    /// What a look finds before it is ready.
    pub until_ready: FindingCode,
    /// It ends by itself.
    pub dies: Option<Death>,
    /// From then on it runs and does not pass.
    pub sickens_after: Option<Duration>,
    /// Share of the requests that it answers with 5xx, 0 to 1.
    pub error_share: f64,
    pub latency: Duration,
    /// How long it takes to end when asked to.
    pub stops_in: Duration,
}

/// How a program ends by itself.
#[derive(Debug, Clone, Copy)]
pub struct Death {
    /// Since each of its starts.
    pub after: Duration,
    pub how: Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Code(i32),
    OutOfMemory,
}

impl Ended {
    pub(super) fn finding(self) -> FindingCode {
        match self {
            Ended::Code(_) => FindingCode::Exited,
            Ended::OutOfMemory => FindingCode::OutOfMemory,
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::Code(code) => write!(f, "exit code {code}"),
            Ended::OutOfMemory => f.write_str("killed for want of memory"),
        }
    }
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            ready_after: Some(Duration::from_millis(300)),
            until_ready: FindingCode::PortClosed,
            dies: None,
            sickens_after: None,
            error_share: 0.0,
            latency: Duration::from_millis(20),
            stops_in: Duration::from_millis(100),
        }
    }
}

/// What is true of a slot at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) running: bool,
    pub(super) restarts: u32,
    /// `None`: a look is passed.
    pub(super) finding: Option<FindingCode>,
}

impl Behaviour {
    /// Pure: `age` after the slot was started; `restarted`: the engine starts it again when it ends.
    pub(super) fn condition(&self, age: Duration, restarted: bool) -> Condition {
        let (restarts, age) = match self.dies {
            Some(death) if age >= death.after && !restarted => {
                return Condition { running: false, restarts: 0, finding: Some(death.how.finding()) };
            }
            Some(death) if !death.after.is_zero() => {
                let lives = age.as_nanos() / death.after.as_nanos();
                let begun = death.after.saturating_mul(u32::try_from(lives).unwrap_or(u32::MAX));
                (u32::try_from(lives).unwrap_or(u32::MAX), age.saturating_sub(begun))
            }
            _ => (0, age),
        };
        let ready = self.ready_after.is_some_and(|ready| age >= ready);
        let sick = self.sickens_after.is_some_and(|sick| age >= sick);
        let finding = match (ready, sick) {
            (true, false) => None,
            (true, true) => Some(FindingCode::WrongAnswer),
            (false, _) => Some(self.until_ready),
        };
        Condition { running: true, restarts, finding }
    }
}

/// Something that every release needs fails.
#[derive(Debug, Clone, Copy)]
pub struct Outage {
    /// Since the world began.
    pub from: Duration,
    pub until: Duration,
    /// Share of the requests that fail for it, 0 to 1.
    pub share: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_dies_is_started_again_and_again_or_stays_dead() {
        let death = Death { after: Duration::from_secs(3), how: Ended::Code(1) };
        let behaviour = Behaviour { dies: Some(death), ..Behaviour::default() };
        let at = |ms, restarted| behaviour.condition(Duration::from_millis(ms), restarted);
        assert_eq!(at(2900, true), Condition { running: true, restarts: 0, finding: None });
        let again = Condition { running: true, restarts: 1, finding: Some(FindingCode::PortClosed) };
        assert_eq!(at(3100, true), again);
        assert_eq!(at(3400, true), Condition { running: true, restarts: 1, finding: None });
        let dead = Condition { running: false, restarts: 0, finding: Some(FindingCode::Exited) };
        assert_eq!(at(3000, false), dead);
    }
}
