//! Bytes of a tool, as they come, made into lines.
//!
//! # Guarantees
//! The same lines come out however the bytes were divided. The buffer is bounded: a line without end is cut, and goes on
//! as the next one, marked by [`CONTINUED`]. With a [`Redactor`], no secret stands on both sides of a cut.
//!
//! # Caveats
//! A lone carriage return draws the line anew, as progress bars do. Of such states only the last is kept, and one that
//! says something else than the next, or says that something is wrong.

use std::sync::Arc;

use super::redact::Redactor;
use super::sanitize::{sanitize, unfinished};

/// What a line begins with that goes on where the line before it was cut.
pub const CONTINUED: &str = "↪ ";
/// The longest line, in bytes, before its mark.
pub const LINE_BYTES: usize = 16 << 10;
/// A longer escape sequence at a cut is text.
const SEQUENCE_BYTES: usize = 256;

pub struct LineSplitter {
    redactor: Option<Arc<Redactor>>,
    cap: usize,
    /// The state of the line that is being written.
    buffer: Vec<u8>,
    /// The last state of this line before it was drawn anew.
    drawn: Option<String>,
    /// The last byte was a carriage return: the next decides what it meant.
    returned: bool,
    continued: bool,
}

impl Default for LineSplitter {
    fn default() -> Self {
        Self::new()
    }
}

impl LineSplitter {
    pub fn new() -> Self {
        Self {
            redactor: None,
            cap: LINE_BYTES,
            buffer: Vec::new(),
            drawn: None,
            returned: false,
            continued: false,
        }
    }

    /// Never cuts a secret in two.
    #[must_use]
    pub fn hiding(mut self, redactor: Arc<Redactor>) -> Self {
        // Room for what is held back at a cut, so that each cut lets go of a good part.
        self.cap = LINE_BYTES.max(redactor.reach() * 2);
        self.redactor = Some(redactor);
        self
    }

    #[cfg(test)]
    fn with_cap(mut self, cap: usize) -> Self {
        self.cap = cap;
        self
    }

    /// Takes more bytes and gives each line that they complete.
    pub fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(String)) {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.returned) {
                match bytes[0] {
                    b'\n' => {
                        self.end(&mut line);
                        bytes = &bytes[1..];
                        continue;
                    }
                    b'\r' => {
                        self.returned = true;
                        bytes = &bytes[1..];
                        continue;
                    }
                    _ => self.redraw(&mut line),
                }
            }
            let room = self.cap.saturating_sub(self.buffer.len()).max(1);
            let window = &bytes[..bytes.len().min(room)];
            match window.iter().position(|c| matches!(c, b'\n' | b'\r')) {
                Some(at) => {
                    self.buffer.extend_from_slice(&window[..at]);
                    if window[at] == b'\n' {
                        self.end(&mut line);
                    } else {
                        self.returned = true;
                    }
                    bytes = &bytes[at + 1..];
                }
                None => {
                    self.buffer.extend_from_slice(window);
                    bytes = &bytes[window.len()..];
                    if self.buffer.len() >= self.cap {
                        self.cut(&mut line);
                    }
                }
            }
        }
    }

    /// The tool has ended: what it left without a line break is a line.
    pub fn finish(&mut self, mut line: impl FnMut(String)) {
        self.returned = false;
        if !self.buffer.is_empty() || self.drawn.is_some() {
            self.end(&mut line);
        }
    }

    fn state(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.buffer).into_owned();
        self.buffer.clear();
        text
    }

    fn give(&mut self, text: String, line: &mut impl FnMut(String)) {
        line(if std::mem::take(&mut self.continued) { format!("{CONTINUED}{text}") } else { text });
    }

    fn end(&mut self, line: &mut impl FnMut(String)) {
        let text = self.state();
        if let Some(drawn) = self.drawn.take() {
            let text_is_blank = is_blank(&text);
            if text_is_blank || !redraws(&drawn, &text) {
                self.give(drawn, line);
            }
            if text_is_blank {
                return;
            }
        }
        self.give(text, line);
    }

    fn redraw(&mut self, line: &mut impl FnMut(String)) {
        let text = self.state();
        if is_blank(&text) {
            return;
        }
        if let Some(before) = self.drawn.replace(text)
            && !self.drawn.as_ref().is_some_and(|now| redraws(&before, now))
        {
            self.give(before, line);
        }
    }

    fn cut(&mut self, line: &mut impl FnMut(String)) {
        if let Some(drawn) = self.drawn.take() {
            self.give(drawn, line);
        }
        // The bytes of a character or an escape sequence that may still be completed stay.
        let mut held = incomplete(&self.buffer);
        let text = String::from_utf8_lossy(&self.buffer[..self.buffer.len() - held]);
        let end = match unfinished(&text) {
            Some(at) if text.len() - at <= SEQUENCE_BYTES => at,
            _ => text.len(),
        };
        let mut rest = text[end..].as_bytes().to_vec();
        rest.extend_from_slice(&self.buffer[self.buffer.len() - held..]);
        // Sequences first: one of them within a secret must not keep it from being seen.
        let text = sanitize(&text[..end]).into_owned();
        held = match &self.redactor {
            None => 0,
            Some(redactor) => text.len() - redactor.cut(&text),
        };
        let keep = text.len() - held;
        let (given, kept) = if keep == 0 && !text.is_empty() {
            // One secret beside the other all along. What is held back is shown a second time rather than cut.
            let reach = self.redactor.as_ref().map_or(0, |redactor| redactor.reach()).min(text.len() / 2);
            let given =
                self.redactor.as_ref().map_or_else(String::new, |r| r.redact_text(&text).into_owned());
            (given, &text[text.floor_char_boundary(text.len() - reach)..])
        } else {
            (text[..keep].to_owned(), &text[keep..])
        };
        self.buffer.clear();
        self.buffer.extend_from_slice(kept.as_bytes());
        self.buffer.append(&mut rest);
        if !given.is_empty() {
            self.give(given, line);
            self.continued = true;
        }
    }
}

/// How many bytes at the end are the beginning of a character.
fn incomplete(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(4)..];
    match tail.utf8_chunks().last() {
        Some(chunk) if !chunk.invalid().is_empty() => {
            let invalid = chunk.invalid();
            match std::str::from_utf8(invalid) {
                Err(error) if error.error_len().is_none() => invalid.len(),
                _ => 0,
            }
        }
        _ => 0,
    }
}

fn is_blank(text: &str) -> bool {
    sanitize(text).chars().all(char::is_whitespace)
}

/// Whether `later` is the same progress further on, so that nothing is lost with the earlier.
fn redraws(earlier: &str, later: &str) -> bool {
    const TROUBLE: &[&str] = &["error", "fail", "fatal", "panic", "warn", "denied", "cannot", "refused"];
    let (earlier, later) = (sanitize(earlier), sanitize(later));
    let lower = earlier.to_lowercase();
    if TROUBLE.iter().any(|word| lower.contains(word)) && earlier != later {
        return false;
    }
    // The words before the first number, which is what moves.
    let start = |text: &str| {
        let words = text.trim_start_matches(|c: char| !c.is_alphabetic());
        let words = words.split(|c: char| c.is_ascii_digit()).next().unwrap_or_default();
        words.chars().filter(|c| c.is_alphabetic()).take(12).collect::<String>()
    };
    start(&earlier) == start(&later)
}

#[cfg(test)]
mod tests;
