//! Which language, framework and entry point a repository has, from its files alone.
//!
//! Owns the order in which files are believed. Nothing of the repository is run, nothing outside of it is read, and no
//! input makes it slow: at most [`tree::ENTRIES`] names are listed and every read has a size.
//!
//! 1. The app's settings: `root`, `dockerfile`, `port`, `start`.
//! 2. The repository's own `Dockerfile`. A language is still looked for, but need not be found.
//! 3. The language with the strongest sign ([`draft::Rank`]): a web framework in its manifest, then a way to start it, then
//!    the manifest alone. The program that a `Procfile` names decides between several. Last comes the order of
//!    [`LANGUAGES`].
//! 4. Start command: settings, `Procfile`, the manifest's own, then what the framework's sources say.
//! 5. Port: settings, `EXPOSE`, configuration files, sources, then the framework's default.
//!
//! `docs/DETECTION.md` tells the same to the people whose repositories these are.

mod docker;
mod dotnet;
mod draft;
mod go;
mod java;
mod manifest;
pub mod model;
mod monorepo;
mod node;
mod node_start;
mod php;
mod ports;
mod procfile;
mod python;
mod python_app;
mod python_manifest;
mod ruby;
mod rust;
mod statics;
#[cfg(test)]
mod tests;
mod tree;
pub mod versions;

use std::path::Path;

use deploymind_shared::error::{Code, Error};

use draft::{Draft, Look};
pub use model::{Detection, Language, PackageManager, Reason};
use tree::Tree;

/// What the app's settings say instead of the files. An unset field is looked for.
#[derive(Debug, Clone, Default)]
pub struct DetectSettings {
    /// Folder of the app, relative to the tree.
    pub root: Option<String>,
    /// Relative to the root.
    pub dockerfile: Option<String>,
    pub port: Option<u16>,
    pub start: Option<Vec<String>>,
}

type Detector = fn(&Look<'_>) -> Result<Option<Draft>, Error>;

/// In case of a tie the first one wins. Node comes late: beside another language it mostly builds that one's assets.
const LANGUAGES: &[(Language, Detector)] = &[
    (Language::Go, go::look),
    (Language::Rust, rust::look),
    (Language::Java, java::look),
    (Language::Dotnet, dotnet::look),
    (Language::Php, php::look),
    (Language::Ruby, ruby::look),
    (Language::Python, python::look),
    (Language::Node, node::look),
    (Language::Static, statics::look),
];

/// Looks at the files of `tree`. It blocks on the disk: from a runtime, call it on a blocking thread.
pub fn detect(tree: &Path, settings: &DetectSettings) -> Result<Detection, Error> {
    let tree = Tree::open(tree, settings.root.as_deref())?;
    let dockerfile = docker::find(&tree, settings.dockerfile.as_deref())?;
    let procfile = procfile::web(&tree);
    let look = Look { tree: &tree, settings, dockerfile: dockerfile.as_ref(), procfile: procfile.as_ref() };

    let mut found = match choose(&look) {
        Ok(Some(draft)) => draft.found,
        Ok(None) if dockerfile.is_some() => Draft::without_language(&look).found,
        Ok(None) => return Err(unknown(&tree)),
        // The Dockerfile says it all: a manifest that only we cannot read must not end the deployment.
        Err(error) if dockerfile.is_some() => {
            let mut draft = Draft::without_language(&look);
            draft.because("Dockerfile", format!("is used as it is, since {}", error.sentence()));
            draft.found
        }
        Err(error) => return Err(error),
    };
    if let Some(dockerfile) = &dockerfile {
        found.reasons.insert(
            0,
            Reason { file: dockerfile.path.clone(), says: "is the repository's own Dockerfile".into() },
        );
        found.dockerfile = Some(dockerfile.path.clone());
    }
    found.has_dockerignore = tree.is_file(".dockerignore")
        || dockerfile.is_some_and(|it| tree.is_file(&format!("{}.dockerignore", it.path)));
    startable(&tree, found)
}

/// The strongest candidate of all languages.
fn choose(look: &Look<'_>) -> Result<Option<Draft>, Error> {
    let mut drafts = Vec::new();
    let mut broken = None;
    for (language, detector) in LANGUAGES {
        match detector(look) {
            Ok(Some(draft)) => drafts.push(draft),
            Ok(None) => {}
            Err(error) => broken = broken.or(Some((*language, error))),
        }
    }
    let named = look.procfile.and_then(|it| it.language);
    // `max_by_key` keeps the last of equals, and the first is wanted.
    let best = drafts
        .iter()
        .enumerate()
        .rev()
        .max_by_key(|(_, it)| (named.is_some() && it.found.language == named, it.rank));
    let Some(best) = best.map(|(index, _)| index) else {
        return broken.map_or(Ok(None), |(_, error)| Err(error));
    };
    let mut chosen = drafts.swap_remove(best);
    match broken {
        Some((_, error)) if chosen.rank < draft::Rank::Serves => return Err(error),
        Some((language, error)) => {
            chosen.because("", format!("{language} was left out, since {}", error.sentence()));
        }
        None => {}
    }
    for other in drafts {
        let Some(language) = other.found.language.filter(|it| *it != Language::Static) else { continue };
        let file = other.found.reasons.first().map(|it| it.file.clone()).unwrap_or_default();
        let winner = chosen.found.language.map_or("another", Language::as_str);
        chosen.because(&file, format!("is of {language}; {winner} has the stronger sign"));
    }
    Ok(Some(chosen))
}

/// Refuses what cannot be started, unless the repository's Dockerfile takes care of that.
fn startable(tree: &Tree, mut found: Detection) -> Result<Detection, Error> {
    let plain = |text: &String| !text.is_empty() && !text.chars().any(char::is_control);
    let argv = |argv: &Vec<String>| {
        argv.first().is_some_and(plain) && argv.iter().all(|it| !it.chars().any(char::is_control))
    };
    found.start = found.start.filter(argv);
    found.build = found.build.filter(argv);
    found.entry_point = found.entry_point.filter(plain);
    found.output = found.output.filter(plain);

    let nothing_runs = found.start.is_none() && found.output.is_none();
    let (Some(language), None, true) = (found.language, &found.dockerfile, nothing_runs) else {
        return Ok(found);
    };
    let said = found.reasons.iter().filter(|it| !it.file.is_empty()).take(4);
    let said = said.map(|it| format!("{} {}", it.file, it.says)).collect::<Vec<_>>().join("; ");
    let elsewhere = monorepo::hint(tree).map(|it| format!(" {it}")).unwrap_or_default();
    Err(Error::new(
        Code::EntryPointUnknown,
        format!(
            "this is {language} ({said}), but nothing says how to start it: {}; or set `start` of the app, or add a \
             Procfile with a `web:` line.{elsewhere}",
            draft::start_hint(language)
        ),
    ))
}

fn unknown(tree: &Tree) -> Error {
    let elsewhere = monorepo::hint(tree)
        .unwrap_or_else(|| "Add one of them, or a Dockerfile, or set `root` of the app.".into());
    Error::new(
        Code::LanguageUnknown,
        format!(
            "no known language and no Dockerfile: {} has none of {}. {elsewhere}",
            tree.label(),
            monorepo::MANIFESTS.join(", ")
        ),
    )
}
