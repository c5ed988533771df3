//! From "this commit" to an image and a release: what runs behind a `deploy` job.
//!
//! A saga (Garcia-Molina, Salem 1987): each step is journalled before and after, may run again, and has an undo. Order:
//! validate → checkout → (scan source ∥ (detect → build)) → scan image → push → release. A worker that dies leaves the journal; its
//! successor goes on at the first step without a usable output. A deployment that cannot succeed is unwound in reverse.
//!
//! It decides the order and what a failure means. How a commit is fetched, a file judged, an image built is in
//! [`crate::checkout`], [`crate::detect`], [`crate::dockerfile`], [`crate::build`] and [`crate::scan`], which know nothing of
//! deployments.

mod deploy;
mod evict;
mod journal;
mod run;
mod secrets;
mod step;
mod steps;
mod sweep;
mod tools;
mod unwind;
mod workspace;

pub use deploy::DeployHandler;
pub use tools::Tools;

/// On every image we build: whose it is. One engine may serve several fleets, and each collects only its own.
pub(crate) const LABEL_FLEET: &str = "deploymind.fleet";

/// The steps in their order, as the journal names them.
pub const STEPS: &[&str] =
    &["validate", "checkout", "scan_source", "detect", "build", "scan_image", "push", "release"];
