//! The roll-out against its floors: this machine's engine, a real edge, users in another process. One JSON line per figure
//! on stdout: `{"name", "value", "unit", "floor", "ratio", "target", …}`. Workers and scheduler are the program that ships.
//!
//! How busy the machine was is shown with `load_average`: what the engine does takes several times as long on a busy one.
//!
//! An argument picks one part: `rollback`, `overhead`, `edge` or `failed`; a number after it, how often.
#![expect(clippy::expect_used, reason = "a benchmark that cannot go on must stop, and say why")]

mod by_hand;
mod edge;
mod failed;
mod overhead;
mod rollback;
mod shop;
mod timeline;

use deploymind_tests::figures::figure;
use serde_json::json;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let part = arguments.next();
    let count: Option<usize> = arguments.next().map(|count| count.parse().expect("a number"));
    load_average();
    let wanted = |name: &str| part.as_deref().is_none_or(|part| part == name);
    if wanted("rollback") {
        rollback::measure(count.unwrap_or(20)).await;
    }
    if wanted("overhead") {
        overhead::measure(count.unwrap_or(7)).await;
    }
    if wanted("edge") {
        edge::measure(count.unwrap_or(10)).await;
    }
    if wanted("failed") {
        failed::measure(count.unwrap_or(20)).await;
    }
    load_average();
}

/// Of the last minute: beyond the number of cores, figures say little.
fn load_average() {
    let text = std::fs::read_to_string("/proc/loadavg").expect("Linux");
    let value = text.split(' ').next().and_then(|word| word.parse().ok()).expect("a number");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    figure("load_average", value, "", None, &json!({ "cores": cores }));
}
