//! Files for a browser: an `index.html` where such sites keep it.

use deploymind_shared::error::Error;

use super::draft::{Draft, Look, Rank};
use super::model::Language;

const FOLDERS: &[(&str, &str)] = &[
    (".", "index.html"),
    ("public", "public/index.html"),
    ("dist", "dist/index.html"),
    ("build", "build/index.html"),
    ("_site", "_site/index.html"),
    ("site", "site/index.html"),
    ("www", "www/index.html"),
    ("html", "html/index.html"),
];

/// Ports below 1024 are closed to the user that serves it.
pub(super) const PORT: u16 = 8080;

pub(super) fn look(look: &Look<'_>) -> Result<Option<Draft>, Error> {
    let Some((folder, file)) = FOLDERS.iter().find(|(_, file)| look.tree.is_file(file)) else {
        return Ok(None);
    };
    let mut draft = Draft::new(Language::Static);
    draft.because(file, "is the first page of a static site");
    draft.found.entry_point = Some((*file).to_owned());
    draft.found.output = Some((*folder).to_owned());
    draft.at_least(Rank::Starts);
    draft.port(look, None, Some(PORT));
    draft.start(look, None);
    Ok(Some(draft))
}
