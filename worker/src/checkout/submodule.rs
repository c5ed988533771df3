//! Submodules: fetched plainly, each by its exact commit, from the parent's own server alone.
//!
//! `git submodule` is not used: it clones before anybody could look, and reads settings that the repository brings.

use std::collections::HashMap;

use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;

use super::ResolvedCommit;
use super::address::Address;
use super::child::{Git, Run};
use super::private::Private;
use super::tree::{Tree, Trees, shown, under};

const DEEPEST: usize = 5;
const GITMODULES_LARGEST: u64 = 256 * 1024;

/// Fetches and judges the submodules of what is in `trees`, and theirs, until there are none left.
pub(super) async fn fetch_all(
    git: &Git<'_>,
    private: &Private,
    origin: &Address,
    trees: &mut Trees,
) -> Result<(), Stop> {
    trees.judge_size()?;
    let mut depth_of = vec![0];
    let mut parent = 0;
    while parent < trees.all.len() {
        let wanted = trees.all[parent].submodules.clone();
        let addresses =
            if wanted.is_empty() { HashMap::new() } else { addresses(git, &trees.all[parent]).await? };
        for (path, commit) in wanted {
            let whole = under(&trees.all[parent].prefix, &path);
            let Some(address) = addresses.get(&path) else {
                trees.note(format!(
                    "the submodule {} has no address in .gitmodules; its directory stays empty",
                    shown(&whole)
                ));
                continue;
            };
            if depth_of[parent] >= DEEPEST {
                let why = format!("is nested deeper than {DEEPEST}; flatten them");
                return Err(refused(&whole, &why).into());
            }
            let from = judged(&whole, &trees.all[parent].origin, origin, address)?;
            let store = private.store(trees.all.len());
            let exact = ResolvedCommit { commit: commit.clone(), branch: None };
            if let Err(stop) = super::fetch::fetch(git, &store, &from, &exact).await {
                return Err(explained(&whole, &from, stop));
            }
            trees.add(git, store, whole, &commit, &from).await?;
            trees.judge_size()?;
            depth_of.push(depth_of[parent] + 1);
        }
        parent += 1;
    }
    Ok(())
}

fn refused(path: &[u8], why: &str) -> Error {
    Error::new(Code::SubmoduleRefused, format!("the submodule {} {why}", shown(path)))
}

/// Where a submodule is fetched from, if it may be: the way the repository itself was reached.
fn judged(path: &[u8], parent: &Address, origin: &Address, text: &str) -> Result<Address, Error> {
    let named = parent.relative(text).map_err(|_| {
        refused(
            path,
            "has an address that cannot be used; correct its url in .gitmodules (https, ssh, or relative)",
        )
    })?;
    origin.reached_like(&named).ok_or_else(|| {
        let why = format!(
            "is at {}, and submodules are only fetched from the repository's own server, {}; move it there, or copy its files into the repository",
            named.origin(),
            origin.origin()
        );
        refused(path, &why)
    })
}

/// What can be tried again, and what its own code says better, stays; the rest is the submodule's fault.
fn explained(path: &[u8], from: &Address, stop: Stop) -> Stop {
    match stop {
        Stop::Terminal(error)
            if matches!(
                error.code(),
                Code::RepositoryNotFound
                    | Code::RepositoryDenied
                    | Code::CommitNotFound
                    | Code::RepositoryEmpty
            ) =>
        {
            let why = format!(
                "on {} cannot be had: {}; the app's credential must be able to read it too",
                from.host,
                error.sentence()
            );
            Stop::Terminal(refused(path, &why).because(error))
        }
        other => other,
    }
}

/// `path -> url` of a tree's `.gitmodules`, read by git's own parser, which follows no include here.
async fn addresses(git: &Git<'_>, tree: &Tree) -> Result<HashMap<Vec<u8>, String>, Stop> {
    match tree.gitmodules {
        None => return Ok(HashMap::new()),
        Some(size) if size > GITMODULES_LARGEST => {
            return Err(
                refused(&under(&tree.prefix, b".gitmodules"), "is too large to be read; shorten it").into()
            );
        }
        Some(_) => {}
    }
    let blob = format!("{}:.gitmodules", tree.commit);
    let args =
        ["config", "--blob", &blob, "--no-includes", "-z", "--get-regexp", r"^submodule\..*\.(path|url)$"];
    let mut text = Vec::new();
    let run = Run::new(&args).env("GIT_DIR", &tree.store);
    let ended = git
        .run(run, |piece| {
            text.extend_from_slice(piece);
            std::ops::ControlFlow::Continue(())
        })
        .await?;
    // Without a match it ends with 1 and says nothing.
    if !ended.success && !ended.stderr.is_empty() {
        let why = "cannot be read; correct it (`git config --file .gitmodules --list`)";
        return Err(refused(&under(&tree.prefix, b".gitmodules"), why).into());
    }
    Ok(pairs(&text))
}

/// `submodule.<name>.path<LF>value<NUL>`; the names may hold dots.
fn pairs(text: &[u8]) -> HashMap<Vec<u8>, String> {
    let mut paths: HashMap<&[u8], &[u8]> = HashMap::new();
    let mut urls: HashMap<&[u8], &[u8]> = HashMap::new();
    for record in text.split(|b| *b == 0) {
        let Some(end) = record.iter().position(|b| *b == b'\n') else { continue };
        let (key, value) = (&record[..end], &record[end + 1..]);
        if let Some(name) = key.strip_suffix(b".path") {
            paths.insert(name, value);
        } else if let Some(name) = key.strip_suffix(b".url") {
            urls.insert(name, value);
        }
    }
    let whole = |(name, path): (&[u8], &[u8])| {
        let url = String::from_utf8(urls.get(name)?.to_vec()).ok()?;
        Some((path.strip_suffix(b"/").unwrap_or(path).to_vec(), url))
    };
    paths.into_iter().filter_map(whole).collect()
}
