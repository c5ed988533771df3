//! All integration tests in one binary: one link, one set of servers.

#[cfg(test)]
mod harness;
#[cfg(test)]
mod jobs;
