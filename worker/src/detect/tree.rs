//! The repository's files, read with care: regular files inside the tree, bounded in number and size, nothing else.
//!
//! A FIFO named `package.json` is not opened, a link that leaves the tree is as good as missing, and a name that is not
//! UTF-8 is passed over. The tree must not change meanwhile: nobody else has its folder.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use deploymind_shared::error::{Code, Error};

/// Largest manifest, in bytes.
const MANIFEST_BYTES: u64 = 1024 * 1024;
/// How much of a source file is looked at, in bytes.
const SOURCE_BYTES: u64 = 128 * 1024;
/// Names looked at when the tree is listed, in all.
pub(super) const ENTRIES: usize = 10_000;
/// Names looked at in one folder, so that a folder of images does not hide its neighbours.
const FOLDER_ENTRIES: usize = 2_000;
/// Folders below the root.
const DEPTH: usize = 5;

/// What others wrote, or what a build made.
const SKIPPED: &[&str] = &[
    "node_modules",
    "bower_components",
    "vendor",
    "target",
    "venv",
    "env",
    "__pycache__",
    "site-packages",
    "obj",
    "Pods",
    "tests",
    "test",
    "spec",
    "__tests__",
    "testdata",
    "fixtures",
    "migrations",
    "coverage",
    "tmp",
    "log",
    "logs",
];

pub(super) struct Tree {
    /// Canonical; nothing outside of it is read.
    outer: PathBuf,
    /// Canonical; below `outer`, or the same.
    root: PathBuf,
    /// Of the root, as a person wrote it.
    label: String,
    files: OnceCell<Vec<String>>,
}

