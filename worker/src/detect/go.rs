//! Go: go.mod, and the folders that hold a `package main`.

use std::sync::LazyLock;

use deploymind_shared::error::Error;
use regex::Regex;

use super::draft::{Draft, Look, argv};
use super::model::{Language, PackageManager};
use super::ports::{self, pattern};
use super::tree::{Tree, clip};

const FILE: &str = "go.mod";

const FRAMEWORKS: &[(&str, &str, u16)] = &[
    ("github.com/gin-gonic/gin", "gin", 8080),
    ("github.com/labstack/echo", "echo", 1323),
    ("github.com/gofiber/fiber", "fiber", 3000),
    ("github.com/go-chi/chi", "chi", 8080),
    ("github.com/gorilla/mux", "gorilla", 8080),
];

/// Source files that are read at most.
const READ: usize = 200;
/// Of several programs in cmd/, these serve.
const USUAL: &[&str] = &["server", "api", "web", "app"];

static MAIN: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?m)^package[ \t]+main\b"));
static FUNCTION: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?m)^func[ \t]+main[ \t]*\("));

pub(super) fn look(look: &Look<'_>) -> Result<Option<Draft>, Error> {
    let tree = look.tree;
    let Some(text) = tree.text(FILE)? else { return Ok(None) };
    let mut draft = Draft::new(Language::Go);
    draft.because(FILE, "is the manifest of a Go module");
    draft.found.package_manager = Some(PackageManager::GoModules);
    draft.found.locked = tree.is_file("go.sum");
    let directive = |name: &str| {
        text.lines().find_map(|it| it.trim().strip_prefix(name)?.strip_prefix(' ')).map(str::trim)
    };
    let toolchain = directive("toolchain").and_then(|it| it.strip_prefix("go"));
    if let Some(version) = toolchain.or_else(|| directive("go")) {
        draft.version(FILE, version.split_whitespace().next().unwrap_or_default());
    }

    let mut default = 8080;
    let required = FRAMEWORKS.iter().find_map(|(package, name, port)| {
        let line = text.lines().map(|it| it.trim().trim_start_matches("require ").trim()).find(|it| {
            it.strip_prefix(package).is_some_and(|it| it.starts_with([' ', '/']))
                && !it.contains("// indirect")
        })?;
        Some((line, name, port))
    });
    if let Some((line, name, port)) = required {
        draft.framework(name, FILE, format!("requires {}", clip(line)));
        default = *port;
    }

    let mains = mains(tree);
    let module = directive("module").unwrap_or_default();
    let Some(main) = choose(&mains, look.wanted(), module) else {
        if !mains.is_empty() {
            let names: Vec<&str> = mains.iter().take(5).map(|it| it.folder.as_str()).collect();
            draft.because(FILE, format!("has several programs: {}", names.join(", ")));
        }
        draft.port(look, None, Some(default));
        draft.start(look, None);
        return Ok(Some(draft));
    };
    if draft.found.framework.is_none() && main.serves {
        draft.framework("net/http", &main.file, "imports net/http");
    }
    let mut sources = vec![main.file.as_str()];
    let folder = main.file.rsplit_once('/').map_or("", |(folder, _)| folder);
    let beside =
        tree.files_ending(".go").filter(|it| it.rsplit_once('/').map_or("", |(folder, _)| folder) == folder);
    sources.extend(beside.filter(|it| !it.ends_with("_test.go")).take(READ));
    let said = ports::in_source(tree, Language::Go, &sources);
    draft.port(look, said, Some(default));
    draft.found.entry_point = Some(main.folder.clone());
    let binary = match main.folder.rsplit('/').next() {
        Some(name) if main.folder != "." => name,
        _ => last(module).unwrap_or("app"),
    };
    let binary = format!("./{binary}");
    draft.start(look, Some((main.file.clone(), argv(&[&binary]))));
    Ok(Some(draft))
}

struct Main {
    /// `.` or `./cmd/api`.
    folder: String,
    file: String,
    serves: bool,
}

fn mains(tree: &Tree) -> Vec<Main> {
    let mut mains: Vec<Main> = Vec::new();
    for file in tree.files_ending(".go").filter(|it| !it.ends_with("_test.go")).take(READ) {
        let folder = match file.rsplit_once('/') {
            Some((folder, _)) if folder.matches('/').count() < 3 => format!("./{folder}"),
            Some(_) => continue,
            None => ".".to_owned(),
        };
        if mains.iter().any(|it| it.folder == folder) {
            continue;
        }
        let Some(text) = tree.source(file).filter(|it| MAIN.is_match(it) && FUNCTION.is_match(it)) else {
            continue;
        };
        // Helpers of the build are no program.
        if text.lines().take(20).any(|it| it.starts_with("//go:build ignore")) {
            continue;
        }
        mains.push(Main { folder, file: file.to_owned(), serves: text.contains("\"net/http\"") });
    }
    mains
}

fn choose<'a>(mains: &'a [Main], wanted: Option<&str>, module: &str) -> Option<&'a Main> {
    let named = |name: &str| mains.iter().find(|it| it.folder.rsplit('/').next() == Some(name));
    wanted
        .and_then(named)
        .or_else(|| mains.iter().find(|it| it.folder == "."))
        .or_else(|| (mains.len() == 1).then(|| &mains[0]))
        .or_else(|| USUAL.iter().find_map(|it| named(it)))
        .or_else(|| named(last(module)?))
}

/// The name of a module: `example.com/shop/v2` → `shop`.
fn last(module: &str) -> Option<&str> {
    let version = |it: &&str| it.strip_prefix('v').is_some_and(|it| it.parse::<u32>().is_ok());
    let plain = |it: &&str| it.chars().all(|it| it.is_ascii_alphanumeric() || "-_.".contains(it));
    module.trim_matches('"').rsplit('/').find(|it| !version(it)).filter(|it| !it.is_empty()).filter(plain)
}
