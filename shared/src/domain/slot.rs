//! How one running copy of a release is set up: what asks after its health, what it may use, how users reach it.

use serde::{Deserialize, Serialize};

use super::text_enum;

/// Longest path, in bytes: health path, mount point.
pub const PATH_MAX: usize = 1024;
/// Least memory a build or a slot may be given, in MiB: below it not even a shell starts reliably.
pub const MEMORY_MIN_MB: u32 = 16;
pub const MEMORY_MAX_MB: u32 = 1024 * 1024;
/// Most running copies of an app on one target.
pub const REPLICAS_MAX: u16 = 32;
/// Most host names of an app.
pub const HOSTS_MAX: usize = 32;
/// Most volumes of an app.
pub const VOLUMES_MAX: usize = 16;

text_enum! {
    /// What counts as an answer.
    HealthKind {
        /// A status that was expected.
        Http = "http",
        /// A connection that is accepted.
        Tcp = "tcp",
    }
}

/// Asked from where the edge stands, so nothing of it has to be in the app's image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthCheck {
    pub kind: HealthKind,
    /// Asked with GET. Not followed where it redirects.
    pub path: String,
    /// The lowest and the highest status that counts as healthy.
    pub status: (u16, u16),
    pub interval_ms: u32,
    /// Of one answer.
    pub timeout_ms: u32,
    /// Good answers in a row until it counts as healthy.
    pub successes: u16,
    /// How long it may take until it is healthy.
    pub start_period_s: u32,
    /// How long it must have stayed healthy before it gets traffic: catches what dies soon after its start.
    pub settle_s: u32,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            kind: HealthKind::Http,
            path: "/".to_owned(),
            status: (200, 299),
            interval_ms: 1000,
            timeout_ms: 5000,
            successes: 1,
            start_period_s: 60,
            settle_s: 0,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resources {
    pub memory_mb: Option<u32>,
    /// In cores; `0.5` is half of one.
    pub cpus: Option<f64>,
}

/// How users reach the app on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Routes {
    /// A port of the host that is this app's alone.
    pub port: Option<u16>,
    /// Host names, on the port that all such apps share.
    pub hosts: Vec<String>,
}

impl Routes {
    pub fn is_empty(&self) -> bool {
        self.port.is_none() && self.hosts.is_empty()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// A named volume, or an absolute path of the host, which needs a permission of its own.
    pub source: String,
    /// Absolute, in the container.
    pub path: String,
    #[serde(default)]
    pub read_only: bool,
    /// Two copies must never have it at once: the old one stops before the new one starts.
    #[serde(default)]
    pub exclusive: bool,
}

impl Volume {
    pub fn is_host_mount(&self) -> bool {
        self.source.starts_with('/')
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StopSettings {
    /// `SIGTERM`, `SIGINT`, …
    pub signal: String,
    /// Between the signal and the kill.
    pub grace_s: u32,
}

impl Default for StopSettings {
    fn default() -> Self {
        Self { signal: "SIGTERM".to_owned(), grace_s: 10 }
    }
}

text_enum! {
    /// What the engine does when the program ends by itself.
    RestartPolicy {
        Always = "always",
        OnFailure = "on-failure",
        Never = "never",
    }
}

/// Everything of an app that its releases keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SlotSettings {
    pub health: HealthCheck,
    /// What one running copy may use.
    pub resources: Resources,
    /// Running copies on each target.
    pub replicas: u16,
    pub routes: Routes,
    pub volumes: Vec<Volume>,
    pub stop: StopSettings,
    pub restart: RestartPolicy,
}

impl Default for SlotSettings {
    fn default() -> Self {
        Self {
            health: HealthCheck::default(),
            resources: Resources::default(),
            replicas: 1,
            routes: Routes::default(),
            volumes: Vec::new(),
            stop: StopSettings::default(),
            restart: RestartPolicy::Always,
        }
    }
}

impl SlotSettings {
    /// Adds a sentence for every field that cannot be obeyed.
    pub fn check(&self, wrong: &mut Vec<String>) {
        check_health(&self.health, wrong);
        check_caps("resources", self.resources.memory_mb, self.resources.cpus, wrong);
        if !(1..=REPLICAS_MAX).contains(&self.replicas) {
            wrong.push(format!("replicas must be 1 to {REPLICAS_MAX}"));
        }
        if self.routes.port == Some(0) {
            wrong.push("routes.port must be 1 to 65535".to_owned());
        }
        if self.routes.hosts.len() > HOSTS_MAX || !self.routes.hosts.iter().all(|host| is_host_name(host)) {
            wrong.push(format!("routes.hosts must be at most {HOSTS_MAX} host names in lower case"));
        }
        check_volumes(&self.volumes, wrong);
        if !is_signal(&self.stop.signal) {
            wrong.push("stop.signal must be a signal's name, such as SIGTERM".to_owned());
        }
        if self.stop.grace_s > 600 {
            wrong.push("stop.grace_s must be at most 600".to_owned());
        }
    }

