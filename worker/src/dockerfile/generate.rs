//! A Dockerfile from a detection: a template of the language, filled with words that were escaped before.

use std::sync::LazyLock;

use deploymind_shared::error::{Code, Error};
use minijinja::{Environment, State, UndefinedBehavior};

use super::plan::Plan;
use super::{ignore, words};
use crate::detect::model::Detection;

/// What a generated file may rely on.
#[derive(Debug, Clone, Default)]
pub struct GenerateOptions {
    /// The engine builds with BuildKit. The classic builder knows no mounts.
    pub buildkit: bool,
    /// Names of the variables that the build may read. A value is never part of the text.
    pub build_variables: Vec<String>,
    /// Whose caches are mounted: builds share them exactly when this is the same. One app must not be able to put
    /// packages into another one's cache, so this names the app. Letters, digits and `-`.
    pub cache_scope: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    pub dockerfile: String,
    pub dockerignore: String,
}

/// Writes both files.
///
/// # Errors
/// [`Code::LanguageUnknown`] without a language, [`Code::EntryPointUnknown`] when nothing says how it starts or that
/// cannot be written into a Dockerfile, [`Code::ManifestInvalid`] for a version that is none, and
/// [`Code::VariableInvalid`] for the name of a variable that is none.
pub fn generate(detection: &Detection, options: &GenerateOptions) -> Result<Generated, Error> {
    for name in &options.build_variables {
        words::variable(name)?;
    }
    let scope = &options.cache_scope;
    if scope.len() > 64 || !scope.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-') {
        return Err(Error::new(
            Code::SettingsInvalid,
            "the scope of the build's caches is not up to 64 letters, digits and `-`: use the id of the app",
        ));
    }
    let plan = Plan::new(detection, options)?;
    let text = TEMPLATES.get_template(plan.template).and_then(|template| template.render(&plan)).map_err(
        |source| {
            Error::new(
                Code::JobFailed,
                "the Dockerfile could not be written; report this with the deployment's id",
            )
            .context("render Dockerfile")
            .because(source)
        },
    )?;
    Ok(Generated { dockerfile: tidy(&text), dockerignore: ignore::text(detection) })
}

macro_rules! templates {
    ($($name:literal),* $(,)?) => { &[$(($name, include_str!(concat!("templates/", $name)))),*] };
}

const SOURCES: &[(&str, &str)] = templates![
    "args.j2",
    "assets.j2",
    "blocks.j2",
    "dotnet.j2",
    "go.j2",
    "java.j2",
    "node.j2",
    "node_build.j2",
    "php.j2",
    "python.j2",
    "ruby.j2",
    "rust.j2",
    "site.j2",
];

#[expect(
    clippy::expect_used,
    reason = "the templates are part of this program, and a test renders every one"
)]
static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    // Words are escaped for where they stand, which HTML's rules know nothing of.
    templates.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    templates.set_trim_blocks(true);
    templates.set_lstrip_blocks(true);
    templates.add_function("cache", cache);
    for (name, source) in SOURCES {
        templates.add_template(name, source).expect("a template is well-formed");
    }
    templates
});

/// The mount of a package manager's cache where the builder has mounts, otherwise nothing. One build at a time writes.
fn cache(state: &State<'_, '_>, name: &str, target: &str) -> String {
    if !state.lookup("buildkit").is_some_and(|it| it.is_true()) {
        return String::new();
    }
    let scope = state.lookup("cache_scope").map(|it| it.to_string()).unwrap_or_default();
    format!("--mount=type=cache,id=deploymind-{scope}-{name},target={target},sharing=locked ")
}

/// At most one empty line in a row, none at either end.
fn tidy(text: &str) -> String {
    let mut tidy = String::with_capacity(text.len());
    let mut empty = true;
    for line in text.lines().map(str::trim_end) {
        if line.is_empty() && empty {
            continue;
        }
        empty = line.is_empty();
        tidy.push_str(line);
        tidy.push('\n');
    }
    tidy.truncate(tidy.trim_end().len());
    tidy.push('\n');
    tidy
}
