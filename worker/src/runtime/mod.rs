//! Where releases run. A runtime acts on one target and decides nothing; the roll-out ([`crate::rollout`]) decides and does
//! not know which kind of target it is.

mod contract;
pub mod docker;
pub mod edge;
#[cfg(test)]
pub mod simulated;

pub use contract::*;
