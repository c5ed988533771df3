//! Counts what became of each request.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use deploymind_tests::load::{Failed, FailureKind, Moment, Report, UNDER_WAY, Version, checksum};
use serde_json::Value;
use tokio::time::Instant;

use crate::connection::{Answer, Failure};
use crate::target::Ask;

const KEPT_FAILURES: usize = 20;

pub struct Tally {
    start: Instant,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    report: Report,
    latencies_us: Vec<u32>,
}

impl Tally {
    pub fn start() -> Self {
        Self { start: Instant::now(), counts: Mutex::default() }
    }

    pub fn opened(&self) {
        self.lock().report.connections_opened += 1;
    }

    pub fn closed_before_sent(&self) {
        self.lock().report.closed_before_sent += 1;
    }

    pub fn echoed(&self) {
        self.lock().report.ws_echoes += 1;
    }

    pub fn reopened(&self) {
        self.lock().report.ws_reopened += 1;
    }

    /// A slow one has no `due`: how long it takes is no news.
    pub fn ended(&self, ask: &Ask, outcome: Result<Answer, Failure>, due: Option<Instant>) {
        let mut counts = self.lock();
        counts.report.requests += 1;
        if counts.report.requests == 1 {
            eprintln!("{UNDER_WAY}");
        }
        let verdict = outcome.and_then(|answer| {
            let now = moment(self.start);
            *counts.report.statuses.entry(answer.status).or_default() += 1;
            if let Some(name) = &answer.version {
                let version = counts.report.versions.entry(name.clone()).or_default();
                note(version, now);
            }
            if let Some(due) = due {
                counts.latencies_us.push(due.elapsed().as_micros().try_into().unwrap_or(u32::MAX));
            }
            judge(ask, &answer)
        });
        match verdict {
            Ok(()) if due.is_none() => counts.report.slow_done += 1,
            Ok(()) if ask.is_post() => counts.report.posts_done += 1,
            Ok(()) => {}
            Err(failure) => fail(&mut counts.report, failure, moment(self.start)),
        }
    }

    /// One that belongs to no request.
    pub fn failed(&self, failure: Failure) {
        fail(&mut self.lock().report, failure, moment(self.start));
    }

    pub fn report(&self, last: bool) -> Report {
        let counts = self.lock();
        let mut sorted = counts.latencies_us.clone();
        sorted.sort_unstable();
        Report {
            last,
            seconds: self.start.elapsed().as_secs_f64(),
            p50_us: percentile(&sorted, 50),
            p99_us: percentile(&sorted, 99),
            max_us: percentile(&sorted, 100),
            ..counts.report.clone()
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub fn moment(start: Instant) -> Moment {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let micros = |time: Duration| time.as_micros().try_into().unwrap_or(u64::MAX);
    Moment { ms: start.elapsed().as_secs_f64() * 1e3, unix_us: micros(unix) }
}

/// The smallest value that so many percent are not above; `sorted` ascends.
pub fn percentile(sorted: &[u32], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default().into()
}

fn note(version: &mut Version, now: Moment) {
    if version.count == 0 {
        version.first = now;
    }
    version.count += 1;
    version.last = now;
}

fn fail(report: &mut Report, failure: Failure, at: Moment) {
    report.count(failure.kind);
    report.retriable += u64::from(failure.retriable);
    if report.first_failures.len() < KEPT_FAILURES {
        report.first_failures.push(Failed { at, kind: failure.kind, text: failure.text });
    }
}

/// An answer is right when it is of one release from its head to its body, and what was sent had arrived.
fn judge(ask: &Ask, answer: &Answer) -> Result<(), Failure> {
    let shown = || String::from_utf8_lossy(&answer.body[..answer.body.len().min(200)]).into_owned();
    if !(200..300).contains(&answer.status) {
        let text = format!("{} {}", answer.status, shown());
        return Err(Failure::new(FailureKind::Status, text));
    }
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let is_whole = body["version"].as_str() == answer.version.as_deref() && answer.version.is_some();
    let has_arrived = !ask.is_post()
        || (body["bytes"].as_u64() == u64::try_from(ask.body.len()).ok()
            && body["sum"].as_u64() == Some(checksum(&ask.body)));
    if is_whole && has_arrived {
        return Ok(());
    }
    let version = answer.version.as_deref().unwrap_or("no release");
    Err(Failure::new(FailureKind::WrongAnswer, format!("{version} answered {}", shown())))
}
