//! What a worker is told directly, over pub/sub: fast, and never relied upon. The same wishes are in the record,
//! where the worker finds them at its next heartbeat.

use futures::StreamExt;
use redis::aio::PubSub;

use super::Queue;
use crate::error::{Code, Error, Result};
use crate::ids::{JobId, WorkerId};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// The job was asked to stop; the record says by whom.
    Cancel(JobId),
    /// The worker's own message, to prove that the subscription still works.
    Echo,
}

impl Message {
    fn encode(self) -> String {
        match self {
            Message::Cancel(job) => format!("cancel {job}"),
            Message::Echo => "echo".to_owned(),
        }
    }

    fn decode(text: &str) -> Option<Self> {
        match text.split_once(' ') {
            Some(("cancel", job)) => job.parse().ok().map(Message::Cancel),
            None if text == "echo" => Some(Message::Echo),
            _ => None,
        }
    }
}

/// Answers whether anybody was listening.
pub async fn tell(queue: &Queue, worker: WorkerId, message: Message) -> Result<bool> {
    let heard: u64 =
        queue.command(redis::cmd("PUBLISH").arg(queue.keys.control(worker)).arg(message.encode())).await?;
    Ok(heard > 0)
}

/// The worker's end.
pub struct Ear(PubSub);

impl Ear {
    pub async fn open(queue: &Queue, worker: WorkerId) -> Result<Self> {
        let open = async {
            let mut pubsub = queue.client.get_async_pubsub().await?;
            pubsub.subscribe(queue.keys.control(worker)).await?;
            Ok::<_, redis::RedisError>(pubsub)
        };
        let pubsub = tokio::time::timeout(queue.response_timeout * 2, open)
            .await
            .map_err(|_| Error::new(Code::RedisUnavailable, "Redis did not answer in time"))??;
        Ok(Self(pubsub))
    }

    /// The next message; `None` when the connection ended. What cannot be read is skipped.
    pub async fn next(&mut self) -> Option<Message> {
        let mut messages = self.0.on_message();
        loop {
            let message = messages.next().await?;
            if let Some(message) = message.get_payload::<String>().ok().as_deref().and_then(Message::decode) {
                return Some(message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_back_and_noise_is_ignored() {
        for message in [Message::Cancel(JobId::generate()), Message::Echo] {
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
        for noise in ["", "cancel", "cancel x", "echo 1"] {
            assert_eq!(Message::decode(noise), None);
        }
    }
}
