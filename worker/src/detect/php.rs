//! PHP: composer.json, or an index.php that needs nothing.

use deploymind_shared::error::Error;
use serde_json::Value;

use super::draft::{Draft, Look, Rank, argv};
use super::manifest;
use super::model::{Language, PackageManager};
use super::tree::clip;

const FILE: &str = "composer.json";
const FRAMEWORKS: &[(&str, &str)] = &[
    ("laravel/framework", "laravel"),
    ("symfony/framework-bundle", "symfony"),
    ("symfony/symfony", "symfony"),
    ("slim/slim", "slim"),
];
/// Port of the server that comes with Laravel, Symfony's documentation and PHP's own.
const PORT: u16 = 8000;

pub(super) fn look(look: &Look<'_>) -> Result<Option<Draft>, Error> {
    let tree = look.tree;
    let composer = manifest::json(tree, FILE)?;
    let index = tree.first(&["public/index.php", "index.php", "web/index.php"]);
    if composer.is_none() && index.is_none() {
        return Ok(None);
    }
    let mut draft = Draft::new(Language::Php);
    if let Some(composer) = &composer {
        draft.because(FILE, "is the manifest of a PHP program");
        draft.found.package_manager = Some(PackageManager::Composer);
        draft.found.locked = tree.is_file("composer.lock");
        let required = |name: &str| composer.get("require")?.get(name)?.as_str();
        let platform = || composer.get("config")?.get("platform")?.get("php").and_then(Value::as_str);
        if let Some(version) = platform().or_else(|| required("php")) {
            draft.version(FILE, version);
        }
        if let Some((package, name, version)) =
            FRAMEWORKS.iter().find_map(|it| Some((it.0, it.1, required(it.0)?)))
        {
            draft.framework(name, FILE, format!("requires {package} {}", clip(version)));
        }
    }
    let port = draft.port(look, None, Some(PORT)).unwrap_or(PORT);
    let bind = format!("0.0.0.0:{port}");
    draft.found.entry_point = index.map(str::to_owned);
    let own = match index {
        _ if draft.found.framework.as_deref() == Some("laravel") && tree.is_file("artisan") => Some((
            "artisan",
            argv(&["php", "artisan", "serve", "--host", "0.0.0.0", "--port", &port.to_string()]),
        )),
        Some(index) => {
            draft.because(index, "answers every request");
            draft.at_least(Rank::Starts);
            let folder = index.rsplit_once('/').map_or(".", |(folder, _)| folder);
            Some((index, argv(&["php", "-S", &bind, "-t", folder])))
        }
        None => None,
    };
    draft.start(look, own.map(|(file, words)| (file.to_owned(), words)));
    Ok(Some(draft))
}
