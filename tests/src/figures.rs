//! What a benchmark prints: one JSON line per figure on stdout.

use serde_json::{Value, json};

/// A figure and what it is held against; `floor` is `None` where there is nothing to compare with. `more` is added as it is.
pub fn figure(name: &str, value: f64, unit: &str, floor: Option<f64>, more: &Value) {
    let mut line = json!({
        "name": name,
        "value": round(value),
        "unit": unit,
        "floor": floor.map(round),
        "ratio": floor.filter(|floor| *floor > 0.0).map(|floor| round(value / floor)),
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        line[key] = value.clone();
    }
    println!("{line}");
}

#[must_use]
pub fn round(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// `NaN` of nothing.
#[must_use]
pub fn median(samples: impl IntoIterator<Item = f64>) -> f64 {
    percentile(samples, 50)
}

/// The smallest sample that so many percent of all do not exceed; `NaN` of nothing.
#[must_use]
pub fn percentile(samples: impl IntoIterator<Item = f64>, percent: usize) -> f64 {
    let mut samples: Vec<f64> = samples.into_iter().collect();
    samples.sort_by(f64::total_cmp);
    let rank = (samples.len() * percent).div_ceil(100);
    samples.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_sample_by_its_rank() {
        let twenty = || (1..=20).map(f64::from);
        assert_eq!([50, 95, 100].map(|percent| percentile(twenty(), percent)), [10.0, 19.0, 20.0]);
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert!(median([]).is_nan());
    }
}
