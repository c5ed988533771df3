//! From a repository to an image and a release, with real git, a real engine and a real scanner; and back, when it fails.

#[path = "pipeline/common.rs"]
mod common;
#[path = "pipeline/release.rs"]
mod release;