impl Tree {
    pub(super) fn open(tree: &Path, root: Option<&str>) -> Result<Self, Error> {
        let outer = fs::canonicalize(tree).map_err(|source| {
            Error::new(Code::RootMissing, "the checked-out tree is not there; deploy again").because(source)
        })?;
        let wanted = root.map(str::trim).filter(|it| !it.is_empty() && *it != ".");
        let Some(wanted) = wanted else {
            return Ok(Self {
                root: outer.clone(),
                outer,
                label: "the repository".into(),
                files: OnceCell::new(),
            });
        };
        let refuse = |why: &str| {
            Error::new(
                Code::RootMissing,
                format!(
                    "the app's root {:?} {why}; set `root` to a folder of the repository, relative to its top",
                    clip(wanted)
                ),
            )
        };
        let path = Path::new(wanted);
        if path.components().any(|it| matches!(it, Component::RootDir | Component::Prefix(_))) {
            return Err(refuse("is absolute"));
        }
        let root = fs::canonicalize(outer.join(path))
            .map_err(|source| refuse("is not in the repository").because(source))?;
        if !root.starts_with(&outer) {
            return Err(refuse("leads out of the repository"));
        }
        if !root.is_dir() {
            return Err(refuse("is not a folder"));
        }
        Ok(Self { outer, root, label: format!("the folder {:?}", clip(wanted)), files: OnceCell::new() })
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Whether the files are looked at in a sub-folder of the repository.
    pub(super) fn is_outermost(&self) -> bool {
        self.outer == self.root
    }

    fn resolve(&self, path: &str) -> Option<(PathBuf, fs::Metadata)> {
        let path = self.root.join(path);
        fs::symlink_metadata(&path).ok()?;
        let path = fs::canonicalize(path).ok().filter(|it| it.starts_with(&self.outer))?;
        let metadata = fs::symlink_metadata(&path).ok()?;
        Some((path, metadata))
    }

    pub(super) fn is_file(&self, path: &str) -> bool {
        self.resolve(path).is_some_and(|(_, metadata)| metadata.is_file())
    }

    /// The first of several that is there.
    pub(super) fn first<'a>(&self, paths: &[&'a str]) -> Option<&'a str> {
        paths.iter().copied().find(|it| self.is_file(it))
    }

    fn bytes(&self, path: &str, at_most: u64) -> std::io::Result<Option<Vec<u8>>> {
        let Some((path, metadata)) = self.resolve(path).filter(|(_, it)| it.is_file()) else {
            return Ok(None);
        };
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(at_most)).unwrap_or(0));
        File::open(path)?.take(at_most).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// A whole manifest; `None`: not there. Byte order marks are removed.
    pub(super) fn text(&self, path: &str) -> Result<Option<String>, Error> {
        self.text_or(path, Code::ManifestInvalid)
    }

    pub(super) fn text_or(&self, path: &str, code: Code) -> Result<Option<String>, Error> {
        let bytes = self.bytes(path, MANIFEST_BYTES + 1).map_err(|source| {
            Error::new(code, format!("{path} cannot be read; check its permissions")).because(source)
        })?;
        let Some(bytes) = bytes else { return Ok(None) };
        if bytes.len() as u64 > MANIFEST_BYTES {
            return Err(Error::new(
                code,
                format!("{path} is larger than {} KiB; make it smaller", MANIFEST_BYTES / 1024),
            ));
        }
        decode(bytes).map(Some).map_err(|line| {
            Error::new(code, format!("{path}, line {line}: this is not UTF-8 text; save the file as UTF-8"))
        })
    }

    /// The beginning of a source file, with whatever is not text replaced; `None`: not there.
    pub(super) fn source(&self, path: &str) -> Option<String> {
        let bytes = self.bytes(path, SOURCE_BYTES).ok()??;
        Some(String::from_utf8_lossy(&bytes).replace("\r\n", "\n"))
    }

    /// A short file of one value, such as `.nvmrc`: its first line that is no comment.
    pub(super) fn line(&self, path: &str) -> Option<String> {
        let text = self.bytes(path, 4096).ok()??;
        let text = decode(text).ok()?;
        let line = text.lines().map(str::trim).find(|it| !it.is_empty() && !it.starts_with('#'))?;
        Some(line.to_owned())
    }

    /// Regular files, nearest the root first, then by name; without what others wrote. Links are left out.
    pub(super) fn files(&self) -> &[String] {
        self.files.get_or_init(|| self.walk())
    }

    pub(super) fn files_ending<'a>(&'a self, suffix: &'a str) -> impl Iterator<Item = &'a str> {
        self.files().iter().map(String::as_str).filter(move |it| it.ends_with(suffix))
    }

    fn walk(&self) -> Vec<String> {
        let mut files = Vec::new();
        let mut folders = VecDeque::from([(String::new(), 0_usize)]);
        let mut left = ENTRIES;
        while let Some((folder, depth)) = folders.pop_front() {
            let Ok(entries) = fs::read_dir(self.root.join(&folder)) else { continue };
            let (mut here, mut below) = (Vec::new(), Vec::new());
            for entry in entries.take(FOLDER_ENTRIES.min(left)) {
                left -= 1;
                let Ok(entry) = entry else { continue };
                let Ok(name) = entry.file_name().into_string() else { continue };
                let Ok(kind) = entry.file_type() else { continue };
                let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
                if kind.is_file() {
                    here.push(path);
                } else if kind.is_dir() && depth < DEPTH && !skipped(&name) {
                    below.push((path, depth + 1));
                }
            }
            here.sort();
            below.sort();
            files.append(&mut here);
            folders.extend(below);
            if left == 0 {
                break;
            }
        }
        files
    }
}

fn skipped(name: &str) -> bool {
    name.starts_with('.') || SKIPPED.contains(&name)
}

/// UTF-8, or UTF-16 with a mark, as PowerShell writes it. The error is the line.
fn decode(bytes: Vec<u8>) -> Result<String, usize> {
    let wide = |order: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes[2..].as_chunks::<2>().0.iter().map(|pair| order(*pair)).collect();
        String::from_utf16(&units).map_err(|_| 1_usize)
    };
    if bytes.starts_with(&[0xff, 0xfe]) {
        return wide(u16::from_le_bytes);
    }
    if bytes.starts_with(&[0xfe, 0xff]) {
        return wide(u16::from_be_bytes);
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let upto = error.utf8_error().valid_up_to();
        1 + error.as_bytes()[..upto].iter().filter(|it| **it == b'\n').count()
    })?;
    Ok(text.strip_prefix('\u{feff}').map_or_else(|| text.clone(), str::to_owned).replace("\r\n", "\n"))
}

/// What a repository says, short enough and harmless enough for a sentence.
pub(super) fn clip(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut clean: String =
        text.chars().take(LONGEST + 1).map(|it| if it.is_control() { ' ' } else { it }).collect();
    if clean.chars().count() > LONGEST {
        clean.pop();
        clean.push('…');
    }
    clean
}
