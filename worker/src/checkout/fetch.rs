//! From an address to the objects of one commit in a store of our own.

use std::path::Path;

use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;

use super::address::Address;
use super::child::{Git, Run};
use super::explain::{self, Reason};
use super::{ResolvedCommit, Want};

/// How far back a branch is searched on a server that hands out tips alone.
const DEPTHS: [u32; 3] = [50, 500, 5_000];
const KEPT: &str = "refs/deploymind/commit";

/// Asks the server where a branch stands. A commit needs no asking.
pub(super) async fn resolve(git: &Git<'_>, origin: &Address, want: &Want) -> Result<ResolvedCommit, Stop> {
    let branch = match want {
        Want::Commit { sha, branch } => {
            return Ok(ResolvedCommit { commit: sha.clone(), branch: branch.clone() });
        }
        Want::Branch(branch) => branch,
    };
    let full = format!("refs/heads/{branch}");
    let refs = advertised(git, origin, &["HEAD", &full]).await?;
    if let Some((commit, _)) = refs.iter().find(|(_, name)| *name == full) {
        return Ok(ResolvedCommit { commit: commit.clone(), branch: Some(branch.clone()) });
    }
    if refs.is_empty() && advertised(git, origin, &[]).await?.is_empty() {
        return Err(empty(origin).into());
    }
    Err(Stop::terminal(
        Code::BranchNotFound,
        format!(
            "{origin} has no branch {branch:?}; was it deleted or renamed? `git ls-remote --heads {origin}` lists them"
        ),
    ))
}

fn empty(origin: &Address) -> Error {
    Error::new(Code::RepositoryEmpty, format!("{origin} has no commit yet; push one and deploy again"))
}

/// `(id, name)` of the refs that match, at most those that fit in 1 MiB.
async fn advertised(
    git: &Git<'_>,
    origin: &Address,
    patterns: &[&str],
) -> Result<Vec<(String, String)>, Stop> {
    const MOST: usize = 1 << 20;
    let address = origin.to_string();
    let mut args = vec!["ls-remote", "--quiet", "--", &address];
    args.extend(patterns);
    let mut text = Vec::new();
    let ended = git
        .run(Run::new(&args).remote(), |piece| {
            text.extend_from_slice(piece);
            if text.len() > MOST {
                std::ops::ControlFlow::Break(())
            } else {
                std::ops::ControlFlow::Continue(())
            }
        })
        .await?;
    if !ended.success && !ended.satisfied {
        return Err(explain::remote(&ended, origin, git).into());
    }
    let text = String::from_utf8_lossy(&text);
    let refs = text.lines().filter_map(|line| line.split_once('\t'));
    Ok(refs
        .filter(|(id, _)| super::name::is_sha(id))
        .map(|(id, name)| (id.to_owned(), name.to_owned()))
        .collect())
}

/// Fetches the one commit, without history where the server allows it, into a new bare store.
pub(super) async fn fetch(
    git: &Git<'_>,
    store: &Path,
    origin: &Address,
    wanted: &ResolvedCommit,
) -> Result<(), Stop> {
    let format = if wanted.commit.len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" };
    let path = store.display().to_string();
    git.output(Run::new(&["init", "--quiet", "--bare", "--template=", format, "--", &path]), 1 << 16).await?;

    let exact = format!("+{}:{KEPT}", wanted.commit);
    match fetch_into(git, store, origin, &exact, 1).await? {
        None => {}
        Some((Reason::CommitMissing, error)) => return Err(missing(git, origin, error).await),
        Some((Reason::TipsOnly, error)) => search(git, store, origin, wanted, error).await?,
        Some((_, error)) => return Err(error.into()),
    }
    let kind = git.output(Run::new(&["cat-file", "-t", &wanted.commit]).env("GIT_DIR", store), 64).await?;
    if kind != b"commit\n" {
        return Err(Stop::terminal(
            Code::CommitNotFound,
            format!(
                "{} in {origin} is not a commit; give the id of one (`git rev-parse HEAD`)",
                wanted.commit
            ),
        ));
    }
    Ok(())
}

/// `None` when it went well.
async fn fetch_into(
    git: &Git<'_>,
    store: &Path,
    origin: &Address,
    refspec: &str,
    depth: u32,
) -> Result<Option<(Reason, Error)>, Stop> {
    let (depth, address) = (format!("--depth={depth}"), origin.to_string());
    let args = [
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-auto-gc",
        &depth,
        "--",
        &address,
        refspec,
    ];
    let run = Run::new(&args).remote().env("GIT_DIR", store);
    let ended = git.run(run, |_| std::ops::ControlFlow::Continue(())).await?;
    if ended.success {
        return Ok(None);
    }
    Ok(Some((explain::reason(&ended.stderr), explain::remote(&ended, origin, git))))
}

/// An empty repository misses every commit; say that instead.
async fn missing(git: &Git<'_>, origin: &Address, error: Error) -> Stop {
    match advertised(git, origin, &[]).await {
        Ok(refs) if refs.is_empty() => empty(origin).into(),
        Err(Stop::Cancelled) => Stop::Cancelled,
        _ => error.into(),
    }
}

/// The server does not hand out a commit by its id: looks for it below the tip of its branch, deeper and deeper.
async fn search(
    git: &Git<'_>,
    store: &Path,
    origin: &Address,
    wanted: &ResolvedCommit,
    error: Error,
) -> Result<(), Stop> {
    let from = wanted.branch.as_deref().map_or("HEAD".to_owned(), |branch| format!("refs/heads/{branch}"));
    let refspec = format!("+{from}:{KEPT}");
    let commit = format!("{}^{{commit}}", wanted.commit);
    for depth in DEPTHS {
        match fetch_into(git, store, origin, &refspec, depth).await? {
            None => {}
            Some((Reason::BranchMissing, _)) => return Err(error.into()),
            Some((_, error)) => return Err(error.into()),
        }
        let probe = Run::new(&["cat-file", "-e", &commit]).env("GIT_DIR", store);
        if git.run(probe, |_| std::ops::ControlFlow::Continue(())).await?.success {
            return Ok(());
        }
    }
    let last = DEPTHS[DEPTHS.len() - 1];
    Err(Stop::terminal(
        Code::CommitNotFound,
        format!(
            "{} is not among the newest {last} commits of {from} in {origin}, and the server gives no commit by its id; was it forced away, or is it on another branch?",
            wanted.commit
        ),
    ))
}
