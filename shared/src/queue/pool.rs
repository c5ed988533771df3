//! Pooled connections to Redis for everything but the blocking pop.
//!
//! # Guarantees
//! A connection whose command failed is closed, not returned; one that was idle for a while is asked before it is used.
//!
//! # Caveats
//! One that was used a moment ago is trusted: after a restart of the server the first commands fail with `DM-1102`, which
//! every caller that must go on retries. Asking each time would double the round trips of every command.

use std::time::{Duration, Instant};

use deadpool::managed::{self, Metrics, Object, RecycleError, RecycleResult, Timeouts};
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use secrecy::ExposeSecret;

use crate::config::RedisConfig;
use crate::error::{Code, Error, Result};

/// A connection idle for longer is pinged before it is used.
const TRUSTED_IDLE: Duration = Duration::from_secs(5);

pub(super) struct Manager {
    client: redis::Client,
    settings: AsyncConnectionConfig,
}

pub(super) struct Connection {
    inner: MultiplexedConnection,
    used: Instant,
}

impl managed::Manager for Manager {
    type Type = Connection;
    type Error = redis::RedisError;

    async fn create(&self) -> Result<Connection, redis::RedisError> {
        let inner = self.client.get_multiplexed_async_connection_with_config(&self.settings).await?;
        Ok(Connection { inner, used: Instant::now() })
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<redis::RedisError> {
        if connection.used.elapsed() > TRUSTED_IDLE {
            let () =
                redis::cmd("PING").query_async(&mut connection.inner).await.map_err(RecycleError::Backend)?;
        }
        Ok(())
    }
}

#[derive(Clone)]
pub(super) struct Pool(managed::Pool<Manager>);

pub(super) fn open(client: &redis::Client, config: &RedisConfig) -> Result<Pool> {
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(config.response_timeout))
        .set_response_timeout(Some(config.response_timeout));
    let within = Some(config.response_timeout);
    managed::Pool::builder(Manager { client: client.clone(), settings })
        .max_size(config.pool_size)
        .timeouts(Timeouts { wait: within, create: within, recycle: within })
        // The last used first: fewer connections stay warm, and warm ones need no question.
        .queue_mode(managed::QueueMode::Lifo)
        .runtime(deadpool::Runtime::Tokio1)
        .build()
        .map(Pool)
        .map_err(|source| Error::new(Code::Config, "the Redis pool cannot be built").because(source))
}

/// The address of the configured server.
pub(super) fn client(config: &RedisConfig) -> Result<redis::Client> {
    redis::Client::open(config.url.expose_secret()).map_err(|source| {
        Error::new(Code::Config, "DEPLOYMIND_REDIS_URL is not a usable address").because(source)
    })
}

impl Pool {
    /// Runs `command` on a connection; keeps the connection unless the failure was the connection's.
    pub(super) async fn run<T>(
        &self,
        command: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, redis::RedisError>,
    ) -> Result<T> {
        let mut held = self.0.get().await.map_err(|source| {
            Error::new(Code::RedisUnavailable, "Redis cannot be reached").because(source)
        })?;
        match command(&mut held.inner).await {
            Ok(value) => {
                held.used = Instant::now();
                Ok(value)
            }
            Err(error) => {
                let error = Error::from(error);
                if error.is_transient() {
                    drop(Object::take(held));
                }
                Err(error)
            }
        }
    }
}
