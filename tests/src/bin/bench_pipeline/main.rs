//! The pipeline against its floors, in one run on one machine. One JSON line per figure on stdout: `{"name", "value",
//! "unit", "floor", "ratio", "target", …}`. Workers are the program that ships.
//!
//! An argument picks one part: `image`, `detect` or `log`. The machine is noisy: the ratio counts, not the value.
#![expect(clippy::expect_used, reason = "a benchmark that cannot go on must stop, and say why")]

mod by_hand;
mod detect;
mod image;
mod log;
mod ours;
mod sample;

use serde_json::{Value, json};

#[tokio::main]
async fn main() {
    let part = std::env::args().nth(1);
    let wanted = |name: &str| part.as_deref().is_none_or(|part| part == name);
    if wanted("detect") {
        eprintln!("detection");
        detect::measure();
    }
    if wanted("log") {
        eprintln!("log");
        log::measure().await;
    }
    if wanted("image") {
        eprintln!("commit to image");
        image::measure().await;
    }
}

fn round(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// A figure and what it is held against; `floor` is `None` where there is nothing to compare with. `more` is added as it is.
fn figure(name: &str, value: f64, unit: &str, floor: Option<f64>, more: &Value) {
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

/// `NaN` of nothing.
fn median(samples: impl IntoIterator<Item = f64>) -> f64 {
    let mut samples: Vec<f64> = samples.into_iter().collect();
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
}
