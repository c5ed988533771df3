//! The probe: an operator's proof that this environment's workers take, claim and finish.

use async_trait::async_trait;
use deploymind_shared::domain::job::Probe;
use deploymind_shared::retry::Stop;

use crate::context::JobContext;
use crate::registry::{Done, Handler};

pub struct ProbeHandler;

#[async_trait]
impl Handler for ProbeHandler {
    type Kind = Probe;

    async fn run(&self, _: Probe, context: JobContext) -> Result<Done, Stop> {
        context.check()?;
        Ok(Done::default())
    }
}
