//! What can be wrong with settings, and how it is told. Never holds a secret's value.

use std::fmt;

use crate::error::{Code, Error};

/// One wrong or missing setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub key: &'static str,
    /// Continues the sentence that the key begins: `is not set`.
    pub problem: String,
    /// A value that would be right.
    pub example: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, problem, example } = self;
        write!(f, "{key} {problem}; for example {key}={example}")
    }
}

/// Every mistake found, one per line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(Vec<Mistake>);

impl ConfigErrors {
    /// `None` when there is nothing to report.
    pub(super) fn from_mistakes(mistakes: Vec<Mistake>) -> Option<Self> {
        (!mistakes.is_empty()).then_some(Self(mistakes))
    }

    pub fn mistakes(&self) -> &[Mistake] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, mistake) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}

impl From<ConfigErrors> for Error {
    fn from(errors: ConfigErrors) -> Self {
        Error::new(Code::Config, format!("the settings are wrong:\n{errors}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_has_its_own_line_with_a_way_out() {
        let mistake = |key| Mistake { key, problem: "is not set".into(), example: "5s".into() };
        let errors = ConfigErrors::from_mistakes(vec![mistake("A"), mistake("B")]).expect("two mistakes");
        assert_eq!(errors.to_string(), "A is not set; for example A=5s\nB is not set; for example B=5s");
        assert_eq!(Error::from(errors).code(), Code::Config);
        assert_eq!(ConfigErrors::from_mistakes(vec![]), None);
    }
}
