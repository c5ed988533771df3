//! The blocking take, on a connection of its own.
//!
//! # Guarantees
//! [`PopConnection::pop`] never times out on our side before Redis does: an abandoned `BRPOPLPUSH` would still move a
//! job. Only a server that has not answered well after the block time is given up, with its connection.
//!
//! # Caveats
//! Dropping the future of [`PopConnection::pop`] abandons the pop. Wake it with [`Unblock`] instead.

use std::time::Duration;

use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;

use super::Queue;
use crate::error::{Code, Error, Result};
use crate::ids::{EnvironmentName, WorkerId};

/// How much longer than the block time an answer may take before the connection counts as dead.
const PATIENCE: Duration = Duration::from_secs(3);

/// A connection that only pops.
pub struct PopConnection {
    connection: MultiplexedConnection,
    id: i64,
    queue: Queue,
}

/// Wakes a blocked pop from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unblock(i64);

impl PopConnection {
    pub async fn open(queue: &Queue) -> Result<Self> {
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(queue.response_timeout))
            .set_response_timeout(None);
        let open = async {
            let mut connection = queue.client.get_multiplexed_async_connection_with_config(&settings).await?;
            let id = redis::cmd("CLIENT").arg("ID").query_async(&mut connection).await?;
            Ok::<_, redis::RedisError>((connection, id))
        };
        let (connection, id) = tokio::time::timeout(queue.response_timeout * 2, open)
            .await
            .map_err(|_| Error::new(Code::RedisUnavailable, "Redis did not answer in time"))??;
        Ok(Self { connection, id, queue: queue.clone() })
    }

    pub fn unblock(&self) -> Unblock {
        Unblock(self.id)
    }

    /// Waits up to `block` for an element of the environment's queue to be moved to the worker's list. On an error
    /// the connection must be dropped, and the list compared with memory: something may have been moved.
    pub async fn pop(
        &mut self,
        environment: &EnvironmentName,
        worker: WorkerId,
        block: Duration,
    ) -> Result<Option<Vec<u8>>> {
        let mut command = redis::cmd("BRPOPLPUSH");
        command
            .arg(self.queue.keys.queue(environment))
            .arg(self.queue.keys.processing(worker))
            .arg(block.as_secs_f64());
        tokio::time::timeout(block + PATIENCE, command.query_async(&mut self.connection))
            .await
            .map_err(|_| Error::new(Code::RedisUnavailable, "Redis did not answer a blocking pop in time"))?
            .map_err(Error::from)
    }
}

impl Queue {
    /// Makes a blocked pop return empty-handed. Harmless when it is not blocked.
    pub async fn unblock(&self, pop: Unblock) -> Result<()> {
        let _: i64 = self.command(redis::cmd("CLIENT").arg("UNBLOCK").arg(pop.0)).await?;
        Ok(())
    }
}
