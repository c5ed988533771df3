//! Redis: the shared one with a fleet name per test, and one of our own that may be killed, frozen or emptied.

use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::process::Proc;
use crate::{env, free_port, wait_for};

const READY: Duration = Duration::from_secs(30);

/// The Redis all tests share. Use it with [`unique_fleet`], and never flush it.
///
/// # Panics
/// When the tests were not started by `make test`.
#[must_use]
pub fn base_redis_url() -> String {
    env::required(env::REDIS_URL)
}

/// A fleet name no other test uses: `[a-z0-9-]`, 18 characters.
#[must_use]
pub fn unique_fleet() -> String {
    let id = uuid::Uuid::new_v4().simple().to_string();
    format!("t-{}", &id[..16])
}

/// How a Redis of our own is configured. The default is what DeployMind asks of a Redis.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// Without it, a kill loses everything: the default of most distributions.
    pub append_only: bool,
    pub maxmemory_policy: String,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self { append_only: true, maxmemory_policy: "noeviction".to_owned() }
    }
}

/// A redis-server of this test alone, on one port and one directory through all its restarts.
pub struct TestRedis {
    // Before the directory: fields are dropped in order, and the server must be gone first.
    server: Proc,
    directory: TempDir,
    port: u16,
    options: RedisOptions,
}

impl TestRedis {
    pub async fn start() -> Self {
        Self::start_with(RedisOptions::default()).await
    }

    pub async fn start_with(options: RedisOptions) -> Self {
        let directory = tempfile::Builder::new().prefix("redis-").tempdir().expect("a temporary directory");
        let port = free_port();
        let server = spawn(&directory, port, &options);
        let mut redis = Self { server, directory, port, options };
        redis.await_ready().await;
        redis
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection for the test's own questions.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn connect(&self) -> MultiplexedConnection {
        connect(&self.url()).await.expect("connect to our own Redis")
    }

    pub async fn flushall(&self) {
        let mut connection = self.connect().await;
        let done: Result<(), _> = ::redis::cmd("FLUSHALL").query_async(&mut connection).await;
        done.expect("FLUSHALL of our own Redis");
    }

    /// An orderly stop: the append-only file is written out.
    pub async fn stop(&mut self) {
        self.server.signal(Signal::SIGTERM);
        self.server.wait_exit(READY).await;
    }

    pub fn kill9(&mut self) {
        self.server.kill9();
    }

    pub fn sigstop(&mut self) {
        self.server.sigstop();
    }

    pub fn sigcont(&mut self) {
        self.server.sigcont();
    }

    /// Starts it again with the data it left; a running one is killed first.
    pub async fn restart(&mut self) {
        self.server.kill9();
        self.server = spawn(&self.directory, self.port, &self.options);
        self.await_ready().await;
    }

    async fn await_ready(&mut self) {
        let url = self.url();
        wait_for("Redis answers", READY, async || {
            if let Some(exit) = self.server.exit() {
                panic!("Redis ended with {exit}");
            }
            let mut connection = connect(&url).await.map_err(|error| error.to_string())?;
            let pong: Result<String, _> = ::redis::cmd("PING").query_async(&mut connection).await;
            pong.map_err(|error| error.to_string())
        })
        .await;
    }
}

fn spawn(directory: &TempDir, port: u16, options: &RedisOptions) -> Proc {
    let port = port.to_string();
    let append_only = if options.append_only { "yes" } else { "no" };
    Proc::builder("redis-server", "redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port, "--save", ""])
        .args(["--appendonly", append_only])
        .args(["--maxmemory-policy", &options.maxmemory_policy])
        .directory(directory.path())
        .start()
}

async fn connect(url: &str) -> ::redis::RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_secs(5)))
        .set_response_timeout(Some(Duration::from_secs(5)));
    Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await
}
