//! Lines on their way together.

use deploymind_shared::db::logs::LogLine;
use tokio::time::{Duration, Instant};

use super::flush::Wish;

/// The longest a line waits for others. Higher: fewer statements, and a log that lags behind.
const WAIT: Duration = Duration::from_millis(50);
const LINES: usize = 2_000;
const BYTES: usize = 1 << 20;

#[derive(Default)]
pub(super) struct Batch {
    pub(super) lines: Vec<LogLine>,
    pub(super) wishes: Vec<Wish>,
    pub(super) bytes: usize,
    due: Option<Instant>,
}

impl Batch {
    pub(super) fn add(&mut self, line: LogLine) {
        if self.lines.is_empty() {
            self.lines.reserve(LINES);
        }
        self.bytes += line.line.len();
        self.lines.push(line);
        self.due.get_or_insert_with(|| Instant::now() + WAIT);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.wishes.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.lines.len() >= LINES || self.bytes >= BYTES
    }

    /// When it is to go, full or not.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }
}
