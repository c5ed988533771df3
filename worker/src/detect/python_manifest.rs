//! What a Python program needs, from whichever manifest lists it.

use std::collections::BTreeMap;

use deploymind_shared::error::Error;
use toml::{Table, Value};

use super::draft::Draft;
use super::manifest::{self, at, text_at};
use super::model::PackageManager;
use super::tree::Tree;

/// Name (lower case, `-` for `_`) → the file that lists it, and the line as written.
pub(super) type Needs = BTreeMap<String, (String, String)>;

pub(super) struct Manifests {
    pub(super) pyproject: Option<Table>,
    pub(super) pipfile: Option<Table>,
    pub(super) needs: Needs,
}

/// Included files of a requirements.txt, in all.
const INCLUDES: usize = 10;

pub(super) fn read(tree: &Tree) -> Result<Manifests, Error> {
    let pyproject = manifest::toml(tree, "pyproject.toml")?;
    let pipfile = manifest::toml(tree, "Pipfile")?;
    let mut needs = Needs::new();
    let mut files = vec!["requirements.txt".to_owned()];
    if !tree.is_file("requirements.txt") {
        files = vec![
            "requirements/production.txt".into(),
            "requirements/prod.txt".into(),
            "requirements/base.txt".into(),
        ];
    }
    let mut next = 0;
    while next < files.len() {
        let file = files[next].clone();
        next += 1;
        let Some(text) = tree.text(&file)? else { continue };
        for line in text.lines() {
            let line = line.split(" #").next().unwrap_or_default().trim();
            if let Some(other) = line.strip_prefix("-r").or_else(|| line.strip_prefix("--requirement")) {
                let folder =
                    file.rsplit_once('/').map(|(folder, _)| format!("{folder}/")).unwrap_or_default();
                let other = format!("{folder}{}", other.trim_start_matches(['=', ' ']));
                if files.len() < INCLUDES && !files.contains(&other) {
                    files.push(other);
                }
            } else {
                add(&mut needs, &file, line);
            }
        }
    }
    if let Some(project) = &pyproject {
        let listed = at(project, &["project", "dependencies"]).and_then(Value::as_array);
        for line in listed.into_iter().flatten().filter_map(Value::as_str) {
            add(&mut needs, "pyproject.toml", line);
        }
        table(&mut needs, "pyproject.toml", at(project, &["tool", "poetry", "dependencies"]));
    }
    if let Some(pipfile) = &pipfile {
        table(&mut needs, "Pipfile", pipfile.get("packages"));
    }
    Ok(Manifests { pyproject, pipfile, needs })
}

fn add(needs: &mut Needs, file: &str, line: &str) {
    let end = line.find(|it: char| !it.is_ascii_alphanumeric() && !"-_.".contains(it)).unwrap_or(line.len());
    let name = line[..end].to_ascii_lowercase().replace('_', "-");
    if !name.is_empty() && !name.starts_with('-') {
        // `fastapi[standard]` brings its own server.
        if line[end..].trim_start().starts_with("[standard") || line[end..].trim_start().starts_with("[all") {
            needs.entry("uvicorn".into()).or_insert_with(|| (file.to_owned(), line.to_owned()));
        }
        needs.insert(name, (file.to_owned(), line.to_owned()));
    }
}

fn table(needs: &mut Needs, file: &str, packages: Option<&Value>) {
    for (name, value) in packages.and_then(Value::as_table).into_iter().flatten() {
        let extras = value.get("extras").and_then(Value::as_array);
        let standard =
            extras.into_iter().flatten().filter_map(Value::as_str).any(|it| it == "standard" || it == "all");
        let version = value.as_str().or_else(|| value.get("version")?.as_str()).unwrap_or_default();
        add(needs, file, &format!("{name}{} {version}", if standard { "[standard]" } else { "" }));
    }
}

impl Manifests {
    /// The file that stands for the whole, where there is one.
    pub(super) fn file(&self, tree: &Tree) -> Option<&'static str> {
        tree.first(&["pyproject.toml", "requirements.txt", "Pipfile", "setup.py", "setup.cfg", "manage.py"])
            .or_else(|| self.needs.values().next().map(|_| "requirements/base.txt"))
    }

    pub(super) fn manager(&self, tree: &Tree, draft: &mut Draft) {
        let tool = |name: &str| self.pyproject.as_ref().is_some_and(|it| at(it, &["tool", name]).is_some());
        let has = |file: &str| tree.is_file(file);
        let (manager, file) = match () {
            () if has("uv.lock") => (PackageManager::Uv, "uv.lock"),
            () if has("poetry.lock") => (PackageManager::Poetry, "poetry.lock"),
            () if has("Pipfile.lock") && self.pipfile.is_some() => (PackageManager::Pipenv, "Pipfile.lock"),
            () if has("requirements.txt") => (PackageManager::Pip, "requirements.txt"),
            () if tool("poetry") => (PackageManager::Poetry, "pyproject.toml"),
            () if tool("uv") => (PackageManager::Uv, "pyproject.toml"),
            () if self.pipfile.is_some() => (PackageManager::Pipenv, "Pipfile"),
            () => {
                draft.found.package_manager = Some(PackageManager::Pip);
                return;
            }
        };
        draft.because(file, format!("is for {manager}, which installs"));
        draft.found.package_manager = Some(manager);
        draft.found.locked = file.ends_with(".lock");
    }

    pub(super) fn version(&self, tree: &Tree, draft: &mut Draft) {
        let runtime = tree.line("runtime.txt").and_then(|it| Some(it.strip_prefix("python-")?.to_owned()));
        let project = |path: &[&str]| Some(text_at(self.pyproject.as_ref()?, path)?.to_owned());
        let pipfile = |key: &str| Some(text_at(self.pipfile.as_ref()?, &["requires", key])?.to_owned());
        let pins = [
            (".python-version", tree.line(".python-version")),
            ("runtime.txt", runtime),
            (".tool-versions", manifest::tool_version(tree, &["python"])),
            ("pyproject.toml", project(&["project", "requires-python"])),
            ("pyproject.toml", project(&["tool", "poetry", "dependencies", "python"])),
            ("Pipfile", pipfile("python_version").or_else(|| pipfile("python_full_version"))),
        ];
        for (file, pinned) in pins {
            if let Some(pinned) = pinned {
                draft.version(file, &pinned);
            }
            if draft.found.version.is_some() {
                return;
            }
        }
    }
}
