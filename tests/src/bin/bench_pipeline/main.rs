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

use deploymind_tests::figures::{figure, median, round};

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
