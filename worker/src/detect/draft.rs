//! A detection in the making: what one language found, how strong its signs are, and what the settings overrule.

use super::docker::Dockerfile;
use super::model::{Detection, Language, Reason};
use super::procfile::Web;
use super::tree::{Tree, clip};
use super::{DetectSettings, ports};

/// How much speaks for a language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// A manifest is there.
    Bare,
    /// And something that can be started, or files that can be served.
    Starts,
    /// A web framework is among what it needs.
    Serves,
}

/// What each language gets to look at.
pub(super) struct Look<'a> {
    pub(super) tree: &'a Tree,
    pub(super) settings: &'a DetectSettings,
    pub(super) dockerfile: Option<&'a Dockerfile>,
    pub(super) procfile: Option<&'a Web>,
}

impl Look<'_> {
    /// The name of the program that the settings start: it chooses among several.
    pub(super) fn wanted(&self) -> Option<&str> {
        let argv = self.settings.start.as_ref()?;
        let last = argv.iter().find(|it| it.ends_with(".dll")).or_else(|| argv.first())?;
        Some(last.rsplit('/').next().unwrap_or(last))
    }
}

pub(super) struct Draft {
    pub(super) rank: Rank,
    pub(super) found: Detection,
}

impl Draft {
    pub(super) fn new(language: Language) -> Self {
        Self { rank: Rank::Bare, found: empty(Some(language)) }
    }

    pub(super) fn without_language(look: &Look<'_>) -> Self {
        let mut draft = Self { rank: Rank::Bare, found: empty(None) };
        draft.port(look, None, None);
        draft.start(look, None);
        draft
    }

    pub(super) fn because(&mut self, file: &str, says: impl Into<String>) {
        // Long enough for the sentence of an error, whose own parts are short.
        let says: String = says.into().chars().filter(|it| !it.is_control()).take(400).collect();
        self.found.reasons.push(Reason { file: clip(file), says });
    }

    pub(super) fn at_least(&mut self, rank: Rank) {
        self.rank = self.rank.max(rank);
    }

    pub(super) fn framework(&mut self, name: &str, file: &str, says: impl Into<String>) {
        self.found.framework = Some(name.to_owned());
        self.at_least(Rank::Serves);
        self.because(file, says);
    }

    pub(super) fn version(&mut self, file: &str, pinned: &str) {
        let Some(language) = self.found.language else { return };
        let Some(version) = super::versions::reduce(language, pinned) else { return };
        let pinned = clip(pinned);
        let says = if pinned == version {
            format!("pins {language} {version}")
        } else {
            format!("pins {language} {pinned:?}, which is {version} here")
        };
        self.because(file, says);
        self.found.version = Some(version);
    }

    /// Settles the port; `said` is what a file of the app says.
    pub(super) fn port(
        &mut self,
        look: &Look<'_>,
        said: Option<ports::Said>,
        default: Option<u16>,
    ) -> Option<u16> {
        let framework = self.found.framework.clone();
        let exposed = look.dockerfile.and_then(|it| Some((it.path.clone(), it.exposed?)));
        let port = if let Some(port) = look.settings.port {
            self.because("", format!("the app's settings say port {port}"));
            Some(port)
        } else if let Some((file, port)) = exposed {
            self.because(&file, format!("exposes port {port}"));
            Some(port)
        } else if let Some(said) = said {
            self.because(&said.file, format!("listens on port {}", said.port));
            Some(said.port)
        } else {
            if let Some(port) = default {
                let whose =
                    framework.or_else(|| self.found.language.map(|it| it.to_string())).unwrap_or_default();
                self.because("", format!("nothing names a port; {port} is the default of {whose}"));
            }
            default
        };
        self.found.port = port;
        port
    }

    /// Settles the start command; `own` is what the language's files say, and which file.
    pub(super) fn start(&mut self, look: &Look<'_>, own: Option<(String, Vec<String>)>) {
        if let Some(argv) = &look.settings.start {
            self.because("", "the app's settings say how it starts");
            self.found.start = Some(argv.clone());
        } else if let Some(web) = look.procfile {
            self.because("Procfile", format!("starts the web process with {:?}", clip(&web.line)));
            self.found.start = Some(web.argv.clone());
        } else if let Some((file, argv)) = own {
            self.because(&file, format!("leads to the start command {:?}", clip(&argv.join(" "))));
            self.found.start = Some(argv);
        }
        if self.found.start.is_some() {
            self.at_least(Rank::Starts);
        }
    }
}

fn empty(language: Option<Language>) -> Detection {
    Detection {
        language,
        version: None,
        framework: None,
        package_manager: None,
        locked: false,
        entry_point: None,
        port: None,
        start: None,
        build: None,
        output: None,
        dockerfile: None,
        has_dockerignore: false,
        reasons: Vec::new(),
    }
}

/// An argument vector from words.
pub(super) fn argv(words: &[&str]) -> Vec<String> {
    words.iter().map(|it| (*it).to_owned()).collect()
}

/// What a person adds so that a program of this language can be started.
pub(super) fn start_hint(language: Language) -> &'static str {
    match language {
        Language::Node => "add a `start` script or `main` to package.json",
        Language::Python => {
            "name the app object `app` in main.py or app.py, and list the server that runs it (uvicorn, gunicorn)"
        }
        Language::Go => "keep one `package main` at the top or in cmd/<name>",
        Language::Java => "add the Spring Boot or Quarkus plugin, so that the build makes a jar that runs",
        Language::Ruby => "add a config.ru",
        Language::Rust => "keep one binary (src/main.rs or `[[bin]]`), or set `default-run`",
        Language::Php => "add public/index.php or index.php",
        Language::Dotnet => "keep one project of Microsoft.NET.Sdk.Web",
        Language::Static => "add an index.html",
    }
}
