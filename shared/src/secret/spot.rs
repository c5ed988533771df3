//! Says whether a variable looks like a secret, by its name or by the shape of its value, and why.
//!
//! It is advice for the person who enters a variable. It protects nothing by itself: every value is sealed, and those
//! it does not recognise as well. The reason never holds any of the value.

use std::fmt;

mod name;
mod shape;

/// Why a variable looks like a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The word of the name that says so.
    Name(&'static str),
    /// The value has the form of this kind of token.
    Token(&'static str),
    PrivateKey,
    Jwt,
    /// A URL with a password in it.
    UrlPassword,
    /// A connection string or query with a password or key in it.
    ConnectionString,
    /// Long, and without the order that words have.
    Random,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Name(word) => write!(f, "its name says {word}"),
            Why::Token(kind) => write!(f, "its value has the form of {kind}"),
            Why::PrivateKey => f.write_str("its value is a private key"),
            Why::Jwt => f.write_str("its value has the form of a JSON web token"),
            Why::UrlPassword => f.write_str("its value is a URL with a password in it"),
            Why::ConnectionString => f.write_str("its value has a password or key in it"),
            Why::Random => f.write_str("its value is long and looks random"),
        }
    }
}

/// `None` when nothing speaks for a secret. The shape comes first, because its reason says more than the name's.
pub fn look(name: &str, value: &str) -> Option<Why> {
    let value = value.trim();
    let words = name::words(name);
    let public = name::is_public(&words);
    shape::certain(value)
        .or_else(|| if public { None } else { shape::usual(value) })
        .or_else(|| if public || is_plain(value) { None } else { name::secret_word(&words).map(Why::Name) })
        .or_else(|| if public || name::is_identifier(&words) { None } else { shape::random(value) })
}

/// A switch or nothing, whatever its name.
fn is_plain(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    ["", "true", "false", "yes", "no", "on", "off", "none", "null", "0", "1"].contains(&lower.as_str())
}

#[cfg(test)]
mod tests;
