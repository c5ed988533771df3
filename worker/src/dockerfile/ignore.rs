//! The `.dockerignore` beside a generated Dockerfile: what no build needs, and what must not get into an image.

use crate::detect::model::{Detection, Language};

/// History, secrets, and what editors and systems leave behind.
const ALWAYS: &[&str] = &[
    ".git",
    ".gitignore",
    ".gitattributes",
    ".github",
    ".gitlab-ci.yml",
    ".hg",
    ".svn",
    ".idea",
    ".vscode",
    ".vs",
    ".DS_Store",
    "**/.DS_Store",
    "**/.env",
    "**/.env.*",
    ".aws",
    ".ssh",
    "**/id_rsa",
    "**/id_ed25519",
    "Dockerfile*",
    ".dockerignore",
    "docker-compose*.yml",
    "compose*.yaml",
    "*.log",
    "npm-debug.log*",
];

fn of(language: Language) -> &'static [&'static str] {
    match language {
        Language::Node | Language::Static => {
            &["**/node_modules", ".next", ".nuxt", ".output", ".cache", "coverage"]
        }
        Language::Python => &[
            "**/__pycache__",
            "**/*.pyc",
            ".venv",
            "venv",
            ".tox",
            ".nox",
            ".pytest_cache",
            ".mypy_cache",
            ".ruff_cache",
            ".coverage",
            "htmlcov",
            "*.egg-info",
        ],
        Language::Go => &["coverage.out"],
        Language::Java => &["target", "*/target", ".gradle", "build", "*/build", "*.class"],
        Language::Ruby => {
            &[".bundle", "vendor/bundle", "log/*", "tmp/*", "node_modules", "config/master.key", "coverage"]
        }
        Language::Rust => &["target"],
        Language::Php => &["vendor", "**/node_modules", "storage/logs/*", "var/cache", "var/log"],
        Language::Dotnet => &["**/bin", "**/obj", ".vs", "**/TestResults"],
    }
}

pub(super) fn text(detection: &Detection) -> String {
    let mut patterns: Vec<&str> = ALWAYS.to_vec();
    patterns.extend(detection.language.map(of).unwrap_or_default());
    // Files that nobody builds come from the repository itself.
    let kept = |path: &Option<String>| path.clone().filter(|_| detection.build.is_none());
    let needed = [detection.entry_point.clone(), kept(&detection.output)];
    let needed: Vec<&str> = needed.iter().flatten().flat_map(|path| path.split('/')).collect();
    patterns.retain(|pattern| {
        let last = pattern.trim_start_matches("**/").trim_start_matches("*/");
        let secret = last.starts_with(".env") || last == ".git" || last == ".ssh";
        secret || !needed.contains(&last)
    });
    let mut text = patterns.join("\n");
    text.push('\n');
    text
}
