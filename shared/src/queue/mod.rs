//! The queue: every Redis key and command of the product except the event channels, as DESIGN's queue protocol says.
//!
//! # Guarantees
//! Each operation is one Lua script (`scripts/*.lua`), so no crash leaves a job between two places, and a free target
//! never has a job parked behind it. Every script may be repeated: a call whose answer was lost is simply made again.
//!
//! # Assumptions
//! Redis may lose everything at any moment. The record ([`crate::db`]) says what should be here, and reconcilers put
//! it back; a lock here avoids wasted work, it does not make anything safe.
//!
//! # Caveats
//! A blocking pop moves a job even when nobody waits for its answer any more. Whoever pops must compare its own
//! list with what it holds ([`hands::compare`]).

mod check;
pub mod control;
pub mod hands;
pub mod keys;
pub mod line;
mod pool;
mod pop;
pub mod recovery;
mod script;
pub mod why;

pub use check::check_server;
pub use pop::{PopConnection, Unblock};

use crate::config::RedisConfig;
use crate::error::{Code, Error, Result};
use keys::Keys;

/// A handle on the queue of one fleet. Cheap to clone.
#[derive(Clone)]
pub struct Queue {
    pool: pool::Pool,
    client: redis::Client,
    keys: Keys,
    response_timeout: std::time::Duration,
}

impl Queue {
    /// Opens no connection yet: a process may start before its Redis does.
    pub fn open(config: &RedisConfig) -> Result<Self> {
        let client = pool::client(config)?;
        Ok(Self {
            pool: pool::open(&client, config)?,
            client,
            keys: Keys::new(&config.fleet),
            response_timeout: config.response_timeout,
        })
    }

    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(crate) async fn command<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Result<T> {
        self.pool.run(async |connection| command.query_async(connection).await).await
    }

    /// Publishes one message on several channels, in one round trip.
    pub(crate) async fn publish(&self, channels: &[String], message: &str) -> Result<()> {
        let mut pipeline = redis::pipe();
        for channel in channels {
            pipeline.publish(channel, message).ignore();
        }
        self.pipeline(&pipeline).await
    }

    pub(crate) async fn pipeline<T: redis::FromRedisValue>(&self, pipeline: &redis::Pipeline) -> Result<T> {
        self.pool.run(async |connection| pipeline.query_async(connection).await).await
    }
}

impl From<redis::RedisError> for Error {
    fn from(error: redis::RedisError) -> Self {
        use redis::{ErrorKind, ServerErrorKind};
        let refused = matches!(
            error.kind(),
            ErrorKind::UnexpectedReturnType
                | ErrorKind::Server(
                    ServerErrorKind::ResponseError | ServerErrorKind::ExecAbort | ServerErrorKind::NoScript
                )
        );
        if refused {
            Error::new(Code::StoreUnexpected, "Redis refused a command of this program").because(error)
        } else {
            Error::new(Code::RedisUnavailable, "Redis cannot be reached").because(error)
        }
    }
}
