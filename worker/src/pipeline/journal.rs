//! The journal of one deployment: what has been begun, what is done and with which output. In the record before and after
//! each step, so that whoever takes the deployment over knows where it stands.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use deploymind_shared::db::steps::{Step, StepState, step_list, step_write};
use deploymind_shared::ids::DeploymentId;
use deploymind_shared::retry::Stop;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::JobContext;

pub(super) struct Journal {
    context: JobContext,
    rows: Mutex<BTreeMap<String, Entry>>,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) state: StepState,
    output: Option<serde_json::Value>,
}

impl Journal {
    /// What earlier runs of the deployment left.
    pub(super) async fn open(context: &JobContext, deployment: DeploymentId) -> Result<Self, Stop> {
        let rows = step_list(context.db(), deployment).await?;
        let rows = rows
            .into_iter()
            .map(|row| (row.step, Entry { state: row.state, output: row.output }))
            .collect::<BTreeMap<_, _>>();
        Ok(Self { context: context.clone(), rows: Mutex::new(rows) })
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        // Nothing panics while holding it.
        self.rows.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The output of a step that was done. One that this version cannot read counts as not done.
    pub(super) fn output<T: DeserializeOwned>(&self, step: &str) -> Option<T> {
        let rows = self.rows();
        let entry = rows.get(step).filter(|entry| entry.state == StepState::Done)?;
        serde_json::from_value(entry.output.clone()?).ok()
    }

    /// Whether it was ever begun and not undone: then something of it may be there.
    pub(super) fn touched(&self, step: &str) -> bool {
        self.rows().get(step).is_some_and(|entry| entry.state != StepState::Undone)
    }

    pub(super) async fn write(
        &self,
        step: &str,
        state: StepState,
        output: Option<serde_json::Value>,
    ) -> Result<(), Stop> {
        let row = Step {
            step: step.to_owned(),
            state,
            attempt: self.context.attempt(),
            epoch: None,
            output: output.clone(),
        };
        step_write(self.context.db(), self.context.id(), self.context.attempt(), &row).await?;
        self.rows().insert(step.to_owned(), Entry { state, output });
        Ok(())
    }

    pub(super) async fn write_done<T: Serialize>(&self, step: &str, output: &T) -> Result<(), Stop> {
        self.write(step, StepState::Done, Some(serde_json::json!(output))).await
    }
}
