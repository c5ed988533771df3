//! Rust: Cargo.toml, of a package or of a workspace with one program that serves.

use deploymind_shared::error::Error;
use toml::{Table, Value};

use super::draft::{Draft, Look, argv};
use super::manifest::{self, at, text_at};
use super::model::{Language, PackageManager};
use super::ports;
use super::tree::{Tree, clip};

const FILE: &str = "Cargo.toml";
const FRAMEWORKS: &[(&str, &str, u16)] = &[
    ("axum", "axum", 3000),
    ("actix-web", "actix", 8080),
    ("rocket", "rocket", 8000),
    ("poem", "poem", 3000),
    ("warp", "warp", 3030),
];
/// Packages of a workspace that are read at most.
const MEMBERS: usize = 64;

struct Binary {
    name: String,
    /// Folder of its package, `` or with `/` at the end.
    folder: String,
    framework: Option<(&'static str, u16, String)>,
    preferred: bool,
}

pub(super) fn look(look: &Look<'_>) -> Result<Option<Draft>, Error> {
    let tree = look.tree;
    let Some(root) = manifest::toml(tree, FILE)? else { return Ok(None) };
    let mut draft = Draft::new(Language::Rust);
    draft.because(FILE, "is the manifest of a Rust package or workspace");
    draft.found.package_manager = Some(PackageManager::Cargo);
    draft.found.locked = tree.is_file("Cargo.lock");
    version(tree, &root, &mut draft)?;

    let mut binaries = binaries(tree, &root, "");
    if root.contains_key("workspace") {
        let suffix = format!("/{FILE}");
        let members: Vec<String> = tree
            .files_ending(&suffix)
            .filter(|it| it.matches('/').count() <= 3)
            .take(MEMBERS)
            .map(str::to_owned)
            .collect();
        for file in members {
            if let Some(package) = manifest::toml(tree, &file)? {
                let folder = file.strip_suffix(FILE).unwrap_or_default();
                binaries.extend(self::binaries(tree, &package, folder));
            }
        }
    }
    let Some(binary) = choose(&binaries, look.wanted()) else {
        if !binaries.is_empty() {
            let names: Vec<&str> = binaries.iter().take(5).map(|it| it.name.as_str()).collect();
            draft.because(FILE, format!("has several programs: {}", clip(&names.join(", "))));
        }
        draft.port(look, None, None);
        draft.start(look, None);
        return Ok(Some(draft));
    };
    let file = format!("{}{FILE}", binary.folder);
    let mut default = 8080;
    if let Some((name, port, says)) = &binary.framework {
        draft.framework(name, &file, says.clone());
        default = *port;
    }
    let main =
        [format!("{}src/main.rs", binary.folder), format!("{}src/bin/{}.rs", binary.folder, binary.name)];
    let sources: Vec<String> = main
        .into_iter()
        .chain(
            tree.files_ending(".rs").filter(|it| it.starts_with(&binary.folder)).take(40).map(str::to_owned),
        )
        .filter(|it| {
            tree.source(it)
                .is_some_and(|it| ["bind", "listen", "SocketAddr"].iter().any(|word| it.contains(word)))
        })
        .collect();
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let said = ports::in_rocket_configuration(tree, &binary.folder)
        .or_else(|| ports::in_source(tree, Language::Rust, &sources));
    draft.port(look, said, Some(default));
    draft.found.entry_point = Some(binary.name.clone());
    draft.because(&file, format!("makes the program {}", clip(&binary.name)));
    draft.start(look, Some((file, argv(&[&format!("./{}", binary.name)]))));
    Ok(Some(draft))
}

fn version(tree: &Tree, root: &Table, draft: &mut Draft) -> Result<(), Error> {
    let file = "rust-toolchain.toml";
    if let Some(toolchain) = manifest::toml(tree, file)?
        && let Some(channel) = text_at(&toolchain, &["toolchain", "channel"])
    {
        draft.version(file, channel);
    } else if let Some(channel) = tree.line("rust-toolchain") {
        let channel = channel.split('=').next_back().unwrap_or_default().trim().to_owned();
        draft.version("rust-toolchain", &channel);
    } else if let Some(version) = manifest::tool_version(tree, &["rust"]) {
        draft.version(".tool-versions", &version);
    }
    let least = text_at(root, &["package", "rust-version"])
        .or_else(|| text_at(root, &["workspace", "package", "rust-version"]));
    if let (None, Some(least)) = (&draft.found.version, least) {
        // It is the oldest that works, not the one that is wanted.
        draft.version(FILE, &format!(">={least}"));
    }
    Ok(())
}

fn binaries(tree: &Tree, package: &Table, folder: &str) -> Vec<Binary> {
    let Some(name) = text_at(package, &["package", "name"]) else { return Vec::new() };
    let mut names: Vec<String> = Vec::new();
    let listed = package.get("bin").and_then(Value::as_array);
    names.extend(listed.into_iter().flatten().filter_map(|it| Some(it.get("name")?.as_str()?.to_owned())));
    let automatic = at(package, &["package", "autobins"]).and_then(Value::as_bool) != Some(false);
    let main_is_listed = listed
        .into_iter()
        .flatten()
        .any(|it| it.get("path").and_then(Value::as_str).is_none_or(|it| it == "src/main.rs"));
    if automatic && !main_is_listed && tree.is_file(&format!("{folder}src/main.rs")) {
        names.push(name.to_owned());
    }
    if automatic {
        let prefix = format!("{folder}src/bin/");
        let inside = tree.files_ending(".rs").filter_map(|it| it.strip_prefix(&prefix)?.strip_suffix(".rs"));
        let inside: Vec<&str> =
            inside.map(|it| it.strip_suffix("/main").unwrap_or(it)).filter(|it| !it.contains('/')).collect();
        names.extend(inside.into_iter().map(str::to_owned));
    }
    names.sort();
    names.dedup();
    let framework = FRAMEWORKS.iter().find_map(|(krate, framework, port)| {
        let wanted = at(package, &["dependencies", krate])?;
        let version = wanted.as_str().or_else(|| wanted.get("version")?.as_str()).unwrap_or_default();
        Some((*framework, *port, format!("depends on {krate} {}", clip(version)).trim_end().to_owned()))
    });
    let default = text_at(package, &["package", "default-run"]);
    let only = names.len() == 1;
    names
        .into_iter()
        .map(|it| Binary {
            preferred: only || default.map_or(it == name, |default| it == default),
            name: it,
            folder: folder.to_owned(),
            framework: framework.clone(),
        })
        .collect()
}

fn choose<'a>(binaries: &'a [Binary], wanted: Option<&str>) -> Option<&'a Binary> {
    let only = |chosen: Vec<&'a Binary>| (chosen.len() == 1).then(|| chosen[0]);
    let serves = || binaries.iter().filter(|it| it.framework.is_some());
    wanted
        .and_then(|name| binaries.iter().find(|it| it.name == name))
        .or_else(|| only(serves().collect()))
        .or_else(|| only(serves().filter(|it| it.preferred).collect()))
        .or_else(|| only(binaries.iter().filter(|it| it.preferred).collect()))
        .or_else(|| only(binaries.iter().collect()))
}
