//! What the harness is told from outside. `scripts/test.sh` sets these; nothing else here reads the environment.

pub(crate) const DATABASE_URL: &str = "DEPLOYMIND_TEST_DATABASE_URL";
pub(crate) const REDIS_URL: &str = "DEPLOYMIND_TEST_REDIS_URL";
/// The Trivy program, and the folder of its database; `scripts/trivy.sh` makes both.
pub(crate) const TRIVY: &str = "DEPLOYMIND_TEST_TRIVY";
pub(crate) const TRIVY_CACHE: &str = "DEPLOYMIND_TEST_TRIVY_CACHE";

pub(crate) fn required(name: &str) -> String {
    optional(name)
        .unwrap_or_else(|| panic!("{name} is not set: run `make test`, it starts the servers the tests need"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the harness is no process with a configuration; this is its one door"
)]
pub(crate) fn optional(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
