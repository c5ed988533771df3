//! What an answer of the engine means.
//!
//! The engine gives an exit code, a status or the step that failed where it can; the rest is text, and all text that is read
//! is in the tables of this file, each recorded from a real engine (see the tests).

use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;

use super::engine::Engine;

/// How a build ended badly, as the engine told it.
#[derive(Debug, Default, Clone)]
pub(super) struct Failure {
    /// The HTTP status, where the build was refused before it began.
    pub(super) status: Option<u16>,
    /// The exit code, where the engine gives it as one.
    pub(super) code: Option<i64>,
    pub(super) message: String,
    /// The instruction or vertex that failed.
    pub(super) instruction: Option<String>,
    pub(super) tail: Vec<String>,
    pub(super) memory: Option<String>,
}

/// Said by the engine of its own disk. A step that says the same may speak of a file system of its own.
const DISK: &[&str] = &["no space left on device", "disk quota exceeded"];
const STEP_DISK: &[&str] = &["No space left on device", "no space left on device", "Disk quota exceeded"];
const SYNTAX: &[&str] = &[
    "dockerfile parse error",
    "failed to parse Dockerfile",
    "Cannot locate specified Dockerfile",
    "the Dockerfile (",
    "the Dockerfile cannot be empty",
    "failed to read dockerfile",
    "failed to parse stage name",
    "no build stage in current context",
    "invalid reference format",
    "should not be blank",
];
/// What BuildKit puts before its reason. The second stands for all that is wrong before the first step.
const FRONT: [&str; 3] = [
    "failed to solve with frontend dockerfile.v0: ",
    "failed to create LLB definition: ",
    "failed to solve: ",
];
const MISSING_BASE: &[&str] =
    &["pull access denied", "manifest unknown", "failed to resolve source metadata"];
const MISSING_FROM: &str = "invalid from flag value ";
const NEEDS_BUILDKIT: &str = "requires BuildKit";
/// A shell says this of a child, the kernel's out-of-memory killer being its usual cause.
const KILLED: &[&str] =
    &["Killed", "signal: killed", "cannot allocate memory", "JavaScript heap out of memory"];

const REGISTRY_DENIED: &[&str] = &[
    "unauthorized",
    "no basic auth credentials",
    "denied: ",
    "authentication required",
    "access to the resource is denied",
    "pull access denied",
    "403 Forbidden",
    "401 Unauthorized",
];
const REGISTRY_MISSING: &[&str] = &["manifest unknown", "name unknown", "not found"];
const REGISTRY_GONE: &[&str] = &[
    "connection refused",
    "no such host",
    "i/o timeout",
    "connection reset",
    "network is unreachable",
    "no route to host",
    "TLS handshake timeout",
    "Client.Timeout exceeded",
    "server misbehaving",
    "502 Bad Gateway",
    "503 Service Unavailable",
    "EOF",
];

fn any(text: &str, needles: &[&str]) -> bool {
    needles.iter().any(|needle| text.contains(needle))
}

impl Failure {
    /// `exit code: 3` at the end is how BuildKit words what the classic builder gives as a number.
    fn exit_code(&self) -> Option<i64> {
        self.code.filter(|code| *code != 0).or_else(|| {
            let (_, after) = self.message.rsplit_once("exit code: ")?;
            after.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
        })
    }

    fn during_base_image(&self) -> Option<&str> {
        let instruction = self.instruction.as_deref()?;
        let image = instruction
            .strip_prefix("[internal] load metadata for ")
            .or_else(|| instruction.strip_prefix("resolve image config for "))
            .or_else(|| instruction.split_once("] FROM ").map(|(_, image)| image))
            .or_else(|| instruction.strip_prefix("FROM "))?;
        image.split_whitespace().find(|word| !word.starts_with("--"))
    }

    /// Whether a step says that a disk is full: the engine's own, perhaps.
    pub(super) fn step_lacks_room(&self) -> bool {
        self.exit_code().is_some() && self.tail.iter().any(|line| any(line, STEP_DISK))
    }

    /// The one judgement of a failed build.
    pub(super) fn judge(&self) -> Error {
        let mut message = self.message.trim();
        let planned = message.contains(FRONT[1]);
        for front in FRONT {
            message = message.strip_prefix(front).unwrap_or(message);
        }
        if any(message, DISK) {
            return Error::new(
                Code::DiskFull,
                "the engine's disk became full during the build; free room with `docker builder prune` and `docker image prune`, then deploy again",
            );
        }
        if let Some(code) = self.exit_code() {
            return self.step_failed(code);
        }
        if message.contains(NEEDS_BUILDKIT) {
            return Error::new(
                Code::BuildFailed,
                format!(
                    "{}uses a feature of BuildKit, and this build runs with the classic builder; remove it (`--mount`, heredocs), or let the operator allow BuildKit",
                    self.subject()
                ),
            );
        }
        if self.status == Some(400) || any(message, SYNTAX) {
            return invalid(message);
        }
        if let Some((image, reason)) =
            message.strip_prefix(MISSING_FROM).and_then(|rest| rest.split_once(": "))
        {
            return base_image(image, reason);
        }
        if let Some(image) = self.during_base_image() {
            return base_image(image, message);
        }
        if any(message, MISSING_BASE) {
            let image = message
                .split_once("pull access denied for ")
                .map_or("that the Dockerfile names", |(_, rest)| {
                    rest.split([',', ' ']).next().unwrap_or(rest)
                });
            return base_image(image, message);
        }
        if planned && self.instruction.is_none() {
            return invalid(message);
        }
        Error::new(
            Code::BuildFailed,
            format!("{}failed: {}{}", self.subject(), shorten(message), self.last_lines()),
        )
    }

