//! Releases with everything that is needed to run them.

use deploymind_shared::db::Db;
use deploymind_shared::db::apps::App;
use deploymind_shared::db::releases::{release_get, release_variables};
use deploymind_shared::domain::release::ReleaseSpec;
use deploymind_shared::error::{Code, Error};
use deploymind_shared::ids::{DeploymentId, ReleaseId};
use deploymind_shared::retry::Stop;
use deploymind_shared::secret::{Associated, Keyring};
use secrecy::SecretString;

use crate::runtime::{AppRef, Launch, SlotName};

/// What tells a program where to listen, by the convention of every platform that runs programs.
const PORT: &str = "PORT";

#[derive(Debug, Clone)]
pub(in crate::pipeline) struct Runnable {
    pub(in crate::pipeline) release: ReleaseId,
    pub(in crate::pipeline) spec: ReleaseSpec,
    deployment: DeploymentId,
    variables: Vec<(String, SecretString)>,
    /// Those whose values nobody may see.
    hidden: Vec<(String, SecretString)>,
}

impl Runnable {
    /// One variable that does not open refuses the roll-out: it must never run without it.
    pub(in crate::pipeline) async fn load(
        db: &Db,
        ring: &Keyring,
        app: &App,
        release: ReleaseId,
    ) -> Result<Self, Stop> {
        let unknown =
            || Error::new(Code::ReleaseUnknown, format!("release {release} is not one of this app's"));
        let found =
            release_get(db, release).await?.filter(|found| found.app == app.id).ok_or_else(unknown)?;
        let spec: ReleaseSpec = serde_json::from_value(found.spec).map_err(|error| {
            Error::new(
                Code::ReleaseUnknown,
                format!(
                    "release {release} was written by another version of this program; deploy its commit anew"
                ),
            )
            .because(error)
        })?;
        let (mut variables, mut hidden) = (Vec::new(), Vec::new());
        for variable in release_variables(db, release).await? {
            let value = ring.open(&Associated::variable(app.id, &variable.name), &variable.sealed)?;
            if variable.secret {
                hidden.push((variable.name.clone(), value.clone()));
            }
            variables.push((variable.name, value));
        }
        if let Some(port) = spec.port
            && !variables.iter().any(|(name, _)| name == PORT)
        {
            variables.push((PORT.to_owned(), SecretString::from(port.to_string())));
        }
        Ok(Self { release, spec, deployment: found.deployment, variables, hidden })
    }

    pub(in crate::pipeline) fn hidden(&self) -> &[(String, SecretString)] {
        &self.hidden
    }

    pub(super) fn launch(&self, app: &AppRef, slot: SlotName, host_mounts: bool) -> Launch {
        Launch {
            app: app.clone(),
            slot,
            release: self.release,
            deployment: self.deployment,
            spec: self.spec.clone(),
            variables: self.variables.clone(),
            host_mounts,
        }
    }
}
