//! What was read for one key, as `--print-config` and the reference show it. Holds no secret's value.

use std::fmt;

#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) key: &'static str,
    /// One line for the reference.
    pub(super) meaning: &'static str,
    /// What the reference says the default is; `None` for a key that must be set.
    pub(super) default: Option<String>,
    pub(super) effective: Effective,
}

/// Where the value in effect is from.
#[derive(Debug, Clone)]
pub(super) enum Effective {
    Given(String),
    Redacted,
    Default(String),
    Unset,
    Wrong,
}

/// One line that a shell or an env file would take.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key;
        match &self.effective {
            Effective::Given(value) => writeln!(f, "{key}={}", value.escape_debug()),
            Effective::Redacted => writeln!(f, "{key}=[redacted]"),
            Effective::Default(value) => writeln!(f, "{key}={value} # default"),
            Effective::Unset => writeln!(f, "# {key} is not set"),
            Effective::Wrong => writeln!(f, "# {key} is wrong"),
        }
    }
}
