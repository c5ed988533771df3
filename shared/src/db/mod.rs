//! The record: every SQL statement of the product, one aggregate a file, `resource_verb` names.
//!
//! Each statement runs on a pooled connection under a deadline and is measured by its [`Operation`]. Nothing here
//! holds a connection across work that is not SQL, and nothing here decides: rules live in [`crate::domain`] and
//! are repeated as constraints in the migrations.

pub mod apps;
pub mod audit;
pub mod builds;
pub mod credentials;
pub mod deployments;
pub mod environments;
pub mod events;
pub mod inventory;
pub mod jobs;
pub mod leases;
pub mod logs;
mod operation;
pub mod pins;
mod pool;
pub mod releases;
pub mod retention;
pub mod rollouts;
pub mod rotation;
pub mod scans;
pub mod steps;
pub mod targets;
pub mod users;
pub mod variables;
pub mod workers;

use std::sync::LazyLock;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnection;

pub use operation::Operation;
pub(crate) use pool::measured;

use crate::clock::Timestamp;
use crate::config::DatabaseConfig;
use crate::error::{Code, Error, Result};
use crate::telemetry::Metrics;

/// A newer version may have migrated already: migrations only expand, so this one can still work on the result, and a
/// rolling upgrade may restart it.
static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrations = sqlx::migrate!("../migrations");
    migrations.set_ignore_missing(true);
    migrations
});

/// A handle on the record. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    pool: pool::Pool,
    deadline: Duration,
    metrics: Metrics,
}

impl Db {
    /// Opens no connection yet: a process may start before its database does.
    pub fn open(config: &DatabaseConfig, metrics: Metrics) -> Result<Self> {
        // The server ends a statement first; our own deadline is for a server that does not answer at all.
        let deadline = config.statement_timeout + Duration::from_secs(2);
        Ok(Self { pool: pool::open(config)?, deadline, metrics })
    }

    /// Brings the schema up to this program's, waiting for other processes that do the same.
    pub async fn migrate(&self) -> Result<()> {
        let mut held = self.pool.checkout().await?;
        let done = MIGRATIONS.run(held.connection()).await;
        if done.is_ok() {
            held.keep();
        }
        done.map_err(|error| match error {
            MigrateError::Execute(source) if is_unreachable(&source) => source.into(),
            // Begun and broken off: each file is one transaction, so the next try begins it again. One that the server stopped
            // for its length would be stopped again.
            MigrateError::ExecuteMigration(source, _) if is_unreachable(&source) && !is_timeout(&source) => {
                source.into()
            }
            error => {
                Error::new(Code::Migration, "the database schema could not be brought up to this version")
                    .because(error)
            }
        })
    }

    /// The database's clock, by a round trip. Also the cheapest proof that it answers.
    pub async fn now(&self) -> Result<Timestamp> {
        measured!(self, Now, |conn| sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#)
            .fetch_one(conn))
    }
}

/// Applies the migrations over a connection of its own; for tools and tests that have only an address.
pub async fn migrate_url(url: &str) -> Result<()> {
    use sqlx::Connection as _;
    let mut connection = PgConnection::connect(url).await?;
    MIGRATIONS
        .run(&mut connection)
        .await
        .map_err(|error| Error::new(Code::Migration, "the migrations could not be applied").because(error))?;
    Ok(connection.close().await?)
}

/// The migrations as they are written, for the test that runs each a second time.
pub fn migration_sources() -> impl Iterator<Item = String> {
    MIGRATIONS.iter().map(|migration| migration.sql.as_str().to_owned())
}

/// Whether the server was not there, was leaving, or had no room: the same statement may work later.
fn is_unreachable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // PostgreSQL appendix A: 08 connection, 53 resources, 57 operator intervention (shutdown, statement
        // timeout), 40 rollback (deadlock, serialization).
        sqlx::Error::Database(database) => database
            .code()
            .is_some_and(|state| ["08", "53", "57", "40"].iter().any(|class| state.starts_with(class))),
        _ => false,
    }
}

/// Whether the server stopped the statement because it ran too long, or because somebody asked (SQLSTATE `query_canceled`).
fn is_timeout(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(database) if database.code().as_deref() == Some("57014"))
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if is_unreachable(&error) {
            Error::new(
                Code::DatabaseUnavailable,
                "the database cannot be reached or had to stop this request",
            )
            .because(error)
        } else {
            Error::new(Code::StoreUnexpected, "the database refused a statement of this program")
                .because(error)
        }
    }
}

/// A fenced write changed nothing: the attempt it names is over.
pub(crate) fn claim_lost() -> Error {
    Error::new(Code::ClaimLost, "another worker holds this job now")
}

/// The constraint a failed statement ran into, by name.
pub(crate) fn violated(error: &Error) -> Option<&str> {
    let source = std::error::Error::source(error)?.downcast_ref::<sqlx::Error>()?;
    source.as_database_error()?.constraint()
}

/// A word in the record that this program does not know: it is older than the data.
pub(crate) fn word<T: TryFrom<String>>(text: String) -> Result<T> {
    T::try_from(text).map_err(|_| {
        Error::new(Code::StoreUnexpected, "the record holds a word this version does not know; upgrade it")
    })
}
