//! What is sent to the engine: which entries of the tree, in which order, and how many bytes.
//!
//! Looks at names and sizes only; no content is read but the Dockerfile's and the ignore file's. Links are never followed.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use deploymind_shared::error::{Code, Error};

use super::ignore::Ignore;
use super::request::{Dockerfile, UsedBuilder};

/// A Dockerfile or an ignore file longer than this was not written by anybody.
const TEXT_BYTES: u64 = 512 * 1024;
/// A list of the tree is held while it is sent; more entries than this would be its own attack.
const ENTRIES: usize = 1_000_000;
/// Deeper than any tool goes, shallower than any stack.
const DEPTH: usize = 256;
/// How many of the largest entries, and of the skipped ones, are named.
const NAMED: usize = 5;

/// The name of a generated Dockerfile in the stream.
pub(super) const RESERVED: &str = ".deploymind.Dockerfile";
const DOCKERIGNORE: &str = ".dockerignore";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Folder,
    File {
        size: u64,
        executable: bool,
    },
    Link(PathBuf),
    /// Text of ours; nothing of that name is read from the tree.
    Text(Vec<u8>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// Relative to the root, as bytes: names need not be UTF-8.
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
}

/// A context that may be sent.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) root: PathBuf,
    pub(super) items: Vec<Item>,
    pub(super) bytes: u64,
    /// The Dockerfile's path in the stream, and its text.
    pub(super) dockerfile: String,
    pub(super) dockerfile_text: String,
    pub(super) warnings: Vec<String>,
}

/// Reads the tree. Blocking.
///
/// # Errors
/// `DockerfileInvalid`, `TreeEscapes`, `ContextTooLarge`, `WorkspaceFailed`.
pub(super) fn survey(
    root: &Path,
    dockerfile: Dockerfile<'_>,
    builder: UsedBuilder,
    limit: u64,
) -> Result<Context, Error> {
    let root = root.canonicalize().map_err(|error| unreadable(root, error))?;
    let (name, text, ignore_text) = match dockerfile {
        Dockerfile::Generated { dockerfile, dockerignore } => {
            (RESERVED.to_owned(), dockerfile.as_bytes().to_vec(), Some(dockerignore.as_bytes().to_vec()))
        }
        Dockerfile::InTree(path) => {
            let name = inside(path)?;
            let text = read_text(&root, &name, Code::DockerfileInvalid)?.ok_or_else(|| {
                Error::new(
                    Code::DockerfileInvalid,
                    format!("there is no Dockerfile at `{name}`; commit it, or correct the path in the app's settings"),
                )
            })?;
            // BuildKit's rule: a file beside the Dockerfile goes before the one at the root.
            let own = match builder {
                UsedBuilder::BuildKit => {
                    read_text(&root, &format!("{name}{DOCKERIGNORE}"), Code::DockerfileInvalid)?
                }
                UsedBuilder::Classic => None,
            };
            let ignore = match own {
                Some(text) => Some(text),
                None => read_text(&root, DOCKERIGNORE, Code::DockerfileInvalid)?,
            };
            (name, text, ignore)
        }
    };
    let dockerfile_text = String::from_utf8(text).map_err(|error| {
        Error::new(
            Code::DockerfileInvalid,
            format!("the Dockerfile `{name}` is not UTF-8 text; save it as UTF-8"),
        )
        .because(error)
    })?;
    begins_with_stage(&dockerfile_text).map_err(|why| {
        Error::new(
            Code::DockerfileInvalid,
            format!("the Dockerfile `{name}` {why}; its first instruction must be FROM"),
        )
    })?;
    let ignore = Ignore::parse(ignore_text.as_deref().unwrap_or_default()).map_err(|error| {
        Error::new(
            Code::DockerfileInvalid,
            format!("the .dockerignore cannot be obeyed: {error}; correct that line"),
        )
    })?;

    let generated = matches!(dockerfile, Dockerfile::Generated { .. });
    let mut walk = Walk {
        root: &root,
        ignore: &ignore,
        keep: if generated { None } else { Some(name.as_bytes()) },
        items: Vec::new(),
        bytes: 0,
        skipped: Vec::new(),
    };
    walk.folder(&[], 0)?;
    let Walk { mut items, bytes, skipped, .. } = walk;

    if generated {
        items.retain(|item| item.path != RESERVED.as_bytes());
        items.push(Item { path: RESERVED.into(), kind: Kind::Text(dockerfile_text.clone().into_bytes()) });
        if builder == UsedBuilder::Classic {
            // The classic builder removes from the context what the context's own ignore file names of these two.
            items.retain(|item| item.path != DOCKERIGNORE.as_bytes());
            let text = format!("{RESERVED}\n{DOCKERIGNORE}\n").into_bytes();
            items.push(Item { path: DOCKERIGNORE.into(), kind: Kind::Text(text) });
        }
    }
    // A stable order makes equal trees equal streams, and the caches of the engine hit.
    items.sort_by(|a, b| a.path.cmp(&b.path));
    if bytes > limit {
        return Err(too_large(&items, bytes, limit));
    }
    let warnings = match skipped.len() {
        0 => Vec::new(),
        count => vec![format!(
            "{count} sockets, pipes or devices of the tree were left out of the build: {}",
            skipped.iter().take(NAMED).map(|path| shown(path)).collect::<Vec<_>>().join(", ")
        )],
    };
    Ok(Context { root, items, bytes, dockerfile: name, dockerfile_text, warnings })
}

