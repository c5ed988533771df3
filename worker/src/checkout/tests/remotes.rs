//! Servers that refuse, break, drip, redirect or never answer; credentials on the way to them.

use deploymind_tests::git::Fault;
use deploymind_tests::git::ssh::SshServer;
use tokio::time::Instant;

use super::*;

const TOKEN: &str = "ghp_se/cr@t:0123456789";

fn token() -> Option<Credential> {
    Some(Credential::Token { username: None, token: TOKEN.into() })
}

#[tokio::test]
async fn a_token_is_sent_when_asked_for_and_is_nowhere_else() {
    let server = GitServer::start().await;
    server.repository("app.git").commit("main", "x", &[Entry::file("a", "1")]);
    let mut bench = Bench::new(&server.url("app.git"), branch("main"));
    bench.request.credential = token();
    bench.checkout().await.expect("a public repository");
    assert!(server.seen().iter().all(|seen| seen.authorization.is_none()), "sent unasked");

    server.demand_basic("x-access-token", TOKEN);
    server.fault(Some(Fault::HangPack));
    let watched = async {
        let asked = || server.seen().iter().filter(|seen| seen.path.ends_with("upload-pack")).count();
        let before = asked();
        let end = Instant::now() + Duration::from_secs(20);
        while asked() < before + 2 {
            assert!(Instant::now() < end, "no pack was asked for");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Now git, its transport helper and whatever else it started are alive and wait.
        let children = bench.children();
        assert!(children.len() >= 2, "{children:?}");
        for pid in processes() {
            for file in ["cmdline", "environ"] {
                let text = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                let text = String::from_utf8_lossy(&text).into_owned();
                assert!(
                    !text.contains("0123456789") || !text.contains("cr@t"),
                    "the token is in {file} of {pid}"
                );
            }
        }
        server.fault(None);
        bench.cancel.cancel();
    };
    let (done, ()) = tokio::join!(bench.checkout(), watched);
    assert!(matches!(done, Err(Stop::Cancelled)), "{done:?}");
    bench.cancel = CancellationToken::new();
    bench.checkout().await.expect("with the token");
    assert!(!bench.log().contains("0123456789"));

    bench.request.credential = None;
    assert_eq!(bench.code().await, Code::RepositoryDenied);
    bench.request.credential = Some(Credential::Token { username: None, token: "wrong".into() });
    let said = sentence(bench.checkout().await);
    assert!(said.starts_with("DM-4103") && !said.contains("wrong"), "{said}");
}

#[tokio::test]
async fn a_redirect_never_takes_the_token_to_another_host() {
    let (server, other) = (GitServer::start().await, GitServer::start().await);
    other.repository("app.git").commit("main", "x", &[Entry::file("a", "1")]);
    other.demand_basic("x-access-token", TOKEN);
    let to = other.url("").trim_end_matches('/').to_owned();
    server.fault(Some(Fault::Redirect(to)));
    let mut bench = Bench::new(&server.url("app.git"), branch("main"));
    bench.request.credential = token();
    assert_eq!(bench.code().await, Code::RepositoryAddress);
    // Without a credential the first request may be led on, and there is nothing to take along.
    bench.request.credential = None;
    assert_eq!(bench.code().await, Code::RepositoryDenied);
    assert!(other.seen().iter().all(|seen| seen.authorization.is_none()));
    assert!(!other.seen().is_empty());
}

#[tokio::test]
async fn broken_servers_are_tried_again() {
    let server = GitServer::start().await;
    server.repository("app.git").commit("main", "x", &[Entry::file("a", [7; 50_000])]);
    let mut bench = Bench::new(&server.url("app.git"), branch("main"));
    bench.request.limits.stall = Duration::from_secs(1);
    for fault in
        [Fault::Status(500), Fault::Status(503), Fault::Status(429), Fault::Drip(Duration::from_millis(900))]
    {
        server.fault(Some(fault.clone()));
        let done = bench.checkout().await;
        assert!(matches!(done, Err(Stop::Retryable { .. })), "{fault:?}: {done:?}");
        assert_eq!(code(done), Code::RepositoryUnreachable, "{fault:?}");
    }
    server.fault(Some(Fault::Status(403)));
    assert_eq!(bench.code().await, Code::RepositoryDenied);
    server.fault(Some(Fault::Hang));
    bench.request.limits.stall = Duration::from_secs(60);
    bench.request.limits.fetch_deadline = Duration::from_secs(1);
    assert_eq!(bench.code().await, Code::RepositoryUnreachable);

    for url in ["http://127.0.0.1:1/app.git", "http://no-such-host.invalid/app.git"] {
        assert_eq!(Bench::new(url, branch("main")).code().await, Code::RepositoryUnreachable, "{url}");
    }
}

#[tokio::test]
async fn a_cancel_or_a_drop_in_the_middle_leaves_nothing() {
    let server = GitServer::start().await;
    let sha = server.repository("app.git").commit("main", "x", &[Entry::file("a", "1")]);
    for (fault, want) in [(Fault::Hang, branch("main")), (Fault::HangPack, commit(&sha))] {
        server.fault(Some(fault));
        for dropped in [false, true] {
            let bench = Bench::new(&server.url("app.git"), want.clone());
            let cancel = bench.cancel.clone();
            let mut running = Box::pin(bench.checkout());
            let end = Instant::now() + Duration::from_secs(20);
            while bench.children().len() < 2 {
                assert!(Instant::now() < end, "git was not started");
                let piece = tokio::time::timeout(Duration::from_millis(10), &mut running).await;
                assert!(piece.is_err(), "it ended although the server hangs: {piece:?}");
            }
            let began = Instant::now();
            if dropped {
                drop(running);
            } else {
                cancel.cancel();
                assert!(matches!(running.await, Err(Stop::Cancelled)));
            }
            while !bench.children().is_empty() {
                assert!(began.elapsed() < Duration::from_secs(2), "left: {:?}", bench.children());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert!(began.elapsed() < Duration::from_secs(2));
            assert!(!bench.request.private.exists() && !bench.place().exists());
        }
    }
}

#[tokio::test]
async fn over_ssh_the_key_and_the_host_must_be_known() {
    let server = SshServer::start();
    server.repository("app.git").commit("main", "x", &[Entry::file("a", "over ssh")]);
    let mut bench = Bench::new(&server.url("app.git"), branch("main"));
    assert_eq!(bench.code().await, Code::RepositoryDenied);
    bench.request.credential = Some(Credential::DeployKey(server.key().replace('\n', "\r\n").into()));
    assert!(sentence(bench.checkout().await).contains("ssh-keyscan -p"));
    bench.request.known_hosts =
        Some("example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGRlcGxveW1pbmQ=".to_owned());
    assert_eq!(bench.code().await, Code::HostKeyRefused);
    bench.request.known_hosts = Some(server.known_hosts());
    bench.checkout().await.expect("over SSH");
    assert_eq!(bench.read("a"), "over ssh");
    assert!(!bench.log().contains("PRIVATE KEY"));

    bench.request.credential = Some(Credential::DeployKey(server.stranger().into()));
    assert_eq!(bench.code().await, Code::RepositoryDenied);
    bench.request.credential = Some(Credential::DeployKey("not a key".into()));
    assert_eq!(bench.code().await, Code::RepositoryDenied);
    bench.request.credential = Some(Credential::DeployKey(server.key().into()));
    bench.request.repository = server.url("none.git");
    assert_eq!(bench.code().await, Code::RepositoryNotFound);
    bench.request.repository = "ssh://git@127.0.0.1:1/app.git".to_owned();
    assert_eq!(bench.code().await, Code::RepositoryUnreachable);
    bench.request.credential = token();
    assert_eq!(bench.code().await, Code::RepositoryDenied);
}

#[tokio::test]
async fn a_token_does_not_travel_in_clear() {
    let mut bench = Bench::new("http://git.example.com/app.git", branch("main"));
    bench.request.credential = token();
    assert_eq!(bench.code().await, Code::RepositoryAddress);
}
