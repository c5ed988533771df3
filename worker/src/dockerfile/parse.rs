//! The text of a Dockerfile as instructions, each with the line it begins on.
//!
//! After the Dockerfile reference (docs.docker.com/reference/dockerfile) and BuildKit's parser: directives at the top,
//! comments, lines that go on, here-documents. It knows no shell.

use deploymind_shared::error::{Code, Error};

/// Nobody writes a longer one.
const MAX_BYTES: usize = 512 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Instruction {
    /// Of its first line, from 1.
    pub(super) line: u32,
    /// Upper case.
    pub(super) keyword: String,
    /// `--from=build` and the like.
    pub(super) flags: Vec<String>,
    /// What follows, lines joined.
    pub(super) args: String,
    /// Bodies of its here-documents.
    pub(super) heredocs: Vec<String>,
}

impl Instruction {
    /// The words of the JSON form, when it has that form.
    pub(super) fn json(&self) -> Option<Vec<String>> {
        self.args.starts_with('[').then(|| serde_json::from_str(&self.args).ok())?
    }

    pub(super) fn flag(&self, name: &str) -> Option<&str> {
        self.flags.iter().find_map(|flag| flag.strip_prefix("--")?.strip_prefix(name)?.strip_prefix('='))
    }

    /// What an ONBUILD would run later.
    pub(super) fn deferred(&self) -> Option<Instruction> {
        let (keyword, rest) = split_keyword(&self.args);
        (self.keyword == "ONBUILD" && !keyword.is_empty()).then(|| instruction(self.line, keyword, rest))
    }
}

pub(super) fn invalid(line: u32, what: &str) -> Error {
    Error::new(Code::DockerfileInvalid, format!("line {line} of the Dockerfile {what}"))
}

#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) instructions: Vec<Instruction>,
    pub(super) escape: char,
}

pub(super) fn parse(text: &str) -> Result<Parsed, Error> {
    if text.len() > MAX_BYTES {
        return Err(invalid(1, &format!("begins a text of more than {} KiB: shorten it", MAX_BYTES / 1024)));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
    if let Some(at) = lines.iter().position(|line| line.contains('\0')) {
        return Err(invalid(number(at), "has a NUL character: save it as plain text"));
    }
    let escape = escape(&lines);
    let mut instructions = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if is_blank(lines[at]) {
            at += 1;
            continue;
        }
        let first = at;
        let logical = join(&lines, &mut at, escape);
        let (keyword, rest) = split_keyword(&logical);
        let mut found = instruction(number(first), keyword, rest);
        if matches!(found.keyword.as_str(), "RUN" | "COPY" | "ADD") && found.json().is_none() {
            for heredoc in heredocs(&found.args) {
                let body = take_body(&lines, &mut at, &heredoc).ok_or_else(|| {
                    invalid(found.line, "begins a here-document that never ends: add its last word")
                })?;
                found.heredocs.push(body);
            }
        }
        instructions.push(found);
    }
    match instructions.iter().find(|it| it.keyword != "ARG") {
        Some(first) if first.keyword == "FROM" => {}
        Some(first) => {
            return Err(invalid(first.line, "comes before any FROM: begin with the image to build on"));
        }
        None => return Err(invalid(1, "begins a text without a FROM: name the image to build on")),
    }
    if let Some(bare) = instructions.iter().find(|it| it.keyword == "FROM" && it.args.is_empty()) {
        return Err(invalid(bare.line, "has a FROM without an image: name one"));
    }
    Ok(Parsed { instructions, escape })
}

fn number(at: usize) -> u32 {
    u32::try_from(at + 1).unwrap_or(u32::MAX)
}

fn is_blank(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// Directives stand above all else; the one that counts here names the character that joins lines.
fn escape(lines: &[&str]) -> char {
    for line in lines {
        let Some((name, value)) = line.trim().strip_prefix('#').and_then(|it| it.split_once('=')) else {
            break;
        };
        match name.trim().to_ascii_lowercase().as_str() {
            "escape" if value.trim() == "`" => return '`',
            "escape" => return '\\',
            "syntax" | "check" => {}
            _ => break,
        }
    }
    '\\'
}

/// One instruction with its lines put together; `at` goes past it.
fn join(lines: &[&str], at: &mut usize, escape: char) -> String {
    let mut logical = String::new();
    let first = *at;
    while *at < lines.len() {
        let line = lines[*at];
        // Comments and empty lines in between are left out.
        let skipped = *at > first && is_blank(line);
        *at += 1;
        if skipped {
            continue;
        }
        match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
            Some(part) => logical.push_str(part),
            None => {
                logical.push_str(line);
                break;
            }
        }
    }
    logical
}

fn split_keyword(text: &str) -> (&str, &str) {
    let text = text.trim();
    text.split_once(char::is_whitespace).map_or((text, ""), |(keyword, rest)| (keyword, rest.trim()))
}

fn instruction(line: u32, keyword: &str, mut rest: &str) -> Instruction {
    let keyword = keyword.to_ascii_uppercase();
    let mut flags = Vec::new();
    if matches!(keyword.as_str(), "FROM" | "COPY" | "ADD" | "RUN" | "HEALTHCHECK") {
        while rest.starts_with("--") {
            let (flag, after) = split_keyword(rest);
            flags.push(flag.to_owned());
            rest = after;
        }
    }
    Instruction { line, keyword, flags, args: rest.to_owned(), heredocs: Vec::new() }
}

struct Heredoc {
    word: String,
    /// `<<-`: tabs in front do not count.
    tabs: bool,
}

/// `<<WORD` where a word begins, outside of quotes.
fn heredocs(args: &str) -> Vec<Heredoc> {
    let mut found = Vec::new();
    let mut quote = None;
    let mut before = ' ';
    let mut rest = args;
    while let Some(next) = rest.chars().next() {
        let starts = before.is_whitespace() || before.is_ascii_digit();
        if quote.is_none()
            && starts
            && let Some(after) = rest.strip_prefix("<<").filter(|it| !it.starts_with('<'))
        {
            let (tabs, after) = after.strip_prefix('-').map_or((false, after), |after| (true, after));
            let end =
                after.find(|it: char| it.is_whitespace() || ";&|<>()".contains(it)).unwrap_or(after.len());
            let word = after[..end].trim_matches(['"', '\'']);
            if !word.is_empty() && word.chars().all(|it| it.is_alphanumeric() || "_-.".contains(it)) {
                found.push(Heredoc { word: word.to_owned(), tabs });
                before = 'x';
                rest = &after[end..];
                continue;
            }
        }
        match (quote, next) {
            (None, '"' | '\'') => quote = Some(next),
            (Some(open), it) if open == it => quote = None,
            _ => {}
        }
        before = next;
        rest = &rest[next.len_utf8()..];
    }
    found
}

fn take_body(lines: &[&str], at: &mut usize, heredoc: &Heredoc) -> Option<String> {
    let start = *at;
    let ends = |line: &&str| {
        let line = if heredoc.tabs { line.trim_start_matches('\t') } else { line };
        line == heredoc.word
    };
    let length = lines[start..].iter().position(ends)?;
    *at = start + length + 1;
    Some(lines[start..start + length].join("\n"))
}
