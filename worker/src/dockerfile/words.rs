//! How words from a repository get into a Dockerfile: as JSON, as one word of a shell, or not at all.

use deploymind_shared::error::{Code, Error};

/// Longer than any argument that means something, shorter than what a kernel takes.
const WORD_MAX: usize = 4096;
const WORDS_MAX: usize = 256;

/// A word without anything that could end a line, of a sane length.
pub(super) fn plain<'a>(what: &str, word: &'a str) -> Result<&'a str, Error> {
    // U+2028 and U+2029 end lines for some readers, and no command needs them.
    if word.len() > WORD_MAX
        || word.chars().any(|it| it.is_control() || matches!(it, '\u{2028}' | '\u{2029}'))
    {
        return Err(Error::new(
            Code::EntryPointUnknown,
            format!(
                "the {what} has a control character or is longer than {WORD_MAX} bytes: \
                 set another in the app's settings, or commit a Dockerfile of your own"
            ),
        ));
    }
    Ok(word)
}

/// One word of a POSIX shell, whatever is in it.
pub(super) fn shell(word: &str) -> String {
    let bare = |it: char| it.is_ascii_alphanumeric() || "_-./:=@%+,".contains(it);
    if !word.is_empty() && word.chars().all(bare) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A command line of a POSIX shell.
pub(super) fn shell_line(what: &str, argv: &[String]) -> Result<String, Error> {
    let argv = command(what, argv)?;
    Ok(argv.iter().map(|word| shell(word)).collect::<Vec<_>>().join(" "))
}

/// The argument vector as exec form. Where a word names the port, a shell fills it in and then is replaced by the
/// program, so that the program gets the signals.
pub(super) fn exec_form(what: &str, argv: &[String]) -> Result<String, Error> {
    let argv = command(what, argv)?;
    let has_shell = matches!(argv[0].rsplit('/').next(), Some("sh" | "bash" | "dash"));
    if !has_shell && argv.iter().any(|word| word.contains("$PORT") || word.contains("${PORT}")) {
        let line = argv.iter().map(|word| with_port(word)).collect::<Vec<_>>().join(" ");
        return Ok(json(&["sh", "-c", &format!("exec {line}")]));
    }
    Ok(json(argv))
}

/// `$PORT` stays a variable, all else is quoted.
fn with_port(word: &str) -> String {
    word.replace("${PORT}", "$PORT")
        .split("$PORT")
        .map(|part| if part.is_empty() { String::new() } else { shell(part) })
        .collect::<Vec<_>>()
        .join("\"${PORT}\"")
}

/// Compact, because the builder looks for here-documents between blanks.
pub(super) fn json<T: AsRef<str>>(argv: &[T]) -> String {
    serde_json::Value::from(argv.iter().map(|word| word.as_ref().to_owned()).collect::<Vec<_>>()).to_string()
}

fn command<'a>(what: &str, argv: &'a [String]) -> Result<&'a [String], Error> {
    if argv.len() > WORDS_MAX || argv.first().is_none_or(String::is_empty) {
        return Err(Error::new(
            Code::EntryPointUnknown,
            format!(
                "the {what} is empty or has more than {WORDS_MAX} words: set another in the app's settings"
            ),
        ));
    }
    for word in argv {
        plain(what, word)?;
    }
    Ok(argv)
}

/// The name of a variable, as `ARG` takes it.
pub(super) fn variable(name: &str) -> Result<&str, Error> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|it| it.is_ascii_alphabetic() || it == b'_');
    if !first || name.len() > 256 || !bytes.all(|it| it.is_ascii_alphanumeric() || it == b'_') {
        return Err(Error::new(
            Code::VariableInvalid,
            "a build variable's name is not letters, digits and underscores: rename it in the app's settings",
        ));
    }
    Ok(name)
}
