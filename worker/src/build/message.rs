//! The engine's stream of JSON messages, one a line.

use bytes::Bytes;
use serde::Deserialize;

use super::http::{Answer, Cause};

/// BuildKit puts the output of a step into one message; a message larger than this is not one.
const MESSAGE_BYTES: usize = 32 * 1024 * 1024;

/// The union of what `/build` says with either builder.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Message {
    pub(super) stream: Option<String>,
    pub(super) status: Option<String>,
    pub(super) id: Option<String>,
    pub(super) error: Option<String>,
    #[serde(rename = "errorDetail")]
    pub(super) detail: Option<Detail>,
    pub(super) aux: Option<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Detail {
    /// The exit code of the step, from the classic builder.
    pub(super) code: Option<i64>,
    pub(super) message: Option<String>,
}

/// Reads messages from an answer. Safe to drop between two.
pub(super) struct Messages {
    answer: Answer,
    held: Vec<u8>,
    /// Bytes of `held` that have been given out.
    given: usize,
    /// Bytes of `held` in which no line break was found.
    searched: usize,
}

impl Messages {
    pub(super) fn new(answer: Answer) -> Self {
        Self { answer, held: Vec::new(), given: 0, searched: 0 }
    }

    /// The next message; `None` at the end of the stream.
    pub(super) async fn next(&mut self) -> Result<Option<Message>, Cause> {
        loop {
            if let Some(end) = self.held[self.searched..].iter().position(|byte| *byte == b'\n') {
                let end = self.searched + end;
                let line = &self.held[self.given..end];
                let message =
                    if line.trim_ascii().is_empty() { None } else { Some(serde_json::from_slice(line)?) };
                self.given = end + 1;
                self.searched = self.given;
                match message {
                    Some(message) => return Ok(Some(message)),
                    None => continue,
                }
            }
            self.held.drain(..self.given);
            self.given = 0;
            self.searched = self.held.len();
            let piece: Option<Bytes> = self.answer.chunk().await?;
            match piece {
                Some(piece) if self.held.len() + piece.len() > MESSAGE_BYTES => {
                    return Err("a message of the engine is longer than it may be".into());
                }
                Some(piece) => self.held.extend_from_slice(&piece),
                None if self.held.trim_ascii().is_empty() => return Ok(None),
                None => {
                    let message = serde_json::from_slice(&self.held)?;
                    self.held.clear();
                    self.searched = 0;
                    return Ok(Some(message));
                }
            }
        }
    }
}
