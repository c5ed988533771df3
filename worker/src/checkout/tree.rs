//! What a commit would write, judged before any of it is written: sizes, counts, links, names.
//!
//! The listing is read as a stream; kept are sums, the five largest files, the links and the submodules, each bounded.

mod links;
mod listing;

use std::path::PathBuf;

use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;

use super::address::Address;
use super::child::{Git, Run};
use super::write::Pointers;
use super::{Limits, Submodule, Warning};
pub(super) use links::Links;
use listing::Listing;

const LARGEST_NAMED: usize = 5;
const NAMES_SHOWN: usize = 5;
const SUBMODULES: usize = 100;

/// One repository of the work tree: the main one, or a submodule.
pub(super) struct Tree {
    pub store: PathBuf,
    /// Where it goes, relative to the work tree. Empty for the main one.
    pub prefix: Vec<u8>,
    pub commit: String,
    pub origin: Address,
    /// `(path in this tree, commit)`.
    pub submodules: Vec<(Vec<u8>, String)>,
    /// The size of its `.gitmodules`, when it has one.
    pub gitmodules: Option<u64>,
}

/// All of them, and their sums.
pub(super) struct Trees {
    pub all: Vec<Tree>,
    limits: Limits,
    files: u64,
    bytes: u64,
    largest: Vec<(u64, String)>,
    links: Links,
    not_utf8: u64,
    not_utf8_names: Vec<String>,
    notes: Vec<Warning>,
}

