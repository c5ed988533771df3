//! What is wrong with a Dockerfile: each finding with its rule, line and fix. It never repeats a secret.

mod image;
mod run;
mod secrets;

use deploymind_shared::error::Error;
use deploymind_shared::text_enum;
use serde::Serialize;

use super::parse::Instruction;
use super::stages::{Base, Stages};

text_enum! {
    Severity {
        /// It does harm, or does not build.
        Error = "error",
        /// It costs time, space or safety.
        Warning = "warning",
        Info = "info",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub rule: &'static str,
    pub severity: Severity,
    /// Of the instruction's first line, from 1.
    pub line: u32,
    pub message: String,
    pub fix: String,
}

/// Judges a Dockerfile; findings come in the order of their lines.
///
/// # Errors
/// [`DockerfileInvalid`](deploymind_shared::error::Code::DockerfileInvalid), with the line, for a text that is no
/// Dockerfile.
pub fn lint(text: &str, dockerignore_present: bool) -> Result<Vec<Finding>, Error> {
    let stages = Stages::of(text)?;
    let mut findings = Findings(Vec::new());
    image::look(&stages, dockerignore_present, &mut findings);
    let shipped = stages.shipped();
    for found in &stages.global {
        secrets::look(found, false, &mut findings);
    }
    for (place, stage) in stages.stages.iter().enumerate() {
        let shipped = shipped.contains(&place);
        let mut quiet_pip = stages.stages[..place]
            .iter()
            .enumerate()
            .any(|(other, it)| stage.base == Base::Stage(other) && it.variables.contains_key(PIP_QUIET));
        for found in &stage.instructions {
            let found = &found.deferred().unwrap_or_else(|| found.clone());
            quiet_pip |= super::stages::assignments(found).iter().any(|(name, _)| name == PIP_QUIET);
            instruction(found, &mut findings);
            secrets::look(found, shipped, &mut findings);
            run::look(found, quiet_pip, &mut findings);
        }
        run::order(stage, &mut findings);
    }
    let mut findings = findings.0;
    findings.sort_by_key(|it| (it.line, it.severity));
    Ok(findings)
}

/// pip keeps no cache where this is set.
const PIP_QUIET: &str = "PIP_NO_CACHE_DIR";

pub(super) struct Findings(Vec<Finding>);

impl Findings {
    fn add(
        &mut self,
        rule: &'static str,
        severity: Severity,
        line: u32,
        message: impl Into<String>,
        fix: &str,
    ) {
        let found = Finding { rule, severity, line, message: message.into(), fix: fix.to_owned() };
        if !self.0.iter().any(|it| it.rule == rule && it.line == line) {
            self.0.push(found);
        }
    }
}

const KNOWN: &[&str] = &[
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// What one instruction shows by itself.
fn instruction(found: &Instruction, findings: &mut Findings) {
    match found.keyword.as_str() {
        "CMD" | "ENTRYPOINT" if found.json().is_none() => {
            let message = if found.args.starts_with('[') {
                format!("{} looks like JSON and is not, so a shell runs it as it stands", found.keyword)
            } else {
                format!(
                    "{} starts a shell, which keeps the signals that should stop the program",
                    found.keyword
                )
            };
            let fix = format!("write the words as JSON: {} [\"program\", \"argument\"]", found.keyword);
            findings.add("shell-form", Severity::Warning, found.line, message, &fix);
        }
        "ADD" if found.args.split_whitespace().any(is_remote) => findings.add(
            "add-url",
            Severity::Warning,
            found.line,
            "ADD downloads a file that nobody checks and that may be another one tomorrow",
            "download it in a RUN with curl -fsSL and compare its checksum, or commit it and COPY it",
        ),
        // The word is not repeated: a line that went astray may begin with anything.
        keyword if !KNOWN.contains(&keyword) => findings.add(
            "unknown-instruction",
            Severity::Error,
            found.line,
            "the line does not begin with an instruction of a Dockerfile",
            "correct its spelling, or end the line before with \\ if it belongs there",
        ),
        _ => {}
    }
}

fn is_remote(word: &str) -> bool {
    let word = word.trim_start_matches(['[', '"', ',']);
    ["http://", "https://", "ftp://", "git@", "git://", "ssh://"].iter().any(|it| word.starts_with(it))
}

#[cfg(test)]
mod tests;
