//! What a build is asked for, and what comes of it. No behaviour.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::log::Redactor;

/// Where the Dockerfile comes from.
#[derive(Debug, Clone, Copy)]
pub enum Dockerfile<'a> {
    /// A path inside the context, as the app's settings name it.
    InTree(&'a str),
    /// Text of ours. It travels in the context under a reserved name and is never written to the tree.
    Generated { dockerfile: &'a str, dockerignore: &'a str },
}

/// Which builder is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Builder {
    /// BuildKit where the engine has it and the caps allow it, else the classic one.
    #[default]
    Auto,
    BuildKit,
    Classic,
}

/// The builder that did the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UsedBuilder {
    BuildKit,
    Classic,
}

/// How much a cap on memory and CPU matters.
///
/// Engines take the caps of a build with the classic builder only; BuildKit ignores them, and obeys a parent cgroup from
/// Docker 23 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Caps {
    /// A builder that cannot be capped is not used.
    #[default]
    Require,
    /// BuildKit may be used without caps; the log says so.
    BestEffort,
}

/// A build never gets more than this.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Of each step. Too low kills compilers, too high lets one build starve the host.
    pub memory_bytes: u64,
    /// Processors of each step, `1.5` is one and a half.
    pub cpus: f64,
    pub caps: Caps,
    /// A cgroup that the operator made and limited on the engine's host; all steps of all builds run below it.
    pub cgroup_parent: Option<String>,
    /// Of the whole build. Too low fails honest builds, too high lets an endless one hold its worker.
    pub deadline: Duration,
    /// Bytes of all files in the context.
    pub context_bytes: u64,
    /// Free bytes that must remain on the engine's disk beside the context.
    pub min_free_disk: u64,
}

/// A variable that the build may see.
#[derive(Debug, Clone)]
pub struct Variable {
    pub name: String,
    pub value: SecretString,
    /// Offered as a build secret (`RUN --mount=type=secret,id=<name>`), not as an argument.
    pub secret: bool,
}

#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The root of the user's tree, nobody else's while the build runs.
    pub context: &'a Path,
    pub dockerfile: Dockerfile<'a>,
    /// `name:tag` of the result.
    pub tag: String,
    pub labels: Vec<(String, String)>,
    pub variables: Vec<Variable>,
    pub limits: Limits,
    pub builder: Builder,
    /// The engine's default where none is named.
    pub network: Option<String>,
    /// Of the deployment: what it hides is in no line that is cut, and in no error.
    pub redactor: Arc<Redactor>,
}

/// One layer as the image's history tells it; `created_by` may hold what the Dockerfile was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    pub created_by: String,
    pub size_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Built {
    pub builder: UsedBuilder,
    /// `sha256:...`, what the engine knows the image by.
    pub image_id: String,
    pub size_bytes: u64,
    /// Oldest first, those without content included.
    pub layers: Vec<Layer>,
    pub duration: Duration,
    pub warnings: Vec<String>,
    pub cached_steps: u32,
    pub context_bytes: u64,
}
