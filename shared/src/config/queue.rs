//! Timings of the queue protocol. Which pairs of them are unsafe is decided here, at start, not when a lease is lost.

use std::time::Duration;

use super::durations::show;
use super::reader::Reader;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

/// A renewal may fail twice in a row before anything is lost.
const RENEWALS_PER_TTL: u32 = 3;
/// A cancelled job must have stopped within this time, and the grace is only part of it.
const CANCEL_PROMISE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub struct QueueConfig {
    /// How long one blocking pop waits for a job.
    ///
    /// Too high: a worker notices a drain, a lost connection or a high-priority job late. Too low: idle workers ask
    /// Redis all the time.
    pub block: Duration,
    /// How long a target stays locked without a renewal.
    ///
    /// Too high: targets of a dead worker wait that long. Too low: a pause (garbage in the page cache, a slow Redis)
    /// loses the lock of a job that is well, and its work is thrown away.
    pub lock_ttl: Duration,
    /// Between two signs of life of a worker and its locks.
    ///
    /// Too high: fewer tries fit in a time to live. Too low: needless load on Redis for every worker and lock.
    pub heartbeat: Duration,
    /// How long a worker counts as alive without a sign of life.
    ///
    /// Too high: jobs of a dead worker wait that long. Too low: a slow worker is declared dead and its jobs run twice
    /// (the fence makes that safe, not cheap).
    pub worker_ttl: Duration,
    /// Between two comparisons of a worker's processing list with what it holds in memory.
    ///
    /// Too high: a job taken over a connection that broke waits that long. Too low: needless load on Redis.
    pub reconcile: Duration,
    /// How long a cancelled job may clean up before it is dropped.
    ///
    /// Too high: cancel does not cancel. Too low: undo steps are cut short and the next start has to repair.
    pub cancel_grace: Duration,
}

impl QueueConfig {
    pub fn read(reader: &mut Reader) -> Self {
        let config = Self {
            block: reader.duration(
                "DEPLOYMIND_QUEUE_BLOCK",
                2 * S,
                50 * MS..=60 * S,
                "How long one blocking pop waits for a job.",
            ),
            lock_ttl: reader.duration(
                "DEPLOYMIND_QUEUE_LOCK_TTL",
                30 * S,
                100 * MS..=600 * S,
                "How long a target stays locked without a renewal; more than 3 heartbeats.",
            ),
            heartbeat: reader.duration(
                "DEPLOYMIND_QUEUE_HEARTBEAT",
                3 * S,
                10 * MS..=60 * S,
                "Between two signs of life of a worker and its locks.",
            ),
            worker_ttl: reader.duration(
                "DEPLOYMIND_QUEUE_WORKER_TTL",
                15 * S,
                100 * MS..=600 * S,
                "How long a worker counts as alive without a sign of life; more than 3 heartbeats.",
            ),
            reconcile: reader.duration(
                "DEPLOYMIND_QUEUE_RECONCILE",
                3 * S,
                50 * MS..=60 * S,
                "Between two comparisons of a worker's processing list with its memory.",
            ),
            cancel_grace: reader.duration(
                "DEPLOYMIND_QUEUE_CANCEL_GRACE",
                8 * S,
                Duration::ZERO..=60 * S,
                "How long a cancelled job may clean up; less than 10s.",
            ),
        };
        config.refuse_unsafe(reader);
        config
    }

    fn refuse_unsafe(&self, reader: &mut Reader) {
        let least = self.heartbeat * RENEWALS_PER_TTL;
        let room = show(self.heartbeat * (RENEWALS_PER_TTL + 2));
        for (key, ttl) in
            [("DEPLOYMIND_QUEUE_LOCK_TTL", self.lock_ttl), ("DEPLOYMIND_QUEUE_WORKER_TTL", self.worker_ttl)]
        {
            if ttl <= least {
                let problem =
                    format!("is unsafe: {} is not more than three heartbeats ({})", show(ttl), show(least));
                reader.refuse(key, problem, room.clone());
            }
        }
        if self.cancel_grace >= CANCEL_PROMISE {
            let problem =
                format!("is unsafe: {} is not less than {}", show(self.cancel_grace), show(CANCEL_PROMISE));
            reader.refuse("DEPLOYMIND_QUEUE_CANCEL_GRACE", problem, "8s");
        }
        if self.block > self.worker_ttl {
            let problem = format!(
                "is unsafe: {} is more than the worker's time to live ({})",
                show(self.block),
                show(self.worker_ttl)
            );
            reader.refuse("DEPLOYMIND_QUEUE_BLOCK", problem, show(self.worker_ttl / 2));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MapSource;

    fn refused(pairs: &[(&str, &str)]) -> Vec<&'static str> {
        let source = pairs.iter().fold(MapSource::new(), |source, (key, value)| source.with(*key, *value));
        let mut reader = Reader::new(&source);
        QueueConfig::read(&mut reader);
        match reader.finish() {
            Ok(()) => vec![],
            Err(errors) => errors.mistakes().iter().map(|mistake| mistake.key).collect(),
        }
    }

    #[test]
    fn the_defaults_are_safe() {
        assert!(refused(&[]).is_empty());
    }

    #[test]
    fn unsafe_pairs_are_refused_at_their_edge() {
        const LOCK: &str = "DEPLOYMIND_QUEUE_LOCK_TTL";
        const WORKER: &str = "DEPLOYMIND_QUEUE_WORKER_TTL";
        const CANCEL: &str = "DEPLOYMIND_QUEUE_CANCEL_GRACE";
        const BLOCK: &str = "DEPLOYMIND_QUEUE_BLOCK";
        assert_eq!(refused(&[(LOCK, "9s")]), [LOCK]);
        assert!(refused(&[(LOCK, "9001ms")]).is_empty());
        assert_eq!(refused(&[(WORKER, "9s")]), [WORKER]);
        assert_eq!(refused(&[("DEPLOYMIND_QUEUE_HEARTBEAT", "10s")]), [LOCK, WORKER]);
        assert_eq!(refused(&[(CANCEL, "10s")]), [CANCEL]);
        assert!(refused(&[(CANCEL, "9999ms")]).is_empty());
        assert_eq!(refused(&[(BLOCK, "16s")]), [BLOCK]);
        assert!(refused(&[(BLOCK, "15s")]).is_empty());
    }
}
