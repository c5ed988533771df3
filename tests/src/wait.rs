//! Waiting for a condition instead of for a time.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Asks `probe` until it answers `Ok`. An `Err` says what is still missing; on timeout the last one is in the panic.
///
/// For the body of a test: the compiler cannot show that an async closure which borrows is `Send`, so it does not fit in a spawned task.
///
/// # Panics
/// When `deadline` has passed, also while a probe hangs.
pub async fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let end = Instant::now() + deadline;
    let mut pause = FIRST_PAUSE;
    let mut status = String::from("nothing yet");
    loop {
        match timeout_at(end, probe()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(missing)) => status = missing,
            Err(_) => {
                panic!("{what}: not within {deadline:?}; the last check hung, the one before said: {status}")
            }
        }
        assert!(Instant::now() < end, "{what}: not within {deadline:?}; last status: {status}");
        sleep_until(end.min(Instant::now() + pause)).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}
