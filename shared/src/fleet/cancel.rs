//! Cancel: a waiting job ends at once, a running one is told and must end within ten seconds.

use super::{Fleet, pushed_later, unknown};
use crate::db::jobs::{self, Cancelled};
use crate::domain::job::CancelReason;
use crate::error::{Code, Error, Result};
use crate::ids::JobId;
use crate::queue::{control, line};

/// What a cancel did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// It was waiting and has ended.
    Ended,
    /// It runs; its worker was told and will end it.
    Stopping,
}

impl Fleet {
    pub async fn cancel(&self, job: JobId) -> Result<Cancel> {
        match jobs::job_cancel(&self.db, job, CancelReason::User).await? {
            Cancelled::Ended { app } => {
                let apps: Vec<_> = app.into_iter().collect();
                let cleanup = async {
                    line::withdraw(&self.queue, &[job]).await?;
                    self.advance_apps(&apps).await
                };
                pushed_later("cancel", cleanup.await);
                Ok(Cancel::Ended)
            }
            Cancelled::Asked { worker } => {
                let told = control::tell(&self.queue, worker, control::Message::Cancel(job)).await;
                pushed_later("cancel", told.map(drop));
                Ok(Cancel::Stopping)
            }
            Cancelled::Late => Err(Error::new(Code::JobEnded, format!("job {job} has already ended"))),
            Cancelled::Unknown => Err(unknown(job)),
        }
    }
}
