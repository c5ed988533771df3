//! From a release to what users reach: which move comes next, and the doing of it.

mod contract;
pub mod driver;
mod machine;
mod plan;
mod preflight;
mod verdict;

pub use contract::*;
pub use machine::{Answer, BAD_LOOKS, Changed, Machine, Phase, PhaseName};
pub use preflight::{Level, Note, preflight};
pub use verdict::{Verdict, judge};
