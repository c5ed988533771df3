//! A commit of a repository, as plain files in a private directory.
//!
//! Owns every call of the `git` program: which commit a branch names ([`resolve`]), and its files ([`checkout`]). The
//! repository, its server and its files are all hostile: no hook, filter, credential helper or option of theirs is obeyed,
//! and nothing is written to the work tree before its size and its links have been judged.
//!
//! Must not know the record, the credential store or the pipeline: all it needs is in the [`Request`].

mod address;
mod child;
mod commit;
mod explain;
mod fetch;
mod name;
mod private;
mod submodule;
mod tree;
mod write;

use std::path::{Path, PathBuf};
use std::time::Duration;

use deploymind_shared::clock::Timestamp;
use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::log::Lines;

/// What to fetch, from where, and how much of it at most.
#[derive(Debug, Clone)]
pub struct Request {
    /// `https://`, `http://`, `ssh://` or `user@host:path`. Never holds a credential.
    pub repository: String,
    pub want: Want,
    pub credential: Option<Credential>,
    /// Lines of an OpenSSH `known_hosts` file. Without the server's, nothing is fetched over SSH.
    pub known_hosts: Option<String>,
    /// A path that need not exist, for the object store and the credential's files. It is emptied first and gone
    /// afterwards, however the call ends. On the disk of the work tree, and of this deployment alone.
    pub private: PathBuf,
    pub limits: Limits,
    /// Also `file://` and plain paths, and a token over unencrypted HTTP. For tests and `--dev`.
    pub allow_local: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// The newest commit of a branch.
    Branch(String),
    /// Exactly this commit. The branch is where it is looked for when the server hands out tips of branches alone.
    Commit { sha: String, branch: Option<String> },
}

#[derive(Debug, Clone)]
pub enum Credential {
    /// For HTTP. The user name is `x-access-token` (GitHub's) unless given.
    Token { username: Option<String>, token: SecretString },
    /// For SSH: a private key without a passphrase.
    DeployKey(SecretString),
}

/// All are for the repository and its submodules together.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Sum of the files' sizes in bytes. What is fetched, which is compressed, may be an eighth and 1 MiB larger.
    pub bytes: u64,
    pub files: u64,
    /// For everything that talks to the server. Too high: a server that drips holds a worker's slot. Too low: a large
    /// repository on a slow line never arrives.
    pub fetch_deadline: Duration,
    /// How long a server may send less than 1,000 bytes a second before it counts as gone.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 2 << 30,
            files: 200_000,
            fetch_deadline: Duration::from_secs(600),
            stall: Duration::from_secs(30),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedCommit {
    pub commit: String,
    pub branch: Option<String>,
}

/// What now lies in the work tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkout {
    /// 40 or 64 hexadecimal digits.
    pub commit: String,
    pub branch: Option<String>,
    /// The first 4,000 characters.
    pub message: String,
    /// The name without the address: it is shown to people who need not know the address.
    pub author: String,
    pub committed_at: Timestamp,
    pub files: u64,
    pub bytes: u64,
    /// Files that hold a Git LFS pointer instead of their content.
    pub lfs_pointers: u64,
    pub submodules: Vec<Submodule>,
    pub warnings: Vec<Warning>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submodule {
    pub path: String,
    pub commit: String,
}

/// Something a person should know that did not stop the checkout. Also said in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// `DM-nnnn` where there is a page about it.
    pub code: Option<String>,
    pub text: String,
}

/// Where a credential is sent and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `host[:port]`.
    pub host: String,
    /// Whether it takes a token; a key otherwise.
    pub http: bool,
}

/// Where the credential of a repository belongs. `None` for an address that is not taken, and for a local one.
pub fn credential_place(repository: &str) -> Option<Place> {
    let address = address::Address::parse(repository, true).ok()?;
    let http = matches!(address.scheme, address::Scheme::Https | address::Scheme::Http);
    match (address.host.as_str(), address.port) {
        ("", _) => None,
        (host, None) => Some(Place { host: host.to_owned(), http }),
        (host, Some(port)) => Some(Place { host: format!("{host}:{port}"), http }),
    }
}

/// Asks the server which commit a branch names. A [`Want::Commit`] is only checked for its form.
///
/// # Errors
/// `RepositoryAddress`, `RepositoryNotFound`, `RepositoryDenied`, `RepositoryUnreachable` (retryable), `RepositoryEmpty`,
/// `BranchNotFound`, `HostKeyRefused`, `CommitNotFound` for a malformed SHA, `WorkspaceFailed`, `GitFailed`.
pub async fn resolve(request: &Request, cancel: &CancellationToken) -> Result<ResolvedCommit, Stop> {
    let want = name::checked(&request.want)?;
    let origin = address::Address::parse(&request.repository, request.allow_local)?;
    let private = private::Private::create(request, &origin).await?;
    let git = child::Git::new(&private, cancel, request.limits);
    fetch::resolve(&git, &origin, &want).await
}

/// Puts the files of the wanted commit into `into`, which is emptied first and is mode 0700 afterwards; its files are 644
/// or 755 and hold exactly the committed bytes. There is no `.git` in it. On an error `into` does not exist.
///
/// # Errors
/// Those of [`resolve`], and `CommitNotFound`, `RepositoryTooLarge`, `TreeEscapes`, `SubmoduleRefused`.
pub async fn checkout(
    request: &Request,
    into: &Path,
    lines: &Lines,
    cancel: &CancellationToken,
) -> Result<Checkout, Stop> {
    write::clear(into).await?;
    let want = name::checked(&request.want)?;
    let origin = address::Address::parse(&request.repository, request.allow_local)?;
    let private = private::Private::create(request, &origin).await?;
    let git = child::Git::new(&private, cancel, request.limits).speaking(lines);

    let resolved = fetch::resolve(&git, &origin, &want).await?;
    lines.info(format!("Fetching {} from {origin}", resolved.commit)).await;
    let store = private.store(0);
    fetch::fetch(&git, &store, &origin, &resolved).await?;
    let described = commit::describe(&git, &store, &resolved.commit).await?;

    let mut trees = tree::Trees::new(request.limits);
    trees.add(&git, store, Vec::new(), &resolved.commit, &origin).await?;
    submodule::fetch_all(&git, &private, &origin, &mut trees).await?;
    trees.judge_links()?;

    let lfs = write::write(&git, &trees, into).await?;
    let warnings = trees.warnings(&lfs);
    for warning in &warnings {
        lines.warn(warning.to_string()).await;
    }
    lines
        .info(format!(
            "Checked out {}: {} files, {}",
            resolved.commit,
            trees.files(),
            tree::size_in_words(trees.bytes())
        ))
        .await;
    Ok(Checkout {
        commit: resolved.commit,
        branch: resolved.branch,
        message: described.message,
        author: described.author,
        committed_at: described.committed_at,
        files: trees.files(),
        bytes: trees.bytes(),
        lfs_pointers: lfs.count,
        submodules: trees.submodules(),
        warnings,
    })
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{code}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// The worker's own disk refused something.
fn workspace(context: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |error| {
        let sentence = format!(
            "the worker could not write the work directory ({}); look at the room and the rights on its disk",
            error.kind()
        );
        Error::new(Code::WorkspaceFailed, sentence).context(context).because(error)
    }
}

#[cfg(test)]
mod tests;
