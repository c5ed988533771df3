//! Runs Trivy. It gets files to read and nothing else: no Docker socket, no network, no secret, no folder to trust.
//!
//! Assumptions: `cache_dir` belongs to DeployMind's workers, who only read it during a scan. The tree is hostile: the
//! scanner's working folder is an empty one, so that a `trivy.yaml`, `.trivyignore` or `trivy-secret.yaml` in the
//! repository is not obeyed.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use deploymind_shared::clock::{Clock, Timestamp};
use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::child::{self, End, Job};
use super::failure::ScanFailure;
use super::report::Report;
use super::{database, parse};
use crate::log::Lines;

/// A report, or why there is none. The policy judges both; see [`super::outcome`].
pub type Scan = Result<Report, ScanFailure>;

const REPORT_BYTES: u64 = 256 * 1024 * 1024;
const SBOM_BYTES: u64 = 64 * 1024 * 1024;
/// Trivy's own deadline, in case the worker dies: later than ours, so that ours is the one that speaks.
const GRACE: Duration = Duration::from_secs(10);
/// Dockerfiles and what describes a deployment. Terraform is left out: to read it, Trivy fetches whatever modules the
/// repository names.
const MISCONFIGURATION: &str = "dockerfile,kubernetes,helm,cloudformation";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[derive(Debug, Clone)]
pub struct Scanner {
    /// Absolute path of Trivy.
    pub program: PathBuf,
    /// Where the databases live (`--cache-dir`).
    pub cache_dir: PathBuf,
    /// Each scan has a private folder here, and an image's layers are unpacked in it.
    pub scratch: PathBuf,
    /// For one scan with its bill of materials. Too low, large images are never deployed; too high, a hanging scan
    /// holds its slot.
    pub deadline: Duration,
    /// Too low, a day without network stops every deployment; too high, known holes pass.
    pub max_database_age: Duration,
    /// Fetch a newer database before a scan when there is one. Off: somebody else renews it.
    pub update: bool,
    /// For that fetch only: proxy and CA bundle (`HTTPS_PROXY`, `SSL_CERT_FILE`). Scans run without.
    pub update_env: Vec<(String, String)>,
}

impl Scanner {
    /// Vulnerable dependencies, secrets and misconfigurations in a source tree. `skip` names folders inside it.
    /// With `sbom`, a CycloneDX bill of materials is written there.
    pub async fn scan_tree(
        &self,
        tree: &Path,
        skip: &[String],
        sbom: Option<&Path>,
        lines: &Lines,
        cancel: &CancellationToken,
    ) -> Result<Scan, Stop> {
        let mut args = words(["fs", "--scanners", "vuln,secret,misconfig"]);
        args.extend(words(["--misconfig-scanners", MISCONFIGURATION]));
        for folder in skip {
            args.extend(words(["--skip-dirs", folder]));
        }
        let subject = absolute(tree).map_err(workspace)?;
        self.scan(args, vec![subject.into()], sbom, lines, cancel).await
    }

    /// Vulnerable packages and secrets in an image, from the archive `docker save` makes.
    pub async fn scan_image(
        &self,
        archive: &Path,
        sbom: Option<&Path>,
        lines: &Lines,
        cancel: &CancellationToken,
    ) -> Result<Scan, Stop> {
        let args = words(["image", "--scanners", "vuln,secret", "--image-src", "docker"]);
        let archive = absolute(archive).map_err(workspace)?;
        self.scan(args, vec!["--input".into(), archive.into()], sbom, lines, cancel).await
    }

    async fn scan(
        &self,
        mut args: Vec<OsString>,
        subject: Vec<OsString>,
        sbom: Option<&Path>,
        lines: &Lines,
        cancel: &CancellationToken,
    ) -> Result<Scan, Stop> {
        if cancel.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        if !tokio::fs::metadata(&self.program).await.is_ok_and(|data| data.is_file()) {
            return Ok(Err(ScanFailure::Missing(self.program.clone())));
        }
        let room = Room::new(&self.scratch).map_err(workspace)?;
        let deadline = Instant::now() + self.deadline;
        if self.update {
            self.update(&room, deadline, lines, cancel).await?;
        }
        let made = match self.database().await? {
            Ok(made) => made,
            Err(failure) => return Ok(Err(failure)),
        };
        args.extend(self.settings());
        args.extend(words(["--format", "json", "--list-all-pkgs"]));
        args.extend(subject);
        let report = room.path("report.json");
        if let Err(failure) = self.run(&room, args, &report, REPORT_BYTES, deadline, lines, cancel).await? {
            return Ok(Err(failure));
        }
        let file = report.clone();
        let parsed = blocking(move || match std::fs::File::open(file) {
            Ok(file) => parse::parse(BufReader::new(file), made),
            Err(error) => Err(ScanFailure::Failed(format!("its report is gone ({})", error.kind()))),
        })
        .await?;
        let (Ok(_), Some(sbom)) = (&parsed, sbom) else { return Ok(parsed) };
        let mut args = words(["convert", "--format", "cyclonedx"]);
        args.push(report.into());
        match self.run(&room, args, sbom, SBOM_BYTES, deadline, lines, cancel).await? {
            Ok(()) => Ok(parsed),
            Err(failure) => Ok(Err(failure)),
        }
    }

    /// Offline, whatever the flags' defaults become.
    fn settings(&self) -> Vec<OsString> {
        let mut args = words([
            "--skip-db-update",
            "--skip-java-db-update",
            "--skip-check-update",
            "--skip-vex-repo-update",
            "--offline-scan",
            "--skip-version-check",
            "--disable-telemetry",
            "--no-progress",
            // The cache on disk is one file that a second scan could not open.
            "--cache-backend",
            "memory",
            "--exit-code",
            "0",
            "--timeout",
        ]);
        args.push(format!("{}s", (self.deadline + GRACE).as_secs()).into());
        args.push("--cache-dir".into());
        args.push(self.cache_dir.clone().into());
        args
    }

