//! What git's words mean: the one place that reads them.
//!
//! git has no exit status per reason, so its messages are matched. They are those of the C locale, which the child's
//! environment asks for; the table is held to recorded ones by the tests. Lines that the server dictates (`remote:`) are
//! left out, so that a server cannot choose the verdict by its words.

use deploymind_shared::error::{Code, Error};

use super::address::{Address, Scheme};
use super::child::Ended;
use super::private::host_key_missing;

/// Why a run that talked to a server failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    NotFound,
    Denied,
    CredentialMissing,
    Unreachable,
    Certificate,
    Moved,
    HostKey,
    KeyUnusable,
    BranchMissing,
    CommitMissing,
    /// The server hands out tips of branches only.
    TipsOnly,
    TooLarge,
    DiskFull,
    Malformed,
    DotGit,
    Unknown,
}

/// The first that is found decides, so the narrower come first.
const MARKERS: &[(&str, Reason)] = &[
    ("No space left on device", Reason::DiskFull),
    ("Disk quota exceeded", Reason::DiskFull),
    ("File too large", Reason::TooLarge),
    ("died of signal 25", Reason::TooLarge),
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", Reason::HostKey),
    ("Host key verification failed", Reason::HostKey),
    ("host key is known for", Reason::HostKey),
    ("no matching host key type found", Reason::HostKey),
    ("error in libcrypto", Reason::KeyUnusable),
    ("invalid format", Reason::KeyUnusable),
    ("incorrect passphrase", Reason::KeyUnusable),
    ("Permission denied (", Reason::Denied),
    ("Too many authentication failures", Reason::Denied),
    ("ERROR: Repository not found", Reason::NotFound),
    ("does not appear to be a git repository", Reason::NotFound),
    ("does not exist", Reason::NotFound),
    ("not our ref", Reason::CommitMissing),
    ("unadvertised object", Reason::TipsOnly),
    ("couldn't find remote ref", Reason::BranchMissing),
    ("hasDotgit", Reason::DotGit),
    ("hasDotdot", Reason::DotGit),
    ("hasDot", Reason::DotGit),
    ("fullPathname", Reason::DotGit),
    ("fsck error", Reason::Malformed),
    ("bad object", Reason::Malformed),
    ("could not read Username", Reason::CredentialMissing),
    ("could not read Password", Reason::CredentialMissing),
    ("Authentication failed", Reason::Denied),
    ("returned error: 401", Reason::Denied),
    ("returned error: 403", Reason::Denied),
    ("returned error: 404", Reason::NotFound),
    ("returned error: 410", Reason::NotFound),
    ("returned error: 30", Reason::Moved),
    ("unable to update url base from redirection", Reason::Moved),
    ("returned error: 429", Reason::Unreachable),
    ("returned error: 5", Reason::Unreachable),
    ("' not found", Reason::NotFound),
    ("not valid: is this a git repository?", Reason::NotFound),
    ("certificate", Reason::Certificate),
    ("Could not resolve host", Reason::Unreachable),
    ("Couldn't connect to server", Reason::Unreachable),
    ("Failed to connect", Reason::Unreachable),
    ("Connection refused", Reason::Unreachable),
    ("Connection timed out", Reason::Unreachable),
    ("Connection reset", Reason::Unreachable),
    ("Connection closed", Reason::Unreachable),
    ("Network is unreachable", Reason::Unreachable),
    ("No route to host", Reason::Unreachable),
    ("Operation too slow", Reason::Unreachable),
    ("timed out", Reason::Unreachable),
    ("Empty reply from server", Reason::Unreachable),
    ("Recv failure", Reason::Unreachable),
    ("Send failure", Reason::Unreachable),
    ("RPC failed", Reason::Unreachable),
    ("unexpected disconnect", Reason::Unreachable),
    ("transfer closed", Reason::Unreachable),
    ("early EOF", Reason::Unreachable),
    ("hung up", Reason::Unreachable),
    ("the remote end", Reason::Unreachable),
    ("unable to access", Reason::Unreachable),
];

pub(super) fn reason(stderr: &str) -> Reason {
    let own: Vec<&str> = stderr.lines().filter(|line| !line.trim_start().starts_with("remote:")).collect();
    let found = MARKERS.iter().find(|(marker, _)| own.iter().any(|line| line.contains(marker)));
    found.map_or(Reason::Unknown, |(_, reason)| *reason)
}

