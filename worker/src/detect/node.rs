//! Node.js: package.json and what stands beside it.

use deploymind_shared::error::Error;
use serde_json::Value;

use super::draft::{Draft, Look, Rank};
use super::manifest;
use super::model::{Language, PackageManager};
use super::node_start::{self, run};
use super::ports::{self, pattern};
use super::tree::{Tree, clip};

const FILE: &str = "package.json";

/// Package, framework, default port. The first one wins: Next.js apps may also have express.
const SERVERS: &[(&str, &str, u16)] = &[
    ("next", "next", 3000),
    ("nuxt", "nuxt", 3000),
    ("@nestjs/core", "nest", 3000),
    ("@hapi/hapi", "hapi", 3000),
    ("fastify", "fastify", 3000),
    ("koa", "koa", 3000),
    ("express", "express", 3000),
    ("hono", "hono", 3000),
];

/// Package, framework, folder of the finished files.
const BUNDLERS: &[(&str, &str, &str)] =
    &[("astro", "astro", "dist"), ("react-scripts", "react-scripts", "build"), ("vite", "vite", "dist")];

const LOCKS: &[(&str, PackageManager)] = &[
    ("pnpm-lock.yaml", PackageManager::Pnpm),
    ("yarn.lock", PackageManager::Yarn),
    ("bun.lock", PackageManager::Bun),
    ("bun.lockb", PackageManager::Bun),
    ("package-lock.json", PackageManager::Npm),
    ("npm-shrinkwrap.json", PackageManager::Npm),
];

pub(super) fn look(look: &Look<'_>) -> Result<Option<Draft>, Error> {
    let Some(package) = manifest::json(look.tree, FILE)? else { return Ok(None) };
    let mut draft = Draft::new(Language::Node);
    draft.because(FILE, "is the manifest of a Node.js package");
    version(look.tree, &package, &mut draft);
    let manager = package_manager(look.tree, &package, &mut draft);
    if script(&package, "build").is_some() {
        draft.found.build = Some(run(manager, "build"));
        draft.because(FILE, "has a build script");
    }

    let server = SERVERS.iter().find_map(|it| Some((it, depends(&package, "dependencies", it.0)?)));
    let bundler = BUNDLERS.iter().find_map(|it| Some((it, any(&package, it.0)?)));
    let mut port = 3000;
    if let Some(((name, framework, default), wanted)) = server {
        draft.framework(framework, FILE, format!("depends on {name} {}", clip(wanted)));
        port = *default;
    }
    if server.is_some_and(|it| it.0.1 == "next")
        && let Some(file) = exports_static(look.tree)
    {
        draft.because(file, "exports static files");
        return Ok(Some(serve(look, draft, "out")));
    }
    let own =
        node_start::find(look.tree, &package, manager, draft.found.build.is_some(), server.map(|it| it.0.1));
    if let Some(((name, framework, folder), wanted)) = bundler
        && (own.is_none()
            || (server.is_none() && script(&package, "start").is_none_or(node_start::is_for_development)))
        && draft.found.build.is_some()
    {
        draft.found.framework = Some((*framework).to_owned());
        draft.because(FILE, format!("builds with {name} {}", clip(wanted)));
        let folder = out_dir(look.tree).unwrap_or_else(|| (*folder).to_owned());
        return Ok(Some(serve(look, draft, &folder)));
    }

    let mut sources: Vec<&str> = own.as_ref().and_then(|it| it.entry.as_deref()).into_iter().collect();
    sources.extend(SOURCES);
    let said = ports::in_source(look.tree, Language::Node, &sources);
    draft.port(look, said, Some(port));
    draft.found.entry_point = own.as_ref().and_then(|it| it.entry.clone());
    draft.start(look, own.map(|it| (it.file, it.argv)));
    Ok(Some(draft))
}

/// Where a server is usually made.
const SOURCES: &[&str] = &[
    "server.js",
    "index.js",
    "app.js",
    "main.js",
    "server.mjs",
    "index.mjs",
    "src/server.js",
    "src/index.js",
    "src/app.js",
    "src/main.js",
    "src/main.ts",
    "src/index.ts",
    "src/server.ts",
    "src/app.ts",
    "server.ts",
    "index.ts",
    "app.ts",
    "bin/www",
];

