//! Where a program says it listens, as far as that is written plainly.

use std::sync::LazyLock;

use regex::Regex;

use super::model::Language;
use super::tree::Tree;

/// A file that names a port.
pub(super) struct Said {
    pub(super) file: String,
    pub(super) port: u16,
}

#[expect(
    clippy::expect_used,
    reason = "the patterns are part of this program, and every one is used by a test"
)]
pub(super) fn pattern(text: &'static str) -> Regex {
    Regex::new(text).expect("the pattern is well-formed")
}

static NODE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?:env\.PORT\s*\)?\s*(?:\|\||\?\?)\s*['"]?|\blisten\(\s*|\b(?:port|PORT)\s*[:=]\s*)(\d{2,5})\b"#,
    )
});
static PYTHON: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?:['"]PORT['"]\s*,\s*(?:default\s*=\s*)?['"]?|\b(?:port|PORT)\s*=\s*['"]?|\.listen\(\s*)(\d{2,5})\b"#,
    )
});
static GO: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?:(?:ListenAndServe(?:TLS)?|\.Run|\.Start|\.Listen)\(\s*"[^":]*:|Addr:\s*"(?:0\.0\.0\.0)?:|\b[pP]ort\s*:?=\s*":?)(\d{2,5})""#,
    )
});
static RUST: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?:"(?:0\.0\.0\.0|127\.0\.0\.1|\[::\]):|\(\s*\[\s*(?:0|127)\s*,\s*0\s*,\s*0\s*,\s*[01]\s*\]\s*,\s*|"(?:0\.0\.0\.0|127\.0\.0\.1)"\s*,\s*)(\d{2,5})\b"#,
    )
});
static RUBY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?:ENV\.fetch\(\s*['"]PORT['"]\s*(?:,\s*|\)\s*\{\s*)['"]?|set\s+:port,\s*|ENV\[['"]PORT['"]\]\s*\|\|\s*['"]?|^\s*port\s+)(\d{2,5})\b"#,
    )
});
static DOTNET: LazyLock<Regex> = LazyLock::new(|| pattern(r#""http://[^":/\s]+:(\d{2,5})"#));
static PROPERTIES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^\s*(?:server\.port|quarkus\.http\.port)\s*[=:]\s*(?:\$\{[\w.]+:)?(\d{2,5})\b")
});
static YAML: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?m)^(?:server|quarkus):[ \t]*\n(?:[ \t]+[^\n]*\n|[ \t]*\n){0,40}?[ \t]+port:[ \t]*(?:\$\{[\w.]+:)?(\d{2,5})\b",
    )
});
static ROCKET: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\s*port\s*=\s*(\d{2,5})\b"));

/// Where databases, queues and mail servers listen: a source that names one of these connects to it.
const OF_OTHERS: &[u16] =
    &[25, 465, 587, 1433, 1521, 2525, 3306, 5432, 5672, 6379, 9042, 9092, 9200, 11211, 26257, 27017];

fn port(regex: &Regex, text: &str) -> Option<u16> {
    regex.captures(text)?.get(1)?.as_str().parse().ok().filter(|it| *it > 0 && !OF_OTHERS.contains(it))
}

/// The first line that names a port and is no comment.
fn by_line(regex: &Regex, text: &str) -> Option<u16> {
    text.lines()
        .filter(|it| it.len() < 1000)
        .filter(|it| !it.trim_start().starts_with("//") && !it.trim_start().starts_with('#'))
        .find_map(|it| port(regex, it))
}

pub(super) fn in_source(tree: &Tree, language: Language, files: &[&str]) -> Option<Said> {
    let regex = match language {
        Language::Node => &NODE,
        Language::Python => &PYTHON,
        Language::Go => &GO,
        Language::Rust => &RUST,
        Language::Ruby => &RUBY,
        Language::Dotnet => &DOTNET,
        Language::Java | Language::Php | Language::Static => return None,
    };
    said(tree, files, |text| by_line(regex, text))
}

/// `application.properties` and `application.yml` of Spring Boot and Quarkus.
pub(super) fn in_java_configuration(tree: &Tree, folder: &str) -> Option<Said> {
    let file = |name: &str| format!("{folder}src/main/resources/{name}");
    let properties = file("application.properties");
    let (yml, yaml) = (file("application.yml"), file("application.yaml"));
    said(tree, &[&properties], |text| by_line(&PROPERTIES, text))
        .or_else(|| said(tree, &[&yml, &yaml], |text| port(&YAML, text)))
}

pub(super) fn in_rocket_configuration(tree: &Tree, folder: &str) -> Option<Said> {
    said(tree, &[&format!("{folder}Rocket.toml")], |text| by_line(&ROCKET, text))
}

fn said(tree: &Tree, files: &[&str], find: impl Fn(&str) -> Option<u16>) -> Option<Said> {
    files.iter().find_map(|file| {
        let port = find(&tree.source(file)?)?;
        Some(Said { file: (*file).to_owned(), port })
    })
}
