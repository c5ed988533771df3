//! The folder of one deployment on this worker's disk: the tree as it was checked out, and what steps hand each other.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use deploymind_shared::error::{Code, Error};
use deploymind_shared::ids::DeploymentId;

use super::evict::evict;

/// `<work folder>/<fleet>/<deployment>`.
#[derive(Debug, Clone)]
pub(super) struct Workspace {
    root: PathBuf,
}

/// All workspaces of a fleet on this machine. Other workers of the fleet may use the same folder.
#[derive(Debug, Clone)]
pub struct Workspaces {
    root: PathBuf,
}

impl Workspaces {
    /// Makes the folder. Only its owner may look inside: it holds people's source.
    pub fn open(work_dir: &Path, fleet: &str) -> Result<Self, Error> {
        let root = work_dir.join(fleet);
        create_private(&root).map_err(|error| {
            Error::new(
                Code::WorkspaceFailed,
                format!(
                    "the work folder {} cannot be made or written; set DEPLOYMIND_WORK_DIR to one that can",
                    root.display()
                ),
            )
            .because(error)
        })?;
        Ok(Self { root })
    }

    pub(super) fn of(&self, deployment: DeploymentId) -> Workspace {
        Workspace { root: self.root.join(deployment.to_string()) }
    }

    /// The deployments that have a folder here. Anything with another name is not ours.
    pub(super) async fn list(&self) -> io::Result<Vec<DeploymentId>> {
        let mut found = Vec::new();
        let mut entries = tokio::fs::read_dir(&self.root).await?;
        while let Some(entry) = entries.next_entry().await? {
            if let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                found.push(id);
            }
        }
        Ok(found)
    }
}

impl Workspace {
    /// The checked-out tree.
    pub(super) fn tree(&self) -> PathBuf {
        self.root.join("tree")
    }

    /// Files that only the pipeline writes.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(super) async fn create(&self) -> Result<(), Error> {
        let root = self.root.clone();
        tokio::task::spawn_blocking(move || create_private(&root))
            .await
            .map_err(io::Error::other)
            .flatten()
            .map_err(failed)
    }

    /// The commit of the tree, if one was checked out to its end.
    pub(super) async fn commit(&self) -> Option<String> {
        tokio::fs::read_to_string(self.file("commit")).await.ok()
    }

    /// Marks the tree as whole. Written last, in one rename.
    pub(super) async fn seal(&self, commit: &str) -> Result<(), Error> {
        let draft = self.file("commit.new");
        tokio::fs::write(&draft, commit).await.map_err(failed)?;
        tokio::fs::rename(&draft, self.file("commit")).await.map_err(failed)
    }

    /// Ends what a worker that died left running in here. Nobody who still holds the deployment may be at work in it.
    pub(super) async fn evict(&self) -> Result<(), Error> {
        let root = self.root.clone();
        let ended = tokio::task::spawn_blocking(move || evict(&root))
            .await
            .map_err(io::Error::other)
            .map_err(failed)?;
        if ended > 0 {
            tracing::info!(folder = %self.root.display(), processes = ended, "ended what a dead worker left running");
        }
        Ok(())
    }

    /// Whether nothing has been put there or taken away for so long.
    pub(super) async fn untouched_for(&self, least: Duration) -> bool {
        let changed = tokio::fs::metadata(&self.root).await.and_then(|data| data.modified());
        changed.is_ok_and(|at| at.elapsed().is_ok_and(|age| age >= least))
    }

    /// Removes everything, and whatever still runs in it; nothing there is fine.
    pub(super) async fn remove(&self) -> Result<(), Error> {
        self.evict().await?;
        // The mark first: a tree that is half gone must not pass for whole.
        for result in
            [tokio::fs::remove_file(self.file("commit")).await, tokio::fs::remove_dir_all(&self.root).await]
        {
            match result {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        Ok(())
    }
}

fn create_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

pub(super) fn failed(error: io::Error) -> Error {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let why = if full { "is full" } else { "refused a file" };
    Error::new(Code::WorkspaceFailed, format!("the worker's disk {why}; look at its work folder"))
        .because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_sealed_tree_counts_and_removal_may_be_repeated() {
        let folder = tempfile::tempdir().expect("folder");
        let all = Workspaces::open(folder.path(), "fleet").expect("open");
        let id = DeploymentId::generate();
        let one = all.of(id);
        one.create().await.expect("create");
        assert_eq!(one.commit().await, None);
        one.seal("abc").await.expect("seal");
        assert_eq!(one.commit().await.as_deref(), Some("abc"));
        std::fs::create_dir(folder.path().join("fleet/not-ours")).expect("stranger");
        assert_eq!(all.list().await.expect("list"), [id]);
        one.remove().await.expect("remove");
        one.remove().await.expect("again");
        assert_eq!(all.list().await.expect("list"), []);
    }
}
