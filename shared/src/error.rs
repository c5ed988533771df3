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
