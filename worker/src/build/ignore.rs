//! `.dockerignore`, with the semantics of Docker's own matcher (`moby/patternmatcher`): patterns are read from the top, the
//! last that matches a path or one of its parents decides, `!` takes back, `**` crosses folders.

use regex::bytes::{Regex, RegexBuilder};

/// More patterns than this no honest file has; each is tried on every path.
const PATTERNS: usize = 2_000;

/// A pattern that Docker refuses too.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PatternError {
    #[error("line {line}: `{pattern}` is not a pattern")]
    Malformed { line: usize, pattern: String },
    #[error("there are more than {PATTERNS} patterns")]
    TooMany,
}

#[derive(Debug)]
struct Pattern {
    matcher: Regex,
    negated: bool,
}

/// The patterns of one file.
#[derive(Debug, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

impl Ignore {
    /// # Errors
    /// `PatternError` where Docker would refuse the file.
    pub fn parse(text: &[u8]) -> Result<Self, PatternError> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut patterns = Vec::new();
        for (index, raw) in text.split(|byte| *byte == b'\n').enumerate() {
            let malformed = || PatternError::Malformed {
                line: index + 1,
                pattern: String::from_utf8_lossy(raw).trim().to_owned(),
            };
            if raw.starts_with(b"#") {
                continue;
            }
            let line = raw.trim_ascii();
            let (negated, line) = match line.strip_prefix(b"!") {
                Some(rest) => (true, rest.trim_ascii()),
                None => (false, line),
            };
            if line.is_empty() {
                if negated {
                    return Err(malformed());
                }
                continue;
            }
            if patterns.len() == PATTERNS {
                return Err(PatternError::TooMany);
            }
            let matcher = translate(&clean(line))
                .and_then(|regex| RegexBuilder::new(&regex).unicode(false).build().ok())
                .ok_or_else(malformed)?;
            patterns.push(Pattern { matcher, negated });
        }
        Ok(Self { patterns })
    }

    /// Whether a path, relative to the root and without a slash at either end, stays out of the context.
    pub fn excludes(&self, path: &[u8]) -> bool {
        let mut excluded = false;
        for pattern in &self.patterns {
            // A pattern that cannot change the verdict need not be tried.
            if pattern.negated == excluded && prefixes(path).any(|part| pattern.matcher.is_match(part)) {
                excluded = !pattern.negated;
            }
        }
        excluded
    }

    /// Whether something below an excluded folder may be taken back.
    pub fn takes_back(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.negated)
    }
}

/// The path and all its parents.
fn prefixes(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let parents = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at]);
    std::iter::once(path).chain(parents)
}

/// As Go's `filepath.Clean`, then without a leading slash.
fn clean(pattern: &[u8]) -> Vec<u8> {
    let rooted = pattern.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in pattern.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| *last != b"..") => {
                parts.pop();
            }
            b".." if rooted => {}
            part => parts.push(part),
        }
    }
    if parts.is_empty() { b".".to_vec() } else { parts.join(&b'/') }
}

/// A pattern as a regular expression over bytes; `None` if it is malformed.
fn translate(pattern: &[u8]) -> Option<String> {
    let mut regex = String::from("^");
    let mut rest = pattern;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'*' if rest.starts_with(b"*") => {
                rest = &rest[1..];
                let slash = rest.first() == Some(&b'/');
                if slash {
                    rest = &rest[1..];
                }
                regex.push_str(if rest.is_empty() { r"(?s:.*)" } else { r"(?s:.*/)?" });
            }
            b'*' => regex.push_str("[^/]*"),
            b'?' => regex.push_str("[^/]"),
            b'[' => rest = class(rest, &mut regex)?,
            b'\\' => {
                let (escaped, tail) = rest.split_first()?;
                rest = tail;
                literal(*escaped, &mut regex);
            }
            byte => literal(*byte, &mut regex),
        }
    }
    regex.push('$');
    Some(regex)
}

fn literal(byte: u8, regex: &mut String) {
    regex.push_str(&format!("\\x{byte:02x}"));
}

/// `[a-z]` or `[^a-z]`, as Go's `filepath.Match` reads it; returns what follows.
fn class<'a>(pattern: &'a [u8], regex: &mut String) -> Option<&'a [u8]> {
    let mut rest = pattern;
    regex.push('[');
    if let Some(tail) = rest.strip_prefix(b"^") {
        regex.push_str("^/");
        rest = tail;
    }
    let mut ranges = 0;
    loop {
        if let Some(tail) = rest.strip_prefix(b"]")
            && ranges > 0
        {
            regex.push(']');
            return Some(tail);
        }
        let (low, tail) = class_byte(rest)?;
        let (high, tail) = match tail.strip_prefix(b"-") {
            Some(tail) => class_byte(tail)?,
            None => (low, tail),
        };
        if low > high {
            return None;
        }
        regex.push_str(&format!("\\x{low:02x}-\\x{high:02x}"));
        rest = tail;
        ranges += 1;
    }
}

fn class_byte(pattern: &[u8]) -> Option<(u8, &[u8])> {
    match pattern.split_first()? {
        (b'-' | b']', _) => None,
        (b'\\', tail) => tail.split_first().map(|(byte, tail)| (*byte, tail)),
        (byte, tail) => Some((*byte, tail)),
    }
}

#[cfg(test)]
mod tests;
