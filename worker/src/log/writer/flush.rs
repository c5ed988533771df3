//! Waiting until what was said is in the record.

use std::sync::{Arc, OnceLock};

use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;
use tokio::sync::{mpsc, oneshot};

/// Answered when every line said before it is in the record; dropped when that will not be. The error says why.
pub(super) type Wish = oneshot::Sender<Result<(), Error>>;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Flusher {
    wishes: mpsc::Sender<Wish>,
    ended: Arc<OnceLock<Error>>,
}

impl Flusher {
    pub(super) fn new(wishes: mpsc::Sender<Wish>, ended: Arc<OnceLock<Error>>) -> Self {
        Self { wishes, ended }
    }

    /// Returns once every line that was said before this call is in the record: to be awaited before a step is declared
    /// done. Waits as long as the writer does.
    pub async fn flush(&self) -> Result<(), Stop> {
        let (wish, answer) = oneshot::channel();
        if self.wishes.send(wish).await.is_err() {
            return Err(self.why());
        }
        match answer.await {
            Ok(done) => done.map_err(Stop::from),
            Err(_) => Err(self.why()),
        }
    }

    fn why(&self) -> Stop {
        match self.ended.get() {
            Some(error) => Stop::from(error.again()),
            None => Stop::from(Error::new(
                Code::DatabaseUnavailable,
                "the log ended before everything said was written",
            )),
        }
    }
}
