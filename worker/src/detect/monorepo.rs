//! Sub-folders that look like an app of their own.

use super::tree::{Tree, clip};

/// What is looked for, as it is told to people.
pub(super) const MANIFESTS: &[&str] = &[
    "Dockerfile",
    "package.json",
    "pyproject.toml",
    "requirements.txt",
    "Pipfile",
    "setup.py",
    "manage.py",
    "go.mod",
    "pom.xml",
    "build.gradle",
    "build.gradle.kts",
    "Gemfile",
    "config.ru",
    "Cargo.toml",
    "composer.json",
    "index.php",
    "*.csproj",
    "*.fsproj",
    "index.html",
];

/// A sentence that names the folders to set as `root`.
pub(super) fn hint(tree: &Tree) -> Option<String> {
    const NAMED: usize = 5;
    let mut folders: Vec<&str> = Vec::new();
    for path in tree.files() {
        if folders.len() > NAMED {
            break;
        }
        let Some((folder, name)) = path.rsplit_once('/') else { continue };
        let known = MANIFESTS.contains(&name) || name.ends_with(".csproj") || name.ends_with(".fsproj");
        // The outermost folder is the app; what is inside of it is its part.
        let inner =
            |it: &&str| folder == *it || folder.strip_prefix(*it).is_some_and(|it| it.starts_with('/'));
        if known && folder.matches('/').count() < 3 && !folders.iter().any(inner) {
            folders.push(folder);
        }
    }
    let many = folders.len() > NAMED;
    folders.truncate(NAMED);
    let names: Vec<String> = folders.iter().map(|it| format!("{:?}", clip(it))).collect();
    let more = if many { " or another" } else { "" };
    let whole =
        if tree.is_outermost() { "" } else { " below that (the path begins at the repository's top)" };
    (!names.is_empty()).then(|| {
        format!(
            "There are apps in sub-folders: set `root` of the app to {}{more}{whole}.",
            names.join(" or ")
        )
    })
}
