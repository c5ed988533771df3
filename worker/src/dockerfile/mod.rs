//! Dockerfiles: writing one for a repository that has none, and judging the one that is built.
//!
//! Text in, text or findings out. Nothing here touches a disk or an engine, and nothing that a repository says gets
//! into a Dockerfile unescaped.

mod bases;
mod commands;
mod generate;
mod ignore;
mod lint;
mod parse;
mod plan;
mod stages;
mod words;

pub use generate::{GenerateOptions, Generated, generate};
pub use lint::{Finding, Severity, lint};
pub use stages::{base_images, exposed_ports, local_images};

#[cfg(test)]
mod tests;
