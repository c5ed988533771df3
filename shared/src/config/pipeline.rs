//! Settings of what a worker does with a deployment: fetch, scan, build.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::Reader;
use crate::domain::text_enum;

const S: Duration = Duration::from_secs(1);
const MIB: u64 = 1024 * 1024;

text_enum! {
    /// Which builder of the engine is used.
    BuilderChoice {
        /// BuildKit where the engine has it and can keep the caps, else the classic one.
        Auto = "auto",
        Buildkit = "buildkit",
        Classic = "classic",
    }
}

#[derive(Debug, Clone)]
pub struct PipelineConfig {
    /// Where deployments are checked out; one folder each, removed when the deployment ends.
    pub work_dir: PathBuf,
    pub checkout: CheckoutConfig,
    pub build: BuildConfig,
    pub scan: ScanConfig,
    /// Between two looks for what ended deployments left behind.
    ///
    /// Too high: a killed worker's files stay that long. Too low: the record is asked for nothing.
    pub sweep: Duration,
}

#[derive(Debug, Clone)]
pub struct CheckoutConfig {
    /// The largest working tree, in bytes.
    pub max_bytes: u64,
    pub max_files: u64,
    /// Too high: a dead server holds a place in the worker. Too low: a large repository can never be fetched.
    pub deadline: Duration,
    /// Host keys that SSH remotes must have.
    pub known_hosts: Option<PathBuf>,
    /// Whether `file://` and plain paths are repositories: whoever may create an app could read the worker's files.
    pub allow_local: bool,
}

#[derive(Debug, Clone)]
pub struct BuildConfig {
    /// `unix:///var/run/docker.sock`, or `tcp://host:port` on a trusted network.
    pub engine: String,
    pub builder: BuilderChoice,
    /// Most memory a build may use, in bytes.
    ///
    /// Too high: builds push the programs beside them out of memory. Too low: compilers are killed.
    pub memory_bytes: u64,
    /// Most CPU time a build may use, in cores.
    pub cpus: f64,
    /// Whether a builder that cannot keep the caps is not used at all. BuildKit keeps them only below a parent cgroup.
    pub require_caps: bool,
    /// A cgroup on the engine's machine, made and limited by whoever runs it, below which all build steps run.
    pub cgroup_parent: Option<String>,
    /// Too high: a build that hangs holds a place in the worker. Too low: slow builds can never end.
    pub deadline: Duration,
    pub max_context_bytes: u64,
    /// A build does not begin with less room than this on the engine's disk.
    pub min_free_bytes: u64,
    /// The network of build steps; the engine's default when not set.
    pub network: Option<String>,
}

#[derive(Debug, Clone)]
pub struct ScanConfig {
    /// Absolute: what is found in somebody's `PATH` is not what was installed on purpose.
    pub program: PathBuf,
    /// Whether a newer database is fetched before a scan when there is one. Off: somebody else renews it.
    pub update: bool,
    /// For that fetch only.
    pub proxy: Option<url::Url>,
    pub ca_file: Option<PathBuf>,
    /// Where Trivy keeps its database.
    pub cache_dir: PathBuf,
    /// Too high: a scanner that hangs holds up the deployment. Too low: large images can never be scanned.
    pub deadline: Duration,
    /// A database older than this counts as missing.
    pub max_database_age: Duration,
}

impl PipelineConfig {
    pub fn read(reader: &mut Reader) -> Self {
        Self {
            work_dir: path(
                reader,
                "DEPLOYMIND_WORK_DIR",
                "/var/lib/deploymind/work",
                "Folder in which deployments are checked out; each is removed when it ends.",
            ),
            checkout: CheckoutConfig::read(reader),
            build: BuildConfig::read(reader),
            scan: ScanConfig::read(reader),
            sweep: reader.duration(
                "DEPLOYMIND_SWEEP",
                60 * S,
                S..=3600 * S,
                "Between two looks for files and images that ended deployments left behind.",
            ),
        }
    }
}

impl CheckoutConfig {
    fn read(reader: &mut Reader) -> Self {
        Self {
            max_bytes: MIB
                * reader.number(
                    "DEPLOYMIND_CHECKOUT_MAX_MB",
                    2048,
                    1..=1024 * 1024,
                    "The largest working tree, in MiB.",
                ),
            max_files: reader.number(
                "DEPLOYMIND_CHECKOUT_MAX_FILES",
                200_000,
                1..=10_000_000,
                "The most files a working tree may have.",
            ),
            deadline: reader.duration(
                "DEPLOYMIND_CHECKOUT_DEADLINE",
                600 * S,
                S..=3600 * S,
                "How long fetching a repository may take.",
            ),
            known_hosts: reader.optional(
                "DEPLOYMIND_SSH_KNOWN_HOSTS",
                "/etc/ssh/ssh_known_hosts",
                "File of the host keys that SSH remotes must have (`ssh-keyscan`).",
                absolute,
            ),
            allow_local: reader.parsed(
                "DEPLOYMIND_CHECKOUT_ALLOW_LOCAL",
                false,
                "Whether a path on the worker counts as a repository. Only for one person's own machine.",
                flag,
            ),
        }
    }
}