/// The error of a run that talked to a server and did not end well. `credential` says whether it had one.
pub(super) fn remote(ended: &Ended, origin: &Address, git: &super::child::Git<'_>) -> Error {
    if ended.late {
        return Error::new(
            Code::RepositoryUnreachable,
            format!(
                "{} did not deliver the repository within {} s; it is tried again; if it is large, raise the fetch deadline",
                place(origin),
                git.limits.fetch_deadline.as_secs()
            ),
        );
    }
    let why = if ended.overgrown { Reason::TooLarge } else { reason(&ended.stderr) };
    let error = match why {
        Reason::NotFound => Error::new(
            Code::RepositoryNotFound,
            format!(
                "there is no repository at {origin}; check the address, and remember that a private repository looks the same to a credential that may not see it, or without one"
            ),
        ),
        Reason::Denied => Error::new(
            Code::RepositoryDenied,
            format!(
                "{} refused the app's credential for {origin}; give it read access to the repository, or store one that has it",
                place(origin)
            ),
        ),
        Reason::CredentialMissing => Error::new(
            Code::RepositoryDenied,
            format!(
                "{} asks for a credential for {origin} and the app has none that it takes; store a token with read access, or check the address (a repository that does not exist can look the same)",
                place(origin)
            ),
        ),
        Reason::KeyUnusable => Error::new(
            Code::RepositoryDenied,
            "the stored deploy key cannot be used; store an OpenSSH private key without a passphrase (`ssh-keygen -t ed25519 -N ''`)",
        ),
        Reason::HostKey => host_key_missing(origin),
        Reason::Moved => Error::new(
            Code::RepositoryAddress,
            format!(
                "{origin} answers with a redirect, which is not followed; set the app's repository to its new address"
            ),
        ),
        Reason::Certificate => Error::new(
            Code::RepositoryUnreachable,
            format!(
                "the certificate of {} is not trusted by the worker; renew it, or add its authority to the worker's CA bundle",
                place(origin)
            ),
        ),
        Reason::Unreachable => Error::new(
            Code::RepositoryUnreachable,
            format!(
                "{} could not be reached, or broke off; it is tried again; check that the worker can reach it",
                place(origin)
            ),
        ),
        Reason::BranchMissing => Error::new(
            Code::BranchNotFound,
            format!("the branch is not in {origin}; was it deleted or renamed?"),
        ),
        Reason::CommitMissing | Reason::TipsOnly => Error::new(
            Code::CommitNotFound,
            format!(
                "the commit is not in {origin}; was it never pushed, or forced away? Deploy a commit that a branch holds"
            ),
        ),
        Reason::TooLarge => Error::new(
            Code::RepositoryTooLarge,
            format!(
                "{origin} sends more than {}, so its files cannot be within the limit of {}; remove large files from the repository, or raise the limit",
                super::tree::size_in_words(git.fetch_cap()),
                super::tree::size_in_words(git.limits.bytes)
            ),
        ),
        Reason::DiskFull => Error::new(
            Code::WorkspaceFailed,
            "the worker's disk is full; free some of it, the deployment is tried again",
        ),
        Reason::DotGit => Error::new(
            Code::TreeEscapes,
            format!(
                "a path in {origin} is absolute, or has a part `.`, `..` or `.git`; remove it from the repository"
            ),
        ),
        Reason::Malformed => Error::new(
            Code::GitFailed,
            format!(
                "{origin} holds objects that git refuses ({}); run `git fsck --full` in a clone and rewrite what it names",
                last_words(&ended.stderr)
            ),
        ),
        Reason::Unknown => local(ended),
    };
    error.context("run git").because(last_words(&ended.stderr))
}

/// The error of a run that needed nobody else.
pub(super) fn local(ended: &Ended) -> Error {
    if reason(&ended.stderr) == Reason::DiskFull {
        return Error::new(
            Code::WorkspaceFailed,
            "the worker's disk is full; free some of it, the deployment is tried again",
        );
    }
    let words = last_words(&ended.stderr);
    let words = if words.is_empty() { "it gave no reason".to_owned() } else { words };
    Error::new(
        Code::GitFailed,
        format!(
            "git failed in a way that has no other code ({words}); if a second try ends the same, try `git clone` by hand"
        ),
    )
}

/// The last line that is git's own, printable and short.
fn last_words(stderr: &str) -> String {
    let mut own =
        stderr.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("remote:"));
    let telling = own.clone().rfind(|line| line.starts_with("fatal:") || line.starts_with("error:"));
    let line = telling.or(own.next_back()).unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(200).collect()
}

fn place(origin: &Address) -> String {
    if origin.scheme == Scheme::Local { "the local repository".to_owned() } else { origin.host.clone() }
}

#[cfg(test)]
mod tests;