struct Walk<'a> {
    root: &'a Path,
    ignore: &'a Ignore,
    /// Sent whatever the ignore file says: the Dockerfile itself.
    keep: Option<&'a [u8]>,
    items: Vec<Item>,
    bytes: u64,
    skipped: Vec<Vec<u8>>,
}

impl Walk<'_> {
    fn folder(&mut self, path: &[u8], depth: usize) -> Result<(), Error> {
        if depth > DEPTH {
            return Err(Error::new(
                Code::ContextTooLarge,
                format!(
                    "the tree is nested deeper than {DEPTH} folders; leave the deep part out by .dockerignore"
                ),
            ));
        }
        let full = self.root.join(OsStr::from_bytes(path));
        for entry in fs::read_dir(&full).map_err(|error| unreadable(&full, error))? {
            let entry = entry.map_err(|error| unreadable(&full, error))?;
            let name = entry.file_name();
            let child = if path.is_empty() {
                name.as_bytes().to_vec()
            } else {
                [path, b"/", name.as_bytes()].concat()
            };
            // Of the entry itself: a link is not followed.
            let data = entry.metadata().map_err(|error| unreadable(&entry.path(), error))?;
            self.entry(child, &entry.path(), &data, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: Vec<u8>, full: &Path, data: &Metadata, depth: usize) -> Result<(), Error> {
        let wanted = self.keep == Some(path.as_slice()) || !self.ignore.excludes(&path);
        let kind = data.file_type();
        if kind.is_dir() {
            let leads_to_kept = self.keep.is_some_and(|keep| {
                keep.strip_prefix(path.as_slice()).is_some_and(|rest| rest.starts_with(b"/"))
            });
            if wanted {
                self.add(path.clone(), Kind::Folder)?;
            }
            if wanted || leads_to_kept || self.ignore.takes_back() {
                self.folder(&path, depth + 1)?;
            }
            return Ok(());
        }
        if !wanted {
            return Ok(());
        }
        if kind.is_symlink() {
            let target = fs::read_link(full).map_err(|error| unreadable(full, error))?;
            return self.add(path, Kind::Link(target));
        }
        if kind.is_socket() || kind.is_fifo() || kind.is_block_device() || kind.is_char_device() {
            self.skipped.push(path);
            return Ok(());
        }
        self.bytes = self.bytes.saturating_add(data.len());
        let executable = data.permissions().mode() & 0o100 != 0;
        self.add(path, Kind::File { size: data.len(), executable })
    }

    fn add(&mut self, path: Vec<u8>, kind: Kind) -> Result<(), Error> {
        if self.items.len() == ENTRIES {
            return Err(Error::new(
                Code::ContextTooLarge,
                format!(
                    "the build context has more than {ENTRIES} entries; leave out what the image does not need by .dockerignore"
                ),
            ));
        }
        self.items.push(Item { path, kind });
        Ok(())
    }
}

/// Some engines (Docker 20.10 among them) die of a Dockerfile that has an `ARG` and no `FROM`: such a one is not sent.
///
/// Stricter than Docker's parser, never laxer: both escape characters continue a line here.
fn begins_with_stage(text: &str) -> Result<(), &'static str> {
    let mut continued = false;
    for line in text.strip_prefix('\u{feff}').unwrap_or(text).lines() {
        let line = line.trim_matches([' ', '\t', '\r']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let inside = std::mem::replace(&mut continued, line.ends_with(['\\', '`']));
        if inside {
            continue;
        }
        match line.split([' ', '\t']).next() {
            Some(word) if word.eq_ignore_ascii_case("FROM") => return Ok(()),
            Some(word) if word.eq_ignore_ascii_case("ARG") => {}
            _ => return Err("has an instruction before its first FROM"),
        }
    }
    Err("has no FROM")
}

/// A path of the settings, without `.`; never absolute, never above the root.
fn inside(path: &str) -> Result<String, Error> {
    let refused = || {
        Error::new(
            Code::DockerfileInvalid,
            format!("the Dockerfile's path `{path}` leads out of the repository; name a file inside it"),
        )
    };
    let mut parts = Vec::new();
    if path.starts_with('/') || path.contains('\0') || path.len() > 4096 {
        return Err(refused());
    }
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(refused()),
            part => parts.push(part),
        }
    }
    if parts.is_empty() { Err(refused()) } else { Ok(parts.join("/")) }
}

