//! The test harness: real servers that can be broken on purpose, real processes that can be killed, and a judge of what happened.
//!
//! Only [`rig`] and [`script`] know the product; the other parts would serve any.
//! A part that cannot do its work panics with what to do about it; a test has no use for an error value here.
#![expect(clippy::expect_used, reason = "a harness that cannot go on must fail the test, and say why")]

pub mod checker;
pub mod delivery;
mod env;
pub mod figures;
pub mod git;
pub mod http;
pub mod load;
pub mod otlp;
mod port;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod registry;
pub mod rig;
pub mod rolling;
pub mod sample;
pub mod script;
mod signal;
mod wait;

pub use port::free_port;
pub use wait::wait_for;