impl BuildConfig {
    fn read(reader: &mut Reader) -> Self {
        Self {
            engine: reader.parsed(
                "DEPLOYMIND_DOCKER_HOST",
                "unix:///var/run/docker.sock".to_owned(),
                "The Docker engine that builds.",
                |text| {
                    let known = ["unix:///", "tcp://"].iter().any(|scheme| text.starts_with(scheme));
                    if known {
                        Ok(text.to_owned())
                    } else {
                        Err("does not begin with unix:/// or tcp://".to_owned())
                    }
                },
            ),
            builder: reader.parsed(
                "DEPLOYMIND_BUILDER",
                BuilderChoice::Auto,
                "`auto`, `buildkit` or `classic`.",
                |text| {
                    BuilderChoice::try_from(text.to_owned())
                        .map_err(|_| "is not auto, buildkit or classic".to_owned())
                },
            ),
            memory_bytes: MIB
                * reader.number(
                    "DEPLOYMIND_BUILD_MEMORY_MB",
                    4096,
                    64..=1024 * 1024,
                    "Most memory a build may use, in MiB.",
                ),
            cpus: reader.parsed(
                "DEPLOYMIND_BUILD_CPUS",
                2.0,
                "Most CPU time a build may use, in cores; `0.5` is half of one.",
                |text| {
                    text.parse()
                        .ok()
                        .filter(|cpus| (0.01..=1024.0).contains(cpus))
                        .ok_or("is not a number from 0.01 to 1024".to_owned())
                },
            ),
            require_caps: reader.parsed(
                "DEPLOYMIND_BUILD_REQUIRE_CAPS",
                true,
                "Whether a builder that cannot keep the caps is not used at all (`true` or `false`).",
                flag,
            ),
            cgroup_parent: reader.optional(
                "DEPLOYMIND_BUILD_CGROUP_PARENT",
                "/builds",
                "A limited cgroup on the engine's machine below which all build steps run (Docker 23 or newer).",
                |text| Ok::<_, String>(text.to_owned()),
            ),
            deadline: reader.duration(
                "DEPLOYMIND_BUILD_DEADLINE",
                1800 * S,
                S..=5400 * S,
                "How long a build may take.",
            ),
            max_context_bytes: MIB
                * reader.number(
                    "DEPLOYMIND_BUILD_MAX_CONTEXT_MB",
                    2048,
                    1..=1024 * 1024,
                    "The largest build context, in MiB.",
                ),
            min_free_bytes: MIB
                * reader.number(
                    "DEPLOYMIND_BUILD_MIN_FREE_MB",
                    2048,
                    0..=1024 * 1024,
                    "A build does not begin with less room than this on the engine's disk, in MiB.",
                ),
            network: reader.optional(
                "DEPLOYMIND_BUILD_NETWORK",
                "builds",
                "The network of build steps; the engine's default when not set.",
                network,
            ),
        }
    }
}

impl ScanConfig {
    fn read(reader: &mut Reader) -> Self {
        Self {
            program: path(reader, "DEPLOYMIND_TRIVY", "/usr/local/bin/trivy", "The Trivy program."),
            update: reader.parsed(
                "DEPLOYMIND_TRIVY_UPDATE",
                true,
                "Whether a newer vulnerability database is fetched before a scan (`true` or `false`).",
                flag,
            ),
            proxy: reader.optional_url(
                "DEPLOYMIND_TRIVY_PROXY",
                &["http", "https"],
                "http://proxy.example:3128",
                "Proxy through which the vulnerability database is fetched.",
            ),
            ca_file: reader.optional(
                "DEPLOYMIND_TRIVY_CA_FILE",
                "/etc/ssl/certs/ca-certificates.crt",
                "Certificate authorities to trust when the vulnerability database is fetched.",
                absolute,
            ),
            cache_dir: path(
                reader,
                "DEPLOYMIND_TRIVY_CACHE",
                "/var/lib/deploymind/trivy",
                "Folder of Trivy's database.",
            ),
            deadline: reader.duration(
                "DEPLOYMIND_SCAN_DEADLINE",
                600 * S,
                S..=3600 * S,
                "How long one scan may take.",
            ),
            max_database_age: reader.duration(
                "DEPLOYMIND_SCAN_DATABASE_MAX_AGE",
                7 * 24 * 3600 * S,
                3600 * S..=365 * 24 * 3600 * S,
                "A vulnerability database older than this counts as missing.",
            ),
        }
    }
}

fn path(reader: &mut Reader, key: &'static str, default: &str, meaning: &'static str) -> PathBuf {
    reader.parsed(key, default.to_owned(), meaning, |text| absolute(text).map(|_| text.to_owned())).into()
}

pub(super) fn flag(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "is not true or false".to_owned())
}

pub(super) fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err("is not an absolute path".to_owned()) }
}

/// Never the host's own: a build step would reach what only the host may.
fn network(text: &str) -> Result<String, String> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"_.-".contains(&c);
    if text == "host" || text.starts_with("container:") || !text.bytes().all(plain) {
        return Err("is not the name of a network of its own".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MapSource;

    fn mistakes(key: &str, value: &str) -> usize {
        let source = MapSource::new().with(key, value);
        let mut reader = Reader::new(&source);
        PipelineConfig::read(&mut reader);
        reader.finish().err().map_or(0, |errors| errors.mistakes().len())
    }

    #[test]
    fn bad_values_are_refused_and_good_ones_are_not() {
        for (key, good, bad) in [
            ("DEPLOYMIND_WORK_DIR", "/srv/work", "work"),
            ("DEPLOYMIND_DOCKER_HOST", "tcp://10.0.0.1:2375", "ssh://host"),
            ("DEPLOYMIND_BUILDER", "classic", "kaniko"),
            ("DEPLOYMIND_BUILD_CPUS", "0.5", "NaN"),
            ("DEPLOYMIND_BUILD_NETWORK", "builds", "host"),
            ("DEPLOYMIND_BUILD_MEMORY_MB", "512", "1"),
            ("DEPLOYMIND_CHECKOUT_ALLOW_LOCAL", "true", "yes"),
        ] {
            assert_eq!(mistakes(key, good), 0, "{key}={good}");
            assert_eq!(mistakes(key, bad), 1, "{key}={bad}");
        }
    }
}
