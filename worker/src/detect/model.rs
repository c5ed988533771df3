//! What is known of a repository after looking at its files.

use deploymind_shared::text_enum;
use serde::{Deserialize, Serialize};

text_enum! {
    Language {
        Node = "node",
        Python = "python",
        Go = "go",
        Java = "java",
        Ruby = "ruby",
        Rust = "rust",
        Php = "php",
        Dotnet = "dotnet",
        /// Files for a browser and nothing that runs on a server.
        Static = "static",
    }
}

text_enum! {
    /// Who installs what the program needs.
    PackageManager {
        Npm = "npm",
        Yarn = "yarn",
        Pnpm = "pnpm",
        Bun = "bun",
        Pip = "pip",
        Uv = "uv",
        Poetry = "poetry",
        Pipenv = "pipenv",
        GoModules = "go-modules",
        Maven = "maven",
        Gradle = "gradle",
        Bundler = "bundler",
        Cargo = "cargo",
        Composer = "composer",
        Nuget = "nuget",
    }
}

/// One sentence of the explanation: which file said what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Relative to the app's root, with `/`; empty where it was no file but the app's settings or a default.
    pub file: String,
    /// `depends on express 4.19.2`, `pins Node 20`, …
    pub says: String,
}

/// Everything a Dockerfile needs to be written, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detection {
    /// `None` only where a Dockerfile is there and no language was recognised.
    pub language: Option<Language>,
    /// As the repository pins it, reduced to what a base image's tag needs (`20`, `3.12`, `1.22`); `None`: not pinned.
    pub version: Option<String>,
    /// In the framework's own spelling, lower case: `express`, `next`, `fastapi`, `spring-boot`, `rails`, …
    pub framework: Option<String>,
    pub package_manager: Option<PackageManager>,
    /// Whether a lock file of that package manager is there.
    pub locked: bool,
    /// The file, module, package or artifact that starts: `server.js`, `app.main:app`, `./cmd/api`, …
    pub entry_point: Option<String>,
    /// Where it listens, when something says so; otherwise the framework's own default.
    pub port: Option<u16>,
    /// Argument vector of the start command.
    pub start: Option<Vec<String>>,
    /// Argument vector of a build step that makes what starts (`npm run build`), where there is one.
    pub build: Option<Vec<String>>,
    /// Folder of the finished files of a static site or a bundler, relative to the root: `dist`, `public`, …
    pub output: Option<String>,
    /// The repository's own Dockerfile, relative to the root.
    pub dockerfile: Option<String>,
    pub has_dockerignore: bool,
    pub reasons: Vec<Reason>,
}
