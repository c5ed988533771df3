//! The values a deployment needs, opened for as long as it runs.

use deploymind_shared::db::credentials::credential_find;
use deploymind_shared::db::rollouts::serving_list;
use deploymind_shared::db::variables::variable_list;
use deploymind_shared::db::{Db, apps::Plan};
use deploymind_shared::domain::app::{CredentialKind, CredentialUse};
use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;
use deploymind_shared::secret::{Associated, Keyring};
use secrecy::{ExposeSecret as _, SecretString};

use super::rollout::Runnable;
use crate::build::{RegistryCredential, Variable};
use crate::checkout::{Credential, Place, credential_place};
use crate::log::Redactor;

pub(super) struct Secrets {
    pub(super) git: Option<Credential>,
    pub(super) registry: Option<RegistryCredential>,
    /// Those that the build may see.
    pub(super) build: Vec<Variable>,
    /// What serves, and what a rollback wants: with the values they were released with.
    pub(super) releases: Vec<Runnable>,
    hidden: Vec<(String, SecretString)>,
}

impl Secrets {
    /// Opens everything. One value that does not open refuses the deployment: it must never run without it.
    pub(super) async fn open(db: &Db, ring: &Keyring, plan: &Plan) -> Result<Self, Stop> {
        let mut secrets =
            Self { git: None, registry: None, build: Vec::new(), releases: Vec::new(), hidden: Vec::new() };
        for variable in variable_list(db, plan.app.id).await? {
            let value = ring.open(&Associated::variable(plan.app.id, &variable.name), &variable.sealed)?;
            if variable.secret {
                secrets.hidden.push((variable.name.clone(), value.clone()));
            }
            if variable.scope.in_build() {
                secrets.build.push(Variable { name: variable.name, value, secret: variable.secret });
            }
        }
        if let Some(Place { host, http }) = credential_place(&plan.app.repository)
            && let purpose = if http { CredentialUse::GitHttp } else { CredentialUse::GitSsh }
            && let Some(found) = credential_find(db, plan.app.id, purpose, &host).await?
        {
            let value = ring.open(&Associated::credential(found.id.as_uuid()), &found.sealed)?;
            secrets.hidden.push(("GIT_CREDENTIAL".to_owned(), value.clone()));
            secrets.git = Some(match found.kind {
                CredentialKind::DeployKey => Credential::DeployKey(value),
                CredentialKind::GitToken | CredentialKind::Registry => {
                    Credential::Token { username: found.username, token: value }
                }
            });
        }
        if let Some((host, _)) = plan.settings.registry.as_deref().and_then(|name| name.split_once('/'))
            && let Some(found) = credential_find(db, plan.app.id, CredentialUse::Registry, host).await?
        {
            let password = ring.open(&Associated::credential(found.id.as_uuid()), &found.sealed)?;
            secrets.hidden.push(("REGISTRY_PASSWORD".to_owned(), password.clone()));
            secrets.registry =
                Some(RegistryCredential { username: found.username.unwrap_or_default(), password });
        }
        let mut wanted: Vec<_> =
            serving_list(db, plan.app.id).await?.into_iter().map(|serving| serving.release).collect();
        wanted.extend(plan.release);
        wanted.sort();
        wanted.dedup();
        for release in wanted {
            let runnable = Runnable::load(db, ring, &plan.app, release).await?;
            secrets.hidden.extend(runnable.hidden().iter().cloned());
            secrets.releases.push(runnable);
        }
        Ok(secrets)
    }

    /// Also with values that were not known when it was opened.
    pub(super) async fn redactor_with(&self, more: &[(String, SecretString)]) -> Result<Redactor, Stop> {
        let mut hidden = self.hidden.clone();
        hidden.extend_from_slice(more);
        redactor(hidden).await
    }

    pub(super) async fn redactor(&self) -> Result<Redactor, Stop> {
        redactor(self.hidden.clone()).await
    }
}

/// Large values take a while to make all forms of.
async fn redactor(hidden: Vec<(String, SecretString)>) -> Result<Redactor, Stop> {
    let build = move || Redactor::new(hidden.iter().map(|(name, value)| (name, value.expose_secret())));
    let built = tokio::task::spawn_blocking(build).await.map_err(|panic| {
        Error::new(Code::JobPanicked, "the log could not be made safe for this app's secrets").because(panic)
    })?;
    Ok(built?)
}
