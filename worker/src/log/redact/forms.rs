//! The shapes one secret takes on its way into a log: as it is, and as programs commonly write it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use zeroize::{Zeroize, Zeroizing};

use crate::log::sanitize::sanitize;

/// A value of fewer characters is part of ordinary words and numbers.
pub const SHORTEST: usize = 5;
/// A line of a value of several lines is looked for on its own from this length on.
const SHORTEST_LINE: usize = 8;
/// A longer form is looked for in pieces of this size, so that what must be held back at a forced cut stays bounded.
pub(super) const LONGEST: usize = 4096;
/// The widths at which `base64` and PEM break lines.
const WRAPS: [usize; 2] = [76, 64];

/// Whether what stands around a match belongs to the same encoded text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    Exact,
    /// Characters that hold bits of the secret's first or last byte stand beside the match.
    Base64,
}

/// One text to look for, wiped when dropped.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pattern(Vec<u8>);

impl Pattern {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Pattern {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[derive(Default)]
pub(super) struct Forms(BTreeMap<Pattern, Edge>);

impl Forms {
    /// Every form of one value that is long enough to be told from other text.
    pub(super) fn of(value: &str) -> Self {
        let mut forms = Self::default();
        for value in [value, value.trim()] {
            forms.written(value);
            forms.encoded(value.as_bytes());
            for line in value.lines().map(str::trim).filter(|_| value.contains(['\n', '\r'])) {
                if line.chars().count() >= SHORTEST_LINE {
                    forms.written(line);
                }
            }
        }
        forms
    }

    pub(super) fn into_patterns(self) -> impl Iterator<Item = (Pattern, Edge)> {
        self.0.into_iter()
    }

    fn add(&mut self, text: impl Into<Vec<u8>>, edge: Edge) {
        let pattern = Pattern(text.into());
        let text = pattern.as_bytes();
        if text.len() < SHORTEST || std::str::from_utf8(text).is_ok_and(|t| t.chars().count() < SHORTEST) {
            return;
        }
        if text.len() <= LONGEST {
            self.0.insert(pattern, edge);
            return;
        }
        let last = text.len() - LONGEST;
        for start in (0..last).step_by(LONGEST).chain([last]) {
            self.0.insert(Pattern(text[start..start + LONGEST].to_vec()), edge);
        }
    }

    /// The forms that still show the value's letters.
    fn written(&mut self, value: &str) {
        let mut texts = vec![value.to_owned(), sanitize(value).into_owned()];
        let json = json_inner(value);
        texts.extend([json.replace('/', "\\/"), ascii_json(&json, false), ascii_json(&json, true)]);
        let html_safe = json
            .replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026")
            .replace('\'', "\\u0027");
        texts.extend([html_safe.clone(), html_safe.replace("\\u0027", "'"), json_inner(&json), json]);
        texts.extend([
            value.replace('\'', "'\\''"),
            value.replace('\'', "'\"'\"'"),
            escaped(value, |c| "$`\"\\".contains(c)),
            escaped(value, |c| "$`\"\\!".contains(c)),
            escaped(value, |c| c.is_ascii() && !c.is_ascii_alphanumeric() && !"_-./:=@%+,".contains(c)),
            escaped(value, |c| c.is_ascii_punctuation()),
            escaped(value, |c| c == '\''),
            value.escape_debug().to_string(),
            format!("{value:?}").trim_matches('"').to_owned(),
            value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"),
        ]);
        for (quote, apostrophe) in
            [("&quot;", "&#39;"), ("&#34;", "&#39;"), ("&quot;", "&#x27;"), ("&quot;", "&apos;")]
        {
            let html = value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            texts.push(html.replace('"', quote).replace('\'', apostrophe));
        }
        for keep in ["-_.~", "-_.!~*'()", "-_.*", "-_.", "-_.~/", ";,/?:@&=+$#-_.!~*'()"] {
            for upper in [true, false] {
                let percent =
                    percent(value, |c| c.is_ascii_alphanumeric() || keep.contains(char::from(c)), upper);
                texts.push(percent.replace("%20", "+"));
                // Encoded once more, as a URL inside a URL.
                texts.push(percent.replace('%', "%25"));
                texts.push(percent);
            }
        }
        for upper in [true, false] {
            texts.push(percent(value, |_| false, upper));
        }
        for text in texts {
            self.add(text, Edge::Exact);
        }
    }

    /// The forms that do not.
    fn encoded(&mut self, value: &[u8]) {
        let mut with_break = Zeroizing::new(value.to_vec());
        with_break.push(b'\n');
        for engine in [&STANDARD, &URL_SAFE, &STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            for whole in [value, with_break.as_slice()] {
                let text = Zeroizing::new(engine.encode(whole));
                for wrap in WRAPS.into_iter().filter(|wrap| text.len() > *wrap) {
                    for line in text.as_bytes().chunks(wrap).filter(|line| line.len() >= SHORTEST_LINE) {
                        self.add(line, Edge::Exact);
                    }
                }
                self.add(text.as_bytes(), Edge::Exact);
            }
        }
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            for offset in 0..3 {
                let mut shifted = Zeroizing::new(vec![0; offset]);
                shifted.extend_from_slice(value);
                let text = Zeroizing::new(engine.encode(&shifted));
                // Only the characters whose six bits all belong to the value are the same whatever surrounds it.
                let inner = (offset * 8).div_ceil(6)..shifted.len() * 8 / 6;
                self.add(&text.as_bytes()[inner], Edge::Base64);
            }
        }
        for upper in [true, false] {
            for (before, between) in [("", ""), ("", ":"), ("", " "), ("\\x", "\\x")] {
                self.add(hex(value, before, between, upper), Edge::Exact);
            }
        }
    }
}

fn escaped(value: &str, special: impl Fn(char) -> bool) -> String {
    let mut text = String::with_capacity(value.len() * 2);
    for c in value.chars() {
        if special(c) {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

/// A JSON string without its quotes.
fn json_inner(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// JSON as encoders write it that keep to ASCII.
fn ascii_json(json: &str, upper: bool) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            text.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            text.push_str(&if upper { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") });
        }
    }
    text
}

fn percent(value: &str, keep: impl Fn(u8) -> bool, upper: bool) -> String {
    let mut text = String::with_capacity(value.len() * 3);
    for byte in value.bytes() {
        if keep(byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&if upper { format!("%{byte:02X}") } else { format!("%{byte:02x}") });
        }
    }
    text
}

fn hex(value: &[u8], before: &str, between: &str, upper: bool) -> String {
    let mut text = String::from(before);
    for (index, byte) in value.iter().enumerate() {
        if index > 0 {
            text.push_str(between);
        }
        text.push_str(&if upper { format!("{byte:02X}") } else { format!("{byte:02x}") });
    }
    text
}
