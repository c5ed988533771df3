//! Repositories inside repositories.

use super::*;

fn modules(list: &[(&str, &str)]) -> Entry {
    let text: Vec<String> = list
        .iter()
        .map(|(path, url)| {
            format!("[submodule \"{path}.x\"]\n\tpath = {path}\n\turl = {url}\n\tupdate = none\n")
        })
        .collect();
    Entry::file(".gitmodules", text.concat())
}

#[tokio::test]
async fn submodules_of_the_same_server_are_fetched_by_their_commit() {
    let server = GitServer::start().await;
    let inner = server.repository("inner.git").commit("main", "x", &[Entry::file("deep", "inner")]);
    let library = server.repository("library.git");
    let entries =
        [Entry::file("lib", "old"), modules(&[("in", "./../inner.git")]), Entry::submodule("in", &inner)];
    let wanted = library.commit("main", "old", &entries);
    library.commit("main", "new", &[Entry::file("lib", "new")]);
    let app = [
        Entry::file("a", "1"),
        Entry::link("into", "vendor/lib/lib"),
        modules(&[("vendor/lib", &server.url("library.git"))]),
        Entry::submodule("vendor/lib", &wanted),
        Entry::submodule("orphan", &wanted),
    ];
    server.repository("app.git").commit("main", "x", &app);
    let mut bench = Bench::new(&server.url("app.git"), branch("main"));
    let done = bench.checkout().await.expect("checkout");
    assert_eq!(bench.read("vendor/lib/lib"), "old");
    assert_eq!(bench.read("vendor/lib/in/deep"), "inner");
    assert_eq!(bench.read("into"), "old");
    let paths: Vec<&str> = done.submodules.iter().map(|sub| sub.path.as_str()).collect();
    assert_eq!(paths, ["vendor/lib", "vendor/lib/in"]);
    assert_eq!(done.files, 6);
    assert!(done.warnings[0].text.contains("orphan"), "{:?}", done.warnings);
    assert_eq!(std::fs::read_dir(bench.place().join("orphan")).expect("a directory").count(), 0);
    // The sum is what counts.
    bench.request.limits.files = 5;
    assert_eq!(bench.code().await, Code::RepositoryTooLarge);
}

#[tokio::test]
async fn submodules_elsewhere_or_nowhere_are_refused_by_name() {
    let (server, other) = (GitServer::start().await, GitServer::start().await);
    let commit = other.repository("library.git").commit("main", "x", &[Entry::file("a", "1")]);
    let app = server.repository("app.git");
    let elsewhere = other.url("library.git");
    for url in [elsewhere.as_str(), "ext::sh -c id", "file:///etc", "/etc", "-u", "../none.git", "../../../x"]
    {
        app.commit("main", "x", &[modules(&[("sub", url)]), Entry::submodule("sub", &commit)]);
        let said = sentence(Bench::new(&server.url("app.git"), branch("main")).checkout().await);
        assert!(said.starts_with("DM-4110") && said.contains("submodule sub"), "{url}: {said}");
    }
    assert!(other.seen().is_empty(), "the other server was asked");
}

#[tokio::test]
async fn links_of_a_submodule_may_not_lead_out_of_the_whole() {
    let server = GitServer::start().await;
    let library = server.repository("library.git");
    for (target, allowed) in [("../../a", true), ("../../../a", false)] {
        let commit = library.commit("main", "x", &[Entry::link("link", target)]);
        let app = [
            Entry::file("a", "1"),
            modules(&[("v/lib", "../library.git")]),
            Entry::submodule("v/lib", &commit),
        ];
        server.repository("app.git").commit("main", "x", &app);
        let done = Bench::new(&server.url("app.git"), branch("main")).checkout().await;
        if allowed {
            done.expect("inside");
        } else {
            assert_eq!(code(done), Code::TreeEscapes);
        }
    }
}

#[tokio::test]
async fn nesting_ends() {
    let server = GitServer::start().await;
    let mut commit = server.repository("0.git").commit("main", "x", &[Entry::file("a", "1")]);
    for n in 1..=6 {
        let below = format!("../{}.git", n - 1);
        let entries = [modules(&[("s", &below)]), Entry::submodule("s", &commit)];
        commit = server.repository(&format!("{n}.git")).commit("main", "x", &entries);
    }
    assert_eq!(
        Bench::new(&server.url("5.git"), branch("main")).checkout().await.expect("5 deep").submodules.len(),
        5
    );
    let said = sentence(Bench::new(&server.url("6.git"), branch("main")).checkout().await);
    assert!(said.starts_with("DM-4110") && said.contains("deeper than 5"), "{said}");
}