    /// Fetches a newer database, one worker at a time. A failure is said and left to [`database::check`]: a database
    /// that could not be renewed today may still be young enough.
    async fn update(
        &self,
        room: &Room,
        deadline: Instant,
        lines: &Lines,
        cancel: &CancellationToken,
    ) -> Result<(), Stop> {
        if !self.wants_update().await? {
            return Ok(());
        }
        let _lock = loop {
            match lock(&self.cache_dir).map_err(workspace)? {
                Some(lock) => break lock,
                None => tokio::select! {
                    () = cancel.cancelled() => return Err(Stop::Cancelled),
                    () = tokio::time::sleep_until(deadline) => return Ok(()),
                    () = tokio::time::sleep(Duration::from_millis(200)) => {}
                },
            }
        };
        // Another may have done it while we waited.
        if !self.wants_update().await? {
            return Ok(());
        }
        lines.info("renewing the vulnerability database").await;
        for which in ["--download-db-only", "--download-java-db-only"] {
            let mut args = words(["image", which, "--no-progress", "--skip-version-check"]);
            args.extend(words(["--disable-telemetry", "--cache-dir"]));
            args.push(self.cache_dir.clone().into());
            let out = room.path("update.txt");
            if let Err(failure) = self.run(room, args, &out, SBOM_BYTES, deadline, lines, cancel).await? {
                lines.warn(format!("the vulnerability database could not be renewed: {failure}")).await;
                break;
            }
        }
        Ok(())
    }

    async fn wants_update(&self) -> Result<bool, Stop> {
        let (folder, age) = (self.cache_dir.clone(), self.max_database_age);
        blocking(move || database::wants_update(&folder, age, Clock::system().now())).await
    }

    async fn database(&self) -> Result<Result<Timestamp, ScanFailure>, Stop> {
        let (folder, age) = (self.cache_dir.clone(), self.max_database_age);
        blocking(move || database::check(&folder, age, Clock::system().now())).await
    }

    /// Trivy refuses whatever holds a `.jar` file when it has no Java database.
    fn java_hint(&self) -> &'static str {
        if self.cache_dir.join("java-db/metadata.json").is_file() {
            ""
        } else {
            " (there is no Java database, which `.jar` files need: `trivy image --download-java-db-only`)"
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one call in three places, each argument on its own")]
    async fn run(
        &self,
        room: &Room,
        args: Vec<OsString>,
        stdout: &Path,
        stdout_limit: u64,
        deadline: Instant,
        lines: &Lines,
        cancel: &CancellationToken,
    ) -> Result<Result<(), ScanFailure>, Stop> {
        let mut env: Vec<(OsString, OsString)> = vec![
            ("PATH".into(), PATH.into()),
            ("HOME".into(), room.path("home").into()),
            ("TMPDIR".into(), room.path("tmp").into()),
        ];
        if args.iter().any(|arg| arg == "--download-db-only" || arg == "--download-java-db-only") {
            env.extend(self.update_env.iter().map(|(name, value)| (name.into(), value.into())));
        }
        let folder = room.path("cwd");
        let job = Job { program: &self.program, args, env, folder: &folder, stdout, stdout_limit, deadline };
        let failed = |what: String| Ok(Err(ScanFailure::Failed(what)));
        match Box::pin(child::run(job, lines, cancel)).await {
            Ok(End::Cancelled) => Err(Stop::Cancelled),
            Ok(End::Deadline) => Ok(Err(ScanFailure::Deadline(self.deadline))),
            Ok(End::TooMuch) => failed(format!("it wrote more than {} MB", stdout_limit / 1024 / 1024)),
            Ok(End::Exited(status, _)) if status.success() => Ok(Ok(())),
            Ok(End::Exited(status, last)) => failed(match (status.signal(), status.code()) {
                (Some(signal), _) => format!("it was killed by signal {signal}; is there enough memory?"),
                (_, code) => {
                    format!("it ended with exit code {}: {last}{}", code.unwrap_or(-1), self.java_hint())
                }
            }),
            Err(error) => failed(format!("it cannot be run ({error}); check the file it should be")),
        }
    }
}

/// The private folder of one scan, removed with everything in it.
struct Room(tempfile::TempDir);

impl Room {
    fn new(scratch: &Path) -> io::Result<Self> {
        let room = Self(tempfile::Builder::new().prefix("scan-").tempdir_in(scratch)?);
        for folder in ["home", "tmp", "cwd"] {
            std::fs::create_dir(room.path(folder))?;
        }
        Ok(room)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn lock(cache_dir: &Path) -> io::Result<Option<std::fs::File>> {
    std::fs::create_dir_all(cache_dir)?;
    let file = std::fs::File::create(cache_dir.join("deploymind.lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Never taken for an option.
fn absolute(path: &Path) -> io::Result<PathBuf> {
    std::fs::canonicalize(path)
}

fn words<const N: usize>(list: [&str; N]) -> Vec<OsString> {
    list.into_iter().map(|word| OsStr::new(word).to_owned()).collect()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Stop> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Error::new(Code::ScannerFailed, "reading the scanner's files failed").because(error).into()
    })
}

fn workspace(error: io::Error) -> Stop {
    Error::new(Code::WorkspaceFailed, "the worker's disk refused a file of the security scan; check its room")
        .context("prepare scan")
        .because(error)
        .into()
}
