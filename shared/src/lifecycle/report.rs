//! How a shutdown went.

/// What [`Lifecycle::shutdown`](super::Lifecycle::shutdown) found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShutdownReport {
    /// The grace ran out before all tasks had ended.
    pub forced: bool,
    /// The names of the tasks that had not ended.
    pub still_running: Vec<String>,
    /// Why the process went down by itself: the task that ended although it must not.
    pub failed: Option<String>,
}

impl ShutdownReport {
    /// 0 after an orderly end, 1 when a task failed or the end was forced.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.forced || self.failed.is_some())
    }
}
