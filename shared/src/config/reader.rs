//! Reads typed settings from a [`Source`] and remembers two things about each: what was wrong, so that all mistakes are
//! reported together, and what was used, so that `--print-config` and `docs/CONFIG.md` cannot disagree with the code.
//!
//! Must not keep or repeat a secret's value.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::durations;
use super::mistakes::{ConfigErrors, Mistake};
use super::setting::{Effective, Setting};
use super::source::Source;

/// How much of a wrong value a message repeats, in characters.
const ECHO_MAX: usize = 60;

enum Found<T> {
    Given(T, String),
    Missing,
    Wrong,
}

/// Parses settings and collects every mistake; see the [module documentation](super).
pub struct Reader<'a> {
    source: &'a dyn Source,
    settings: Vec<Setting>,
    mistakes: Vec<Mistake>,
}

impl<'a> Reader<'a> {
    pub fn new(source: &'a dyn Source) -> Self {
        Self { source, settings: Vec::new(), mistakes: Vec::new() }
    }

    /// Ends the reading: whatever was read may be used only if this is `Ok`.
    pub fn finish(self) -> Result<(), ConfigErrors> {
        ConfigErrors::from_mistakes(self.mistakes).map_or(Ok(()), Err)
    }

    /// A whole number within `allowed`.
    pub fn number<T>(
        &mut self,
        key: &'static str,
        default: T,
        allowed: RangeInclusive<T>,
        meaning: &'static str,
    ) -> T
    where
        T: FromStr + Display + PartialOrd + Copy,
    {
        let rule = format!("is not a whole number from {} to {}", allowed.start(), allowed.end());
        self.parsed(key, default, meaning, |text| {
            text.parse().ok().filter(|number| allowed.contains(number)).ok_or(rule)
        })
    }

    /// A duration such as `500ms`, `5s`, `2m`, `1h` or `30d`, within `allowed`.
    pub fn duration(
        &mut self,
        key: &'static str,
        default: Duration,
        allowed: RangeInclusive<Duration>,
        meaning: &'static str,
    ) -> Duration {
        let shown = durations::show(default);
        let [least, most] = [*allowed.start(), *allowed.end()].map(durations::show);
        let found = self.find(key, &shown, |text| {
            durations::parse(text)
                .filter(|duration| allowed.contains(duration))
                .ok_or_else(|| format!("is not a duration from {least} to {most}"))
        });
        self.settle(key, meaning, (default, shown.clone()), shown, found)
    }

    /// Any other type with a default. `parse` says what is wrong as the end of a sentence: `is not a colour`.
    pub fn parsed<T: Display>(
        &mut self,
        key: &'static str,
        default: T,
        meaning: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let shown = default.to_string();
        let found = self.find(key, &shown, parse);
        self.settle(key, meaning, (default, shown.clone()), shown, found)
    }

    /// [`Reader::parsed`] for a default that differs between processes; the reference shows `documented` instead.
    pub fn parsed_per_process<T: Display>(
        &mut self,
        key: &'static str,
        default: T,
        documented: &'static str,
        meaning: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let shown = default.to_string();
        let found = self.find(key, &shown, parse);
        self.settle(key, meaning, (default, shown), documented.to_owned(), found)
    }

