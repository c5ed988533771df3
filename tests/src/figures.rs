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

/// The sample that this share of all does not exceed; `NaN` of nothing.
#[must_use]
pub fn percentile(samples: impl IntoIterator<Item = f64>, percent: usize) -> f64 {
    let mut samples: Vec<f64> = samples.into_iter().collect();
    samples.sort_by(f64::total_cmp);
    let at = (samples.len() * percent / 100).min(samples.len().saturating_sub(1));
    samples.get(at).copied().unwrap_or(f64::NAN)
}