    fn step_failed(&self, code: i64) -> Error {
        if code == 137 || self.tail.iter().any(|line| any(line, KILLED)) {
            let cap = match &self.memory {
                Some(cap) => format!(" (the cap is {cap})"),
                None => String::new(),
            };
            return Error::new(
                Code::BuildMemory,
                format!(
                    "{}was killed for want of memory{cap}; make the step need less (fewer parallel jobs), or raise the build's memory limit{}",
                    self.subject(),
                    self.last_lines()
                ),
            );
        }
        let hint = match code {
            126 => " (the command is not executable)",
            127 => " (the command was not found)",
            _ => "",
        };
        Error::new(
            Code::BuildFailed,
            format!(
                "{}ended with exit code {code}{hint}; the log shows why{}",
                self.subject(),
                self.last_lines()
            ),
        )
    }

    fn subject(&self) -> String {
        match &self.instruction {
            Some(instruction) => format!("the step `{instruction}` "),
            None => "the build ".to_owned(),
        }
    }

    fn last_lines(&self) -> String {
        let kept: Vec<&str> = self.tail.iter().rev().take(3).rev().map(String::as_str).collect();
        if kept.is_empty() { String::new() } else { format!("; last lines: {}", kept.join(" | ")) }
    }
}

fn invalid(message: &str) -> Error {
    Error::new(
        Code::DockerfileInvalid,
        format!("the Dockerfile cannot be parsed: {}; correct that line", shorten(message)),
    )
}

fn base_image(image: &str, message: &str) -> Error {
    let unreachable = any(message, REGISTRY_GONE);
    let advice = if unreachable {
        "its registry cannot be reached from the engine; try again, or pull it there beforehand"
    } else {
        "see that name and tag are right and that the engine may read it"
    };
    Error::new(
        Code::BaseImageMissing,
        format!("the base image `{image}` cannot be had: {advice} ({})", shorten(message)),
    )
}

/// What a registry said through the engine.
pub(super) fn of_registry(reference: &str, status: Option<u16>, message: &str) -> Error {
    let message = message.trim();
    let registry = host(reference);
    if any(message, REGISTRY_DENIED) || matches!(status, Some(401 | 403)) {
        return Error::new(
            Code::RegistryDenied,
            format!(
                "the registry {registry} refused the credential for `{reference}`; see that user and password are right and may write there"
            ),
        );
    }
    if any(message, REGISTRY_GONE) {
        return Error::new(
            Code::RegistryUnreachable,
            format!("the registry {registry} cannot be reached from the engine; see that it runs and that its name resolves there"),
        )
        .because(shorten(message));
    }
    if status == Some(404) || any(message, REGISTRY_MISSING) {
        return Error::new(
            Code::RegistryImageMissing,
            format!(
                "the registry {registry} does not have `{reference}`; push it first, or correct its name and tag"
            ),
        );
    }
    Error::new(
        Code::EngineUnexpected,
        format!("`{reference}` failed at the registry {registry}: {}", shorten(message)),
    )
}

/// The part before the first slash, where it is a host.
pub(super) fn host(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}

/// What went wrong with a call of the client library that is not a stream of a build.
pub(super) fn of_call(engine: &Engine, error: bollard::errors::Error, context: &'static str) -> Stop {
    use bollard::errors::Error as Call;
    match error {
        Call::DockerResponseServerError { status_code: 404, .. } => Error::new(
            Code::ImageMissing,
            "the image is not in the engine any more; deploy again to build it anew",
        )
        .context(context)
        .because(error)
        .into(),
        Call::DockerResponseServerError { .. }
        | Call::DockerStreamError { .. }
        | Call::JsonDataError { .. }
        | Call::JsonSerdeError { .. } => unexpected(error, context),
        error => engine.gone(error),
    }
}

pub(super) fn unexpected(
    why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    context: &'static str,
) -> Stop {
    Error::new(
        Code::EngineUnexpected,
        "the Docker engine answered in a way that is not understood; see the worker's log and the engine's version",
    )
    .context(context)
    .because(why)
    .into()
}

fn shorten(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(400) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests;