    /// Whether two copies of the app may run side by side at all.
    pub fn may_overlap(&self) -> bool {
        !self.volumes.iter().any(|volume| volume.exclusive)
    }
}

fn check_health(health: &HealthCheck, wrong: &mut Vec<String>) {
    let path = &health.path;
    if !path.starts_with('/')
        || path.len() > PATH_MAX
        || path.bytes().any(|c| !c.is_ascii_graphic() || c == b'#')
    {
        wrong.push(format!(
            "health.path must begin with / and be at most {PATH_MAX} printable characters of a URL"
        ));
    }
    let (low, high) = health.status;
    if low > high || low < 100 || high > 599 {
        wrong.push("health.status must be two statuses from 100 to 599, the lower first".to_owned());
    }
    for (name, value, least, most) in [
        ("interval_ms", health.interval_ms, 50, 300_000),
        ("timeout_ms", health.timeout_ms, 50, 300_000),
        ("successes", health.successes.into(), 1, 100),
        ("start_period_s", health.start_period_s, 1, 3600),
        ("settle_s", health.settle_s, 0, 3600),
    ] {
        if !(least..=most).contains(&value) {
            wrong.push(format!("health.{name} must be {least} to {most}"));
        }
    }
}

pub(super) fn check_caps(of: &str, memory_mb: Option<u32>, cpus: Option<f64>, wrong: &mut Vec<String>) {
    if memory_mb.is_some_and(|mb| !(MEMORY_MIN_MB..=MEMORY_MAX_MB).contains(&mb)) {
        wrong.push(format!("{of}.memory_mb must be {MEMORY_MIN_MB} to {MEMORY_MAX_MB}"));
    }
    if cpus.is_some_and(|cpus| !(0.01..=1024.0).contains(&cpus)) {
        wrong.push(format!("{of}.cpus must be 0.01 to 1024"));
    }
}

fn check_volumes(volumes: &[Volume], wrong: &mut Vec<String>) {
    if volumes.len() > VOLUMES_MAX {
        wrong.push(format!("volumes must be at most {VOLUMES_MAX}"));
    }
    for (i, volume) in volumes.iter().enumerate() {
        if !(is_mount_path(&volume.path) && volume.path != "/") {
            wrong.push(format!("volumes[{i}].path must be an absolute path without `..` and not /"));
        }
        if !(is_mount_path(&volume.source) || is_volume_name(&volume.source)) {
            wrong.push(format!(
                "volumes[{i}].source must be a name of letters, digits, dots and dashes, or an absolute path"
            ));
        }
        if volumes[..i].iter().any(|other| other.path == volume.path) {
            wrong.push(format!("volumes[{i}].path is taken by another volume"));
        }
    }
}

/// Colons separate the parts of a mount where the engine reads one.
fn is_mount_path(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= PATH_MAX
        && !path.chars().any(|c| c.is_control() || c == ':')
        && !path.split('/').any(|part| part == "..")
}

fn is_volume_name(name: &str) -> bool {
    (2..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"_.-".contains(&c))
}

/// A DNS name in lower case; the first label may be `*`.
fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let inner = name.strip_prefix("*.").unwrap_or(name);
    name.len() <= 253 && !inner.is_empty() && inner.split('.').all(label)
}

fn is_signal(name: &str) -> bool {
    name.strip_prefix("SIG").is_some_and(|rest| {
        (2..=10).contains(&rest.len())
            && rest.bytes().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || b"+-".contains(&c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_field_is_named() {
        let settings = SlotSettings {
            health: HealthCheck {
                path: "no slash".into(),
                status: (300, 200),
                interval_ms: 0,
                timeout_ms: 0,
                successes: 0,
                start_period_s: 0,
                settle_s: 10_000,
                ..HealthCheck::default()
            },
            resources: Resources { memory_mb: Some(1), cpus: Some(f64::NAN) },
            replicas: 0,
            routes: Routes { port: Some(0), hosts: vec!["Shop.example".into()] },
            volumes: vec![Volume {
                source: "../x".into(),
                path: "/data/../etc".into(),
                read_only: false,
                exclusive: false,
            }],
            stop: StopSettings { signal: "TERM; reboot".into(), grace_s: 6000 },
            restart: RestartPolicy::Always,
        };
        let mut wrong = Vec::new();
        settings.check(&mut wrong);
        let all = wrong.join("\n");
        for field in [
            "health.path",
            "health.status",
            "health.interval_ms",
            "health.timeout_ms",
            "health.successes",
            "health.start_period_s",
            "health.settle_s",
            "resources.memory_mb",
            "resources.cpus",
            "replicas",
            "routes.port",
            "routes.hosts",
            "volumes[0].path",
            "volumes[0].source",
            "stop.signal",
            "stop.grace_s",
        ] {
            assert!(all.contains(field), "{field} in {all}");
        }
        let mut wrong = Vec::new();
        SlotSettings::default().check(&mut wrong);
        assert_eq!(wrong, Vec::<String>::new());
    }

    #[test]
    fn host_names_and_volumes_follow_their_grammars() {
        for good in ["shop.example", "a", "*.shop.example", "x-1.y2"] {
            assert!(is_host_name(good), "{good}");
        }
        for bad in ["", "*", "*.", "a..b", "-a", "a-", "a b", "a;b", "a*b", "é", "a/b"] {
            assert!(!is_host_name(bad), "{bad}");
        }
        for bad in ["a", "-x", "a/b", "a:b", ""] {
            assert!(!is_volume_name(bad), "{bad}");
        }
    }
}
