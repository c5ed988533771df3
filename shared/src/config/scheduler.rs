//! Settings of a scheduler process.

use std::time::Duration;

use super::reader::Reader;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    /// How long a leader leads without a renewal.
    ///
    /// Too high: nobody reconciles that long after a leader died. Too low: leadership changes hands at every pause.
    pub leader_ttl: Duration,
    /// Between two comparisons of the record with Redis.
    ///
    /// Too high: a job whose push was lost waits that long. Too low: the record is scanned all the time.
    pub reconcile: Duration,
    /// Between two searches for dead workers.
    ///
    /// Too high: their jobs wait that much longer than the worker's time to live. Too low: needless load on Redis.
    pub reap: Duration,
    /// Between two searches for delayed jobs that are due.
    ///
    /// Too high: retries and scheduled jobs start late by up to this. Too low: needless load on Redis.
    pub promote: Duration,
    /// Between two searches for parked jobs whose target is free.
    ///
    /// Too high: a job whose hand-over was lost waits that long. Too low: needless load on Redis.
    pub unpark: Duration,
    /// Between two removals of what is older than it must be kept.
    ///
    /// Too high: removals come in large lumps. Too low: needless scans.
    pub retain: Duration,
    /// Between two searches for roll-outs that their deployments left half way.
    ///
    /// Too high: users may reach two releases at once for that much longer. Too low: needless load on Postgres.
    pub settle: Duration,
    /// Between two clean-ups of each Docker host.
    ///
    /// Too high: images, slots and build cache that nobody needs fill its disk. Too low: its engine is asked for lists all the
    /// time, and deployments wait for its lock.
    pub collect: Duration,
    /// How long a finished job is kept.
    ///
    /// Too high: tables and their indexes grow. Too low: nobody can say why last week's deployment failed.
    pub keep_finished: Duration,
    /// How long log lines are kept.
    ///
    /// Too high: logs are the largest table by far. Too low: a failure noticed late cannot be explained.
    pub keep_logs: Duration,
}

impl SchedulerConfig {
    pub fn read(reader: &mut Reader) -> Self {
        Self {
            leader_ttl: reader.duration(
                "DEPLOYMIND_SCHEDULER_LEADER_TTL",
                6 * S,
                500 * MS..=300 * S,
                "How long a leader leads without a renewal.",
            ),
            reconcile: reader.duration(
                "DEPLOYMIND_SCHEDULER_RECONCILE",
                3 * S,
                50 * MS..=300 * S,
                "Between two comparisons of Postgres with Redis.",
            ),
            reap: reader.duration(
                "DEPLOYMIND_SCHEDULER_REAP",
                2 * S,
                50 * MS..=300 * S,
                "Between two searches for dead workers.",
            ),
            promote: reader.duration(
                "DEPLOYMIND_SCHEDULER_PROMOTE",
                250 * MS,
                10 * MS..=60 * S,
                "Between two searches for delayed jobs that are due.",
            ),
            unpark: reader.duration(
                "DEPLOYMIND_SCHEDULER_UNPARK",
                2 * S,
                50 * MS..=300 * S,
                "Between two searches for parked jobs whose target is free.",
            ),
            retain: reader.duration(
                "DEPLOYMIND_SCHEDULER_RETAIN",
                3600 * S,
                S..=7 * DAY,
                "Between two removals of what is older than it must be kept.",
            ),
            settle: reader.duration(
                "DEPLOYMIND_SCHEDULER_SETTLE",
                2 * S,
                50 * MS..=300 * S,
                "Between two searches for roll-outs that were left half way.",
            ),
            collect: reader.duration(
                "DEPLOYMIND_SCHEDULER_COLLECT",
                3600 * S,
                S..=7 * DAY,
                "Between two clean-ups of each Docker host.",
            ),
            keep_finished: reader.duration(
                "DEPLOYMIND_SCHEDULER_KEEP_FINISHED",
                30 * DAY,
                60 * S..=3650 * DAY,
                "How long a finished job is kept.",
            ),
            keep_logs: reader.duration(
                "DEPLOYMIND_SCHEDULER_KEEP_LOGS",
                30 * DAY,
                60 * S..=3650 * DAY,
                "How long log lines are kept.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MapSource;

    #[test]
    fn defaults_hold_and_a_zero_period_is_refused() {
        let source = MapSource::new();
        let mut reader = Reader::new(&source);
        let config = SchedulerConfig::read(&mut reader);
        reader.finish().expect("valid");
        assert_eq!(config.promote, 250 * MS);
        assert_eq!(config.keep_logs, 30 * DAY);

        let source = MapSource::from([("DEPLOYMIND_SCHEDULER_REAP", "0s")]);
        let mut reader = Reader::new(&source);
        SchedulerConfig::read(&mut reader);
        assert!(reader.finish().is_err(), "a zero period would spin");
    }
}
