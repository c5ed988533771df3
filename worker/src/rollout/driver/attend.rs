//! The ear of the driver: what people and the job's own stop ask for, before and during every step.

use std::time::Duration;

use deploymind_shared::retry::Stop;
use tokio_util::sync::CancellationToken;

use super::{Book, News, Saved, StopKind};
use crate::rollout::contract::{Action, Ask};
use crate::rollout::machine::Answer;

const PERIOD: Duration = Duration::from_millis(500);
/// Of one reading of what was asked. What is not read now is read the next time.
const DEADLINE: Duration = Duration::from_secs(5);

/// How the job's own stop is heard.
#[derive(Clone, Copy)]
pub(super) struct Orders<'a> {
    pub(super) stop: &'a CancellationToken,
    pub(super) kind: &'a (dyn Fn() -> StopKind + Send + Sync),
}

/// Whether the step in hand is still wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attention {
    GoOn,
    /// There is something else to do, or the way back is waiting for the action in hand.
    Halt,
}

/// Listens until something makes the step in hand unwanted, or the step is `done`.
pub(super) async fn attend(
    saved: &mut Saved,
    book: &dyn Book,
    orders: Orders<'_>,
    done: &CancellationToken,
) -> Result<Attention, Stop> {
    loop {
        tokio::select! {
            biased;
            () = done.cancelled() => return Ok(Attention::GoOn),
            // Also when it was told to the machine already: a way back ends for a job that is to be another's.
            () = orders.stop.cancelled(), if !saved.cancelled => {}
            () = tokio::time::sleep(PERIOD) => {}
        }
        if listen(saved, book, orders).await? == Attention::Halt {
            return Ok(Attention::Halt);
        }
    }
}

/// Hears once.
pub(super) async fn listen(
    saved: &mut Saved,
    book: &dyn Book,
    orders: Orders<'_>,
) -> Result<Attention, Stop> {
    let before = (saved.machine.action(), saved.machine.turning().is_some());
    let mut taken = false;
    if orders.stop.is_cancelled() {
        if (orders.kind)() == StopKind::GoodBye {
            return Err(Stop::Cancelled);
        }
        if !saved.cancelled {
            saved.cancelled = true;
            taken |= saved.machine.ask(Ask::Cancel) == Answer::Taken;
        }
    }
    let asked = match tokio::time::timeout(DEADLINE, book.asked(saved.asked)).await {
        Ok(Ok(asked)) => asked,
        Ok(Err(Stop::Retryable { error, .. })) => {
            tracing::warn!(error = error.chain(), "cannot read what was asked of the roll-out");
            Vec::new()
        }
        Ok(Err(stop)) => return Err(stop),
        Err(_) => Vec::new(),
    };
    for (number, ask) in asked {
        saved.asked = saved.asked.max(number);
        taken |= saved.machine.ask(ask) == Answer::Taken;
    }
    if !taken {
        return Ok(Attention::GoOn);
    }
    saved.dirty = true;
    let after = (saved.machine.action(), saved.machine.turning().is_some());
    if let (false, Some(why)) = (before.1, saved.machine.turning()) {
        let why = why.clone();
        super::tell(book, &News::TurningBack { why }).await?;
    } else if matches!(before.0, Action::Hold { .. }) && !matches!(after.0, Action::Hold { .. }) {
        super::tell(book, &News::Resumed).await?;
    }
    if before == after {
        // It takes effect after the action in hand, and must be known to a successor until then.
        super::save(saved, book).await?;
        return Ok(Attention::GoOn);
    }
    Ok(Attention::Halt)
}
