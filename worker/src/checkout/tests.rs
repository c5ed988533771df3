//! Against the real git, a real `git http-backend` and a real `sshd`.

mod hostile;
mod remotes;
mod sizes;
mod submodules;

use std::os::unix::fs::MetadataExt as _;

use deploymind_tests::git::{Entry, GitServer};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::log::Line;

/// One app's request and work directory, and what is said meanwhile.
struct Bench {
    directory: TempDir,
    request: Request,
    lines: Lines,
    said: mpsc::Receiver<Line>,
    cancel: CancellationToken,
}

impl Bench {
    fn new(repository: &str, want: Want) -> Self {
        let directory = tempfile::Builder::new().prefix("checkout ").tempdir().expect("a directory");
        let (lines, said) = Lines::channel(10_000);
        let request = Request {
            repository: repository.to_owned(),
            want,
            credential: None,
            known_hosts: None,
            private: directory.path().join("it's private"),
            limits: Limits { fetch_deadline: Duration::from_secs(60), ..Limits::default() },
            allow_local: false,
        };
        Self { directory, request, lines, said, cancel: CancellationToken::new() }
    }

    fn place(&self) -> PathBuf {
        self.directory.path().join("work tree")
    }

    async fn checkout(&self) -> Result<Checkout, Stop> {
        let done = checkout(&self.request, &self.place(), &self.lines, &self.cancel).await;
        assert!(!self.request.private.exists(), "the private directory is left");
        if done.is_err() {
            assert!(!self.place().exists(), "a work tree is left after an error");
        }
        done
    }

    async fn code(&self) -> Code {
        code(self.checkout().await)
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.place().join(path)).expect(path)
    }

    fn log(&mut self) -> String {
        let mut all = String::new();
        while let Ok(line) = self.said.try_recv() {
            all.push_str(&line.text);
            all.push('\n');
        }
        all
    }

    /// Processes of this bench: only they know its directory.
    fn children(&self) -> Vec<u32> {
        let mark = self.directory.path().as_os_str().as_encoded_bytes();
        let known = |pid: &u32| {
            let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            [read("environ"), read("cmdline")]
                .iter()
                .any(|text| text.windows(mark.len()).any(|part| part == mark))
        };
        processes().filter(known).collect()
    }
}

fn processes() -> impl Iterator<Item = u32> {
    let own = std::process::id();
    let all = std::fs::read_dir("/proc").expect("/proc");
    all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter(move |pid| *pid != own)
}

fn code<T: std::fmt::Debug>(done: Result<T, Stop>) -> Code {
    match done {
        Err(Stop::Terminal(error) | Stop::Retryable { error, .. }) => error.code(),
        other => panic!("expected an error with a code, not {other:?}"),
    }
}

fn sentence<T: std::fmt::Debug>(done: Result<T, Stop>) -> String {
    match done {
        Err(Stop::Terminal(error)) => error.to_string(),
        other => panic!("expected a terminal error, not {other:?}"),
    }
}

fn branch(name: &str) -> Want {
    Want::Branch(name.to_owned())
}

fn commit(sha: &str) -> Want {
    Want::Commit { sha: sha.to_owned(), branch: Some("main".to_owned()) }
}

#[tokio::test]
async fn a_branch_becomes_its_files_and_nothing_else() {
    let server = GitServer::start().await;
    let repository = server.repository("app.git");
    repository.commit("main", "first", &[Entry::file("old.txt", "old")]);
    let sha = repository.commit(
        "main",
        "second\n\nwhy",
        &[
            Entry::file("src/main.js", "console.log(1)\n"),
            Entry::executable("run.sh", "#!/bin/sh\n"),
            Entry::link("current", "src/main.js"),
            Entry::file(".gitattributes", "* text eol=crlf ident\n*.bin filter=lfs\n"),
            Entry::file("id.txt", "$Id$\n"),
        ],
    );
    let mut bench = Bench::new(&server.url("app.git"), branch("main"));
    let done = bench.checkout().await.expect("checkout");
    assert_eq!(done.commit, sha);
    assert_eq!(done.branch.as_deref(), Some("main"));
    assert_eq!((done.message.as_str(), done.author.as_str()), ("second\n\nwhy", "Test"));
    assert_eq!(done.committed_at.timestamp(), 1_700_000_000);
    assert_eq!(done.files, 6);
    assert!(done.warnings.is_empty(), "{:?}", done.warnings);
    assert_eq!(bench.read("src/main.js"), "console.log(1)\n");
    assert_eq!(bench.read("id.txt"), "$Id$\n", "attributes of the tree are not obeyed");
    assert_eq!(bench.read("current"), "console.log(1)\n");
    let mode = |path: &str| std::fs::symlink_metadata(bench.place().join(path)).expect(path).mode() & 0o7777;
    assert_eq!((mode(""), mode("src"), mode("run.sh"), mode("src/main.js")), (0o700, 0o755, 0o755, 0o644));
    assert!(!bench.place().join(".git").exists());
    assert!(bench.log().contains(&sha));
    let text = serde_json::to_string(&done).expect("a record");
    assert_eq!(serde_json::from_str::<Checkout>(&text).expect("reads back"), done);
}

