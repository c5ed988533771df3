//! Secrets that an image would keep for whoever pulls it. A message names the variable, never the value.

use std::sync::LazyLock;

use regex::RegexSet;

use super::{Findings, Severity};
use crate::dockerfile::parse::Instruction;
use crate::dockerfile::stages::assignments;

/// Values that are secrets by their shape, wherever they stand.
#[expect(clippy::expect_used, reason = "the patterns are part of this program, and a test uses every one")]
static SHAPES: LazyLock<RegexSet> = LazyLock::new(|| {
    RegexSet::new([
        r"\bgh[pousr]_[A-Za-z0-9]{20,}",
        r"\bgithub_pat_[A-Za-z0-9_]{20,}",
        r"\bglpat-[A-Za-z0-9_-]{20,}",
        r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
        r"-----BEGIN [A-Z ]*PRIVATE KEY",
        r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
        r"\b[sr]k_live_[A-Za-z0-9]{16,}",
        r"\bsk-[A-Za-z0-9_-]{20,}",
        r"\bnpm_[A-Za-z0-9]{30,}",
        r"\bpypi-[A-Za-z0-9_-]{40,}",
        r"\bAIza[A-Za-z0-9_-]{35}",
        r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
        r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
        // An address with a password that is no variable.
        r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@$]*:[^\s/@${<]{3,}@",
    ])
    .expect("the patterns are well-formed")
});

/// Parts of a name that hold a secret.
const NAMES: &[&str] = &[
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "SECRET",
    "TOKEN",
    "APIKEY",
    "API_KEY",
    "PRIVATE_KEY",
    "ACCESS_KEY",
    "CREDENTIAL",
    "AUTH_KEY",
    "ENCRYPTION_KEY",
    "SIGNING_KEY",
];
/// Ends of a name that says where a secret is, or how long it is good for.
const ENDS: &[&str] =
    &["_FILE", "_PATH", "_DIR", "_NAME", "_ID", "_TTL", "_EXPIRY", "_LENGTH", "_DUMMY", "_URL", "_HEADER"];

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    NAMES.iter().any(|it| name.contains(it)) && !ENDS.iter().any(|it| name.ends_with(it))
}

/// A value that could be one: not empty, no variable, no switch, no number of seconds.
fn is_literal(value: &str) -> bool {
    !value.is_empty()
        && !value.starts_with('$')
        && !matches!(value.to_ascii_lowercase().as_str(), "true" | "false" | "yes" | "no" | "none" | "null")
        && (value.len() >= 6 || !value.bytes().all(|it| it.is_ascii_digit()))
}

const FIX: &str = "remove it, revoke it if it was real, and set it in the app's variables, which only the program that runs sees";

pub(super) fn look(found: &Instruction, shipped: bool, findings: &mut Findings) {
    let variables = assignments(found);
    let rule = if found.keyword == "ENV" { "secret-in-env" } else { "secret-in-arg" };
    let mut told = false;
    for (name, value) in &variables {
        let shown: String =
            name.chars().filter(|it| it.is_ascii_alphanumeric() || *it == '_').take(64).collect();
        match value {
            Some(value) if SHAPES.is_match(value) || (is_secret_name(name) && is_literal(value)) => {
                told = true;
                // A name that looks like a secret is not repeated either.
                let shown = if SHAPES.is_match(name) { "a variable".to_owned() } else { shown };
                let message = format!(
                    "the value of {shown} is a secret that stays in the image for all who can pull it"
                );
                findings.add(rule, Severity::Error, found.line, message, FIX);
            }
            None if found.keyword == "ARG" && is_secret_name(name) => {
                let severity = if shipped { Severity::Warning } else { Severity::Info };
                let message =
                    format!("the value that {shown} gets in a build stays in the history of that stage");
                let fix = "take it in a stage that is not shipped, or mount it: RUN --mount=type=secret";
                findings.add("secret-in-arg", severity, found.line, message, fix);
            }
            _ => {}
        }
    }
    // Without quotes, only the first word of a value is one.
    let elsewhere =
        !told && (SHAPES.is_match(&found.args) || found.heredocs.iter().any(|it| SHAPES.is_match(it)));
    if elsewhere {
        let message = format!(
            "this {} has a secret in its text, which stays in the history of the image",
            keyword(found)
        );
        findings.add("secret-in-text", Severity::Error, found.line, message, FIX);
    }
}

fn keyword(found: &Instruction) -> &str {
    let plain = found.keyword.len() <= 12 && found.keyword.bytes().all(|it| it.is_ascii_uppercase());
    if plain { &found.keyword } else { "line" }
}
