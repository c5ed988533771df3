//! From judged trees to files: exactly the committed bytes, modes 644 and 755, links, and nothing of git's own.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;

use super::child::{Git, Run};
use super::tree::{Tree, Trees, shown};
use super::workspace;

/// Above all `.gitattributes` of the tree: no conversion may make a file larger than what was judged, or run anything.
const ATTRIBUTES: &str = "* -text !eol -ident -filter -working-tree-encoding\n";
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";
const POINTER_LARGEST: u64 = 1_024;
const POINTERS_NAMED: usize = 5;

/// Git LFS pointers among the files.
#[derive(Debug, Default)]
pub(super) struct Pointers {
    pub count: u64,
    pub names: Vec<String>,
}

/// Removes a work tree that was not finished.
struct Unfinished<'a>(Option<&'a Path>);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let Some(path) = self.0 else { return };
        // A process that was killed a moment ago may still be making a file.
        for _ in 0..20 {
            match fs::remove_dir_all(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => std::thread::yield_now(),
                _ => return,
            }
        }
        tracing::warn!("an unfinished work tree could not be removed");
    }
}

/// Removes what an earlier checkout left there.
pub(super) async fn clear(into: &Path) -> Result<(), Error> {
    match tokio::fs::remove_dir_all(into).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(workspace("empty work tree")(error)),
        _ => Ok(()),
    }
}

pub(super) async fn write(git: &Git<'_>, trees: &Trees, into: &Path) -> Result<Pointers, Stop> {
    let mut unfinished = Unfinished(Some(into));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(into).map_err(workspace("make work tree"))?;
    let root = into.canonicalize().map_err(workspace("find work tree"))?;
    for tree in &trees.all {
        write_tree(git, tree, &root).await?;
    }
    let pointers = tokio::task::spawn_blocking(move || tidy(&root))
        .await
        .map_err(|panic| workspace("read work tree")(io::Error::other(panic)))?
        .map_err(workspace("read work tree"))?;
    unfinished.0 = None;
    Ok(pointers)
}

async fn write_tree(git: &Git<'_>, tree: &Tree, root: &Path) -> Result<(), Stop> {
    let place = root.join(OsStr::from_bytes(&tree.prefix));
    // A submodule's directory was made with its parent's files. Were a link on the way, it would be another place.
    let real = place.canonicalize().map_err(workspace("find submodule directory"))?;
    if real != place && !tree.prefix.is_empty() {
        return Err(Stop::terminal(
            Code::TreeEscapes,
            format!("the submodule {} lies behind a link; move it", shown(&tree.prefix)),
        ));
    }
    let info = tree.store.join("info");
    fs::create_dir_all(&info).map_err(workspace("write attributes"))?;
    fs::write(info.join("attributes"), ATTRIBUTES).map_err(workspace("write attributes"))?;
    let index = tree.store.join("checkout-index");
    let read = ["read-tree", &tree.commit];
    git.output(
        Run::new(&read).env("GIT_DIR", &tree.store).env("GIT_INDEX_FILE", &index).directory(&place),
        1 << 16,
    )
    .await?;
    let write = Run::new(&["-c", "core.bare=false", "checkout-index", "--all", "--force", "--quiet"]);
    let run = write
        .env("GIT_DIR", &tree.store)
        .env("GIT_INDEX_FILE", &index)
        .env("GIT_WORK_TREE", &place)
        .directory(&place);
    git.output(run, 1 << 16).await?;
    Ok(())
}

/// One walk over what was written: modes whatever the umask was, and LFS pointers.
fn tidy(root: &Path) -> io::Result<Pointers> {
    let mut pointers = Pointers::default();
    let mut ahead = vec![root.to_owned()];
    while let Some(directory) = ahead.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let data = entry.metadata()?;
            let wanted = match (data.is_dir(), data.is_file(), data.mode() & 0o100 != 0) {
                (true, _, _) | (_, true, true) => 0o755,
                (_, true, false) => 0o644,
                _ => continue,
            };
            let path = entry.path();
            if data.mode() & 0o7777 != wanted {
                fs::set_permissions(&path, Permissions::from_mode(wanted))?;
            }
            if data.is_dir() {
                ahead.push(path);
            } else if data.len() <= POINTER_LARGEST && data.len() > POINTER.len() as u64 && is_pointer(&path)?
            {
                pointers.count += 1;
                if pointers.names.len() < POINTERS_NAMED {
                    pointers.names.push(name_in(root, &path));
                }
            }
        }
    }
    pointers.names.sort();
    Ok(pointers)
}

fn is_pointer(path: &PathBuf) -> io::Result<bool> {
    let mut start = [0; POINTER.len()];
    fs::File::open(path)?.read_exact(&mut start)?;
    Ok(start == POINTER)
}

fn name_in(root: &Path, path: &Path) -> String {
    shown(path.strip_prefix(root).unwrap_or(path).as_os_str().as_bytes())
}
