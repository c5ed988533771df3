//! Settings of the connection to Postgres.

use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::reader::Reader;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host:5432/database`.
    pub url: SecretString,
    /// Connections this process may hold.
    ///
    /// Too high: replicas × this exceeds the server's `max_connections` and new processes cannot connect. Too low:
    /// callers wait for a connection while Postgres idles.
    pub max_connections: u32,
    /// How long a caller waits for a free connection.
    ///
    /// Too high: requests pile up behind a database that is gone, and answers come after the caller has left. Too low:
    /// a short burst is answered with "unavailable" although a connection was about to be free.
    pub acquire_timeout: Duration,
    /// The longest a single statement may run.
    ///
    /// Too high: a bad plan holds locks and a connection for minutes. Too low: retention and recovery batches are cut
    /// and start again for ever.
    pub statement_timeout: Duration,
}

impl DatabaseConfig {
    pub fn read(reader: &mut Reader) -> Self {
        Self {
            url: reader.required_secret(
                "DEPLOYMIND_DATABASE_URL",
                "postgres://deploymind:password@localhost:5432/deploymind",
                "Postgres, the record of everything.",
                check_url,
            ),
            max_connections: reader.number(
                "DEPLOYMIND_DATABASE_MAX_CONNECTIONS",
                10,
                1..=200,
                "Connections this process may hold.",
            ),
            acquire_timeout: reader.duration(
                "DEPLOYMIND_DATABASE_ACQUIRE_TIMEOUT",
                5 * S,
                10 * MS..=60 * S,
                "How long a caller waits for a free connection.",
            ),
            statement_timeout: reader.duration(
                "DEPLOYMIND_DATABASE_STATEMENT_TIMEOUT",
                30 * S,
                100 * MS..=600 * S,
                "The longest a single statement may run.",
            ),
        }
    }
}

fn check_url(text: &str) -> Result<(), &'static str> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "postgres" | "postgresql") => Ok(()),
        _ => Err("is not a postgres:// URL (a special character in the password must be percent-encoded)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MapSource;
    use secrecy::ExposeSecret;

    #[test]
    fn a_url_is_all_it_takes() {
        let source = MapSource::from([("DEPLOYMIND_DATABASE_URL", "postgresql://u:p@db/deploymind")]);
        let mut reader = Reader::new(&source);
        let config = DatabaseConfig::read(&mut reader);
        reader.finish().expect("valid");
        assert_eq!(config.url.expose_secret(), "postgresql://u:p@db/deploymind");
        assert_eq!(config.max_connections, 10);
        assert_eq!(config.statement_timeout, 30 * S);
        assert!(!format!("{config:?}").contains("u:p"));
    }

    #[test]
    fn another_kind_of_url_is_refused_without_showing_it() {
        for wrong in ["mysql://u:hunter2@db/x", "host=db password=hunter2", "postgres://u:hunter2@:x/"] {
            let source = MapSource::from([("DEPLOYMIND_DATABASE_URL", wrong)]);
            let mut reader = Reader::new(&source);
            DatabaseConfig::read(&mut reader);
            let printed = reader.print_config();
            let errors = reader.finish().expect_err(wrong).to_string();
            assert!(!errors.contains("hunter2") && !printed.contains("hunter2"), "{errors}");
        }
    }
}