/// A small text inside the tree; `None` if there is nothing of that name.
fn read_text(root: &Path, name: &str, code: Code) -> Result<Option<Vec<u8>>, Error> {
    let refuse = |what: &str| Err(Error::new(code, format!("`{name}` {what}")));
    let full = root.join(name);
    match fs::symlink_metadata(&full) {
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(unreadable(&full, error)),
        Ok(_) => {}
    }
    let real = match full.canonicalize() {
        Ok(real) if real.starts_with(root) => real,
        Ok(_) => {
            return Err(Error::new(
                Code::TreeEscapes,
                format!("`{name}` is a link that leads out of the repository; commit the file itself"),
            ));
        }
        Err(_) => return refuse("is a link to nothing; commit the file itself"),
    };
    let data = fs::metadata(&real).map_err(|error| unreadable(&real, error))?;
    if !data.is_file() {
        return refuse("is not a regular file; commit it as one");
    }
    if data.len() > TEXT_BYTES {
        return refuse("is larger than 512 KiB, which no build needs; make it shorter");
    }
    fs::read(&real).map(Some).map_err(|error| unreadable(&real, error))
}

fn too_large(items: &[Item], bytes: u64, limit: u64) -> Error {
    let mut files: Vec<(u64, &[u8])> = items
        .iter()
        .filter_map(|item| match item.kind {
            Kind::File { size, .. } => Some((size, item.path.as_slice())),
            _ => None,
        })
        .collect();
    files.sort_by(|a, b| b.cmp(a));
    let largest: Vec<String> = files
        .iter()
        .take(NAMED)
        .map(|(size, path)| format!("{} ({})", shown(path), size_text(*size)))
        .collect();
    Error::new(
        Code::ContextTooLarge,
        format!(
            "the build context is {}, more than the {} allowed; leave out what the image does not need by .dockerignore; largest: {}",
            size_text(bytes),
            size_text(limit),
            largest.join(", ")
        ),
    )
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    let name = path.file_name().map(|name| shown(&name.to_owned().into_vec())).unwrap_or_default();
    Error::new(Code::WorkspaceFailed, format!("`{name}` of the working tree cannot be read by the worker"))
        .context("read build context")
        .because(error)
}

/// A name for a person: no control characters, not too long.
pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(120).map(|c| if c.is_control() { '?' } else { c }).collect()
}

pub(super) fn size_text(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(*unit);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests;
