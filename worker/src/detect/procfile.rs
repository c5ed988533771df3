//! The `web:` line of a `Procfile`.

use super::model::Language;
use super::tree::Tree;

pub(super) struct Web {
    pub(super) line: String,
    pub(super) argv: Vec<String>,
    /// What the program is written in, where its name says so.
    pub(super) language: Option<Language>,
}

pub(super) fn web(tree: &Tree) -> Option<Web> {
    let text = tree.source("Procfile")?;
    let line =
        text.trim_start_matches('\u{feff}').lines().find_map(|it| it.trim().strip_prefix("web:"))?.trim();
    if line.is_empty() || line.chars().any(char::is_control) || line.len() > 4096 {
        return None;
    }
    let argv = words(line);
    Some(Web { language: language(line), line: line.to_owned(), argv })
}

/// Plain words stay words, so that the program gets its signals; what needs a shell gets one.
pub(super) fn words(line: &str) -> Vec<String> {
    let assigns = line.split_whitespace().next().is_some_and(|it| it.contains('='));
    if assigns || line.contains(|it: char| "$&|;<>`'\"\\*?(){}~#!".contains(it)) {
        // `exec` makes a single command the process that gets the signals.
        let single = !assigns && !line.contains(['&', '|', ';', '`', '(']);
        let line =
            if single && !line.starts_with("exec ") { format!("exec {line}") } else { line.to_owned() };
        return vec!["sh".into(), "-c".into(), line];
    }
    line.split_whitespace().map(str::to_owned).collect()
}

fn language(line: &str) -> Option<Language> {
    let program = line.split_whitespace().find(|it| !it.contains('=') && *it != "exec")?;
    Some(match program.rsplit('/').next()? {
        "node" | "npm" | "npx" | "yarn" | "pnpm" | "bun" | "bunx" | "next" => Language::Node,
        "python" | "python3" | "gunicorn" | "uvicorn" | "hypercorn" | "daphne" | "flask" | "uv"
        | "poetry" | "pipenv" | "waitress-serve" => Language::Python,
        "bundle" | "ruby" | "rails" | "rackup" | "puma" | "rake" => Language::Ruby,
        "php" | "heroku-php-apache2" | "heroku-php-nginx" => Language::Php,
        "java" | "mvn" | "mvnw" | "gradle" | "gradlew" => Language::Java,
        "dotnet" => Language::Dotnet,
        "go" => Language::Go,
        "cargo" => Language::Rust,
        _ => return None,
    })
}
