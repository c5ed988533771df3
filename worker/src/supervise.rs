//! Runs a handler's future to its end, however that comes: result, panic, deadline, or a stop it did not follow.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use deploymind_shared::retry::Stop;
use futures::FutureExt;

use crate::lease::{Lease, StopReason};
use crate::registry::Done;
use crate::runner::End;

/// # Guarantees
/// Ends within `grace` of the lease being stopped, and stops the lease at the deadline.
///
/// # Caveats
/// A handler that blocks its thread cannot be dropped; handlers do blocking work in `spawn_blocking`.
pub(crate) async fn supervise(
    work: impl Future<Output = Result<Done, Stop>> + Send,
    lease: &Lease,
    deadline: Duration,
    grace: Duration,
) -> End {
    let work = AssertUnwindSafe(work).catch_unwind();
    tokio::pin!(work);
    tokio::select! {
        biased;
        end = &mut work => return ended(end),
        () = lease.token().cancelled() => {}
        () = tokio::time::sleep(deadline) => lease.stop(StopReason::Deadline),
    }
    match tokio::time::timeout(grace, &mut work).await {
        Ok(end) => ended(end),
        Err(_) => End::Abandoned,
    }
}

fn ended(end: Result<Result<Done, Stop>, Box<dyn Any + Send>>) -> End {
    match end {
        Ok(result) => End::Returned(result),
        Err(panic) => End::Panicked(deploymind_shared::lifecycle::panic_text(&*panic).to_owned()),
    }
}
