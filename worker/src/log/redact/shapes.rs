//! Credentials that are known by their look, whoever they belong to.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use regex::Regex;

/// The longest run a shape is held to be when text must be cut: tokens are shorter.
pub(super) const REACH: usize = 512;

struct Shape {
    name: &'static str,
    /// The groups that are hidden; all of the match when there are none.
    regex: Regex,
}

/// Parts that every shape has one of. Only a line that holds one is worth the expressions.
const HINTS: &[&str] = &[
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "AKIA",
    "ASIA",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xoxr-",
    "xoxs-",
    "xapp-",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "rk_test_",
    "whsec_",
    "sk-",
    "AIza",
    "npm_",
    "pypi-",
    "dop_v1_",
    "hf_",
    "SG.",
    "eyJ",
    "bearer",
    "authorization",
    "aws_secret",
    "secretaccesskey",
    "private key",
    "://",
];

/// Every name, expression; the expressions are linear in the text (`regex` has no backtracking). Case is ASCII's alone
/// (`(?i-u:…)`): the tables of Unicode's are not compiled in.
const SHAPES: &[(&str, &str)] = &[
    (
        "private key",
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----(?s:.*?-----END [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----|.*)",
    ),
    ("GitHub token", r"\bgh[pousr]_[A-Za-z0-9]{20,255}|\bgithub_pat_[A-Za-z0-9_]{20,255}"),
    ("GitLab token", r"\bglpat-[A-Za-z0-9_.-]{20,255}"),
    ("AWS access key", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    (
        "AWS secret key",
        r#"(?i-u:aws_?secret_?access_?key|secretaccesskey)["']?\s*[:=]\s*["']?([A-Za-z0-9/+=]{40})"#,
    ),
    ("Slack token", r"\bxox[abeprs]-[A-Za-z0-9-]{10,255}|\bxapp-[A-Za-z0-9-]{10,255}"),
    ("Stripe key", r"\b(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,255}|\bwhsec_[A-Za-z0-9+/=]{24,255}"),
    (
        "API key",
        r"\bsk-(?:proj-|ant-|svcacct-)[A-Za-z0-9_-]{20,255}|\bsk-[A-Za-z0-9]{32,255}|\bAIza[A-Za-z0-9_-]{35}|\bSG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,64}",
    ),
    (
        "registry token",
        r"\bnpm_[A-Za-z0-9]{36}|\bpypi-[A-Za-z0-9_-]{40,400}|\bdop_v1_[a-f0-9]{64}|\bhf_[A-Za-z0-9]{30,60}",
    ),
    ("JSON web token", r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"),
    (
        "credentials",
        r#"\b(?i-u:authorization)\\?["']?\s*[:=]\s*\\?["']?(?:[A-Za-z][A-Za-z0-9-]{1,20}\s+)?([^\s"'\\,;]{4,})"#,
    ),
    ("bearer token", r"\b(?i-u:bearer)\s+([A-Za-z0-9._~+/=-]{16,})"),
    // To the last `@` before the path: a password may hold one that nobody escaped.
    ("password", r#"\b[A-Za-z][A-Za-z0-9+.-]{1,30}://[^\s/?\#"'<>@:]*:([^\s/?\#"'<>]+)@"#),
    ("password", r#"\b[A-Za-z][A-Za-z0-9+.-]{1,30}://([^\s/?\#"'<>@:]{20,})@"#),
];

struct Known {
    hints: AhoCorasick,
    shapes: Vec<Shape>,
}

#[expect(clippy::expect_used, reason = "the expressions are written above and a test builds them")]
static KNOWN: LazyLock<Known> = LazyLock::new(|| Known {
    hints: AhoCorasick::builder().ascii_case_insensitive(true).build(HINTS).expect("few short words"),
    shapes: SHAPES
        .iter()
        .map(|(name, regex)| Shape { name, regex: Regex::new(regex).expect("a good expression") })
        .collect(),
});

/// Where credentials of a known look stand.
pub(super) fn find(text: &str, mut found: impl FnMut(Range<usize>, &'static str)) {
    let known = &*KNOWN;
    if !known.hints.is_match(text) {
        return;
    }
    for Shape { name, regex } in &known.shapes {
        if regex.captures_len() == 1 {
            regex.find_iter(text).for_each(|m| found(m.range(), name));
        } else {
            regex.captures_iter(text).filter_map(|c| c.get(1)).for_each(|m| found(m.range(), name));
        }
    }
}

/// Follows a private key that is told line by line: its body has no look of its own.
#[derive(Debug, Default)]
pub struct KeyBlock {
    /// Lines that may still belong to it.
    left: usize,
}

/// More than the longest key in use (RSA 16384) takes.
const KEY_LINES: usize = 250;
const KEY_WORD: usize = 16;

impl KeyBlock {
    /// The part of this line that belongs to a key that began on an earlier one.
    pub fn follow(&mut self, line: &str) -> Option<Range<usize>> {
        let inside = self.left > 0;
        self.left = self.left.saturating_sub(1);
        let begins = line.rfind("-----BEGIN ").filter(|at| line[*at..].contains("PRIVATE KEY"));
        let ends = line.rfind("-----END ").filter(|at| line[*at..].contains("PRIVATE KEY"));
        if begins.is_some() || ends.is_some() {
            self.left = if begins > ends { KEY_LINES } else { 0 };
            return None;
        }
        if !inside {
            return None;
        }
        let end = line.trim_end().len();
        let start = line[..end].rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let word = line.get(start..end)?;
        let key = word.bytes().all(|c| c.is_ascii_alphanumeric() || b"+/=".contains(&c));
        (key && (word.len() >= KEY_WORD || word.ends_with('='))).then_some(start..end)
    }
}
