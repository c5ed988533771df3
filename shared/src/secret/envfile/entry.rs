//! Cuts a `.env` text into one entry for each variable, because the library tells no line numbers, and takes out what it
//! would get wrong: `$` that is not escaped, a backslash before the end of single quotes, and comments with a quote in
//! them.

use zeroize::Zeroizing;

use super::invalid;
use crate::error::Error;

/// Stands for `$` on its way through the library. It is no letter, no space and never in a text, since NUL is refused.
pub(super) const DOLLAR: &str = "\0";

/// One variable as it is written.
pub(super) struct Entry {
    pub(super) line: usize,
    /// What stands before `=`, without `export`. Not checked.
    pub(super) name: String,
    /// What the library is to read.
    pub(super) prepared: Zeroizing<String>,
    /// Right behind `=`, without a space, came a comment.
    pub(super) comment_is_value: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Plain,
    PlainEscape,
    Space,
    Single,
    Double,
    DoubleEscape,
}

/// `text` has neither NUL nor CRLF.
pub(super) fn split(text: &str) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while !rest.is_empty() {
        let first = rest.split('\n').next().unwrap_or_default();
        let trimmed = first.trim();
        let length = if trimmed.is_empty() || trimmed.starts_with('#') {
            first.len()
        } else {
            let (name, _) = trimmed.split_once('=').ok_or_else(|| {
                invalid(line, "there is no = on it: write NAME=value, or # before a comment")
            })?;
            let name = name.trim_end();
            let exported = name.strip_prefix("export").filter(|name| name.starts_with(char::is_whitespace));
            let name = exported.map_or(name, str::trim_start).to_owned();
            let begin = first.find('=').map_or(0, |place| place + 1);
            let value = value(&rest[begin..], line)?;
            entries.push(Entry {
                line,
                prepared: Zeroizing::new(format!("{name}={}\n", value.prepared.as_str())),
                name,
                comment_is_value: value.comment_is_value,
            });
            begin + value.length
        };
        line += 1 + rest[..length].matches('\n').count();
        rest = rest.get(length + 1..).unwrap_or_default();
    }
    Ok(entries)
}

struct Value {
    prepared: Zeroizing<String>,
    /// Bytes of the text up to the end of its last line.
    length: usize,
    comment_is_value: bool,
}

fn value(text: &str, line: usize) -> Result<Value, Error> {
    let mut state = State::Start;
    let mut length = text.len();
    let mut comment_is_value = false;
    let mut prepared = Zeroizing::new(String::new());
    for (place, c) in text.char_indices() {
        let ends = c == '\n' && !matches!(state, State::Single | State::Double | State::DoubleEscape);
        let comment = c == '#' && matches!(state, State::Start | State::Space);
        if ends || comment {
            comment_is_value = comment && place == 0;
            length = text[place..].find('\n').map_or(text.len(), |end| place + end);
            break;
        }
        match (state, c) {
            (State::Single, '\\') => prepared.push_str(r"'\\'"),
            // Escaped, the library takes it as it is.
            (State::PlainEscape | State::DoubleEscape, '$') => prepared.push('$'),
            (_, '$') => prepared.push_str(DOLLAR),
            // Two escapes the library does not know, and people write.
            (State::DoubleEscape, 't' | 'r') => {
                prepared.pop();
                prepared.push(if c == 't' { '\t' } else { '\r' });
            }
            _ => prepared.push(c),
        }
        state = match (state, c) {
            (State::Start, c) if c.is_whitespace() => State::Start,
            (State::Single, '\'') | (State::Double, '"') => State::Plain,
            (State::Single, _) => State::Single,
            (State::Double, '\\') => State::DoubleEscape,
            (State::Double | State::DoubleEscape, _) => State::Double,
            (State::PlainEscape, _) => State::Plain,
            (_, '\\') => State::PlainEscape,
            (_, '\'') => State::Single,
            (_, '"') => State::Double,
            (_, ' ' | '\t') => State::Space,
            _ => State::Plain,
        };
    }
    if matches!(state, State::Single | State::Double | State::DoubleEscape) {
        return Err(invalid(line, "a quote is opened that is never closed"));
    }
    let kept = prepared.trim_end();
    if kept.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1 {
        return Err(invalid(line, "the value ends with a backslash: put single quotes around it"));
    }
    let kept = kept.len();
    prepared.truncate(kept);
    Ok(Value { prepared, length, comment_is_value })
}
