//! The app object of a Python web framework, found in the sources without running them.

use std::sync::LazyLock;

use regex::Regex;

use super::ports::pattern;
use super::tree::Tree;

/// Source files that are read at most.
const READ: usize = 200;

/// Where such objects usually are; looked at first.
const USUAL: &[&str] = &[
    "main.py",
    "app.py",
    "wsgi.py",
    "asgi.py",
    "server.py",
    "application.py",
    "api.py",
    "run.py",
    "app/main.py",
    "app/__init__.py",
    "app/app.py",
    "src/main.py",
    "src/app.py",
    "src/app/main.py",
];

static OBJECT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?m)^([A-Za-z_]\w*)[ \t]*(?::[^=\n]+)?=[ \t]*(?:\w+\.)?(Flask|FastAPI|Starlette|create_app|make_app)[ \t]*\(",
    )
});
static FACTORY: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?m)^(?:async[ \t]+)?def[ \t]+(create_app|make_app|get_app)[ \t]*\("));
static SETTINGS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"DJANGO_SETTINGS_MODULE['"]\s*,\s*['"]([A-Za-z_][\w.]*)['"]"#));
static GUARD: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"(?m)^if[ \t]+__name__[ \t]*==[ \t]*['"]__main__['"]"#));

pub(super) struct App {
    pub(super) file: String,
    /// Folder that Python must begin to import from; empty: the root.
    pub(super) folder: String,
    pub(super) module: String,
    pub(super) name: String,
    /// The name is a function that makes the app.
    pub(super) factory: bool,
}

impl App {
    pub(super) fn entry(&self) -> String {
        format!("{}:{}", self.module, self.name)
    }
}

/// `framework` is as imported: `flask`, `fastapi`, `starlette`.
pub(super) fn find(tree: &Tree, framework: &str) -> Option<App> {
    let usual = USUAL.iter().copied().filter(|it| tree.is_file(it));
    let others = tree.files_ending(".py").filter(|it| !USUAL.contains(it));
    let mut factory = None;
    for file in usual.chain(others).take(READ) {
        let Some((folder, module)) = module(tree, file) else { continue };
        let Some(text) = tree.source(file) else { continue };
        let app = |name: &str, factory| App {
            file: file.to_owned(),
            folder: folder.clone(),
            module: module.clone(),
            name: name.to_owned(),
            factory,
        };
        if let Some(found) = OBJECT.captures(&text)
            && let (Some(name), Some(made_by)) = (found.get(1), found.get(2))
            && (text.contains(framework) || made_by.as_str().ends_with("_app"))
        {
            return Some(app(name.as_str(), false));
        }
        if factory.is_none()
            && text.contains(framework)
            && let Some(name) = FACTORY.captures(&text).and_then(|it| it.get(1))
        {
            factory = Some(app(name.as_str(), true));
        }
    }
    factory
}

/// The dotted name of a file, and the folder it is imported from.
fn module(tree: &Tree, file: &str) -> Option<(String, String)> {
    let (folder, path) = match file.strip_prefix("src/") {
        Some(path) if !tree.is_file("src/__init__.py") => ("src", path),
        _ => ("", file),
    };
    let path = path.strip_suffix(".py")?;
    let path = path.strip_suffix("/__init__").unwrap_or(path);
    let plain = |it: &str| {
        it.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_')
            && it.chars().all(|it| it.is_ascii_alphanumeric() || it == '_')
    };
    path.split('/').all(plain).then(|| (folder.to_owned(), path.replace('/', ".")))
}

pub(super) struct Django {
    pub(super) manage: String,
    pub(super) folder: String,
    /// `shop.wsgi` or `shop.asgi`, where the file is there.
    pub(super) wsgi: Option<String>,
    pub(super) asgi: Option<String>,
}

pub(super) fn django(tree: &Tree) -> Option<Django> {
    let manage = match tree.is_file("manage.py") {
        true => "manage.py",
        false => tree.files_ending("/manage.py").find(|it| it.matches('/').count() == 1)?,
    };
    let text = tree.source(manage)?;
    let folder = manage.strip_suffix("manage.py")?;
    let settings = SETTINGS.captures(&text)?.get(1)?.as_str().to_owned();
    // `shop.settings.production` → `shop.settings`, then `shop`.
    let packages: Vec<&str> =
        settings.match_indices('.').rev().take(8).map(|(at, _)| &settings[..at]).collect();
    let module = |name: &str| {
        let package = packages
            .iter()
            .find(|it| tree.is_file(&format!("{folder}{}/{name}.py", it.replace('.', "/"))))?;
        Some(format!("{package}.{name}"))
    };
    Some(Django {
        wsgi: module("wsgi"),
        asgi: module("asgi"),
        folder: folder.trim_end_matches('/').to_owned(),
        manage: manage.to_owned(),
    })
}

/// A file that is made to be run: it has a main guard, or the name for it.
pub(super) fn script(tree: &Tree, mentions: Option<&str>) -> Option<String> {
    let top =
        tree.files_ending(".py").filter(|it| !it.contains('/') && *it != "setup.py" && *it != "manage.py");
    let usual = USUAL.iter().copied().filter(|it| tree.is_file(it) && !it.ends_with("__init__.py"));
    let mut named = None;
    for file in usual.chain(top).take(READ) {
        let Some(text) = tree.source(file) else { continue };
        if mentions.is_some_and(|it| !text.contains(it)) {
            continue;
        }
        if GUARD.is_match(&text) {
            return Some(file.to_owned());
        }
        // Without a guard, an app object alone would be made and forgotten.
        if named.is_none()
            && matches!(mentions, None | Some("tornado"))
            && matches!(file, "main.py" | "app.py" | "server.py" | "run.py")
        {
            named = Some(file.to_owned());
        }
    }
    named
}
