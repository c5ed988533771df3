//! What the suites of the pipeline share.

use std::time::Duration;

use deploymind_tests::git::Entry;

/// How long a small deployment may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(120);

/// A repository that builds in a second from what every engine of the tests has.
pub fn small() -> Vec<Entry> {
    vec![
        Entry::file(
            "Dockerfile",
            "FROM debian:bookworm-slim\nCOPY hello /hello\nUSER 1000\nCMD [\"cat\", \"/hello\"]\n",
        ),
        Entry::file(".dockerignore", ".git\n"),
        Entry::file("hello", "hello\n"),
    ]
}
