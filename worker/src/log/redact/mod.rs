//! Hides secrets in text: the values it was told, in the forms programs write them, and credentials of a known look.
//!
//! # Guarantees
//! No form of a told value that [`Redactor::exposed`] does not name is in what [`Redactor::redact_text`] returns, not even
//! where two of them overlap or where the markers themselves would spell one.
//!
//! # Caveats
//! A program that wants to show a secret can: reversed, encrypted, compressed or a letter a line it has no form to look
//! for. The values are wiped where this module holds them; the search automaton holds their bytes until it is dropped.

mod forms;
mod shapes;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use deploymind_shared::error::{Code, Error, Result};
use serde_json::Value;

pub use forms::SHORTEST;
use forms::{Edge, Forms, Pattern};
pub use shapes::KeyBlock;

/// Cannot be one of the forms: it has fewer characters than the shortest.
const PLAIN_MARKER: &str = "***";
/// Of all forms together: the automaton takes some dozen times as much memory.
const FORMS_BYTES: usize = 4 << 20;

/// Of one value. The forms of a longer one would not fit either, and are not worth making.
const VALUE_BYTES: usize = 64 << 10;

/// Values that are words of every log.
const COMMON: &[&str] = &[
    "false",
    "default",
    "enabled",
    "disabled",
    "production",
    "development",
    "staging",
    "preview",
    "testing",
    "debug",
    "error",
    "warning",
    "trace",
    "verbose",
    "localhost",
    "127.0.0.1",
    "0.0.0.0",
    "utf-8",
    "https",
    "undefined",
];

/// A secret that cannot be hidden, or not wholly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    pub name: String,
    pub why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Short,
    Common,
    ShortLines,
}

impl fmt::Display for Exposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match self.why {
            Why::Short => {
                write!(f, "{name} is too short to be hidden in logs: give it at least {SHORTEST} characters")
            }
            Why::Common => write!(f, "{name} is a word of every log and is not hidden in logs"),
            Why::ShortLines => {
                write!(f, "{name} has short lines, which are hidden in logs only where they stand together")
            }
        }
    }
}

/// Cheap to share, not to build.
pub struct Redactor {
    values: Option<AhoCorasick>,
    /// Of each pattern: the name it belongs to, and how its matches end.
    patterns: Vec<(usize, Edge)>,
    names: Vec<String>,
    exposed: Vec<Exposed>,
    longest: usize,
}

/// A stretch of text to hide.
struct Found {
    range: Range<usize>,
    name: Cow<'static, str>,
}

impl Redactor {
    /// Refuses values that are too large to be looked for.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(secrets: impl IntoIterator<Item = (N, V)>) -> Result<Self> {
        let mut found: BTreeMap<Pattern, (usize, Edge)> = BTreeMap::new();
        let (mut names, mut exposed, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (name, value) in secrets {
            let (name, value) = (shown(name.as_ref()), value.as_ref());
            if let Some(why) = why_exposed(value) {
                exposed.push(Exposed { name: name.clone(), why });
                if why != Why::ShortLines {
                    continue;
                }
            }
            if value.trim().is_empty() {
                continue;
            }
            if value.len() > VALUE_BYTES {
                return Err(too_large());
            }
            for (pattern, edge) in Forms::of(value).into_patterns() {
                bytes += pattern.as_bytes().len();
                found.entry(pattern).or_insert((names.len(), edge));
            }
            names.push(name);
            if bytes > FORMS_BYTES {
                return Err(too_large());
            }
        }
        let longest =
            found.keys().map(|pattern| pattern.as_bytes().len()).max().unwrap_or(0).max(shapes::REACH);
        let values = if found.is_empty() {
            None
        } else {
            let automaton = AhoCorasick::builder()
                .match_kind(MatchKind::Standard)
                .kind(Some(AhoCorasickKind::ContiguousNFA))
                .build(found.keys().map(Pattern::as_bytes))
                .map_err(|_| too_large())?;
            Some(automaton)
        };
        Ok(Self { values, patterns: found.into_values().collect(), names, exposed, longest })
    }

    /// Knows no value, only looks.
    pub fn shapes_only() -> Self {
        Self {
            values: None,
            patterns: Vec::new(),
            names: Vec::new(),
            exposed: Vec::new(),
            longest: shapes::REACH,
        }
    }

    /// What the owner must be told that it is not hidden.
    pub fn exposed(&self) -> &[Exposed] {
        &self.exposed
    }

