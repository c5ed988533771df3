//! A bare repository that is filled through `git fast-import`, so that a tree may hold what no file system would take.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::git;

/// One path of a commit.
#[derive(Clone, Debug)]
pub struct Entry {
    mode: &'static str,
    path: Vec<u8>,
    /// The content, the link's target, or the submodule's commit.
    content: Vec<u8>,
}

impl Entry {
    pub fn file(path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        Self::new("100644", path.as_ref(), content.as_ref())
    }

    pub fn executable(path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        Self::new("100755", path.as_ref(), content.as_ref())
    }

    pub fn link(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self::new("120000", path.as_ref(), target.as_ref())
    }

    pub fn submodule(path: impl AsRef<[u8]>, commit: &str) -> Self {
        Self::new("160000", path.as_ref(), commit.as_bytes())
    }

    fn new(mode: &'static str, path: &[u8], content: &[u8]) -> Self {
        Self { mode, path: path.to_vec(), content: content.to_vec() }
    }
}

/// On disk until whoever owns its directory removes it.
#[derive(Clone, Debug)]
pub struct Repository {
    path: PathBuf,
}

impl Repository {
    /// # Panics
    /// When git cannot make one there.
    #[must_use]
    pub fn create(path: &Path) -> Self {
        std::fs::create_dir_all(path).expect("a directory for a repository");
        let repository = Self { path: path.to_owned() };
        repository.run(&["init", "--quiet", "--bare", "--template=", "--initial-branch=main", "."]);
        // Large files are neither compressed well nor compared: tests wait for them.
        repository.config("core.compression", "1");
        repository.config("core.bigFileThreshold", "4m");
        repository
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A commit on top of the branch that adds these entries to what is there. Its id.
    pub fn commit(&self, branch: &str, message: &str, entries: &[Entry]) -> String {
        self.import(branch, message, entries, self.tip(branch).as_deref())
    }

    /// A commit without a parent, in place of all the branch had: what `git push --force` leaves. The old commits are gone.
    pub fn replace(&self, branch: &str, message: &str, entries: &[Entry]) -> String {
        let commit = self.import(branch, message, entries, None);
        self.run(&["-c", "gc.pruneExpire=now", "gc", "--quiet", "--prune=now"]);
        commit
    }

    /// An empty repository's branch has none.
    #[must_use]
    pub fn tip(&self, branch: &str) -> Option<String> {
        let reference = format!("refs/heads/{branch}");
        let output =
            git(&self.path).args(["rev-parse", "--verify", "--quiet", &reference]).output().expect("git");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    pub fn delete_branch(&self, branch: &str) {
        self.run(&["update-ref", "-d", &format!("refs/heads/{branch}")]);
    }

    pub fn config(&self, key: &str, value: &str) {
        self.run(&["config", key, value]);
    }

    fn import(&self, branch: &str, message: &str, entries: &[Entry], parent: Option<&str>) -> String {
        let mut stream = format!(
            "commit refs/heads/{branch}\ncommitter Test <test@example.com> 1700000000 +0000\ndata {}\n{message}\n",
            message.len()
        )
        .into_bytes();
        match parent {
            Some(parent) => stream.extend(format!("from {parent}\n").into_bytes()),
            None => stream.extend(b"deleteall\n"),
        }
        for entry in entries {
            let path = quoted(&entry.path);
            if entry.mode == "160000" {
                let commit = String::from_utf8_lossy(&entry.content);
                stream.extend(format!("M 160000 {commit} {path}\n").into_bytes());
            } else {
                stream.extend(
                    format!("M {} inline {path}\ndata {}\n", entry.mode, entry.content.len()).into_bytes(),
                );
                stream.extend(&entry.content);
                stream.push(b'\n');
            }
        }
        let mut import = git(&self.path);
        import.args(["fast-import", "--quiet", "--force", "--done"]);
        stream.extend(b"done\n");
        fed(import, &stream);
        self.tip(branch).expect("fast-import has made the branch")
    }

    fn run(&self, args: &[&str]) {
        let output = git(&self.path).args(args).output().expect("git is installed");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn fed(mut command: Command, input: &[u8]) {
    let mut child =
        command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("git fast-import starts");
    let written = child.stdin.take().expect("a pipe").write_all(input);
    let output = child.wait_with_output().expect("git fast-import ends");
    assert!(
        output.status.success() && written.is_ok(),
        "git fast-import: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// In the quotes of fast-import, which take any byte but NUL.
fn quoted(path: &[u8]) -> String {
    let escaped = path.iter().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => char::from(*byte).to_string(),
        byte => format!("\\{byte:03o}"),
    });
    format!("\"{}\"", escaped.collect::<String>())
}
