//! From what was said to what may be stored: safe, without secrets, within the limits, numbered.

use deploymind_shared::clock::{Clock, Timestamp};
use deploymind_shared::db::logs::LogLine;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Totals;
use super::batch::Batch;
use super::flush::Wish;
use crate::log::limit::{Limits, Pace, Quota, Verdict};
use crate::log::lines::{Level, Line};
use crate::log::redact::{KeyBlock, Redactor};
use crate::log::sanitize::sanitize;
use crate::log::split::CONTINUED;

/// Lines taken from the steps at once.
const GULP: usize = 256;

pub(super) struct Prepare<'r> {
    redactor: &'r Redactor,
    limits: Limits,
    quota: Quota,
    pace: Pace,
    key: KeyBlock,
    batch: Batch,
    totals: Totals,
}

/// Whoever stores has ended: nothing more can be done with a line.
struct Gone;

impl<'r> Prepare<'r> {
    pub(super) fn new(redactor: &'r Redactor, limits: Limits, last: i64) -> Self {
        Self {
            redactor,
            limits,
            quota: Quota::new(limits, u64::try_from(last).unwrap_or(0)),
            pace: Pace::new(limits),
            key: KeyBlock::default(),
            batch: Batch::default(),
            totals: Totals { last, ..Totals::default() },
        }
    }

    /// Ends when nobody is left to say anything; `hurry` is told then.
    pub(super) async fn run(
        mut self,
        mut lines: mpsc::Receiver<Line>,
        mut wishes: mpsc::Receiver<Wish>,
        made: mpsc::Sender<Batch>,
        hurry: &CancellationToken,
    ) -> Totals {
        let mut said = Vec::with_capacity(GULP);
        let ended = self.work(&mut lines, &mut wishes, &made, &mut said).await;
        hurry.cancel();
        if ended.is_ok() {
            self.say_dropped();
            wishes.close();
            while let Ok(wish) = wishes.try_recv() {
                self.batch.wishes.push(wish);
            }
            let _gone = self.send(&made).await.is_err();
        }
        self.totals.dropped = self.quota.dropped;
        self.totals.dropped_bytes = self.quota.dropped_bytes;
        self.totals
    }

    async fn work(
        &mut self,
        lines: &mut mpsc::Receiver<Line>,
        wishes: &mut mpsc::Receiver<Wish>,
        made: &mpsc::Sender<Batch>,
        said: &mut Vec<Line>,
    ) -> Result<(), Gone> {
        for exposed in self.redactor.exposed() {
            self.put_own(Level::Warn, exposed.to_string());
        }
        let mut flushes = true;
        loop {
            let due = self.batch.due().unwrap_or_else(Instant::now);
            tokio::select! {
                wish = wishes.recv(), if flushes => match wish {
                    None => flushes = false,
                    Some(wish) => {
                        // What was said before the wish is here already.
                        for _ in 0..lines.len() {
                            if let Ok(line) = lines.try_recv() {
                                self.put(line, made).await?;
                            }
                        }
                        self.batch.wishes.push(wish);
                        self.send(made).await?;
                    }
                },
                count = lines.recv_many(said, GULP) => {
                    if count == 0 {
                        return Ok(());
                    }
                    let bytes = said.iter().map(|line| line.text.len()).sum();
                    for line in said.drain(..) {
                        self.put(line, made).await?;
                    }
                    let wait = self.pace.spend(count, bytes, Instant::now());
                    if !wait.is_zero() {
                        self.send(made).await?;
                        tokio::select! {
                            () = sleep(wait) => {}
                            () = made.closed() => return Err(Gone),
                        }
                    }
                }
                () = sleep_until(due), if self.batch.due().is_some() => self.send(made).await?,
                () = made.closed() => return Err(Gone),
            }
        }
    }

    async fn send(&mut self, made: &mpsc::Sender<Batch>) -> Result<(), Gone> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() { Ok(()) } else { made.send(batch).await.map_err(|_| Gone) }
    }

    async fn put(&mut self, line: Line, made: &mpsc::Sender<Batch>) -> Result<(), Gone> {
        let Line { at, level, text } = line;
        if text.contains(['\n', '\r']) {
            // A value of several lines is seen only while they are together.
            let text = self.redactor.redact_text(&text);
            for text in text.split(['\n', '\r']).filter(|text| !text.is_empty()) {
                self.put_line(at, level, text);
                self.send_if_full(made).await?;
            }
            return Ok(());
        }
        self.put_line(at, level, &text);
        self.send_if_full(made).await
    }

    async fn send_if_full(&mut self, made: &mpsc::Sender<Batch>) -> Result<(), Gone> {
        if self.batch.is_full() { self.send(made).await } else { Ok(()) }
    }

    fn put_line(&mut self, at: Timestamp, level: Level, text: &str) {
        // Sequences first: one of them within a secret must not keep it from being seen.
        let safe = sanitize(text);
        let key = self.key.follow(&safe);
        let mut rest = &*self.redactor.redact_with(&safe, key);
        let mut continued = false;
        loop {
            let most = self.limits.line_bytes.max(4) + if continued { 0 } else { CONTINUED.len() };
            let (piece, left) = rest.split_at(rest.floor_char_boundary(most));
            self.put_piece(
                at,
                level,
                if continued { format!("{CONTINUED}{piece}") } else { piece.to_owned() },
            );
            if left.is_empty() {
                return;
            }
            (rest, continued) = (left, true);
        }
    }

    fn put_piece(&mut self, at: Timestamp, level: Level, piece: String) {
        match self.quota.judge(level, piece.len()) {
            Verdict::Keep => {}
            Verdict::KeepAfter { dropped } => {
                self.put_own(Level::Warn, format!("dropped {dropped} lines here"))
            }
            Verdict::DropFirst => {
                let Limits { lines, bytes, .. } = self.limits;
                let sentence = format!(
                    "this log has reached its limit of {lines} lines or {} MiB; what follows is dropped, but for warnings and \
                     errors",
                    bytes >> 20
                );
                return self.put_own(Level::Warn, sentence);
            }
            Verdict::Drop => return,
        }
        self.number(at, level, piece);
    }

    /// Our own words about the log: few, and never dropped.
    fn put_own(&mut self, level: Level, text: String) {
        self.number(Clock::system().now(), level, text);
    }

    fn say_dropped(&mut self) {
        let (lines, bytes) = (self.quota.dropped, self.quota.dropped_bytes);
        if lines > 0 {
            self.put_own(Level::Warn, format!("dropped {lines} lines ({bytes} bytes) of this log in all"));
        }
    }

    fn number(&mut self, at: Timestamp, level: Level, line: String) {
        self.totals.last += 1;
        self.totals.lines += 1;
        self.totals.bytes += line.len() as u64;
        self.batch.add(LogLine { seq: self.totals.last, at, level: level.as_str().to_owned(), line });
    }
}