    /// Text of any kind: a line, a sentence of an error, an output of a step.
    pub fn redact_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.redact_with(text, None)
    }

    /// As [`Redactor::redact_text`], with a stretch that is secret by what was before it.
    pub fn redact_with<'t>(&self, text: &'t str, also: Option<Range<usize>>) -> Cow<'t, str> {
        let found = self.find(text, also);
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        for marker in [
            |found: &Found| Cow::Owned(format!("[REDACTED:{}]", found.name)),
            |_: &Found| Cow::Borrowed("[REDACTED]"),
            |_: &Found| Cow::Borrowed(PLAIN_MARKER),
        ] {
            let hidden = replace(text, &found, marker);
            if !self.holds_value(&hidden) {
                return Cow::Owned(hidden);
            }
        }
        Cow::Borrowed(PLAIN_MARKER)
    }

    /// Every text in a value, keys and numbers too.
    pub fn redact_json(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(hidden) = self.redact_text(text) {
                    *text = hidden;
                }
            }
            Value::Number(number) => {
                if let Cow::Owned(hidden) = self.redact_text(&number.to_string()) {
                    *value = Value::String(hidden);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.redact_json(item)),
            Value::Object(fields) => {
                if fields.keys().any(|key| matches!(self.redact_text(key), Cow::Owned(_))) {
                    let old = std::mem::take(fields);
                    fields.extend(
                        old.into_iter().map(|(key, value)| (self.redact_text(&key).into_owned(), value)),
                    );
                }
                fields.values_mut().for_each(|item| self.redact_json(item));
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// Where text that goes on may be cut so that nothing to hide stands on both sides. 0: nowhere.
    pub(super) fn cut(&self, text: &str) -> usize {
        // A match that begins before this place has ended within the text, so it is among those found.
        let mut at = text.floor_char_boundary(text.len().saturating_sub(self.longest + BASE64_EDGES));
        for found in self.find(text, None).iter().rev() {
            if found.range.start < at && at < found.range.end {
                at = found.range.start;
            }
        }
        at
    }

    /// How much text may have to be held back at a cut, in bytes.
    pub(super) fn reach(&self) -> usize {
        self.longest + BASE64_EDGES
    }

    fn holds_value(&self, text: &str) -> bool {
        self.values.as_ref().is_some_and(|values| values.is_match(text))
    }

    /// In order, none touching another.
    fn find(&self, text: &str, also: Option<Range<usize>>) -> Vec<Found> {
        let mut found = Vec::new();
        if let Some(values) = self.values.as_ref().filter(|values| values.is_match(text)) {
            for m in values.find_overlapping_iter(text) {
                let (name, edge) = self.patterns[m.pattern().as_usize()];
                let range =
                    whole(text, if edge == Edge::Base64 { widened(text, m.range()) } else { m.range() });
                found.push((range, Name::Told(name)));
            }
        }
        shapes::find(text, |range, name| found.push((range, Name::Look(name))));
        found.extend(also.map(|range| (range, Name::Look("private key"))));
        if found.is_empty() {
            return Vec::new();
        }
        // Longest first where two begin together: its name is the better one.
        found.sort_by_key(|(range, _)| (range.start, std::cmp::Reverse(range.end)));
        let mut merged: Vec<(Range<usize>, Name)> = Vec::new();
        for (range, name) in found {
            match merged.last_mut() {
                // The pieces of a long form touch.
                Some((last, first))
                    if range.start < last.end || (range.start == last.end && *first == name) =>
                {
                    last.end = last.end.max(range.end);
                    if matches!(first, Name::Look(_)) && matches!(name, Name::Told(_)) {
                        *first = name;
                    }
                }
                _ => merged.push((range, name)),
            }
        }
        let named = |name| match name {
            Name::Told(index) => Cow::Owned(self.names[index].clone()),
            Name::Look(name) => Cow::Borrowed(name),
        };
        merged.into_iter().map(|(range, name)| Found { range, name: named(name) }).collect()
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").field("secrets", &self.names.len()).finish_non_exhaustive()
    }
}

#[derive(PartialEq)]
enum Name {
    Told(usize),
    Look(&'static str),
}

/// Characters of base64 text beside a match that can hold bits of the value, on both sides, with padding.
const BASE64_EDGES: usize = 6;

fn widened(text: &str, range: Range<usize>) -> Range<usize> {
    let bytes = text.as_bytes();
    let coded = |at: usize| bytes.get(at).is_some_and(|c| c.is_ascii_alphanumeric() || b"+/-_".contains(c));
    let Range { mut start, mut end } = range;
    for _ in 0..2 {
        if start > 0 && coded(start - 1) {
            start -= 1;
        }
        if coded(end) {
            end += 1;
        }
    }
    for _ in 0..2 {
        if bytes.get(end) == Some(&b'=') {
            end += 1;
        }
    }
    start..end
}

/// A piece of a long form may begin or end within a character.
fn whole(text: &str, range: Range<usize>) -> Range<usize> {
    text.floor_char_boundary(range.start)..text.ceil_char_boundary(range.end)
}

fn replace(text: &str, found: &[Found], marker: impl Fn(&Found) -> Cow<'static, str>) -> String {
    let mut hidden = String::with_capacity(text.len());
    let mut from = 0;
    for one in found {
        hidden.push_str(&text[from..one.range.start]);
        hidden.push_str(&marker(one));
        from = one.range.end;
    }
    hidden.push_str(&text[from..]);
    hidden
}

fn why_exposed(value: &str) -> Option<Why> {
    let value = value.trim();
    let mut chars = value.chars();
    let first = chars.next()?;
    if value.chars().count() < SHORTEST {
        return Some(Why::Short);
    }
    if chars.all(|c| c == first) || COMMON.iter().any(|word| word.eq_ignore_ascii_case(value)) {
        return Some(Why::Common);
    }
    let short = |line: &str| (1..8).contains(&line.trim().chars().count());
    (value.contains('\n') && value.lines().any(short)).then_some(Why::ShortLines)
}

/// A name as a marker may show it.
fn shown(name: &str) -> String {
    name.chars()
        .take(64)
        .map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' })
        .collect()
}

fn too_large() -> Error {
    Error::new(
        Code::SettingsInvalid,
        "the values of the app's secrets are too large to be kept out of its log; store large files elsewhere and keep \
         only the key to them as a secret",
    )
}
