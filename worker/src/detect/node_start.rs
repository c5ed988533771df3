//! How a Node.js program starts: a script of package.json, its `main`, or a file with a usual name.

use serde_json::Value;

use super::draft::argv;
use super::model::PackageManager;
use super::node::script;
use super::procfile;
use super::tree::Tree;

pub(super) struct Start {
    /// Which file said so.
    pub(super) file: String,
    pub(super) argv: Vec<String>,
    pub(super) entry: Option<String>,
}

const FILES: &[&str] = &[
    "server.js",
    "index.js",
    "app.js",
    "main.js",
    "server.mjs",
    "index.mjs",
    "app.mjs",
    "src/server.js",
    "src/index.js",
    "src/app.js",
    "src/main.js",
    "bin/www",
];
/// Only Bun runs these as they are.
const TYPESCRIPT: &[&str] =
    &["server.ts", "index.ts", "app.ts", "src/server.ts", "src/index.ts", "src/main.ts"];

pub(super) fn run(manager: PackageManager, script: &str) -> Vec<String> {
    argv(&[manager.as_str(), "run", script])
}

/// A server that only serves those who work on the app.
pub(super) fn is_for_development(script: &str) -> bool {
    let words: Vec<&str> = script.split_whitespace().collect();
    matches!(
        words.as_slice(),
        ["vite" | "serve" | "webpack-dev-server" | "live-server" | "http-server" | "parcel", ..]
            | ["react-scripts", "start", ..]
            | ["astro", "dev" | "preview" | "start", ..]
            | ["webpack", "serve", ..]
            | ["npx", "vite" | "serve", ..]
    )
}

pub(super) fn find(
    tree: &Tree,
    package: &Value,
    manager: PackageManager,
    builds: bool,
    framework: Option<&str>,
) -> Option<Start> {
    let there = |path: &str| tree.is_file(path) || tree.is_file(&format!("{path}.js"));
    let file = "package.json".to_owned();
    for name in ["start:prod", "start"] {
        let Some(line) = script(package, name).filter(|it| !is_for_development(it)) else { continue };
        let words = procfile::words(line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        return Some(match words.as_slice() {
            // Without npm in between, the program itself gets the signals.
            ["node", rest @ ..] => {
                let mut plain = rest.iter().filter(|it| !it.starts_with('-'));
                let entry =
                    plain.clone().find(|it| there(it)).or_else(|| plain.next()).map(|it| (*it).to_owned());
                Start { file, argv: argv(&words), entry }
            }
            ["nodemon" | "node-dev", entry] if there(entry) && !entry.ends_with(".ts") => {
                Start { file, argv: argv(&["node", entry]), entry: Some((*entry).to_owned()) }
            }
            _ => Start { file, argv: run(manager, name), entry: None },
        });
    }
    match framework {
        Some("next") => return Some(Start { file, argv: argv(&["npx", "next", "start"]), entry: None }),
        Some("nuxt") => {
            let entry = ".output/server/index.mjs";
            return Some(Start { file, argv: argv(&["node", entry]), entry: Some(entry.into()) });
        }
        Some("nest") if builds => {
            let entry = "dist/main.js";
            return Some(Start { file, argv: argv(&["node", entry]), entry: Some(entry.into()) });
        }
        _ => {}
    }
    let main = package.get("main").and_then(Value::as_str).map(|it| it.trim_start_matches("./"));
    let made =
        |it: &str| builds && ["dist/", "build/", "lib/", "out/"].iter().any(|folder| it.starts_with(folder));
    if let Some(main) = main.filter(|it| !it.is_empty() && (there(it) || made(it))) {
        return Some(Start { file, argv: argv(&["node", main]), entry: Some(main.into()) });
    }
    if manager == PackageManager::Bun
        && let Some(entry) = tree.first(TYPESCRIPT)
    {
        return Some(Start {
            file: entry.into(),
            argv: argv(&["bun", "run", entry]),
            entry: Some(entry.into()),
        });
    }
    let entry = tree.first(FILES)?;
    Some(Start { file: entry.into(), argv: argv(&["node", entry]), entry: Some(entry.into()) })
}
