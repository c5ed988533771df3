//! How an app is built and run: the settings a person may give, and which of them are refused.

use serde::{Deserialize, Serialize};

use super::rollout::RolloutSettings;
use super::slot::{PATH_MAX, SlotSettings, check_caps};
use super::text_enum;
use crate::error::{Code, Error};

/// Most words of a start command.
pub const WORDS_MAX: usize = 64;

text_enum! {
    /// Where a variable may be seen.
    VariableScope {
        Build = "build",
        Run = "run",
        Both = "both",
    }
}

impl VariableScope {
    pub const fn in_build(self) -> bool {
        matches!(self, VariableScope::Build | VariableScope::Both)
    }

    pub const fn in_run(self) -> bool {
        matches!(self, VariableScope::Run | VariableScope::Both)
    }
}

/// What a credential is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialUse {
    /// A repository over HTTP.
    GitHttp,
    /// A repository over SSH.
    GitSsh,
    Registry,
}

text_enum! {
    CredentialKind {
        /// A token sent over HTTPS.
        GitToken = "git_token",
        /// A private key for SSH.
        DeployKey = "deploy_key",
        /// User and password of an image registry.
        Registry = "registry",
    }
}

/// Everything that may be set; what is left out is found out from the repository or has a default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AppSettings {
    /// The folder of the repository that is the app; the whole of it when not set.
    pub root: Option<String>,
    /// The Dockerfile to build from, relative to the root.
    pub dockerfile: Option<String>,
    /// Where the program listens.
    pub port: Option<u16>,
    /// The start command, as an argument vector.
    pub start: Option<Vec<String>>,
    /// What its releases keep: health check, resources, routes, volumes.
    pub run: SlotSettings,
    pub rollout: RolloutSettings,
    /// What its build may use.
    pub build: BuildSettings,
    /// Where its images are pushed to, as `host[:port]/name`; they stay on the engine that built them when not set.
    pub registry: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BuildSettings {
    /// The worker's own cap when not set, and never more than it.
    pub memory_mb: Option<u32>,
    pub cpus: Option<f64>,
    /// The worker's own deadline when not set, and never more than it.
    pub deadline_s: Option<u32>,
}

impl AppSettings {
    /// Names every field that cannot be obeyed, at once.
    pub fn check(&self) -> Result<(), Error> {
        let mut wrong = Vec::new();
        for (name, path) in [("root", &self.root), ("dockerfile", &self.dockerfile)] {
            if let Some(Err(rule)) = path.as_deref().map(inner_path) {
                wrong.push(format!("{name} {rule}"));
            }
        }
        if self.port == Some(0) {
            wrong.push("port must be 1 to 65535".to_owned());
        }
        if let Some(words) = &self.start {
            let plain = |word: &String| word.len() <= 4096 && !word.contains('\0');
            if words.is_empty() || words.len() > WORDS_MAX || words[0].is_empty() || !words.iter().all(plain)
            {
                wrong.push(format!(
                    "start must be 1 to {WORDS_MAX} words of at most 4096 bytes, the first not empty"
                ));
            }
        }
        let mut of_run = Vec::new();
        self.run.check(&mut of_run);
        wrong.extend(of_run.into_iter().map(|rule| format!("run.{rule}")));
        self.rollout.check(&mut wrong);
        check_caps("build", self.build.memory_mb, self.build.cpus, &mut wrong);
        if self.build.deadline_s == Some(0) {
            wrong.push("build.deadline_s must be at least 1".to_owned());
        }
        if let Some(rule) = self.registry.as_deref().and_then(|name| image_repository(name).err()) {
            wrong.push(format!("registry {rule}"));
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(Error::new(Code::SettingsInvalid, format!("the app's settings: {}", wrong.join("; "))))
        }
    }
}

/// A path that stays inside the folder it starts in, as text; the file system is asked later.
fn inner_path(path: &str) -> Result<(), String> {
    if path.len() > PATH_MAX || path.chars().any(char::is_control) {
        return Err(format!("must be at most {PATH_MAX} characters without control characters"));
    }
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err("must be a relative path that stays inside the repository".to_owned());
    }
    Ok(())
}

/// `host[:port]/name[/name…]`, by the grammar of the distribution specification, without tag or digest.
fn image_repository(name: &str) -> Result<(), String> {
    let plain = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-".contains(&c))
            && part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    let good = name.len() <= 255
        && name.split_once('/').is_some_and(|(host, path)| {
            let (host, port) = host.split_once(':').unwrap_or((host, "1"));
            plain(host) && port.parse::<u16>().is_ok() && path.split('/').all(plain)
        });
    if good { Ok(()) } else { Err("must be host[:port]/name in lower case, without a tag".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_set_is_fine_and_an_unknown_field_is_not() {
        assert!(AppSettings::default().check().is_ok());
        assert_eq!(serde_json::from_str::<AppSettings>("{}").expect("empty"), AppSettings::default());
        assert!(serde_json::from_str::<AppSettings>(r#"{"prot": 80}"#).is_err());
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let settings = AppSettings {
            root: Some("../up".into()),
            dockerfile: Some("/etc/passwd".into()),
            port: Some(0),
            start: Some(vec![]),
            run: SlotSettings { replicas: 0, ..SlotSettings::default() },
            rollout: RolloutSettings { batch: 0, ..RolloutSettings::default() },
            build: BuildSettings { memory_mb: Some(u32::MAX), cpus: Some(0.0), deadline_s: Some(0) },
            registry: Some("UPPER/case:tag".into()),
        };
        let error = settings.check().expect_err("wrong");
        assert_eq!(error.code(), Code::SettingsInvalid);
        for field in [
            "root",
            "dockerfile",
            "port",
            "start",
            "run.replicas",
            "rollout.batch",
            "build.memory_mb",
            "build.cpus",
            "build.deadline_s",
            "registry",
        ] {
            assert!(error.sentence().contains(field), "{field}: {error}");
        }
    }

    #[test]
    fn repositories_of_images_follow_the_grammar() {
        for good in ["registry.example/shop", "127.0.0.1:5000/a/b-c", "ghcr.io/team/app_1"] {
            assert!(image_repository(good).is_ok(), "{good}");
        }
        for bad in ["shop", "/shop", "host/", "host:x/a", "host/a:1", "host/a@sha256:1", "host//a", "-h/a"] {
            assert!(image_repository(bad).is_err(), "{bad}");
        }
    }
}
