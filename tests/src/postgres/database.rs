//! A migrated database per test, copied from a template that is migrated once.

use std::error::Error;
use std::fmt::Display;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool, postgres::PgPoolOptions};
use url::Url;

use crate::env;

/// Any constant; it only has to differ from the locks the product takes.
const TEMPLATE_LOCK: i64 = 0x6465_706c_6f79;

/// The server all tests share, as a URL of its maintenance database.
///
/// # Panics
/// When the tests were not started by `make test`.
#[must_use]
pub fn base_database_url() -> String {
    env::required(env::DATABASE_URL)
}

/// A database that only this test knows. End the test with [`TestDatabase::drop_checked`]; a drop does it silently.
pub struct TestDatabase {
    base_url: String,
    name: String,
    dropped: bool,
}

impl TestDatabase {
    /// On the shared server. `migrate` is called with a database URL, once per server and state of `migrations/`: whoever comes first
    /// decides for all, so every test must give the same one.
    ///
    /// # Panics
    /// When the server is missing or `migrate` fails.
    pub async fn create<E>(migrate: impl AsyncFnOnce(&str) -> Result<(), E>) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        Self::create_on(&base_database_url(), migrate).await
    }

    /// On the server of `base_url`, which must be a superuser's.
    ///
    /// # Panics
    /// When the server is missing or `migrate` fails.
    pub async fn create_on<E>(base_url: &str, migrate: impl AsyncFnOnce(&str) -> Result<(), E>) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let mut connection = connect(base_url).await;
        let template = ensure_template(&mut connection, base_url, migrate).await;
        let name = format!("dm_test_{}", uuid::Uuid::new_v4().simple());
        execute(&mut connection, format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
        Self { base_url: base_url.to_owned(), name, dropped: false }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn url(&self) -> String {
        with_database(&self.base_url, &self.name)
    }

    /// A small pool for the test's own questions.
    ///
    /// # Panics
    /// When the database does not answer.
    pub async fn pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(5)
            .acquire_timeout(Duration::from_secs(10))
            .connect(&self.url())
            .await
            .expect("connect to the database of this test")
    }

    /// Closes every connection to it and drops it.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn drop_checked(mut self) {
        self.dropped = true;
        drop_database(&self.base_url, &self.name).await.expect("drop the database of this test");
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if self.dropped {
            return;
        }
        let (base_url, name) = (self.base_url.clone(), self.name.clone());
        // A destructor cannot await, and the test's runtime may already be gone.
        let dropped = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| error.to_string())?
                .block_on(drop_database(&base_url, &name))
                .map_err(|error| error.to_string())
        })
        .join();
        if !matches!(dropped, Ok(Ok(()))) {
            eprintln!("the database {} is left behind: {dropped:?}", self.name);
        }
    }
}

async fn drop_database(base_url: &str, name: &str) -> sqlx::Result<()> {
    let attempt = async {
        let mut connection = PgConnection::connect(base_url).await?;
        let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        connection.execute(AssertSqlSafe(sql)).await?;
        connection.close().await
    };
    // The server may be one the test has frozen.
    match tokio::time::timeout(Duration::from_secs(20), attempt).await {
        Ok(done) => done,
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}

async fn ensure_template<E>(
    connection: &mut PgConnection,
    base_url: &str,
    migrate: impl AsyncFnOnce(&str) -> Result<(), E>,
) -> String
where
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let name = format!("dm_template_{:016x}", migrations_hash());
    execute(connection, format!("SELECT pg_advisory_lock({TEMPLATE_LOCK})")).await;
    let ready: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datistemplate)")
            .bind(&name)
            .fetch_one(&mut *connection)
            .await
            .expect("look for the template database");
    if !ready {
        // Left by a run that died in between.
        execute(connection, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
        execute(connection, format!("CREATE DATABASE {name} TEMPLATE template0")).await;
        if let Err(error) = migrate(&with_database(base_url, &name)).await {
            panic!("migrate the template database: {}", Chain(&*error.into()));
        }
        // No connection may be open to a database that is copied.
        let seal = format!("ALTER DATABASE {name} WITH IS_TEMPLATE true ALLOW_CONNECTIONS false");
        execute(connection, seal).await;
        execute(
            connection,
            format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"),
        )
        .await;
    }
    execute(connection, format!("SELECT pg_advisory_unlock({TEMPLATE_LOCK})")).await;
    name
}

/// Other migrations need another template, also on a server that outlives the run.
fn migrations_hash() -> u64 {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    let mut files: Vec<_> =
        fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.file_name().hash(&mut hasher);
        fs::read(&file).unwrap_or_default().hash(&mut hasher);
    }
    hasher.finish()
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap_or_else(|error| panic!("connect to Postgres at {url}: {error}"))
}

async fn execute(connection: &mut PgConnection, sql: String) {
    if let Err(error) = connection.execute(AssertSqlSafe(sql.clone())).await {
        panic!("{sql}: {error}");
    }
}

fn with_database(url: &str, name: &str) -> String {
    let mut url = Url::parse(url).expect("a Postgres URL");
    url.set_path(name);
    url.into()
}

/// An error with all its causes on one line.
struct Chain<'a>(&'a (dyn Error + 'static));

impl Display for Chain<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(formatter, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
