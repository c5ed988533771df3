//! The one error a person or program may see: a stable code, a sentence for them, and a context for us.
//!
//! Modules keep their own `thiserror` types and convert here at their edge. Nothing in this module knows HTTP.

use std::fmt;

type Source = Box<dyn std::error::Error + Send + Sync>;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $class:ident;)*) => {
        /// Every failure that has a name. Each has a page in `docs/errors/` that says what happened and what to do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            pub const ALL: &[Code] = &[$(Code::$name,)*];

            /// The stable name, `DM-` and four digits.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => concat!("DM-", $number),)* }
            }

            /// Whose move it is.
            pub const fn class(self) -> Class {
                match self { $(Code::$name => Class::$class,)* }
            }
        }
    };
}

/// Whose move an error is; the gateway turns it into a status, the CLI into an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The request cannot be right as it is.
    Invalid,
    /// The thing named does not exist, or is not the caller's.
    NotFound,
    /// Right in itself, but not in the present state.
    Conflict,
    /// A store cannot be reached; the same request may work later.
    Unavailable,
    /// Start-up settings are wrong.
    Config,
    /// Our fault.
    Internal,
}

codes! {
    /// Settings are wrong or missing.
    Config = "1001", Config;
    /// Redis would evict keys when memory is short.
    RedisEvicts = "1002", Config;
    /// Redis is too old or not Redis.
    RedisUnsuitable = "1003", Config;
    /// A migration failed, or the database is newer than this program.
    Migration = "1004", Config;
    /// The database cannot be reached.
    DatabaseUnavailable = "1101", Unavailable;
    /// Redis cannot be reached.
    RedisUnavailable = "1102", Unavailable;
    /// A store answered in a way this program does not understand.
    StoreUnexpected = "1103", Internal;
    /// Malformed environment name.
    EnvironmentName = "2001", Invalid;
    /// Malformed target.
    TargetName = "2002", Invalid;
    /// The environment does not exist.
    EnvironmentUnknown = "2003", NotFound;
    /// A target does not exist.
    TargetUnknown = "2004", NotFound;
    /// A field is longer than it may be.
    FieldTooLong = "2005", Invalid;
    /// The job does not exist.
    JobUnknown = "2006", NotFound;
    /// The app does not exist.
    AppUnknown = "2007", NotFound;
    /// The payload is not what the job kind needs.
    PayloadInvalid = "2008", Invalid;
    /// The job has already ended.
    JobEnded = "2009", Conflict;
    /// The job is not in quarantine.
    JobNotQuarantined = "2010", Conflict;
    /// The move from one deployment status to another is not legal.
    StatusTransition = "2011", Conflict;
    /// A job was given back too often after its worker died.
    Quarantined = "3001", Internal;
    /// The element of a queue is not a job id.
    Undecodable = "3002", Internal;
    /// No worker here knows the kind of the job.
    KindUnknown = "3003", Internal;
    /// The job ran longer than its kind may.
    DeadlineExceeded = "3004", Internal;
    /// The job failed on every try it had.
    TriesExhausted = "3005", Internal;
    /// The job's code panicked.
    JobPanicked = "3006", Internal;
    /// The work failed in a way of its own.
    JobFailed = "3007", Internal;
    /// The claim was lost to another worker.
    ClaimLost = "3008", Conflict;
    /// The repository's address cannot be used.
    RepositoryAddress = "4101", Invalid;
    /// The repository does not exist, or the credential may not see it.
    RepositoryNotFound = "4102", NotFound;
    /// The repository refused the credential, or asked for one and there is none.
    RepositoryDenied = "4103", Invalid;
    /// The repository's server cannot be reached.
    RepositoryUnreachable = "4104", Unavailable;
    /// The repository has no commit yet.
    RepositoryEmpty = "4105", Invalid;
    /// The branch does not exist.
    BranchNotFound = "4106", NotFound;
    /// The commit is not in the repository, or no longer.
    CommitNotFound = "4107", NotFound;
    /// The working tree is larger, or has more files, than the limit.
    RepositoryTooLarge = "4108", Invalid;
    /// A link in the tree leads out of it.
    TreeEscapes = "4109", Invalid;
    /// A submodule is on another host, or cannot be had.
    SubmoduleRefused = "4110", Invalid;
    /// The SSH host key is not the known one.
    HostKeyRefused = "4111", Invalid;
    /// The folder that the app names as its root is not in the repository.
    RootMissing = "4112", Invalid;
    /// A file's name is not UTF-8. Reported, never the end of a deployment.
    NameNotUtf8 = "4113", Invalid;
    /// git itself is missing or failed in a way it has no word for.
    GitFailed = "4114", Internal;
    /// No known language, and no Dockerfile.
    LanguageUnknown = "4201", Invalid;
    /// The language is known, how to start the program is not.
    EntryPointUnknown = "4202", Invalid;
    /// A manifest (package.json, pyproject.toml, ...) cannot be read.
    ManifestInvalid = "4203", Invalid;
    /// The Dockerfile is missing where the app says it is, is not text, or cannot be parsed.
    DockerfileInvalid = "4204", Invalid;
    /// A step of the Dockerfile failed.
    BuildFailed = "4301", Invalid;
    /// The build context is larger than the limit.
    ContextTooLarge = "4302", Invalid;
    /// Not enough room on the engine's disk to begin.
    DiskFull = "4303", Unavailable;
    /// The build ran longer than it may.
    BuildDeadline = "4304", Invalid;
    /// The image that the Dockerfile builds on cannot be had.
    BaseImageMissing = "4305", Invalid;
    /// The Docker engine cannot be reached.
    EngineUnavailable = "4306", Unavailable;
    /// The build was killed for want of memory.
    BuildMemory = "4307", Invalid;
    /// An image that was built is not there any more.
    ImageMissing = "4308", Unavailable;
    /// The engine answered in a way this program does not understand.
    EngineUnexpected = "4309", Internal;
    /// The registry cannot be reached.
    RegistryUnreachable = "4401", Unavailable;
    /// The registry refused the credential.
    RegistryDenied = "4402", Invalid;
    /// The registry does not have the image.
    RegistryImageMissing = "4403", NotFound;
    /// The security policy refuses what the scan found.
    SecurityGate = "4501", Invalid;
    /// The scanner is not installed where the policy requires it.
    ScannerMissing = "4502", Internal;
    /// The scanner's database is missing or too old.
    ScannerDatabase = "4503", Internal;
    /// The scanner crashed, or its answer cannot be read.
    ScannerFailed = "4504", Internal;
    /// The scan ran longer than it may.
    ScannerDeadline = "4505", Internal;
    /// The scan policy or its allow-list cannot be obeyed as it is.
    ScanPolicyInvalid = "4506", Invalid;
    /// A secret value cannot be decrypted.
    SecretUndecryptable = "4601", Invalid;
    /// A key for secrets is malformed, missing, or readable by others.
    SecretKey = "4602", Config;
    /// A `.env` text cannot be parsed.
    EnvFileInvalid = "4603", Invalid;
    /// A variable's name or value is not one a process can have.
    VariableInvalid = "4604", Invalid;
    /// The app's settings cannot be obeyed as they are.
    SettingsInvalid = "4701", Invalid;
    /// A step ran longer than it may.
    StepDeadline = "4702", Internal;
    /// The worker's own disk refused a file of the deployment.
    WorkspaceFailed = "4703", Unavailable;
    /// The worker has no runtime for the app's target.
    TargetUnsupported = "4704", Invalid;
    /// The program of a slot ended before it was healthy.
    SlotExited = "4801", Invalid;
    /// A slot was killed for want of memory.
    SlotMemory = "4802", Invalid;
    /// Nothing listens on the app's port.
    PortClosed = "4803", Invalid;
    /// The health check was answered with something else than what was expected.
    HealthStatus = "4804", Invalid;
    /// The health check was not answered in time.
    HealthTimeout = "4805", Invalid;
    /// The new release failed after it had received traffic.
    ReleaseFailed = "4806", Invalid;
    /// The canary answered worse than it may.
    CanaryFailed = "4807", Invalid;
    /// The canary had too few requests, or nothing to be compared with.
    CanaryInsufficient = "4808", Invalid;
    /// Somebody aborted the roll-out.
    RolloutAborted = "4809", Conflict;
    /// Neither the new release nor the one before is healthy; traffic was left where it was.
    NothingHealthy = "4810", Internal;
    /// There is no earlier release to go back to.
    NoWayBack = "4811", Conflict;
    /// Too many automatic ways back in a row; a person must act first.
    RollbackLoop = "4812", Conflict;
    /// The image is made for another architecture than the target's.
    ImagePlatform = "4813", Invalid;
    /// The engine refused to start the container.
    SlotRefused = "4814", Invalid;
    /// Nothing says where the program listens.
    PortUnknown = "4815", Invalid;
    /// The app may not mount paths of the host.
    HostMountRefused = "4816", Invalid;
    /// A release is not the app's, or not there any more.
    ReleaseUnknown = "4817", NotFound;
    /// The app is pinned: pushes do not deploy until somebody lets them again.
    AppPinned = "4818", Conflict;
    /// This commit was rolled back before.
    CommitBad = "4819", Conflict;
    /// A port or host name of the app is another app's on the same target.
    RouteTaken = "4820", Conflict;
    /// A port of the edge is in use by a program that is not ours.
    EdgePortTaken = "4901", Conflict;
    /// The edge refused a configuration.
    EdgeConfig = "4902", Internal;
    /// The edge does not run, or did not take a configuration over.
    EdgeUnavailable = "4903", Unavailable;
    /// A container, volume or network that is not ours has a name that we need.
    NameTaken = "4904", Conflict;
    /// The target refused an effect that carried a lower epoch than it has seen.
    EpochRefused = "4905", Conflict;
    /// The network of slots is full, or its addresses are in use by another network.
    NetworkUnusable = "4906", Conflict;
    /// The target's connection data is missing or cannot be used.
    TargetConnection = "4907", Invalid;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error at the edge of a module.
///
/// `Display` is the outside: code and sentence, safe to show. The context (verb + object) and the source are for
/// logs and never part of it.
pub struct Error {
    code: Code,
    sentence: String,
    context: Option<&'static str>,
    source: Option<Source>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(code: Code, sentence: impl Into<String>) -> Self {
        Self { code, sentence: sentence.into(), context: None, source: None }
    }

    /// What we were doing, as verb + object: `"read release"`.
    #[must_use]
    pub fn context(mut self, context: &'static str) -> Self {
        self.context = Some(context);
        self
    }

    #[must_use]
    pub fn because(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub const fn code(&self) -> Code {
        self.code
    }

    pub fn sentence(&self) -> &str {
        &self.sentence
    }

    /// The same error for another caller of the same batch. The source stays with the first.
    #[must_use]
    pub fn again(&self) -> Self {
        Self { code: self.code, sentence: self.sentence.clone(), context: self.context, source: None }
    }

    /// Whether the same call may work later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        self.code.class() == Class::Unavailable
    }

    /// The whole chain in one line, for the place where the error is handled.
    pub fn chain(&self) -> String {
        let mut line = match self.context {
            Some(context) => format!("{context}: {self}"),
            None => self.to_string(),
        };
        let mut next = std::error::Error::source(self);
        while let Some(source) = next {
            line.push_str(": ");
            line.push_str(&source.to_string());
            next = source.source();
        }
        line
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.sentence)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_shows_the_outside_only() {
        let error = Error::new(Code::DatabaseUnavailable, "the database cannot be reached")
            .context("read release")
            .because(std::io::Error::other("password=hunter2"));
        assert_eq!(error.to_string(), "DM-1101: the database cannot be reached");
        assert_eq!(error.chain(), "read release: DM-1101: the database cannot be reached: password=hunter2");
        assert!(error.is_transient());
    }

    #[test]
    fn every_code_has_its_page_and_every_page_its_code() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors");
        let mut pages: Vec<String> = std::fs::read_dir(&folder)
            .expect("docs/errors")
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|name| Some(name.strip_suffix(".md")?.to_owned()))
            .filter(|name| name != "README")
            .collect();
        pages.sort();
        let mut codes: Vec<String> = Code::ALL.iter().map(|code| code.to_string()).collect();
        codes.sort();
        assert_eq!(pages, codes);
        for code in codes {
            let text = std::fs::read_to_string(folder.join(format!("{code}.md"))).expect("page");
            for part in [format!("# {code}"), "## What happened".into(), "## What to do".into()] {
                assert!(text.contains(&part), "{code}.md lacks {part:?}");
            }
        }
    }
}