    /// A setting that may be left out.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        example: &str,
        meaning: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (value, effective) = match self.find(key, example, parse) {
            Found::Given(value, text) => (Some(value), Effective::Given(text)),
            Found::Missing => (None, Effective::Unset),
            Found::Wrong => (None, Effective::Wrong),
        };
        self.record(Setting { key, meaning, default: Some("not set".to_owned()), effective });
        value
    }

    /// A URL with one of `schemes` that may be left out. URLs carry tokens in odd places, so a wrong one is not repeated
    /// and only its path and what stands before it is shown.
    pub fn optional_url(
        &mut self,
        key: &'static str,
        schemes: &[&str],
        example: &str,
        meaning: &'static str,
    ) -> Option<Url> {
        let (value, effective) = match self.text(key) {
            None => (None, Effective::Unset),
            Some(text) => match parse_url(&text, schemes) {
                Ok(url) => {
                    let mut shown = url.clone();
                    shown.set_query(None);
                    shown.set_fragment(None);
                    (Some(url), Effective::Given(shown.into()))
                }
                Err(problem) => {
                    self.refuse(key, problem, example);
                    (None, Effective::Wrong)
                }
            },
        };
        self.record(Setting { key, meaning, default: Some("not set".to_owned()), effective });
        value
    }

    /// A setting that must be given. `None` means the mistake is noted and the caller goes on with a placeholder.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        meaning: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (value, effective) = match self.find(key, example, parse) {
            Found::Given(value, text) => (Some(value), Effective::Given(text)),
            Found::Missing => {
                self.refuse(key, "is not set", example);
                (None, Effective::Unset)
            }
            Found::Wrong => (None, Effective::Wrong),
        };
        self.record(Setting { key, meaning, default: None, effective });
        value
    }

    /// A secret that must be given. `check` gets the value and answers with a fixed sentence, so that no part of the
    /// value can end up in a message.
    pub fn required_secret(
        &mut self,
        key: &'static str,
        example: &str,
        meaning: &'static str,
        check: impl FnOnce(&str) -> Result<(), &'static str>,
    ) -> SecretString {
        let (value, effective) = match self.text(key) {
            None => {
                self.refuse(key, "is not set", example);
                (String::new(), Effective::Unset)
            }
            Some(text) => match check(&text) {
                Ok(()) => (text, Effective::Redacted),
                Err(problem) => {
                    self.refuse(key, problem, example);
                    (String::new(), Effective::Wrong)
                }
            },
        };
        self.record(Setting { key, meaning, default: None, effective });
        SecretString::from(value)
    }

    /// A secret that may be left out; `check` as for [`Reader::required_secret`].
    pub fn optional_secret(
        &mut self,
        key: &'static str,
        example: &str,
        meaning: &'static str,
        check: impl FnOnce(&str) -> Result<(), &'static str>,
    ) -> Option<SecretString> {
        let (value, effective) = match self.text(key) {
            None => (None, Effective::Unset),
            Some(text) => match check(&text) {
                Ok(()) => (Some(SecretString::from(text)), Effective::Redacted),
                Err(problem) => {
                    self.refuse(key, problem, example);
                    (None, Effective::Wrong)
                }
            },
        };
        self.record(Setting { key, meaning, default: Some("not set".to_owned()), effective });
        value
    }

    /// Notes a mistake that shows only when settings are compared with each other. `problem` must not hold a secret.
    pub fn refuse(&mut self, key: &'static str, problem: impl Into<String>, example: impl Into<String>) {
        let mistake = Mistake { key, problem: problem.into(), example: example.into() };
        // Several roles in one process read the same struct; they share its mistakes too.
        if !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
    }

    /// The settings in effect, one `KEY=value` per line, secrets redacted, defaults marked. For `--print-config`.
    pub fn print_config(&self) -> String {
        self.settings.iter().map(ToString::to_string).collect()
    }

    pub(super) fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// Spaces around a value are never meant: they come from quoting in YAML and newlines at the end of secret files.
    fn text(&self, key: &str) -> Option<String> {
        let text = self.source.get(key)?.trim().to_owned();
        (!text.is_empty()).then_some(text)
    }

    fn find<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Found<T> {
        let Some(text) = self.text(key) else {
            return Found::Missing;
        };
        match parse(&text) {
            Ok(value) => Found::Given(value, text),
            Err(problem) => {
                let echo: String = text.chars().take(ECHO_MAX).collect();
                self.refuse(key, format!("is wrong: {echo:?} {problem}"), example);
                Found::Wrong
            }
        }
    }

    fn settle<T>(
        &mut self,
        key: &'static str,
        meaning: &'static str,
        (default, shown): (T, String),
        documented: String,
        found: Found<T>,
    ) -> T {
        let (value, effective) = match found {
            Found::Given(value, text) => (value, Effective::Given(text)),
            Found::Missing => (default, Effective::Default(shown)),
            Found::Wrong => (default, Effective::Wrong),
        };
        self.record(Setting { key, meaning, default: Some(documented), effective });
        value
    }

    fn record(&mut self, setting: Setting) {
        match self.settings.iter_mut().find(|known| known.key == setting.key) {
            Some(known) => *known = setting,
            None => self.settings.push(setting),
        }
    }
}

fn parse_url(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| schemes.contains(&url.scheme()) && url.has_host());
    match url {
        None => Err(format!("is not a URL that begins with {}://", schemes.join(":// or "))),
        Some(url) if !url.username().is_empty() || url.password().is_some() => {
            Err("must not hold a user name or password".to_owned())
        }
        Some(url) => Ok(url),
    }
}

#[cfg(test)]
mod tests;
