//! How a release takes over from the one before it: what may be set, and what may be asked while it happens.

use serde::{Deserialize, Serialize};

use super::text_enum;

/// Most stages of a canary.
pub const STAGES_MAX: usize = 20;
/// Most earlier releases that stay ready on a target.
pub const KEEP_MAX: u8 = 50;
/// Longest that the windows and pauses of one roll-out may come to: shorter than a deployment may take at all.
pub const LONGEST_S: u64 = 24 * 60 * 60;
/// Automatic ways back in a row after which pushes are refused until a person acts.
pub const AUTOMATIC_ROLLBACKS_MAX: i32 = 3;

text_enum! {
    StrategyKind {
        /// Target by target, each at once.
        Rolling = "rolling",
        /// A growing share of the requests, judged after each step.
        Canary = "canary",
        /// All at once, with the old one kept running beside it for a while.
        BlueGreen = "blue-green",
    }
}

text_enum! {
    /// What follows when a stage ends without enough requests, or without a number to judge by.
    OnInsufficient {
        /// Wait for a person, at the weight it has.
        Pause = "pause",
        Rollback = "rollback",
    }
}

text_enum! {
    /// How earlier releases are kept ready.
    Warm {
        /// The container stays and is stopped: the way back costs the program's start.
        Stopped = "stopped",
        /// The release before this one runs on: the way back is a change of routes.
        Running = "running",
    }
}

text_enum! {
    /// What a person may ask of a roll-out. A stop of the deployment itself is a cancel of its job.
    RolloutCommand {
        /// Begin no further move.
        Pause = "pause",
        Resume = "resume",
        /// Do not wait for windows and numbers any more. Health is still asked for.
        Promote = "promote",
        /// Back to what served before.
        Abort = "abort",
    }
}

text_enum! {
    /// How a roll-out ended.
    RolloutOutcome {
        /// Users reach the new release.
        Done = "done",
        /// Users reach what served before, and no request went to the new release.
        Withdrawn = "withdrawn",
        /// Users reach what served before; some requests went to the new release.
        Reverted = "reverted",
        /// The way back was not healthy and the new release was: it stays.
        Kept = "kept",
        /// Neither side was healthy: traffic was left where it was.
        Left = "left",
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RolloutSettings {
    pub strategy: StrategyKind,
    /// Rolling: how many targets at a time.
    pub batch: u16,
    pub canary: CanarySettings,
    /// Blue-green: how long the old one runs on beside the new one.
    pub observe_s: u32,
    /// Rolling, and a canary at its last stage: how long the new release is watched before the deployment counts as done.
    pub verify_s: u32,
    /// How long requests that the old release has accepted may take to end.
    pub drain_s: u32,
    /// How long a roll-out may stand paused before it goes back by itself.
    pub pause_max_s: u32,
    pub warm: Warm,
    /// Earlier releases that stay ready on each target.
    pub keep: u8,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CanarySettings {
    /// Shares of the requests in percent, rising; the last is 100.
    pub stages: Vec<u8>,
    /// Of each stage before the last.
    pub window_s: u32,
    /// Requests that a stage needs before anything is judged.
    pub min_requests: u32,
    /// Above it the new release has failed.
    pub max_error_percent: f64,
    /// Above it the new release has failed, too. Not judged when not set.
    pub max_p95_ms: Option<u32>,
    /// How much worse than the old release, in percentage points of errors, counts as failed even below the limit.
    pub margin_percent: Option<f64>,
    /// How long beyond its window a stage may wait for its requests.
    pub hold_s: u32,
    pub on_insufficient: OnInsufficient,
    /// Whether a visitor stays with the release that answered first (by cookie).
    pub sticky: bool,
    /// Whether the header `X-DeployMind-Slot: new` or `old` chooses the release, at any share.
    pub header: bool,
}

impl Default for RolloutSettings {
    fn default() -> Self {
        Self {
            strategy: StrategyKind::Rolling,
            batch: 1,
            canary: CanarySettings::default(),
            observe_s: 120,
            verify_s: 10,
            drain_s: 30,
            pause_max_s: 3600,
            warm: Warm::Stopped,
            keep: 3,
        }
    }
}

impl Default for CanarySettings {
    fn default() -> Self {
        Self {
            stages: vec![10, 50, 100],
            window_s: 300,
            min_requests: 100,
            max_error_percent: 5.0,
            max_p95_ms: None,
            margin_percent: None,
            hold_s: 300,
            on_insufficient: OnInsufficient::Pause,
            sticky: false,
            header: false,
        }
    }
}

impl RolloutSettings {
    /// Adds a sentence for every field that cannot be obeyed.
    pub fn check(&self, wrong: &mut Vec<String>) {
        let stages = &self.canary.stages;
        let rising = stages.windows(2).all(|pair| pair[0] < pair[1]);
        if stages.is_empty()
            || stages.len() > STAGES_MAX
            || stages[0] == 0
            || !rising
            || stages.last() != Some(&100)
        {
            wrong.push(format!(
                "rollout.canary.stages must be at most {STAGES_MAX} rising percentages, the last of them 100"
            ));
        }
        let canary = &self.canary;
        for (name, value, least, most) in [
            ("batch", u32::from(self.batch), 1, 64),
            ("observe_s", self.observe_s, 0, 86_400),
            ("verify_s", self.verify_s, 0, 86_400),
            ("drain_s", self.drain_s, 1, 3600),
            ("pause_max_s", self.pause_max_s, 1, 86_400),
            ("keep", u32::from(self.keep), 0, u32::from(KEEP_MAX)),
            ("canary.window_s", canary.window_s, 1, 86_400),
            ("canary.min_requests", canary.min_requests, 1, 10_000_000),
            ("canary.hold_s", canary.hold_s, 0, 86_400),
            ("canary.max_p95_ms", canary.max_p95_ms.unwrap_or(1), 1, 600_000),
        ] {
            if !(least..=most).contains(&value) {
                wrong.push(format!("rollout.{name} must be {least} to {most}"));
            }
        }
        let stages = u64::try_from(stages.len()).unwrap_or(u64::MAX);
        let windows = stages.saturating_mul(u64::from(canary.window_s) + u64::from(canary.hold_s));
        if windows + u64::from(self.pause_max_s) > LONGEST_S {
            wrong.push(format!(
                "rollout.canary windows and holds of all stages together with rollout.pause_max_s must be at most {LONGEST_S} s"
            ));
        }
        for (name, percent) in
            [("max_error_percent", Some(canary.max_error_percent)), ("margin_percent", canary.margin_percent)]
        {
            if percent.is_some_and(|percent| !(0.0..=100.0).contains(&percent)) {
                wrong.push(format!("rollout.canary.{name} must be 0 to 100"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_field_is_named() {
        let settings = RolloutSettings {
            batch: 0,
            drain_s: 0,
            pause_max_s: 0,
            keep: 200,
            observe_s: 1_000_000,
            verify_s: 1_000_000,
            canary: CanarySettings {
                stages: vec![50, 10],
                window_s: 0,
                min_requests: 0,
                max_error_percent: f64::NAN,
                max_p95_ms: Some(0),
                margin_percent: Some(-1.0),
                hold_s: 1_000_000,
                ..CanarySettings::default()
            },
            ..RolloutSettings::default()
        };
        let mut wrong = Vec::new();
        settings.check(&mut wrong);
        assert_eq!(wrong.len(), 14, "{wrong:?}");
        let mut wrong = Vec::new();
        RolloutSettings::default().check(&mut wrong);
        assert_eq!(wrong, Vec::<String>::new());
    }
}