/// Nothing runs on the server once it is built.
fn serve(look: &Look<'_>, mut draft: Draft, folder: &str) -> Draft {
    draft.found.output = Some(folder.to_owned());
    draft.found.entry_point = Some("index.html".into());
    draft.at_least(Rank::Starts);
    draft.port(look, None, Some(super::statics::PORT));
    draft.start(look, None);
    draft
}

fn depends<'a>(package: &'a Value, section: &str, name: &str) -> Option<&'a str> {
    Some(package.get(section)?.get(name)?.as_str().unwrap_or_default())
}

fn any<'a>(package: &'a Value, name: &str) -> Option<&'a str> {
    depends(package, "dependencies", name).or_else(|| depends(package, "devDependencies", name))
}

pub(super) fn script<'a>(package: &'a Value, name: &str) -> Option<&'a str> {
    depends(package, "scripts", name).map(str::trim).filter(|it| !it.is_empty())
}

fn version(tree: &Tree, package: &Value, draft: &mut Draft) {
    for file in [".nvmrc", ".node-version"] {
        if let Some(line) = tree.line(file) {
            draft.version(file, codename(&line));
        }
        if draft.found.version.is_some() {
            return;
        }
    }
    if let Some(version) = manifest::tool_version(tree, &["nodejs", "node"]) {
        return draft.version(".tool-versions", &version);
    }
    let field = |section: &str| package.get(section)?.get("node")?.as_str();
    if let Some(version) = field("engines").or_else(|| field("volta")) {
        draft.version(FILE, codename(version));
    }
}

/// The names of the long-term releases.
fn codename(text: &str) -> &str {
    match text.to_ascii_lowercase().as_str() {
        "lts/hydrogen" => "18",
        "lts/iron" => "20",
        "lts/jod" => "22",
        "lts/krypton" => "24",
        _ => text,
    }
}

fn package_manager(tree: &Tree, package: &Value, draft: &mut Draft) -> PackageManager {
    let locks: Vec<_> = LOCKS.iter().filter(|(file, _)| tree.is_file(file)).collect();
    let named = package.get("packageManager").and_then(Value::as_str).and_then(|text| {
        let name = text.split('@').next()?;
        Some((LOCKS.iter().find(|(_, manager)| manager.as_str() == name)?.1, clip(text)))
    });
    let manager = match (&named, locks.first()) {
        (Some((manager, text)), _) => {
            draft.because(FILE, format!("names {text} as its package manager"));
            *manager
        }
        (None, Some((file, manager))) => {
            draft.because(file, format!("is the lock file of {manager}"));
            *manager
        }
        (None, None) => PackageManager::Npm,
    };
    draft.found.package_manager = Some(manager);
    draft.found.locked = locks.iter().any(|it| it.1 == manager);
    if let Some((other, _)) = locks.iter().find(|it| it.1 != manager) {
        draft.because(other, format!("is not used: {manager} installs"));
    }
    manager
}

const NEXT_CONFIGS: &[&str] = &["next.config.js", "next.config.mjs", "next.config.ts", "next.config.cjs"];
const VITE_CONFIGS: &[&str] = &["vite.config.js", "vite.config.ts", "vite.config.mjs", "vite.config.mts"];

/// The configuration that says so.
fn exports_static(tree: &Tree) -> Option<&'static str> {
    let file = tree.first(NEXT_CONFIGS)?;
    let exports = pattern(r#"(?m)^[^/\n]*\boutput\s*:\s*['"]export['"]"#).is_match(&tree.source(file)?);
    exports.then_some(file)
}

fn out_dir(tree: &Tree) -> Option<String> {
    let text = tree.source(tree.first(VITE_CONFIGS)?)?;
    let found = pattern(r#"\boutDir\s*:\s*['"](?:\./)?([\w-][\w./-]*)['"]"#).captures(&text)?;
    let folder = found.get(1)?.as_str().trim_end_matches('/');
    (!folder.split('/').any(|it| it == "..")).then(|| folder.to_owned())
}
