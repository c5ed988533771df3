//! Makes text safe to show and to store: what a terminal would obey is taken out, what the eye cannot see is spelled.
//!
//! # Guarantees
//! The result holds no control character but the tab, nothing that changes the direction of text, nothing of no width
//! that could hide or split a word, and no NUL, which Postgres refuses. Sanitising twice is sanitising once.
//!
//! # Caveats
//! A sequence that never ends would take the rest of the line with it. Such a line is kept whole, its escapes spelled: a
//! broken sequence must not hide an error.

use std::borrow::Cow;

use vte::{Parser, Perform};

const ESCAPE: u8 = 0x1b;

/// One line, without its line break.
pub fn sanitize(line: &str) -> Cow<'_, str> {
    // Nearly every line of a build is plain ASCII, and this test is a few instructions a byte.
    if line.bytes().all(|c| matches!(c, b' '..=b'~' | b'\t')) {
        return Cow::Borrowed(line);
    }
    if line.as_bytes().contains(&ESCAPE)
        && let Some(text) = without_sequences(line)
    {
        return Cow::Owned(text);
    }
    if line.chars().all(is_plain) {
        return Cow::Borrowed(line);
    }
    let mut text = String::with_capacity(line.len() + 16);
    line.chars().for_each(|c| push(&mut text, c));
    Cow::Owned(text)
}

/// Where the text has an escape sequence that has begun and not ended, if it does: more text may complete it.
pub(super) fn unfinished(text: &str) -> Option<usize> {
    let escape = text.rfind(char::from(ESCAPE))?;
    without_sequences(&text[escape..]).is_none().then_some(escape)
}

/// `None`: the line ends within a sequence.
fn without_sequences(line: &str) -> Option<String> {
    let mut parser = Parser::new();
    let mut printer = Printer(String::with_capacity(line.len()));
    parser.advance(&mut printer, line.as_bytes());
    let printed = printer.0.len();
    // A letter is printed exactly when no sequence is open: inside one it would be its end or a part of it.
    parser.advance(&mut printer, b"x");
    let ended = printer.0.len() == printed + 1;
    printer.0.truncate(printed);
    ended.then_some(printer.0)
}

struct Printer(String);

impl Perform for Printer {
    fn print(&mut self, c: char) {
        push(&mut self.0, c);
    }

    fn execute(&mut self, byte: u8) {
        push(&mut self.0, char::from(byte));
    }
}

fn push(text: &mut String, c: char) {
    match c {
        _ if is_plain(c) => text.push(c),
        // The pictures of control characters stand in the same order as the characters.
        '\0'..='\x1f' => text.extend(char::from_u32(0x2400 + u32::from(c))),
        '\x7f' => text.push('\u{2421}'),
        _ => text.push_str(&format!("<U+{:04X}>", u32::from(c))),
    }
}

fn is_plain(c: char) -> bool {
    match c {
        '\t' => true,
        c if c.is_control() => false,
        // Unicode Standard Annex 9 (direction) and the format characters of no width; a soft hyphen and a byte order mark are
        // among them.
        '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}' => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn colours_titles_and_links_go_and_their_text_stays() {
        for (raw, clean) in [
            ("plain\ttext", "plain\ttext"),
            ("\x1b[1;31merror\x1b[0m: no", "error: no"),
            ("\x1b]0;title\x07done", "done"),
            ("\x1b]8;;https://a.test\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1b(Bx\x1b7y\x1bPq#0\x1b\\z", "xyz"),
            ("grün ✔ 日本", "grün ✔ 日本"),
            ("a\0b\x08c\x7f", "a␀b␈c␡"),
            ("a\u{202e}b\u{200b}c\u{2028}d\u{9b}31m", "a<U+202E>b<U+200B>c<U+2028>d<U+009B>31m"),
        ] {
            assert_eq!(sanitize(raw), clean, "{raw:?}");
        }
    }

    #[test]
    fn a_sequence_that_never_ends_hides_nothing() {
        assert_eq!(sanitize("\x1b]0;x error: the build broke"), "␛]0;x error: the build broke");
        assert_eq!(sanitize("\x1bPerror"), "␛Perror");
        assert_eq!(sanitize("done\x1b[3"), "done␛[3");
        assert_eq!(unfinished("done\x1b[3"), Some(4));
        assert_eq!(unfinished("done\x1b[3m"), None);
    }

    fn hostile() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            any::<String>(),
            "[\\x00-\\x1f\\x7f-\\u{9f}]{1,4}",
            Just("\x1b[31m".to_owned()),
            Just("\x1b]8;;".to_owned()),
            Just("\x1b".to_owned()),
            Just("\u{202e}\u{200b}".to_owned()),
            "[a-z]{1,8}",
        ];
        proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn twice_is_once_and_nothing_unsafe_is_left(text in hostile()) {
            let once = sanitize(&text).into_owned();
            prop_assert!(once.chars().all(is_plain), "{once:?}");
            prop_assert_eq!(sanitize(&once), once.as_str());
        }
    }
}
