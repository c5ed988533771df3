//! Recorded from git 2.39.5, curl 7.88 and OpenSSH 9.2; hosts and paths are shortened.

use super::*;

#[test]
fn recorded_messages_are_understood() {
    for (said, wanted) in [
        ("fatal: repository 'http://h/x/' not found", Reason::NotFound),
        ("remote: Repository not found.\nfatal: repository 'https://h/x/' not found", Reason::NotFound),
        (
            "fatal: could not read Username for 'http://h': terminal prompts disabled",
            Reason::CredentialMissing,
        ),
        ("fatal: Authentication failed for 'http://h/x/'", Reason::Denied),
        ("fatal: unable to access 'http://h/x/': The requested URL returned error: 403", Reason::Denied),
        ("fatal: unable to access 'http://h/x/': The requested URL returned error: 500", Reason::Unreachable),
        ("fatal: unable to access 'http://h/x/': The requested URL returned error: 503", Reason::Unreachable),
        ("fatal: unable to access 'http://h/x/': The requested URL returned error: 429", Reason::Unreachable),
        ("fatal: unable to access 'http://h/x/': The requested URL returned error: 301", Reason::Moved),
        ("fatal: unable to access 'http://h/x/': Could not resolve host: h", Reason::Unreachable),
        (
            "fatal: unable to access 'http://127.0.0.1:1/x/': Failed to connect to 127.0.0.1 port 1 after 0 ms: Couldn't connect to server",
            Reason::Unreachable,
        ),
        (
            "fatal: unable to access 'http://h/x/': Operation too slow. Less than 1000 bytes/sec transferred the last 1 seconds",
            Reason::Unreachable,
        ),
        ("error: RPC failed; curl 28 Operation too slow\nfatal: expected 'packfile'", Reason::Unreachable),
        (
            "fatal: unable to access 'https://h/x/': server certificate verification failed. CAfile: none CRLfile: none",
            Reason::Certificate,
        ),
        ("fatal: couldn't find remote ref refs/heads/gone", Reason::BranchMissing),
        (
            "fatal: remote error: upload-pack: not our ref 1111111111111111111111111111111111111111",
            Reason::CommitMissing,
        ),
        (
            "error: Server does not allow request for unadvertised object 1111111111111111111111111111111111111111",
            Reason::TipsOnly,
        ),
        (
            "fatal: fsck error in packed object\nfatal: fetch-pack: invalid index-pack output",
            Reason::Malformed,
        ),
        (
            "error: object 1111: hasDotgit: contains '.git'\nfatal: fsck error in packed object",
            Reason::DotGit,
        ),
        ("Host key verification failed.\nfatal: Could not read from remote repository.", Reason::HostKey),
        (
            "No ED25519 host key is known for [127.0.0.1]:2222 and you have requested strict checking.\nHost key verification failed.",
            Reason::HostKey,
        ),
        (
            "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.",
            Reason::Denied,
        ),
        (
            "Load key \"/p/key\": error in libcrypto\ngit@h: Permission denied (publickey).",
            Reason::KeyUnusable,
        ),
        ("ERROR: Repository not found.\nfatal: Could not read from remote repository.", Reason::NotFound),
        ("fatal: '/srv/x' does not appear to be a git repository", Reason::NotFound),
        ("ssh: connect to host 127.0.0.1 port 1: Connection refused", Reason::Unreachable),
        ("ssh: Could not resolve hostname h: Name or service not known", Reason::Unreachable),
        ("fatal: write error: No space left on device", Reason::DiskFull),
        ("error: index-pack died of signal 25", Reason::TooLarge),
        ("fatal: the sky fell", Reason::Unknown),
        ("", Reason::Unknown),
    ] {
        assert_eq!(reason(said), wanted, "{said}");
    }
}

#[test]
fn a_server_cannot_choose_the_verdict_by_its_words() {
    let said = "remote: Host key verification failed\nremote: No space left on device\nfatal: the sky fell";
    assert_eq!(reason(said), Reason::Unknown);
    assert_eq!(last_words("fatal: it\nremote: fatal: not it\n"), "fatal: it");
    assert_eq!(last_words("fatal: a\u{1b}[1mb"), "fatal: a[1mb");
}
