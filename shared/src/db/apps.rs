//! Apps and the targets they are deployed to.

use super::deployments::Trigger;
use super::{Db, measured, word};
use crate::domain::app::AppSettings;
use crate::error::{Code, Error, Result};
use crate::ids::{AppId, DeploymentId, EnvironmentName, ReleaseId, TargetName, UserId};

/// Longest app name. It becomes part of container names and host names (RFC 1123 labels).
pub const APP_NAME_MAX: usize = 63;

#[derive(Debug, Clone)]
pub struct NewApp {
    pub owner: UserId,
    pub name: String,
    pub repository: String,
    pub branch: String,
    pub environment: EnvironmentName,
    pub targets: Vec<TargetName>,
}

#[derive(Debug, Clone)]
pub struct App {
    pub id: AppId,
    pub owner: UserId,
    pub name: String,
    pub repository: String,
    pub branch: String,
    pub environment: EnvironmentName,
    pub targets: Vec<TargetName>,
}

/// Creates an app with its targets in one transaction.
pub async fn app_create(db: &Db, new: &NewApp) -> Result<AppId> {
    let id = AppId::generate();
    let targets: Vec<String> = new.targets.iter().map(ToString::to_string).collect();
    measured!(db, AppCreate, |conn| async {
        use sqlx::Connection as _;
        let mut txn = conn.begin().await?;
        sqlx::query!(
            "INSERT INTO apps (id, owner_id, name, repository, branch, environment) VALUES ($1, $2, $3, $4, $5, $6)",
            id.as_uuid(),
            new.owner.as_uuid(),
            new.name,
            new.repository,
            new.branch,
            new.environment.as_str(),
        )
        .execute(&mut *txn)
        .await?;
        sqlx::query!(
            "INSERT INTO app_targets (app_id, target) SELECT $1, unnest($2::text[])",
            id.as_uuid(),
            &targets,
        )
        .execute(&mut *txn)
        .await?;
        txn.commit().await?;
        Ok::<_, Error>(id)
    })
    .map_err(|error| match super::violated(&error) {
        Some("apps_environment_fkey") => Error::new(
            Code::EnvironmentUnknown,
            format!("there is no environment {:?}", new.environment.as_str()),
        ),
        Some("app_targets_target_fkey") => {
            Error::new(Code::TargetUnknown, "one of the targets does not exist; create it first")
        }
        Some("apps_name_shape" | "apps_repository_length" | "apps_branch_length") => Error::new(
            Code::FieldTooLong,
            format!(
                "an app's name is 1 to {APP_NAME_MAX} lower-case letters, digits and inner dashes; a repository has at \
                 most 2048 and a branch at most 255 characters"
            ),
        ),
        _ => error,
    })
}

/// One app of `owner`'s. Another's answers as if it did not exist.
pub async fn app_get(db: &Db, owner: UserId, id: AppId) -> Result<Option<App>> {
    let row = measured!(db, AppGet, |conn| {
        sqlx::query!(
        r#"SELECT a.id AS "id: AppId", a.owner_id AS "owner: UserId", a.name, a.repository, a.branch, a.environment,
                  ARRAY(SELECT t.target FROM app_targets t WHERE t.app_id = a.id ORDER BY t.target) AS "targets!"
           FROM apps a WHERE a.id = $1 AND a.owner_id = $2"#,
        id.as_uuid(),
        owner.as_uuid(),
    )
    .fetch_optional(conn)
    })?;
    row.map(|row| {
        Ok(App {
            id: row.id,
            owner: row.owner,
            name: row.name,
            repository: row.repository,
            branch: row.branch,
            environment: EnvironmentName::parse(&row.environment)?,
            targets: row.targets.iter().map(|name| TargetName::parse(name)).collect::<Result<_>>()?,
        })
    })
    .transpose()
}

/// Replaces the settings of `owner`'s app; whether there is one.
pub async fn app_settings_put(db: &Db, owner: UserId, id: AppId, settings: &AppSettings) -> Result<bool> {
    settings.check()?;
    let changed = measured!(db, AppSettings, |conn| sqlx::query!(
        "UPDATE apps SET settings = $3, updated_at = now() WHERE id = $1 AND owner_id = $2",
        id.as_uuid(),
        owner.as_uuid(),
        serde_json::json!(settings),
    )
    .execute(conn))?;
    Ok(changed.rows_affected() == 1)
}

/// What a deployment is of, as it stands when the deployment begins.
#[derive(Debug, Clone)]
pub struct Plan {
    pub app: App,
    pub settings: AppSettings,
    pub trigger: Trigger,
    /// Asked for; `None` means the newest of the branch.
    pub commit: Option<String>,
    /// Of a way back: what is to be rolled out. Of another, once it is made: its own.
    pub release: Option<ReleaseId>,
    /// Whether its slots may mount paths of the host.
    pub host_mounts: bool,
    /// Whether pushes deploy now.
    pub auto_deploy: bool,
}

/// For the worker that runs the deployment.
pub async fn app_plan(db: &Db, deployment: DeploymentId) -> Result<Option<Plan>> {
    let row = measured!(db, AppPlan, |conn| {
        sqlx::query!(
        r#"SELECT a.id AS "id: AppId", a.owner_id AS "owner: UserId", a.name, a.repository, a.branch, d.environment,
                  a.settings, a.host_mounts, a.auto_deploy, d.commit_sha, d.trigger, d.release_id AS "release: ReleaseId",
                  ARRAY(SELECT t.target FROM app_targets t WHERE t.app_id = a.id ORDER BY t.target) AS "targets!"
           FROM deployments d JOIN apps a ON a.id = d.app_id WHERE d.id = $1"#,
        deployment.as_uuid(),
    )
    .fetch_optional(conn)
    })?;
    row.map(|row| {
        let settings = serde_json::from_value(row.settings).map_err(|error| {
            Error::new(Code::SettingsInvalid, format!("the app's settings cannot be read: {error}"))
        })?;
        Ok(Plan {
            app: App {
                id: row.id,
                owner: row.owner,
                name: row.name,
                repository: row.repository,
                branch: row.branch,
                environment: EnvironmentName::parse(&row.environment)?,
                targets: row.targets.iter().map(|name| TargetName::parse(name)).collect::<Result<_>>()?,
            },
            settings,
            trigger: word(row.trigger)?,
            commit: row.commit_sha,
            release: row.release,
            host_mounts: row.host_mounts,
            auto_deploy: row.auto_deploy,
        })
    })
    .transpose()
}
