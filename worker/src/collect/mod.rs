//! Housekeeping on a Docker engine: which images, slots and cached layers of this fleet go, which stay, and why.
//!
//! Three steps that know nothing of each other: [`survey`] looks, [`plan`] decides and touches nothing, [`carry_out`] does it,
//! each thing looked at again just before. [`report`] is a plan in words.
//!
//! It must not touch what does not carry this fleet's label, the edge, a volume or a network, and decides nothing about
//! traffic. What the record says is given in ([`Known`]); it reads no database.
//!
//! Guarantees: nothing is removed by force; what serves, what a roll-out uses and the release before the one that serves
//! stay whatever the budget says; a plan of what a plan has left is empty.
//! Assumptions: `Known` is read after the survey, so that what was created in between is in the record or too young.

mod bytes;
mod cache;
mod carry_out;
mod plan;
mod report;
mod survey;
mod words;

pub use carry_out::{Collected, carry_out};
pub use plan::plan;
pub use report::report;
pub use survey::survey;
pub use words::{
    Budget, CacheRecord, CacheUse, Container, DeploymentFate, Image, Item, Kept, Kind, Known, Layer, Left,
    Plan, ReleaseFate, Survey, Volume, Why, WhyKept,
};

pub(crate) const LABEL_FLEET: &str = "deploymind.fleet";
pub(crate) const LABEL_APP: &str = "deploymind.app";
pub(crate) const LABEL_DEPLOYMENT: &str = "deploymind.deployment";
pub(crate) const LABEL_RELEASE: &str = "deploymind.release";
pub(crate) const LABEL_SLOT: &str = "deploymind.slot";
pub(crate) const LABEL_EPOCH: &str = "deploymind.epoch";
pub(crate) const LABEL_ROLE: &str = "deploymind.role";

#[cfg(test)]
mod tests;