impl Trees {
    pub fn new(limits: Limits) -> Self {
        Self {
            all: Vec::new(),
            limits,
            files: 0,
            bytes: 0,
            largest: Vec::new(),
            links: Links::default(),
            not_utf8: 0,
            not_utf8_names: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Reads a commit's listing and adds it to the sums.
    ///
    /// # Errors
    /// `RepositoryTooLarge`, `TreeEscapes`.
    pub async fn add(
        &mut self,
        git: &Git<'_>,
        store: PathBuf,
        prefix: Vec<u8>,
        commit: &str,
        origin: &Address,
    ) -> Result<(), Stop> {
        let mut tree = Tree {
            store,
            prefix,
            commit: commit.to_owned(),
            origin: origin.clone(),
            submodules: Vec::new(),
            gitmodules: None,
        };
        let mut links = Vec::new();
        let mut listing = Listing::default();
        let mut verdict = Ok(());
        let store = tree.store.clone();
        let args = ["ls-tree", "-r", "-l", "-z", "--full-tree", commit];
        let ended = git
            .run(Run::new(&args).env("GIT_DIR", &store), |piece| {
                verdict = listing.read(piece, |entry| self.take(&mut tree, &mut links, entry));
                if verdict.is_err() {
                    std::ops::ControlFlow::Break(())
                } else {
                    std::ops::ControlFlow::Continue(())
                }
            })
            .await?;
        verdict?;
        if !ended.success {
            return Err(super::explain::local(&ended).into());
        }
        self.links.read_targets(git, &tree, links).await?;
        self.all.push(tree);
        Ok(())
    }

    fn take(
        &mut self,
        tree: &mut Tree,
        links: &mut Vec<links::Link>,
        entry: listing::Entry<'_>,
    ) -> Result<(), Error> {
        let path = under(&tree.prefix, entry.path);
        if let Some(part) = entry.path.split(|b| *b == b'/').find(|part| is_dot_git(part)) {
            return Err(Error::new(
                Code::TreeEscapes,
                format!(
                    "the path {} has the part {}; remove it from the repository",
                    shown(&path),
                    shown(part)
                ),
            ));
        }
        if std::str::from_utf8(entry.path).is_err() {
            self.not_utf8 += 1;
            if self.not_utf8_names.len() < NAMES_SHOWN {
                self.not_utf8_names.push(shown(&path));
            }
        }
        match entry.mode {
            listing::Mode::Submodule => {
                if self.all.iter().map(|tree| tree.submodules.len()).sum::<usize>() + tree.submodules.len()
                    >= SUBMODULES
                {
                    return Err(Error::new(
                        Code::SubmoduleRefused,
                        format!(
                            "there are more than {SUBMODULES} submodules; {} is one too many",
                            shown(&path)
                        ),
                    ));
                }
                tree.submodules.push((entry.path.to_vec(), entry.id.to_owned()));
                return Ok(());
            }
            listing::Mode::Link => {
                self.links.make_room(links.len(), entry.size, &path)?;
                links.push(links::Link { path: path.clone(), id: entry.id.to_owned() });
            }
            listing::Mode::File => {
                if entry.path == b".gitmodules" {
                    tree.gitmodules = Some(entry.size);
                }
            }
        }
        self.files += 1;
        self.bytes = self.bytes.saturating_add(entry.size);
        if self.largest.len() < LARGEST_NAMED || self.largest.iter().any(|(size, _)| *size < entry.size) {
            self.largest.push((entry.size, shown(&path)));
            self.largest.sort_by(|a, b| b.cmp(a));
            self.largest.truncate(LARGEST_NAMED);
        }
        // Over the limit by size it is listed to its end, so that the largest are the largest of all.
        if self.files > self.limits.files {
            return Err(Error::new(
                Code::RepositoryTooLarge,
                format!(
                    "the repository has more than {} files; remove generated ones (node_modules, build output) from it, or raise the limit",
                    self.limits.files
                ),
            ));
        }
        Ok(())
    }

    /// # Errors
    /// `RepositoryTooLarge`, naming the largest files.
    pub fn judge_size(&self) -> Result<(), Error> {
        if self.bytes <= self.limits.bytes {
            return Ok(());
        }
        let largest: Vec<String> =
            self.largest.iter().map(|(size, path)| format!("{path} ({})", size_in_words(*size))).collect();
        Err(Error::new(
            Code::RepositoryTooLarge,
            format!(
                "the repository's files are {}, the limit is {}; the largest: {}; remove large files from it, or raise the limit",
                size_in_words(self.bytes),
                size_in_words(self.limits.bytes),
                largest.join(", ")
            ),
        ))
    }

    /// # Errors
    /// `TreeEscapes`, naming the first link that leads out.
    pub fn judge_links(&self) -> Result<(), Error> {
        self.links.judge()
    }

    pub fn note(&mut self, text: String) {
        self.notes.push(Warning { code: None, text });
    }

    pub fn files(&self) -> u64 {
        self.files
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn submodules(&self) -> Vec<Submodule> {
        let rest = self.all.iter().filter(|tree| !tree.prefix.is_empty());
        rest.map(|tree| Submodule { path: shown(&tree.prefix), commit: tree.commit.clone() }).collect()
    }

    pub fn warnings(&self, lfs: &Pointers) -> Vec<Warning> {
        let mut all = self.notes.clone();
        if self.not_utf8 > 0 {
            all.push(Warning {
                code: Some(Code::NameNotUtf8.as_str().to_owned()),
                text: named(self.not_utf8, "name is not UTF-8", "names are not UTF-8", &self.not_utf8_names),
            });
        }
        if lfs.count > 0 {
            let what =
                named(lfs.count, "file is a Git LFS pointer", "files are Git LFS pointers", &lfs.names);
            all.push(Warning { code: None, text: format!("{what}; their content is not fetched") });
        }
        all
    }
}

fn named(count: u64, one: &str, many: &str, names: &[String]) -> String {
    let more = if usize::try_from(count).is_ok_and(|count| count > names.len()) { ", ..." } else { "" };
    format!("{count} {}: {}{more}", if count == 1 { one } else { many }, names.join(", "))
}

pub(super) fn under(prefix: &[u8], path: &[u8]) -> Vec<u8> {
    if prefix.is_empty() { path.to_vec() } else { [prefix, path].join(&b'/') }
}

/// A path for people: escaped where it is not printable ASCII or UTF-8, and cut.
pub(super) fn shown(path: &[u8]) -> String {
    let text = match std::str::from_utf8(path) {
        Ok(text) => text.escape_debug().to_string(),
        Err(_) => path.escape_ascii().to_string(),
    };
    match text.char_indices().nth(200) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

/// What git, or git on another file system, takes for its own directory, and what is no name at all.
fn is_dot_git(part: &[u8]) -> bool {
    part.is_empty() || part == b"." || part == b".." || part.eq_ignore_ascii_case(b".git")
}

pub(super) fn size_in_words(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    for (unit, size) in UNITS {
        if bytes >= size {
            let tenths = u128::from(bytes) * 10 / u128::from(size);
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests;
