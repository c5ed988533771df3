//! Settings of a worker process.

use std::time::Duration;

use super::reader::Reader;
use crate::ids::EnvironmentName;

const S: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// The environments whose jobs this worker takes, in the order given, without repetition.
    pub environments: Vec<EnvironmentName>,
    /// Jobs that may run at once.
    ///
    /// Too high: builds fight for CPU and memory and all become slow. Too low: jobs wait while the machine idles.
    pub concurrency: usize,
    /// How long a stopping worker waits for its jobs before it hands them back.
    ///
    /// Too high: a rolling update of the workers takes that long (and must fit in Kubernetes'
    /// `terminationGracePeriodSeconds`). Too low: jobs that were about to end run again elsewhere.
    pub drain_grace: Duration,
}

impl WorkerConfig {
    /// The keys a command line sets with [`Overlay`](super::Overlay).
    pub const ENVIRONMENTS: &str = "DEPLOYMIND_ENVIRONMENTS";
    pub const CONCURRENCY: &str = "DEPLOYMIND_WORKER_CONCURRENCY";

    pub fn read(reader: &mut Reader) -> Self {
        let environments = reader
            .required(
                Self::ENVIRONMENTS,
                "production,staging",
                "The environments whose jobs this worker takes, separated by commas.",
                parse_environments,
            )
            .unwrap_or_default();
        let concurrency = reader.number(
            Self::CONCURRENCY,
            4,
            1..=1024,
            "Jobs that may run at once; at least one per environment.",
        );
        if concurrency < environments.len() {
            // Every idle environment keeps one place for itself, so that a blocking pop never lacks one.
            let problem = format!(
                "is too low: {concurrency} for {} environments, which need a place each",
                environments.len()
            );
            reader.refuse(Self::CONCURRENCY, problem, environments.len().to_string());
        }
        let drain_grace = reader.duration(
            "DEPLOYMIND_WORKER_DRAIN_GRACE",
            30 * S,
            Duration::ZERO..=3600 * S,
            "How long a stopping worker waits for its jobs before it hands them back.",
        );
        Self { environments, concurrency, drain_grace }
    }
}

fn parse_environments(text: &str) -> Result<Vec<EnvironmentName>, String> {
    let mut environments = Vec::new();
    for part in text.split(',').map(str::trim) {
        let name =
            EnvironmentName::parse(part).map_err(|error| format!("names a bad environment ({error})"))?;
        if environments.contains(&name) {
            return Err(format!("names {name} twice"));
        }
        environments.push(name);
    }
    Ok(environments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigErrors, MapSource, Overlay};

    fn read(environments: &str, concurrency: &str) -> Result<WorkerConfig, ConfigErrors> {
        let flags = MapSource::new().with(WorkerConfig::ENVIRONMENTS, environments);
        let source = Overlay(flags, MapSource::new().with(WorkerConfig::CONCURRENCY, concurrency));
        let mut reader = Reader::new(&source);
        let config = WorkerConfig::read(&mut reader);
        reader.finish().map(|()| config)
    }

    #[test]
    fn a_list_keeps_its_order() {
        let config = read("staging, production", "").expect("valid");
        let names: Vec<_> = config.environments.iter().map(EnvironmentName::as_str).collect();
        assert_eq!(names, ["staging", "production"]);
        assert_eq!(config.concurrency, 4);
    }

    #[test]
    fn bad_lists_are_refused() {
        for bad in ["", ",", "production,", "Prod!", "a,a"] {
            let errors = read(bad, "").expect_err(bad);
            assert_eq!(errors.mistakes().len(), 1, "{errors}");
        }
    }

    #[test]
    fn every_environment_needs_a_place() {
        assert!(read("a,b", "2").is_ok());
        let errors = read("a,b,c", "2").expect_err("too few places").to_string();
        assert!(errors.ends_with("DEPLOYMIND_WORKER_CONCURRENCY=3"), "{errors}");
        assert!(read("a", "0").is_err());
        assert!(read("a", "1025").is_err());
    }
}
