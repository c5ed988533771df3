//! What keeps a bad version from coming back: apps that are pinned, and commits that were rolled back.

use sqlx::PgConnection;

use super::jobs::storable;
use super::{Db, measured};
use crate::domain::rollout::AUTOMATIC_ROLLBACKS_MAX;
use crate::error::{Code, Error, Result};
use crate::ids::{AppId, UserId};

/// Why a push may not deploy. Asked while the app's row is locked, so that a pin that is being written is seen.
pub(super) async fn push_admit_in_txn(
    txn: &mut PgConnection,
    app: AppId,
    commit: Option<&str>,
) -> Result<()> {
    let row = sqlx::query!(
        r#"SELECT a.auto_deploy, a.pinned_reason, a.automatic_rollbacks, b.reason AS "bad?"
           FROM apps a LEFT JOIN bad_commits b ON b.app_id = a.id AND b.commit_sha = $2 WHERE a.id = $1"#,
        app.as_uuid(),
        commit,
    )
    .fetch_one(txn)
    .await?;
    if !row.auto_deploy {
        let reason = row.pinned_reason.as_deref().unwrap_or("somebody turned automatic deployments off");
        return Err(Error::new(
            Code::AppPinned,
            format!("pushes do not deploy ({reason}); deploy by hand or let pushes deploy again"),
        ));
    }
    if row.automatic_rollbacks >= AUTOMATIC_ROLLBACKS_MAX {
        return Err(Error::new(
            Code::RollbackLoop,
            format!(
                "the last {} roll-outs all went back by themselves; deploy by hand once the cause is found",
                row.automatic_rollbacks
            ),
        ));
    }
    if let Some(reason) = row.bad {
        return Err(Error::new(
            Code::CommitBad,
            format!("this commit was rolled back before ({reason}); push a mended one, or deploy it by hand"),
        ));
    }
    Ok(())
}

/// A person deploys by hand: the row of automatic ways back is over.
pub(super) async fn acted_in_txn(txn: &mut PgConnection, app: AppId) -> Result<()> {
    sqlx::query!(
        "UPDATE apps SET automatic_rollbacks = 0 WHERE id = $1 AND automatic_rollbacks <> 0",
        app.as_uuid()
    )
    .execute(txn)
    .await?;
    Ok(())
}

/// Why a commit is not to be deployed by a push, if it is not.
pub async fn commit_is_bad(db: &Db, app: AppId, commit: &str) -> Result<Option<String>> {
    measured!(db, BadCommitGet, |conn| sqlx::query_scalar!(
        "SELECT reason FROM bad_commits WHERE app_id = $1 AND commit_sha = $2",
        app.as_uuid(),
        commit
    )
    .fetch_optional(conn))
}

/// Lets a commit be pushed again; whether it was held back.
pub async fn bad_commit_forget(db: &Db, app: AppId, commit: &str) -> Result<bool> {
    let gone = measured!(db, BadCommitForget, |conn| sqlx::query!(
        "DELETE FROM bad_commits WHERE app_id = $1 AND commit_sha = $2",
        app.as_uuid(),
        commit
    )
    .execute(conn))?;
    Ok(gone.rows_affected() == 1)
}

/// Pushes of `owner`'s app deploy no more; whether there is such an app.
pub async fn app_pin(db: &Db, owner: UserId, app: AppId, reason: &str) -> Result<bool> {
    let pinned = measured!(db, AppPin, |conn| sqlx::query!(
        "UPDATE apps SET auto_deploy = false, pinned_reason = $3 WHERE id = $1 AND owner_id = $2",
        app.as_uuid(),
        owner.as_uuid(),
        storable(reason),
    )
    .execute(conn))
    .map_err(|error| match super::violated(&error) {
        Some("apps_pinned_reason_length") => {
            Error::new(Code::FieldTooLong, "the reason of a pin has at most 1000 characters")
        }
        _ => error,
    })?;
    Ok(pinned.rows_affected() == 1)
}

/// Pushes of `owner`'s app deploy again, whatever came before; whether there is such an app. Bad commits stay bad.
pub async fn app_unpin(db: &Db, owner: UserId, app: AppId) -> Result<bool> {
    let unpinned = measured!(db, AppPin, |conn| {
        sqlx::query!(
        "UPDATE apps SET auto_deploy = true, pinned_reason = NULL, automatic_rollbacks = 0 WHERE id = $1 AND owner_id = $2",
        app.as_uuid(),
        owner.as_uuid(),
    )
    .execute(conn)
    })?;
    Ok(unpinned.rows_affected() == 1)
}

/// Whether an app may mount paths of its hosts: an administrator's to say, not its owner's. Answers whether there is such an app.
pub async fn app_host_mounts_put(db: &Db, app: AppId, permitted: bool) -> Result<bool> {
    let changed = measured!(db, AppHostMounts, |conn| sqlx::query!(
        "UPDATE apps SET host_mounts = $2 WHERE id = $1",
        app.as_uuid(),
        permitted,
    )
    .execute(conn))?;
    Ok(changed.rows_affected() == 1)
}
