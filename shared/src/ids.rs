//! Typed identifiers. Nothing here does I/O; no bare `Uuid`, `String` or integer crosses a function boundary
//! where one of these fits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Code, Error};

macro_rules! uuid_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, sqlx::Type)]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A fresh id. Version 7, so ids sort by creation and index pages stay warm.
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self)
            }
        }
    )*};
}

uuid_id! {
    /// A person or machine account.
    UserId;
    /// Repository + branch + settings, deployed into one environment.
    AppId;
    /// One attempt to bring an app to a commit.
    DeploymentId;
    /// The immutable thing that can run.
    ReleaseId;
    /// What travels in the queue.
    JobId;
    /// A token, key or password for git or a registry.
    CredentialId;
    /// A finding that an environment lives with, until a date.
    AllowanceId;
    /// One worker process from start to end. Fresh at each start: a reused name would hide orphaned jobs.
    WorkerId;
}

/// The fencing number of a target: one more at each claim, carried by every effect, and every sink refuses a
/// lower one than it has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, sqlx::Type)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct Epoch(pub i64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How often a job has been claimed. Fences every write to the record: a worker that lost its claim holds a
/// lower number than the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, sqlx::Type)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct Attempt(pub i32);

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $code:expr, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, sqlx::Type)]
        #[serde(try_from = "String", into = "String")]
        #[sqlx(transparent)]
        pub struct $name(String);

        impl $name {
            /// Accepts only text that follows the rules of the type; the error's sentence says which was broken.
            pub fn parse(text: &str) -> Result<Self, Error> {
                match $check(text) {
                    Ok(()) => Ok(Self(text.to_owned())),
                    Err(rule) => Err(Error::new($code, format!("{:?} {rule}", shown(text)))),
                }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self, Error> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

text_id! {
    /// `production`, `staging`, `preview`, …: one queue each.
    EnvironmentName, Code::EnvironmentName, check_environment
}
text_id! {
    /// The instance that is locked: `docker://local`, `i-0abc1234`, `k8s://context/namespace`.
    TargetName, Code::TargetName, check_target
}

/// Longest environment name, in bytes. It becomes part of Redis keys, metric labels and image labels.
pub const ENVIRONMENT_MAX: usize = 40;
/// Longest target name, in bytes. Kubernetes contexts can be long; 255 holds every real one seen.
pub const TARGET_MAX: usize = 255;

fn check_environment(text: &str) -> Result<(), String> {
    let inside = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    if text.is_empty() || text.len() > ENVIRONMENT_MAX {
        return Err(format!("must be 1 to {ENVIRONMENT_MAX} characters long"));
    }
    if !text.bytes().all(inside) || !text.as_bytes()[0].is_ascii_lowercase() || text.ends_with('-') {
        return Err("must be lower-case letters, digits and inner dashes, and start with a letter".into());
    }
    Ok(())
}

fn check_target(text: &str) -> Result<(), String> {
    if text.len() > TARGET_MAX {
        return Err(format!("is longer than {TARGET_MAX} bytes"));
    }
    let segment =
        |s: &str| !s.is_empty() && s.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.:@".contains(&c));
    let good = if let Some(host) = text.strip_prefix("docker://") {
        segment(host)
    } else if let Some(path) = text.strip_prefix("k8s://") {
        // The context may itself hold slashes (EKS names clusters by ARN); the namespace is the last part.
        path.rsplit_once('/')
            .is_some_and(|(context, namespace)| segment(namespace) && context.split('/').all(segment))
    } else if let Some(hex) = text.strip_prefix("i-") {
        (8..=17).contains(&hex.len()) && hex.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
    } else {
        false
    };
    if good {
        Ok(())
    } else {
        Err("is not a target: write docker://<host>, i-<instance id> or k8s://<context>/<namespace>".into())
    }
}

/// What an error sentence may repeat of text somebody sent: bounded, and `{:?}` escapes the rest.
fn shown(text: &str) -> &str {
    let end = (0..=60.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environments_are_plain_lower_case_words() {
        for good in ["production", "p", "preview-12", &"a".repeat(40)] {
            assert!(EnvironmentName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "Prod", "1st", "a b", "a}", "a:b", "a-", "é", &"a".repeat(41)] {
            assert!(EnvironmentName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn targets_name_one_of_three_kinds_of_place() {
        for good in [
            "docker://local",
            "docker://10.0.0.7:2376",
            "i-0abc1234",
            "i-0123456789abcdef0",
            "k8s://kind-dev/default",
            "k8s://arn:aws:eks:eu-west-1:123456789012:cluster/shop/web",
        ] {
            assert!(TargetName::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "docker://",
            "docker://a b",
            "docker://a/b",
            "i-",
            "i-XYZ12345",
            "i-0abc",
            "k8s://ctx",
            "k8s:///ns",
            "ftp://x",
            "docker://{x}",
            "docker://a\n",
        ] {
            assert!(TargetName::parse(bad).is_err(), "{bad}");
        }
        assert!(TargetName::parse(&format!("docker://{}", "a".repeat(300))).is_err());
    }

    #[test]
    fn an_error_never_repeats_all_of_a_giant_input() {
        let error = EnvironmentName::parse(&"é".repeat(1_000_000)).expect_err("too long");
        assert!(error.to_string().len() < 300);
    }
}
