//! Where setting values come from: the environment, a map, or one laid over the other. Knows nothing of what a value
//! means.

use std::collections::BTreeMap;

/// Looks up the raw text of one setting.
pub trait Source {
    /// The value of `key`. Empty text is no value: `KEY=` in a compose file means "not set".
    fn get(&self, key: &str) -> Option<String>;
}

/// The process environment.
#[derive(Debug, Clone, Copy, Default)]
pub struct EnvSource;

impl Source for EnvSource {
    #[expect(clippy::disallowed_methods, reason = "the one place that may read the environment")]
    fn get(&self, key: &str) -> Option<String> {
        // Lossy on purpose: text that is not Unicode must fail to parse and be reported, not pass for missing and
        // silently become the default.
        let value = std::env::var_os(key)?.to_string_lossy().into_owned();
        Some(value).filter(|value| !value.is_empty())
    }
}

/// Fixed values: tests, and command-line flags laid over the environment with [`Overlay`].
#[derive(Debug, Clone, Default)]
pub struct MapSource(BTreeMap<String, String>);

impl MapSource {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.insert(key.into(), value.into());
        self
    }
}

impl<const N: usize> From<[(&str, &str); N]> for MapSource {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self(pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }
}

impl From<BTreeMap<String, String>> for MapSource {
    fn from(values: BTreeMap<String, String>) -> Self {
        Self(values)
    }
}

impl Source for MapSource {
    fn get(&self, key: &str) -> Option<String> {
        self.0.get(key).filter(|value| !value.is_empty()).cloned()
    }
}

/// The first source where it has a value, else the second.
#[derive(Debug, Clone)]
pub struct Overlay<A, B>(pub A, pub B);

impl<A: Source, B: Source> Source for Overlay<A, B> {
    fn get(&self, key: &str) -> Option<String> {
        self.0.get(key).or_else(|| self.1.get(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_prefers_the_first_source_and_empty_text_is_no_value() {
        let flags = MapSource::from([("A", "flag"), ("B", "")]);
        let under = MapSource::from([("A", "env"), ("B", "env"), ("C", "env")]);
        let both = Overlay(flags, under);
        assert_eq!(both.get("A").as_deref(), Some("flag"));
        assert_eq!(both.get("B").as_deref(), Some("env"), "an empty flag must not hide the environment");
        assert_eq!(both.get("C").as_deref(), Some("env"));
        assert_eq!(both.get("D"), None);
    }

    #[test]
    fn the_environment_is_a_source() {
        // Cargo sets this one for every test run, so no variable has to be set from inside the process.
        assert_eq!(EnvSource.get("CARGO_PKG_NAME").as_deref(), Some(env!("CARGO_PKG_NAME")));
        assert_eq!(EnvSource.get("DEPLOYMIND_NO_SUCH_KEY"), None);
    }
}
