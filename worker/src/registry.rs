//! Which code runs which kind of job.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deploymind_shared::domain::deployment::DeploymentStatus;
use deploymind_shared::domain::job::JobKind;
use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;

use crate::context::JobContext;

/// What a job that came to its end leaves for the record.
#[derive(Debug, Default)]
pub struct Done {
    /// Where the job's deployment ends; only for jobs that have one.
    pub deployment: Option<DeploymentStatus>,
    /// Why it ended there, where that is not what was wanted.
    pub why: Option<(Code, String)>,
}

impl Done {
    pub fn deployment(status: DeploymentStatus) -> Self {
        Self { deployment: Some(status), why: None }
    }
}

/// The code behind one kind.
///
/// # Guarantees
/// Each call holds the claim: record writes made through [`JobContext`] are refused once another worker has it.
///
/// # Assumptions
/// The work may run again after a crash at any line; effects are fenced by attempt or epoch, and repeating them is
/// harmless. It looks at [`JobContext::check`] before each effect and returns soon after it says stop.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    type Kind: JobKind;

    async fn run(&self, job: Self::Kind, context: JobContext) -> Result<Done, Stop>;
}

#[async_trait]
trait Erased: Send + Sync {
    async fn run(&self, payload: serde_json::Value, context: JobContext) -> Result<Done, Stop>;
}

#[async_trait]
impl<H: Handler> Erased for H {
    async fn run(&self, payload: serde_json::Value, context: JobContext) -> Result<Done, Stop> {
        match serde_json::from_value(payload) {
            Ok(job) => Handler::run(self, job, context).await,
            Err(source) => Err(Stop::Terminal(
                Error::new(
                    Code::PayloadInvalid,
                    format!("the payload is not what a {:?} job carries", H::Kind::KIND),
                )
                .because(source),
            )),
        }
    }
}

/// What the fleet must know about a kind, and its code.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) kind: &'static str,
    pub(crate) max_tries: i32,
    pub(crate) deadline: Duration,
    handler: Arc<dyn Erased>,
}

impl Entry {
    pub(crate) async fn run(&self, payload: serde_json::Value, context: JobContext) -> Result<Done, Stop> {
        self.handler.run(payload, context).await
    }
}

/// All kinds this worker has code for.
#[derive(Clone, Default)]
pub struct Registry(HashMap<&'static str, Entry>);

impl Registry {
    #[must_use]
    pub fn with<H: Handler>(mut self, handler: H) -> Self {
        let entry = Entry {
            kind: H::Kind::KIND,
            max_tries: H::Kind::MAX_TRIES,
            deadline: H::Kind::DEADLINE,
            handler: Arc::new(handler),
        };
        self.0.insert(H::Kind::KIND, entry);
        self
    }

    pub(crate) fn get(&self, kind: &str) -> Option<&Entry> {
        self.0.get(kind)
    }

    pub fn kinds(&self) -> Vec<&'static str> {
        self.0.keys().copied().collect()
    }
}
