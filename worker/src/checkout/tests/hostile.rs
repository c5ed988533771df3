//! Trees that try to leave their place, to run something, or to be unreadable.

use super::*;

async fn with(entries: &[Entry]) -> (GitServer, Bench) {
    let server = GitServer::start().await;
    server.repository("app.git").commit("main", "x", entries);
    let bench = Bench::new(&server.url("app.git"), branch("main"));
    (server, bench)
}

#[tokio::test]
async fn links_that_lead_out_are_named_and_nothing_is_written() {
    for (entries, named) in [
        (vec![Entry::link("etc/passwd", "/etc/passwd")], "etc/passwd"),
        (vec![Entry::link("up", "../../secret")], "up"),
        (
            vec![
                Entry::link("a/b/root", "../.."),
                Entry::link("sly", "a/b/root/../secret"),
                Entry::file("a/x", "1"),
            ],
            "sly",
        ),
    ] {
        let (_server, bench) = with(&entries).await;
        let said = sentence(bench.checkout().await);
        assert!(said.starts_with("DM-4109") && said.contains(named), "{said}");
    }
}

#[tokio::test]
async fn gits_own_names_are_refused() {
    for path in [".git/config", "a/.GIT/hooks/x", ".git"] {
        let (_server, bench) = with(&[Entry::file(path, "[core]\n\tfsmonitor = touch /tmp/x\n")]).await;
        assert_eq!(bench.code().await, Code::TreeEscapes, "{path}");
    }
}

#[tokio::test]
async fn names_that_are_not_utf8_or_differ_by_case_are_kept() {
    let entries = [
        Entry::file(b"caf\xe9.txt", "1"),
        Entry::file("Read", "2"),
        Entry::file("read", "3"),
        Entry::file("-x\n", "4"),
    ];
    let (_server, mut bench) = with(&entries).await;
    let done = bench.checkout().await.expect("checkout");
    assert_eq!(done.files, 4);
    assert_eq!(done.warnings[0].code.as_deref(), Some("DM-4113"));
    assert!(done.warnings[0].text.contains("caf\\xe9.txt"), "{:?}", done.warnings);
    assert!(bench.log().contains("DM-4113"));
    assert_eq!(std::fs::read_dir(bench.place()).expect("work tree").count(), 4);
}

#[tokio::test]
async fn no_hook_filter_or_setting_of_theirs_runs() {
    let mark = tempfile::tempdir().expect("a directory");
    let ran = mark.path().join("ran");
    let touch = format!("#!/bin/sh\ntouch '{}'\n", ran.display());
    let (server, bench) = with(&[
        Entry::file(".gitattributes", "* filter=evil diff=evil\n"),
        Entry::file(".gitconfig", format!("[filter \"evil\"]\n\tsmudge = touch {}\n", ran.display())),
        Entry::executable(".githooks/post-checkout", &touch),
        Entry::executable("hooks/post-checkout", &touch),
        Entry::file("a", "1"),
    ])
    .await;
    // A machine's own template directory and hooks do not count either: the store is made without them.
    bench.checkout().await.expect("checkout");
    assert!(!ran.exists());
    drop(server);
}

#[tokio::test]
async fn large_file_pointers_are_reported() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n";
    let (_server, bench) = with(&[Entry::file("model.bin", pointer), Entry::file("a", "1")]).await;
    let done = bench.checkout().await.expect("checkout");
    assert_eq!(done.lfs_pointers, 1);
    assert!(done.warnings[0].text.contains("model.bin"), "{:?}", done.warnings);
}

#[tokio::test]
async fn paths_on_the_worker_are_only_for_development() {
    let (server, mut bench) = with(&[Entry::file("a", "1")]).await;
    let path = server.repository("app.git").path().display().to_string();
    for address in [path.clone(), format!("file://{path}")] {
        bench.request.repository = address;
        bench.request.allow_local = false;
        assert_eq!(bench.code().await, Code::RepositoryAddress);
        bench.request.allow_local = true;
        bench.checkout().await.expect("a local repository");
    }
}
