//! Why a scan did not happen. A value, because the policy decides what becomes of it.

use std::path::PathBuf;
use std::time::Duration;

use deploymind_shared::error::{Code, Error};

/// A scan that gave no report. It is never the same as a report without findings.
#[derive(Debug, thiserror::Error)]
pub enum ScanFailure {
    #[error("the scanner is not installed at `{}`; install Trivy there, or set the scanner's path", .0.display())]
    Missing(PathBuf),
    #[error("the scanner's vulnerability database cannot be used: {0}")]
    Database(String),
    #[error("the scanner failed: {0}")]
    Failed(String),
    #[error("the scan ran longer than {} s and was stopped; raise its deadline or exclude large folders", .0.as_secs())]
    Deadline(Duration),
}

impl ScanFailure {
    pub const fn code(&self) -> Code {
        match self {
            Self::Missing(_) => Code::ScannerMissing,
            Self::Database(_) => Code::ScannerDatabase,
            Self::Failed(_) => Code::ScannerFailed,
            Self::Deadline(_) => Code::ScannerDeadline,
        }
    }

    pub fn error(&self) -> Error {
        Error::new(self.code(), self.to_string())
    }
}
