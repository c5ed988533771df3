//! The roll-out against its floors: this machine's engine, a real edge, users in another process. One JSON line per figure
//! on stdout: `{"name", "value", "unit", "floor", "ratio", "target", …}`. Workers and scheduler are the program that ships.
//!
//! An argument picks one part: `rollback`, `overhead`, `edge` or `failed`; a number after it, how often. The machine is
//! noisy: where there is a floor the ratio counts, not the value.
#![expect(clippy::expect_used, reason = "a benchmark that cannot go on must stop, and say why")]

mod by_hand;
mod edge;
mod failed;
mod overhead;
mod rollback;
mod shop;
mod timeline;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let part = arguments.next();
    let count: Option<usize> = arguments.next().map(|count| count.parse().expect("a number"));
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
}
