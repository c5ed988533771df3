//! Reads a pasted or uploaded `.env` text.
//!
//! `dotenvy` knows the syntax: `export`, quotes, values over several lines, comments, escapes. It also replaces `$NAME`
//! by a variable of its own process, which would hand the platform's variables to whoever uploads a file. So here `$`
//! means nothing: a value is what is written, in every kind of quotes. No `$` reaches the library in a place where it
//! would act on it ([`entry`]), and a warning says so where somebody may have hoped for more.
//!
//! No error and no warning repeats a value, nor a name that is not a proper one: in a broken file that may be a value.

use std::collections::HashMap;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use self::entry::{DOLLAR, Entry};
use super::{spot, variable};
use crate::error::{Code, Error};

mod entry;

/// Bytes of a text.
pub const TEXT_MAX: usize = 256 * 1024;
/// Variables in a text.
pub const VARIABLES_MAX: usize = 1_000;

/// One variable of the text.
#[derive(Debug)]
pub struct Parsed {
    pub name: String,
    pub value: SecretString,
    /// Where it begins, from 1.
    pub line: usize,
    /// Why it should be treated as a secret, if it looks like one.
    pub secret: Option<spot::Why>,
}

/// Something a person should look at that stops nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    pub line: usize,
    pub text: String,
}

/// Every variable once, in the order of first appearance.
#[derive(Debug)]
pub struct EnvFile {
    pub variables: Vec<Parsed>,
    pub warnings: Vec<Warning>,
}

/// Of two variables with one name the later wins, with a warning.
pub fn parse(bytes: &[u8]) -> Result<EnvFile, Error> {
    let text = decode(bytes)?;
    let entries = entry::split(&text)?;
    if entries.len() > VARIABLES_MAX {
        return Err(invalid(
            entries[VARIABLES_MAX].line,
            "there are more than 1,000 variables: split the file",
        ));
    }
    let mut file = EnvFile { variables: Vec::new(), warnings: Vec::new() };
    let mut places: HashMap<String, usize> = HashMap::new();
    for entry in &entries {
        let parsed = read(entry)?;
        file.warn(entry.line, variable::caution(&parsed.name).map(str::to_owned));
        file.warn(entry.line, comment_warning(entry, &parsed));
        match places.get(&parsed.name) {
            Some(&place) => {
                let earlier = file.variables[place].line;
                let name = &parsed.name;
                file.warn(
                    entry.line,
                    Some(format!(
                        "{name} is set on line {earlier} too; the later one, on line {}, counts",
                        entry.line
                    )),
                );
                file.variables[place] = parsed;
            }
            None => {
                places.insert(parsed.name.clone(), file.variables.len());
                file.variables.push(parsed);
            }
        }
    }
    for variable in &file.variables {
        if mentions(variable.value.expose_secret(), &places) {
            let text = format!(
                "{} mentions another variable, and is kept as it is written: write its value out",
                variable.name
            );
            file.warnings.push(Warning { line: variable.line, text });
        }
    }
    file.warnings.sort_by_key(|warning| warning.line);
    Ok(file)
}

impl EnvFile {
    fn warn(&mut self, line: usize, text: Option<String>) {
        self.warnings.extend(text.map(|text| Warning { line, text }));
    }
}

fn decode(bytes: &[u8]) -> Result<Zeroizing<String>, Error> {
    if bytes.len() > TEXT_MAX {
        return Err(Error::new(
            Code::EnvFileInvalid,
            format!(
                "the file is larger than {} KiB: put large values into files or a store",
                TEXT_MAX / 1024
            ),
        ));
    }
    let line_at = |end: usize| 1 + bytes[..end].iter().filter(|byte| **byte == b'\n').count();
    let text = std::str::from_utf8(bytes).map_err(|error| {
        invalid(
            line_at(error.valid_up_to()),
            "there is something that is not UTF-8: save the file as UTF-8 text",
        )
    })?;
    if let Some(place) = text.find('\0') {
        return Err(invalid(line_at(place), "there is a NUL character: save the file as UTF-8 text"));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Ok(Zeroizing::new(text.replace("\r\n", "\n")))
}

/// Gives one entry to the library and holds the answer against what was seen here.
fn read(entry: &Entry) -> Result<Parsed, Error> {
    variable::check_name(&entry.name)
        .map_err(|error| Error::new(error.code(), format!("line {}: {}", entry.line, error.sentence())))?;
    let mut items = dotenvy::from_read_iter(entry.prepared.as_bytes());
    let value = match (items.next(), items.next()) {
        (Some(Ok((name, value))), None) if name == entry.name => Zeroizing::new(value),
        (Some(Err(dotenvy::Error::LineParse(text, place))), _) => {
            let text = Zeroizing::new(text);
            let before = place.checked_sub(1).and_then(|place| text.chars().nth(place));
            return Err(invalid(
                entry.line,
                match before {
                    Some('\\') => {
                        "a backslash is followed by a character it has no meaning with: write \\\\ for a backslash, or \
                         put single quotes around the value"
                    }
                    _ => {
                        "there is text after a space: put quotes around a value with spaces, and # before a comment"
                    }
                },
            ));
        }
        _ => return Err(invalid(entry.line, "the value cannot be read: put single quotes around it")),
    };
    let value = SecretString::from(value.replace(DOLLAR, "$"));
    variable::check_value(&entry.name, &value)
        .map_err(|error| Error::new(error.code(), format!("line {}: {}", entry.line, error.sentence())))?;
    let secret = spot::look(&entry.name, value.expose_secret());
    Ok(Parsed { name: entry.name.clone(), value, line: entry.line, secret })
}

fn comment_warning(entry: &Entry, parsed: &Parsed) -> Option<String> {
    (entry.comment_is_value && parsed.value.expose_secret().is_empty()).then(|| {
        format!(
            "{} is empty, because # begins a comment: put quotes around the value if # belongs to it",
            entry.name
        )
    })
}

/// Whether a value has `${NAME}` in it, or `$NAME` of a name that the same file sets.
fn mentions(value: &str, names: &HashMap<String, usize>) -> bool {
    value.split('$').skip(1).any(|rest| match rest.strip_prefix('{') {
        Some(rest) => rest.split_once('}').is_some_and(|(name, _)| variable::check_name(name).is_ok()),
        None => {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            names.contains_key(&rest[..end])
        }
    })
}

fn invalid(line: usize, problem: &str) -> Error {
    Error::new(Code::EnvFileInvalid, format!("line {line}: {problem}"))
}

#[cfg(test)]
mod tests;
