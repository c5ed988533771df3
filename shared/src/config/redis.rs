//! Settings of the connection to Redis, and the name all keys of a fleet begin with.

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::reader::Reader;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// `redis://`, `rediss://` (TLS) or `unix://`.
    pub url: SecretString,
    /// The prefix of every key. All processes that work together share it.
    pub fleet: FleetName,
    /// Connections for commands; blocking pops and subscriptions have their own.
    pub pool_size: usize,
    /// The longest a non-blocking command may take.
    ///
    /// Too high: a partitioned Redis stalls claims and renewals, and a worker learns too late that its lease is gone.
    /// Too low: a slow but healthy Redis (fork for a snapshot) looks dead and work is handed back for nothing.
    pub response_timeout: Duration,
}

impl RedisConfig {
    pub fn read(reader: &mut Reader) -> Self {
        Self {
            url: reader.required_secret(
                "DEPLOYMIND_REDIS_URL",
                "redis://:password@localhost:6379/0",
                "Redis, which moves jobs and wakes workers. It must not evict keys.",
                check_url,
            ),
            fleet: reader.parsed(
                "DEPLOYMIND_FLEET",
                FleetName::default(),
                "Prefix of every Redis key; processes with the same name work together.",
                |text| FleetName::parse(text).map_err(str::to_owned),
            ),
            pool_size: reader.number(
                "DEPLOYMIND_REDIS_POOL_SIZE",
                8,
                1..=256,
                "Connections for Redis commands; blocking ones are extra.",
            ),
            response_timeout: reader.duration(
                "DEPLOYMIND_REDIS_RESPONSE_TIMEOUT",
                2 * S,
                50 * MS..=30 * S,
                "The longest a non-blocking Redis command may take.",
            ),
        }
    }
}

/// The name of a fleet: 1 to 32 lower-case letters, digits and dashes. It is the hash tag of every key, so a brace or
/// colon in it would scatter the keys of one script over a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FleetName(String);

impl FleetName {
    const RULE: &str = "is not 1 to 32 lower-case letters, digits or dashes";

    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let good = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if (1..=32).contains(&text.len()) && text.bytes().all(good) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Self::RULE)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for FleetName {
    fn default() -> Self {
        Self("deploymind".to_owned())
    }
}

impl fmt::Display for FleetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_url(text: &str) -> Result<(), &'static str> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "redis" | "rediss") && url.has_host() => Ok(()),
        Ok(url) if matches!(url.scheme(), "unix" | "redis+unix") && url.path().len() > 1 => Ok(()),
        _ => Err("is not a redis://, rediss:// or unix:// URL"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MapSource;

    #[test]
    fn the_three_kinds_of_url_are_taken_and_others_refused() {
        for good in
            ["redis://localhost", "rediss://:p@host:6380/1", "unix:///run/redis.sock", "redis+unix:///r.sock"]
        {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in ["localhost:6379", "http://localhost", "redis://", "unix://", ""] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_fleet_name_cannot_break_the_hash_tag() {
        assert!(FleetName::parse("team-7").is_ok());
        for bad in ["", "A", "a}b", "a:b", "a b", &"a".repeat(33)] {
            assert!(FleetName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn defaults_hold() {
        let source = MapSource::from([("DEPLOYMIND_REDIS_URL", "redis://localhost")]);
        let mut reader = Reader::new(&source);
        let config = RedisConfig::read(&mut reader);
        reader.finish().expect("valid");
        assert_eq!((config.fleet.as_str(), config.pool_size), ("deploymind", 8));
    }
}
