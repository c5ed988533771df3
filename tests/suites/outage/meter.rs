//! When jobs ended, by the database's clock (which is this machine's).

use std::time::{SystemTime, UNIX_EPOCH};

use deploymind_tests::rig::Rig;

/// Seconds since 1970, comparable with the history's clock.
pub(super) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs_f64()
}

/// The times at which jobs ended, in order.
#[derive(Debug)]
pub(super) struct Ends(Vec<f64>);

impl Ends {
    pub(super) async fn read(rig: &Rig) -> Self {
        let mut ends: Vec<f64> = rig
            .rows()
            .await
            .iter()
            .filter(|row| {
                row.kind == "state" && row.detail["is"] != "running" && row.detail["is"] != "queued"
            })
            .map(|row| row.clock)
            .collect();
        ends.sort_by(f64::total_cmp);
        Self(ends)
    }

    pub(super) fn between(&self, from: f64, to: f64) -> usize {
        self.0.iter().filter(|end| (from..to).contains(*end)).count()
    }

    /// Per second.
    pub(super) fn rate(&self, from: f64, to: f64) -> f64 {
        self.between(from, to) as f64 / (to - from)
    }

    pub(super) fn last(&self) -> f64 {
        self.0.last().copied().unwrap_or_default()
    }

    /// The longest time after `from` in which no job ended.
    pub(super) fn longest_pause(&self, from: f64) -> f64 {
        let after: Vec<f64> =
            std::iter::once(from).chain(self.0.iter().copied().filter(|end| *end >= from)).collect();
        after.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max)
    }

    /// How long after `from` the first second began in which at least `least` jobs ended.
    pub(super) fn back_at(&self, from: f64, least: f64) -> Option<f64> {
        let starts = std::iter::once(from).chain(self.0.iter().copied().filter(|end| *end >= from));
        starts.into_iter().find(|start| self.rate(*start, start + 1.0) >= least).map(|start| start - from)
    }
}
