//! What every DeployMind process shares: the words ([`ids`], [`domain`]), the record ([`db`], all SQL), the
//! queue ([`queue`], all Redis), and the ground they stand on ([`config`], [`lifecycle`], [`telemetry`],
//! [`admin`]).
//!
//! This crate must not know any outside world beyond Postgres and Redis: no web framework, no container
//! engine, no cloud. A type only one process needs lives in that process.

pub mod admin;
pub mod batch;
pub mod clock;
pub mod config;
pub mod db;
pub mod domain;
pub mod error;
pub mod events;
pub mod fleet;
pub mod ids;
pub mod lifecycle;
pub mod process;
pub mod queue;
pub mod retry;
pub mod secret;
pub mod telemetry;
