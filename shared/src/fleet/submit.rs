//! Jobs that belong to no app: checked, recorded, put in line. Concurrent requests share their commits.

use std::time::Duration;

use super::{Fleet, pushed_later};
use crate::batch::Batcher;
use crate::db::jobs::{self, NewJob, Placement};
use crate::domain::job::{JobKind, KIND_MAX, PAYLOAD_MAX, Priority, TARGETS_MAX};
use crate::error::{Code, Error, Result};
use crate::ids::{EnvironmentName, JobId, TargetName};
use crate::lifecycle::Lifecycle;
use crate::queue::line;
use crate::telemetry::TraceContext;

/// Requests in one commit at most.
const BATCH: usize = 256;
/// Commits under way at once: while one waits for the disk the next is prepared.
const LANES: usize = 2;

/// A wish for a job.
#[derive(Debug, Clone)]
pub struct JobRequest {
    pub kind: String,
    pub environment: EnvironmentName,
    pub priority: Priority,
    pub payload: serde_json::Value,
    pub targets: Vec<TargetName>,
    /// Not before this much time has passed.
    pub delay: Duration,
}

impl JobRequest {
    pub fn new<K: JobKind>(environment: EnvironmentName, job: &K) -> Result<Self> {
        Ok(Self {
            kind: K::KIND.to_owned(),
            environment,
            priority: Priority::Normal,
            payload: serde_json::to_value(job).map_err(|source| {
                Error::new(Code::PayloadInvalid, "this job cannot be written down").because(source)
            })?,
            targets: Vec::new(),
            delay: Duration::ZERO,
        })
    }

    /// Every rule the record would refuse it for, before it costs a round trip; and one order for the targets.
    fn checked(mut self) -> Result<Self> {
        let kind_fits = self.kind.len() <= KIND_MAX
            && self.kind.starts_with(|c: char| c.is_ascii_lowercase())
            && self.kind.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"_-".contains(&c));
        if !kind_fits {
            return Err(Error::new(
                Code::FieldTooLong,
                format!("a job kind is 1 to {KIND_MAX} lower-case letters, digits, dashes and underscores"),
            ));
        }
        let size = self.payload.to_string().len();
        if size > PAYLOAD_MAX {
            return Err(Error::new(
                Code::FieldTooLong,
                format!("the payload has {size} bytes; a job carries ids only, at most {PAYLOAD_MAX} bytes"),
            ));
        }
        if self.payload.to_string().contains("\\u0000") {
            return Err(Error::new(Code::PayloadInvalid, "the payload holds a NUL character"));
        }
        self.targets.sort();
        self.targets.dedup();
        if self.targets.len() > TARGETS_MAX {
            return Err(Error::new(
                Code::FieldTooLong,
                format!("a job may name at most {TARGETS_MAX} targets, not {}", self.targets.len()),
            ));
        }
        Ok(self)
    }

    /// As the record and the queue take it, with an id of its own.
    pub(super) fn accept(self) -> Result<(NewJob, Placement)> {
        let request = self.checked()?;
        let id = JobId::generate();
        let placement = Placement {
            job: id,
            environment: request.environment.clone(),
            priority: request.priority,
            targets: request.targets.clone(),
            delay: request.delay,
        };
        let new = NewJob {
            id,
            kind: request.kind,
            environment: request.environment,
            priority: request.priority,
            payload: request.payload,
            targets: request.targets,
            delay: request.delay,
            trace: TraceContext::current(),
        };
        Ok((new, placement))
    }
}

/// Accepts jobs. `Ok` means durable: the job ends, whatever dies now.
#[derive(Clone)]
pub struct Submitter {
    inserts: Batcher<NewJob, Result<()>>,
    pushes: Batcher<Placement, ()>,
}

impl Submitter {
    pub fn start(lifecycle: &Lifecycle, fleet: &Fleet) -> Self {
        let db = fleet.db.clone();
        let inserts = Batcher::start(lifecycle, "insert jobs", LANES, BATCH, move |new: Vec<NewJob>| {
            let db = db.clone();
            async move {
                match jobs::job_insert(&db, &new).await {
                    Ok(answers) => answers,
                    // A commit whose answer was lost may have happened; ids make a repeat by the caller harmless.
                    Err(error) => new.iter().map(|_| Err(error.again())).collect(),
                }
            }
        });
        let queue = fleet.queue.clone();
        let pushes =
            Batcher::start(lifecycle, "push jobs", LANES, BATCH, move |placements: Vec<Placement>| {
                let queue = queue.clone();
                async move {
                    pushed_later("jobs", line::enqueue(&queue, &placements).await.map(drop));
                    placements.iter().map(|_| ()).collect()
                }
            });
        Self { inserts, pushes }
    }

    pub async fn submit(&self, request: JobRequest) -> Result<JobId> {
        let (new, placement) = request.accept()?;
        let id = new.id;
        self.inserts.submit(new).await??;
        fail::fail_point!("submit.after_commit");
        self.pushes.submit(placement).await?;
        Ok(id)
    }
}
