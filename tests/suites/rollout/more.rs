//! The longer half of the roll-out's suites: crashes, commands, verdicts, and rows of deployments under load. Takes many
//! minutes; run by name: `scripts/test.sh` does not.

#[cfg(test)]
mod common;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod people;
#[cfg(test)]
mod zero;
