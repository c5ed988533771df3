//! Whether a canary may go on to its next share. Pure: numbers in, a verdict out.
//!
//! A rate of errors that was measured is a draw, so what is rare by chance decides early, and nothing else does: before the
//! window is over a release fails only where its errors are far beyond its limit. What both releases suffer alike is not
//! the new one's fault, and no proof that it is good either.

use std::time::Duration;

use deploymind_shared::domain::rollout::CanarySettings;

use crate::runtime::Tally;

/// Requests from which a rate of errors says something.
const ENOUGH: u64 = 20;
/// Half of everything failed: nobody needs statistics.
const PLAIN: f64 = 0.5;
/// With less probability than this, a release that keeps to its limit would have shown so many errors.
const CERTAIN: f64 = 0.001;
/// One-sided 1 % of the normal distribution: for one comparison, when the window is over.
const WORSE: f64 = 2.33;
/// One-sided 0.1 %: before that the two are compared again with each reading, and one look in a hundred would blame the
/// new release sooner or later.
const CLEARLY_WORSE: f64 = 3.09;
/// Ratio of the bounds of a latency bucket: 2^(1/4).
const BUCKET: f64 = 1.189_207_115_002_721;

#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    Pass,
    /// The new release is to blame.
    Fail(String),
    /// It cannot be told whose fault it is, or nothing could be measured.
    Error(String),
    /// Too few requests.
    Insufficient(String),
    TooEarly,
}

/// `new` and `old` are the requests of both sides since the share was set; `None` could not be read. `elapsed` is since
/// the stage was begun. `Error` and `Insufficient` come only when the window and its grace are over: until then numbers
/// may still change, and a shared dependency may come back.
pub fn judge(
    settings: &CanarySettings,
    new: Option<&Tally>,
    old: Option<&Tally>,
    elapsed: Duration,
) -> Verdict {
    let window = Duration::from_secs(settings.window_s.into());
    let given_up = elapsed >= window + Duration::from_secs(settings.hold_s.into());
    let late = |verdict: Verdict| if given_up { verdict } else { Verdict::TooEarly };
    let Some(new) = new else {
        return late(Verdict::Error("the requests of the new release could not be counted".to_owned()));
    };
    let none = Tally::default();
    let old = old.unwrap_or(&none);
    if let Some(sentence) = clear_failure(settings, new, old) {
        return Verdict::Fail(sentence);
    }
    if new.requests < settings.min_requests.into() {
        return late(Verdict::Insufficient(format!(
            "{} requests reached the new release and {} are needed to judge it",
            new.requests, settings.min_requests
        )));
    }
    if elapsed < window {
        return Verdict::TooEarly;
    }
    match errors(settings, new, old).or_else(|| latency(settings, new, old)) {
        None => Verdict::Pass,
        Some(Verdict::Error(sentence)) => late(Verdict::Error(sentence)),
        Some(verdict) => verdict,
    }
}

/// What is certain about the new release at any time: before its window is over, and while a person is waited for.
pub fn clear_failure(settings: &CanarySettings, new: &Tally, old: &Tally) -> Option<String> {
    let limit = settings.max_error_percent / 100.0;
    let share = rate(new);
    if new.requests < ENOUGH || share <= limit || fails_alike(limit, new, old, CLEARLY_WORSE) {
        return None;
    }
    (share >= PLAIN || tail(new.requests, new.errors, limit) < CERTAIN).then(|| {
        format!("{}, far more than the {} % that are allowed", failed(new), settings.max_error_percent)
    })
}

fn errors(settings: &CanarySettings, new: &Tally, old: &Tally) -> Option<Verdict> {
    let limit = settings.max_error_percent / 100.0;
    if rate(new) > limit {
        return Some(if fails_alike(limit, new, old, WORSE) {
            Verdict::Error(format!(
                "{}; the stable release fails as well ({}), so the fault may be elsewhere",
                failed(new),
                failed(old)
            ))
        } else {
            Verdict::Fail(format!(
                "{}, more than the {} % that are allowed",
                failed(new),
                settings.max_error_percent
            ))
        });
    }
    let margin = settings.margin_percent?;
    (old.requests >= ENOUGH && (rate(new) - rate(old)) * 100.0 > margin).then(|| {
        Verdict::Fail(format!(
            "{}; of the stable release {}: worse by more than {margin} percentage points",
            failed(new),
            failed(old)
        ))
    })
}

/// The buckets are coarse: only what is above the limit for certain counts.
fn latency(settings: &CanarySettings, new: &Tally, old: &Tally) -> Option<Verdict> {
    let limit = f64::from(settings.max_p95_ms?);
    let at_least = |tally: &Tally| tally.latency_ms(0.95).map(|bound| bound / BUCKET);
    let of_new = at_least(new).filter(|ms| *ms >= limit)?;
    let sentence = format!("one in twenty answers took more than {of_new:.0} ms; {limit} ms are allowed");
    let alike = old.requests >= ENOUGH && at_least(old).is_some_and(|of_old| of_old >= of_new);
    Some(if alike {
        Verdict::Error(format!("{sentence}; the stable release is as slow, so the fault may be elsewhere"))
    } else {
        Verdict::Fail(sentence)
    })
}

/// Both are above the limit, and chance explains the difference between them: two-proportion z-test, pooled, one-sided.
fn fails_alike(limit: f64, new: &Tally, old: &Tally, worse: f64) -> bool {
    if old.requests < ENOUGH || rate(old) <= limit {
        return false;
    }
    let (n, m) = (new.requests as f64, old.requests as f64);
    let pooled = (rate(new) * n + rate(old) * m) / (n + m);
    let deviation = (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt();
    rate(new) - rate(old) <= worse * deviation
}

fn rate(tally: &Tally) -> f64 {
    if tally.requests == 0 { 0.0 } else { tally.errors.min(tally.requests) as f64 / tally.requests as f64 }
}

fn failed(tally: &Tally) -> String {
    format!("{} of {} requests failed ({:.1} %)", tally.errors, tally.requests, rate(tally) * 100.0)
}

/// P(X >= k) of the binomial distribution with `n` draws of probability `p`, exact to rounding where `k` is above the
/// mean; 1 where it is not.
pub(super) fn tail(n: u64, k: u64, p: f64) -> f64 {
    let k = k.min(n);
    let (draws, hits) = (n as f64, k as f64);
    if hits <= draws * p {
        return 1.0;
    }
    if p <= 0.0 {
        return 0.0;
    }
    let choose = ln_factorial(draws) - ln_factorial(hits) - ln_factorial(draws - hits);
    let mut term = (choose + hits * p.ln() + (draws - hits) * (-p).ln_1p()).exp();
    let (mut sum, mut i) = (term, hits);
    // Above the mean each term is smaller than the one before.
    while i < draws && term > sum * 1e-12 {
        term *= (draws - i) / (i + 1.0) * p / (1.0 - p);
        sum += term;
        i += 1.0;
    }
    sum.min(1.0)
}

/// Stirling's series from 32 on, where its error is below 1e-12; the sum of logarithms before.
fn ln_factorial(n: f64) -> f64 {
    if n < 32.0 {
        return (2..=n as u32).map(|i| f64::from(i).ln()).sum();
    }
    let inverse = 1.0 / n;
    n * n.ln() - n
        + 0.5 * (std::f64::consts::TAU * n).ln()
        + inverse * (1.0 / 12.0 - inverse * inverse * (1.0 / 360.0 - inverse * inverse / 1260.0))
}

#[cfg(test)]
mod tests;
