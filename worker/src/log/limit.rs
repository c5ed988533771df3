//! How much one deployment may say, and how fast.
//!
//! A build that talks too fast is slowed down, never cut: only the size of the whole log makes lines go. What goes is
//! counted, and said.

use std::time::Duration;

use tokio::time::Instant;

use super::lines::Level;

/// What a deployment may say.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of one line; a longer one goes on as the next.
    pub line_bytes: usize,
    /// Of the whole log. Far above what builds say; too high: one deployment fills the database.
    pub lines: u64,
    pub bytes: u64,
    /// Beyond the above, for warnings and errors only: whoever says those says few.
    pub reserve_lines: u64,
    pub reserve_bytes: u64,
    /// Faster than this a step waits. Too low: builds take longer than they need.
    pub lines_per_s: u32,
    pub bytes_per_s: u64,
    /// How far a step may be ahead of the rate.
    pub burst: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line_bytes: super::split::LINE_BYTES,
            lines: 1_000_000,
            bytes: 256 << 20,
            reserve_lines: 50_000,
            reserve_bytes: 16 << 20,
            lines_per_s: 200_000,
            bytes_per_s: 64 << 20,
            burst: Duration::from_secs(1),
        }
    }
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    /// Kept, after a word on how many lines are missing before it.
    KeepAfter {
        dropped: u64,
    },
    /// The first that goes: say so.
    DropFirst,
    Drop,
}

/// Counts against the size of the whole log.
#[derive(Debug)]
pub(super) struct Quota {
    limits: Limits,
    lines: u64,
    bytes: u64,
    pub(super) dropped: u64,
    pub(super) dropped_bytes: u64,
    /// Dropped since the last that was kept.
    run: u64,
}

impl Quota {
    pub(super) fn new(limits: Limits, lines: u64) -> Self {
        Self { limits, lines, bytes: 0, dropped: 0, dropped_bytes: 0, run: 0 }
    }

    pub(super) fn judge(&mut self, level: Level, bytes: usize) -> Verdict {
        let bytes = bytes as u64;
        let Limits { lines, bytes: most, reserve_lines, reserve_bytes, .. } = self.limits;
        let (lines, most) = match level {
            Level::Warn | Level::Error => (lines + reserve_lines, most + reserve_bytes),
            Level::Debug | Level::Info => (lines, most),
        };
        if self.lines < lines && self.bytes + bytes <= most {
            self.lines += 1;
            self.bytes += bytes;
            return match std::mem::take(&mut self.run) {
                0 => Verdict::Keep,
                dropped => Verdict::KeepAfter { dropped },
            };
        }
        self.dropped += 1;
        self.dropped_bytes += bytes;
        self.run += 1;
        if self.dropped == 1 { Verdict::DropFirst } else { Verdict::Drop }
    }
}

/// The rate, as the time until which what was said is paid for.
#[derive(Debug)]
pub(super) struct Pace {
    limits: Limits,
    paid: Option<Instant>,
}

impl Pace {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, paid: None }
    }

    /// How long to wait after having said this much.
    pub(super) fn spend(&mut self, lines: usize, bytes: usize, now: Instant) -> Duration {
        let lines = lines as f64 / f64::from(self.limits.lines_per_s.max(1));
        let bytes = bytes as f64 / self.limits.bytes_per_s.max(1) as f64;
        let paid = self.paid.map_or(now, |paid| paid.max(now)) + Duration::from_secs_f64(lines.max(bytes));
        self.paid = Some(paid);
        paid.saturating_duration_since(now).saturating_sub(self.limits.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_is_said_once_and_counted_before_the_next_that_stays() {
        let limits = Limits { lines: 2, reserve_lines: 1, ..Limits::default() };
        let mut quota = Quota::new(limits, 0);
        let said: Vec<Verdict> =
            [Level::Info, Level::Debug, Level::Info, Level::Info, Level::Error, Level::Error]
                .map(|level| quota.judge(level, 10))
                .into();
        use Verdict::{Drop, DropFirst, Keep, KeepAfter};
        assert_eq!(said, [Keep, Keep, DropFirst, Drop, KeepAfter { dropped: 2 }, Drop]);
        assert_eq!((quota.dropped, quota.dropped_bytes), (3, 30));
    }

    #[test]
    fn a_log_that_is_continued_has_used_its_lines() {
        let mut quota = Quota::new(Limits { lines: 5, ..Limits::default() }, 5);
        assert_eq!(quota.judge(Level::Info, 1), Verdict::DropFirst);
        assert_eq!(quota.judge(Level::Warn, 1), Verdict::KeepAfter { dropped: 1 });
    }

    #[test]
    fn who_is_too_fast_waits_and_a_pause_is_not_saved_up() {
        let limits = Limits { lines_per_s: 1_000, burst: Duration::from_secs(1), ..Limits::default() };
        let (mut pace, now) = (Pace::new(limits), Instant::now());
        assert_eq!(pace.spend(1_000, 0, now), Duration::ZERO);
        assert_eq!(pace.spend(500, 0, now), Duration::from_millis(500));
        assert_eq!(pace.spend(1_000, 0, now + Duration::from_secs(60)), Duration::ZERO);
    }

    #[test]
    fn an_ordinary_build_is_far_from_every_limit() {
        let (mut quota, mut pace, now) =
            (Quota::new(Limits::default(), 0), Pace::new(Limits::default()), Instant::now());
        for _ in 0..100_000 {
            assert_eq!(quota.judge(Level::Info, 200), Verdict::Keep);
        }
        assert_eq!(pace.spend(100_000, 20_000_000, now), Duration::ZERO);
    }
}
