//! From "this commit" to "this is what users reach": what runs behind a `deploy` or a `rollback` job.
//!
//! A saga (Garcia-Molina, Salem 1987): each step is journalled before and after, may run again, and has an undo. Order:
//! validate → checkout → (scan source ∥ (detect → build)) → scan image → push → release → roll out. A worker that dies leaves the journal; its
//! successor goes on at the first step without a usable output. A deployment that cannot succeed is unwound in reverse.
//!
//! It decides the order and what a failure means. How a commit is fetched, a file judged, an image built is in
//! [`crate::checkout`], [`crate::detect`], [`crate::dockerfile`], [`crate::build`] and [`crate::scan`], which know nothing of
//! deployments.

mod collect;
mod deploy;
mod evict;
mod journal;
mod rollback;
mod rollout;
mod run;
mod secrets;
mod session;
mod step;
mod steps;
mod sweep;
mod targets;
mod tools;
mod unwind;
mod workspace;

pub use collect::Housekeeping;
pub use session::Pipeline;
pub use targets::Targets;
pub use tools::Tools;

/// On every image we build: whose it is. One engine may serve several fleets, and each collects only its own.
pub(crate) const LABEL_FLEET: &str = "deploymind.fleet";

/// The steps in their order, as the journal names them.
pub const STEPS: &[&str] =
    &["validate", "checkout", "scan_source", "detect", "build", "scan_image", "push", "release"];
