//! The immutable thing that can run. A rollback rolls out an earlier one, without a build.

use serde::{Deserialize, Serialize};

use super::slot::SlotSettings;

/// Everything that decides how it runs except its variables, which are sealed and kept beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseSpec {
    /// 40 or 64 hex digits.
    pub commit: String,
    pub image: ImageSpec,
    /// Where the program listens; `None` when nothing says so.
    pub port: Option<u16>,
    /// Instead of the image's own command.
    pub start: Option<Vec<String>>,
    pub run: SlotSettings,
}

/// How an engine finds the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSpec {
    /// `sha256:…` of its configuration: what the engine that built it calls it.
    pub id: String,
    /// A name with a tag; of the registry, when it was pushed to one.
    pub reference: String,
    /// What the registry calls it.
    pub digest: Option<String>,
}
