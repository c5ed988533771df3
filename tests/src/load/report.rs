//! What the load process has seen, as it prints it: one JSON line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Requests are those of the steady rate and the slow ones; what a WebSocket does is counted apart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Nothing runs any more; otherwise the counts so far.
    pub last: bool,
    pub seconds: f64,
    /// All that came to an end, good or bad.
    pub requests: u64,
    pub slow_done: u64,
    pub posts_done: u64,
    /// Answers by status, and by the release that gave them.
    pub statuses: BTreeMap<u16, u64>,
    pub versions: BTreeMap<String, Version>,

    /// The sum of those that follow: each a request or an echo that a user has lost.
    pub failures: u64,
    pub non_2xx: u64,
    /// The connection was reset under a request, or while it was idle.
    pub resets: u64,
    /// The connection ended in order, but before the whole answer.
    pub cut: u64,
    pub timeouts: u64,
    /// Another body than was asked for, or no HTTP.
    pub wrong_answers: u64,
    /// No connection could be opened.
    pub refused: u64,
    /// Too many requests were under way already.
    pub not_sent: u64,
    /// Sent over a WebSocket that ended before the echo.
    pub ws_lost: u64,
    /// Of the failures, those that a browser hides by asking again (RFC 9112, 9.3.1): `GET` over a connection that had
    /// served before, ended without a byte of an answer. A server that ends idle connections cannot rule them out.
    pub retriable: u64,
    /// The first ones.
    pub first_failures: Vec<Failed>,

    /// No failure: the server had ended an idle connection in order before a byte of the request was written, and it was
    /// sent over another.
    pub closed_before_sent: u64,
    pub connections_opened: u64,
    pub ws_echoes: u64,
    /// Ended in order by the server, and opened anew.
    pub ws_reopened: u64,

    /// From when a request was due to the end of its answer; without the slow ones.
    pub p50_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Version {
    pub count: u64,
    pub first: Moment,
    pub last: Moment,
}

/// When an answer was complete.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Since the start of the load.
    pub ms: f64,
    pub unix_us: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    pub at: Moment,
    pub kind: FailureKind,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    Status,
    Reset,
    Cut,
    Timeout,
    WrongAnswer,
    Refused,
    NotSent,
    WsLost,
}

impl Report {
    pub fn count(&mut self, kind: FailureKind) {
        self.failures += 1;
        *match kind {
            FailureKind::Status => &mut self.non_2xx,
            FailureKind::Reset => &mut self.resets,
            FailureKind::Cut => &mut self.cut,
            FailureKind::Timeout => &mut self.timeouts,
            FailureKind::WrongAnswer => &mut self.wrong_answers,
            FailureKind::Refused => &mut self.refused,
            FailureKind::NotSent => &mut self.not_sent,
            FailureKind::WsLost => &mut self.ws_lost,
        } += 1;
    }

    /// How many answers this release gave.
    #[must_use]
    pub fn of(&self, version: &str) -> u64 {
        self.versions.get(version).map_or(0, |seen| seen.count)
    }

    /// # Panics
    /// When a user has lost anything, or there were no users.
    pub fn assert_nothing_lost(&self) {
        assert!(self.failures == 0 && self.requests > 0, "{self:#?}");
    }
}

/// The first answer of a release that somebody waited for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// Absent when it did not come in time.
    pub at: Option<Moment>,
    pub asked: u64,
    /// What else was answered on the way: releases, and `failed` for no answer with status 2xx.
    pub others: BTreeMap<String, u64>,
}

/// One request after another over one connection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub requests: u64,
    pub failures: u64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
    pub mean_us: f64,
}
