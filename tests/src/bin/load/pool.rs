//! Connections that are kept open and used in turn.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::connection::{Answer, Connection, Failure, Trouble};
use crate::tally::Tally;
use crate::target::{Ask, Target};

pub struct Pool {
    idle: Mutex<VecDeque<Lent>>,
    /// One reference for each connection, in use or not, and this one.
    places: Arc<()>,
}

struct Lent {
    connection: Connection,
    _place: Arc<()>,
}

impl Pool {
    pub fn new() -> Self {
        Self { idle: Mutex::default(), places: Arc::new(()) }
    }

    /// Opens a connection while there are too few, or all of them are busy.
    pub async fn ask(&self, ask: &Ask, target: &Target, tally: &Tally) -> Result<Answer, Failure> {
        loop {
            let mut lent = self.lend(target, tally).await?;
            match lent.connection.ask(ask, target).await {
                Ok(answer) => {
                    if answer.stays && self.open() <= target.connections {
                        self.idle().push_back(lent);
                    }
                    return Ok(answer);
                }
                // Ends: there are only so many that have served before.
                Err(Trouble::ClosedBeforeSent) => tally.closed_before_sent(),
                Err(Trouble::Failed(failure)) => return Err(failure),
            }
        }
    }

    async fn lend(&self, target: &Target, tally: &Tally) -> Result<Lent, Failure> {
        let idle = if self.open() < target.connections { None } else { self.idle().pop_front() };
        if let Some(idle) = idle {
            return Ok(idle);
        }
        let place = Arc::clone(&self.places);
        let connection = Connection::open(target).await?;
        tally.opened();
        Ok(Lent { connection, _place: place })
    }

    fn open(&self) -> usize {
        Arc::strong_count(&self.places) - 1
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, VecDeque<Lent>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
