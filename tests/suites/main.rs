//! All integration tests in one binary: one link, one set of servers.

#[cfg(test)]
mod coalesce;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod events;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod jobs;
#[cfg(test)]
mod leader;
#[cfg(test)]
mod log;
#[cfg(test)]
mod lua;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod park_model;
#[cfg(test)]
mod record;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod startup;
#[cfg(test)]
mod targets;
#[cfg(test)]
mod traces;
