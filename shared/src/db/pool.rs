//! Pooled connections that are given up rather than waited for.
//!
//! # Guarantees
//! A connection goes back to the pool only after its statement ended. One whose statement was abandoned (deadline,
//! dropped future) or whose server went away is closed at once, so a network that swallows packets costs one
//! deadline and never a place in the pool.
//!
//! # Caveats
//! A connection used within the last seconds is not tested before use; after a restart of the server the first
//! statements on old connections fail with `DM-1101`, which every caller that must go on retries.

use std::str::FromStr;
use std::time::{Duration, Instant};

use deadpool::managed::{self, Metrics, Object, PoolError, RecycleError, RecycleResult, Timeouts};
use secrecy::ExposeSecret;
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use crate::config::DatabaseConfig;
use crate::error::{Code, Error, Result};

/// A connection idle for longer is pinged before it is used.
const TRUSTED_IDLE: Duration = Duration::from_secs(5);

pub(crate) struct Manager(PgConnectOptions);

pub(crate) struct Connection {
    inner: PgConnection,
    used: Instant,
}

impl managed::Manager for Manager {
    type Type = Connection;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<Connection, sqlx::Error> {
        let inner = PgConnection::connect_with(&self.0).await?;
        Ok(Connection { inner, used: Instant::now() })
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<sqlx::Error> {
        if connection.used.elapsed() > TRUSTED_IDLE {
            connection.inner.ping().await.map_err(RecycleError::Backend)?;
        }
        Ok(())
    }
}

#[derive(Clone)]
pub(crate) struct Pool(managed::Pool<Manager>);

pub(crate) fn open(config: &DatabaseConfig) -> Result<Pool> {
    let invalid = |source: sqlx::Error| {
        Error::new(Code::Config, "DEPLOYMIND_DATABASE_URL is not a usable address").because(source)
    };
    let options = PgConnectOptions::from_str(&without_unknown(config.url.expose_secret()))
        .map_err(invalid)?
        .application_name("deploymind")
        .options([("statement_timeout", config.statement_timeout.as_millis().to_string())]);
    let within = Some(config.acquire_timeout);
    managed::Pool::builder(Manager(options))
        .max_size(config.max_connections as usize)
        .timeouts(Timeouts { wait: within, create: within, recycle: within })
        // The last used first: its statements are prepared, and a warm connection needs no question.
        .queue_mode(managed::QueueMode::Lifo)
        .runtime(deadpool::Runtime::Tokio1)
        .build()
        .map(Pool)
        .map_err(|source| Error::new(Code::Config, "the database pool cannot be built").because(source))
}

/// Parameters of an address that the driver knows. It would log any other with its value, and a misspelt `password`
/// holds a password.
const KNOWN: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// The address without parameters that mean nothing; each is named in the log, its value is not.
fn without_unknown(address: &str) -> String {
    let Ok(mut url) = url::Url::parse(address) else { return address.to_owned() };
    let is_known = |name: &str| KNOWN.contains(&name) || name.starts_with("options[");
    if url.query_pairs().all(|(name, _)| is_known(&name)) {
        return address.to_owned();
    }
    let (known, unknown): (Vec<_>, Vec<_>) =
        url.query_pairs().into_owned().partition(|(name, _)| is_known(name));
    for (parameter, _) in unknown {
        tracing::warn!(parameter, "a parameter of DEPLOYMIND_DATABASE_URL means nothing and is ignored");
    }
    url.query_pairs_mut().clear().extend_pairs(known);
    url.into()
}

impl Pool {
    pub(crate) async fn checkout(&self) -> Result<Held> {
        match self.0.get().await {
            Ok(object) => Ok(Held { object: Some(object), keep: false }),
            Err(PoolError::Backend(error)) => Err(error.into()),
            Err(PoolError::Timeout(_)) => {
                Err(Error::new(Code::DatabaseUnavailable, "no database connection was free in time"))
            }
            Err(other) => {
                Err(Error::new(Code::DatabaseUnavailable, "the database pool is closed").because(other))
            }
        }
    }
}

/// A checked-out connection. Dropped without [`Held::keep`], it is closed instead of returned.
pub(crate) struct Held {
    object: Option<Object<Manager>>,
    keep: bool,
}

impl Held {
    #[expect(clippy::expect_used, reason = "the object is taken only in Drop")]
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.object.as_mut().expect("held until dropped").inner
    }

    pub(crate) fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(mut object) = self.object.take() {
            if self.keep {
                object.used = Instant::now();
            } else {
                drop(Object::take(object));
            }
        }
    }
}

/// Runs one statement (or one transaction) on a pooled connection, under the deadline, measured by its operation:
/// `measured!(db, JobClaim, |conn| sqlx::query!(…).fetch_all(conn))`. The expression yields `Result<T, E>` with
/// `E: Into<Error>`.
macro_rules! measured {
    ($db:expr, $operation:ident, |$conn:ident| $statement:expr) => {{
        let db: &$crate::db::Db = $db;
        let started = std::time::Instant::now();
        let result: $crate::error::Result<_> = async {
            let mut held = db.pool.checkout().await?;
            let ended = {
                let $conn = held.connection();
                tokio::time::timeout(db.deadline, $statement).await
            };
            let result = match ended {
                Ok(result) => result.map_err($crate::error::Error::from),
                Err(_) => Err($crate::error::Error::new(
                    $crate::error::Code::DatabaseUnavailable,
                    "the database did not answer in time",
                )),
            };
            if !result.as_ref().is_err_and($crate::error::Error::is_transient) {
                held.keep();
            }
            result
        }
        .await;
        let operation = $crate::db::Operation::$operation;
        db.metrics.database.queried(
            operation.as_str(),
            $crate::telemetry::metrics::QueryResult::of(&result),
            started.elapsed(),
        );
        result.map_err(|error| error.context(operation.as_str()))
    }};
}
pub(crate) use measured;

#[cfg(test)]
mod tests {
    use super::without_unknown;

    #[test]
    fn parameters_the_driver_does_not_know_never_reach_it() {
        let kept = "postgres://u:p@h/x?sslmode=require&options[search_path]=a";
        assert_eq!(without_unknown(kept), kept);
        assert_eq!(
            without_unknown("postgres://u:p@h/x?passwort=secret&sslmode=require"),
            "postgres://u:p@h/x?sslmode=require"
        );
    }
}
