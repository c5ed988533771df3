//! When jobs were claimed and when they ended, by the database's clock (which is this machine's).

use std::time::{SystemTime, UNIX_EPOCH};

use deploymind_tests::rig::Rig;

/// Seconds since 1970, comparable with the history's clock.
pub(super) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs_f64()
}

/// Times of one kind of event, in order.
#[derive(Debug)]
pub(super) struct Moments(Vec<f64>);

impl Moments {
    pub(super) async fn claims(rig: &Rig) -> Self {
        Self::of(rig, |state| state == "running").await
    }

    pub(super) async fn ends(rig: &Rig) -> Self {
        Self::of(rig, |state| state != "running" && state != "queued").await
    }

    async fn of(rig: &Rig, wanted: fn(&str) -> bool) -> Self {
        let rows = rig.rows().await;
        let states = rows.iter().filter(|row| row.kind == "state");
        let wanted = states.filter(|row| row.detail["is"].as_str().is_some_and(wanted));
        let mut moments: Vec<f64> = wanted.map(|row| row.clock).collect();
        moments.sort_by(f64::total_cmp);
        Self(moments)
    }

    pub(super) fn between(&self, from: f64, to: f64) -> usize {
        self.0.iter().filter(|at| (from..to).contains(*at)).count()
    }

    /// Per second.
    pub(super) fn rate(&self, from: f64, to: f64) -> f64 {
        self.between(from, to) as f64 / (to - from)
    }

    pub(super) fn last(&self) -> f64 {
        self.0.last().copied().unwrap_or_default()
    }

    /// The longest time after `from` in which nothing happened.
    pub(super) fn longest_pause(&self, from: f64) -> f64 {
        let after: Vec<f64> =
            std::iter::once(from).chain(self.0.iter().copied().filter(|at| *at >= from)).collect();
        after.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max)
    }

    /// How long after `from` the first second began with at least `least` of them.
    pub(super) fn back_at(&self, from: f64, least: f64) -> Option<f64> {
        let starts = std::iter::once(from).chain(self.0.iter().copied().filter(|at| *at >= from));
        starts.into_iter().find(|start| self.rate(*start, start + 1.0) >= least).map(|start| start - from)
    }
}
