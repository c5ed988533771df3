//! What a build has said so far: to the log line by line, and kept in small for the result or the error.

use std::collections::VecDeque;

use crate::log::{Level, Lines};

/// Lines of the end that an error may show.
const TAIL: usize = 8;
const WARNINGS: usize = 100;
/// Bytes of one line that an error may show.
const SHOWN: usize = 300;

pub(super) struct Output<'a> {
    lines: &'a Lines,
    tail: VecDeque<String>,
    pub(super) warnings: Vec<String>,
    pub(super) cached_steps: u32,
    /// The instruction that runs, or that failed. Whole, as the tail is: what is hidden in them must be seen before they are cut.
    pub(super) instruction: Option<String>,
    pub(super) image_id: Option<String>,
}

impl<'a> Output<'a> {
    pub(super) fn new(lines: &'a Lines) -> Self {
        Self {
            lines,
            tail: VecDeque::new(),
            warnings: Vec::new(),
            cached_steps: 0,
            instruction: None,
            image_id: None,
        }
    }

    /// A line of a step's own output.
    pub(super) async fn step(&mut self, prefix: &str, line: &str) {
        if !line.trim().is_empty() {
            if self.tail.len() == TAIL {
                self.tail.pop_front();
            }
            self.tail.push_back(line.to_owned());
        }
        self.lines.info(format!("{prefix}{line}")).await;
    }

    /// A line about the build.
    pub(super) async fn say(&self, line: impl Into<String>) {
        self.lines.info(line).await;
    }

    /// Noise that explains itself only to who looks for it.
    pub(super) async fn detail(&self, line: impl Into<String>) {
        self.lines.say(Level::Debug, line).await;
    }

    pub(super) async fn warn(&mut self, line: impl Into<String>) {
        let line = line.into();
        if self.warnings.len() < WARNINGS && !self.warnings.contains(&line) {
            self.warnings.push(line.clone());
        }
        self.lines.warn(line).await;
    }

    /// A new step begins: what the last one said explains no error of this one.
    pub(super) fn begin(&mut self, instruction: &str) {
        self.instruction = Some(instruction.to_owned());
        self.tail.clear();
    }

    pub(super) fn tail(&self) -> impl Iterator<Item = &str> {
        self.tail.iter().map(String::as_str)
    }
}

/// As much of a line as an error may show.
pub(super) fn cut(line: &str) -> String {
    let line = line.trim_end();
    match line.char_indices().find(|(at, _)| *at >= SHOWN) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line.to_owned(),
    }
}
