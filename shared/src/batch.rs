//! Natural batching: what arrives while one batch is under way goes into the next. No timer, so a lone request waits
//! for nothing and a crowd shares its commits.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};

use crate::error::{Code, Error, Result};
use crate::lifecycle::Lifecycle;

struct Request<I, O> {
    item: I,
    answer: oneshot::Sender<O>,
}

/// Collects items of many callers and hands them to one function, several at a time.
pub struct Batcher<I, O> {
    requests: mpsc::Sender<Request<I, O>>,
}

impl<I, O> Clone for Batcher<I, O> {
    fn clone(&self) -> Self {
        Self { requests: self.requests.clone() }
    }
}

impl<I: Send + 'static, O: Send + 'static> Batcher<I, O> {
    /// Starts `lanes` tasks that each run one batch of up to `most` items at a time. `run` must answer for each item, in
    /// order. The tasks serve until the process's work has ended: a draining process still finishes its jobs.
    pub fn start<F, Fut>(lifecycle: &Lifecycle, name: &'static str, lanes: usize, most: usize, run: F) -> Self
    where
        F: Fn(Vec<I>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Vec<O>> + Send,
    {
        let (requests, inbox) = mpsc::channel::<Request<I, O>>(most * lanes.max(1));
        let (inbox, run) = (Arc::new(Mutex::new(inbox)), Arc::new(run));
        for _ in 0..lanes.max(1) {
            let (inbox, run) = (Arc::clone(&inbox), Arc::clone(&run));
            lifecycle.spawn_supporting(name, |stop| async move {
                let mut waiting = Vec::new();
                loop {
                    tokio::select! {
                        // Held only while waiting for work: another lane's turn comes meanwhile.
                        count = async { inbox.lock().await.recv_many(&mut waiting, most).await } => {
                            if count == 0 {
                                return stop.cancelled().await;
                            }
                        }
                        () = stop.cancelled() => return,
                    }
                    let (items, answers): (Vec<I>, Vec<_>) =
                        waiting.drain(..).map(|request| (request.item, request.answer)).unzip();
                    for (answer, outcome) in answers.into_iter().zip(run(items).await) {
                        // The caller may have gone; its answer is then of no interest to anybody.
                        drop(answer.send(outcome));
                    }
                }
            });
        }
        Self { requests }
    }

    /// Hands in one item and waits for its answer.
    pub async fn submit(&self, item: I) -> Result<O> {
        let (answer, receiver) = oneshot::channel();
        let stopped = || Error::new(Code::StoreUnexpected, "this process is shutting down");
        self.requests.send(Request { item, answer }).await.map_err(|_| stopped())?;
        receiver.await.map_err(|_| stopped())
    }
}