#[tokio::test]
async fn a_second_checkout_into_the_same_place_starts_clean() {
    let server = GitServer::start().await;
    let repository = server.repository("app.git");
    let sha = repository.commit("main", "x", &[Entry::file("a", "1")]);
    let bench = Bench::new(&server.url("app.git"), commit(&sha));
    let first = bench.checkout().await.expect("first");
    std::fs::write(bench.place().join("left"), "over").expect("write");
    std::fs::create_dir_all(bench.request.private.join("store-0")).expect("as after a crash");
    let second = bench.checkout().await.expect("second");
    assert_eq!(first, second);
    assert!(!bench.place().join("left").exists());
}

#[tokio::test]
async fn an_old_commit_is_had_from_servers_of_both_kinds() {
    for tips_only in [false, true] {
        let server = GitServer::start().await;
        let repository = server.repository("app.git");
        let old = repository.commit("main", "old", &[Entry::file("a", "old")]);
        for n in 0..60 {
            repository.commit("main", "new", &[Entry::file("a", format!("{n}"))]);
        }
        if tips_only {
            server.tips_only();
        }
        let mut bench = Bench::new(&server.url("app.git"), commit(&old));
        assert_eq!(bench.checkout().await.expect("checkout").message, "old");
        assert_eq!(bench.read("a"), "old");
        // Without a branch it is looked for below the server's HEAD.
        bench.request.want = Want::Commit { sha: old.to_uppercase(), branch: None };
        assert_eq!(bench.checkout().await.expect("checkout").commit, old);
        bench.request.want = commit(&"1".repeat(40));
        assert_eq!(bench.code().await, Code::CommitNotFound);
    }
}

#[tokio::test]
async fn what_is_not_there_has_its_own_code() {
    let server = GitServer::start().await;
    let empty = server.repository("empty.git");
    let repository = server.repository("app.git");
    repository.commit("main", "1", &[Entry::file("a", "1")]);
    let forced = repository.commit("main", "2", &[Entry::file("a", "2")]);
    repository.commit("gone", "3", &[Entry::file("a", "3")]);
    repository.delete_branch("gone");
    repository.replace("main", "4", &[Entry::file("b", "4")]);

    let ask = async |name: &str, want| Bench::new(&server.url(name), want).code().await;
    assert_eq!(ask("none.git", branch("main")).await, Code::RepositoryNotFound);
    assert_eq!(ask("none.git", commit(&forced)).await, Code::RepositoryNotFound);
    assert_eq!(ask("empty.git", branch("main")).await, Code::RepositoryEmpty);
    assert_eq!(ask("empty.git", commit(&forced)).await, Code::RepositoryEmpty);
    assert_eq!(ask("app.git", branch("gone")).await, Code::BranchNotFound);
    assert_eq!(ask("app.git", branch("-x")).await, Code::BranchNotFound);
    assert_eq!(ask("app.git", commit(&forced)).await, Code::CommitNotFound);
    assert_eq!(ask("app.git", commit("main")).await, Code::CommitNotFound);
    // Filled, but not on the branch that HEAD names.
    empty.commit("other", "x", &[Entry::file("a", "1")]);
    assert_eq!(ask("empty.git", branch("main")).await, Code::BranchNotFound);

    let bench = Bench::new(&server.url("app.git"), branch("main"));
    let resolved = resolve(&bench.request, &bench.cancel).await.expect("resolve");
    assert_eq!(Some(resolved.commit), repository.tip("main"));
    assert!(!bench.request.private.exists());
}
