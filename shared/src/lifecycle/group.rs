//! A set of tasks that is stopped and waited for together, with the names of those that still run. Knows nothing of
//! policies.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, interval_at, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often a shutdown says what it waits for.
const REPORT_PERIOD: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Group {
    token: CancellationToken,
    tracker: TaskTracker,
    running: Arc<Running>,
}

impl Group {
    pub(super) fn token(&self) -> &CancellationToken {
        &self.token
    }

    pub(super) fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        // Entered here and not in the task, so that a task that was never polled has a name too.
        let entry = Running::enter(&self.running, name);
        self.tracker.spawn(async move {
            let _entry = entry;
            future.await
        })
    }

    /// Waits until no task is left; after `grace` gives up and names those that are.
    pub(super) async fn drain(&self, grace: Duration) -> Result<(), Vec<String>> {
        self.tracker.close();
        let started = Instant::now();
        let deadline = sleep(grace);
        tokio::pin!(deadline);
        let mut report = interval_at(started + REPORT_PERIOD, REPORT_PERIOD);
        loop {
            tokio::select! {
                biased;
                () = self.tracker.wait() => return Ok(()),
                () = &mut deadline => {
                    let names = self.running.names();
                    tracing::warn!(tasks = names.join(", "), "shutdown no longer waits for tasks that still run");
                    return Err(names);
                }
                _ = report.tick() => {
                    let waited_s = started.elapsed().as_secs();
                    let left_s = grace.saturating_sub(started.elapsed()).as_secs();
                    let tasks = self.running.names().join(", ");
                    tracing::info!(tasks, waited_s, left_s, "shutdown waits for tasks that still run");
                }
            }
        }
    }
}

/// How many tasks of each name run. One short lock at each end of a task: at 10 000 tasks a second that is noise, and
/// a name is known without asking the tasks.
#[derive(Debug, Default)]
struct Running(Mutex<BTreeMap<&'static str, usize>>);

impl Running {
    fn enter(this: &Arc<Self>, name: &'static str) -> Entry {
        *this.lock().entry(name).or_default() += 1;
        Entry { running: Arc::clone(this), name }
    }

    fn names(&self) -> Vec<String> {
        let shown = |(name, count): (&&str, &usize)| match count {
            1 => (*name).to_owned(),
            many => format!("{name} x{many}"),
        };
        self.lock().iter().map(shown).collect()
    }

    /// Counting cannot be left half done, so a poisoned lock is as good as another.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running task; counts itself out however the task ends.
struct Entry {
    running: Arc<Running>,
    name: &'static str,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut running = self.running.lock();
        if let Some(count) = running.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                running.remove(self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_are_counted_and_forgotten_even_when_aborted_or_panicking() {
        let group = Group::default();
        let aborted = group.spawn("job", std::future::pending::<()>());
        let second = group.spawn("job", std::future::pending::<()>());
        let panicking = group.spawn("loud", async { panic!("on purpose") });
        assert!(panicking.await.is_err());
        assert_eq!(group.running.names(), ["job x2"]);
        aborted.abort();
        assert!(aborted.await.is_err());
        assert_eq!(group.running.names(), ["job"]);
        second.abort();
        assert_eq!(group.drain(Duration::from_secs(5)).await, Ok(()));
        assert!(group.running.names().is_empty());
    }
}
