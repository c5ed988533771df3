//! What an answer of the engine means. All of its text that is read is in the tables of this file, each recorded from a
//! real engine.

use bollard::errors::Error as Call;
use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;
use secrecy::{ExposeSecret, SecretString};

const DISK: &[&str] = &["no space left on device", "disk quota exceeded"];
const ADDRESS_TAKEN: &[&str] = &["Address already in use"];
const OVERLAP: &[&str] =
    &["Pool overlaps with other one on this address space", "invalid pool request", "cannot create network"];
const NO_PLATFORM: &[&str] = &["no matching manifest for", "does not match the specified platform"];
const DENIED: &[&str] = &[
    "unauthorized",
    "no basic auth credentials",
    "denied",
    "authentication required",
    "403 Forbidden",
    "401 Unauthorized",
];
const UNREACHABLE: &[&str] = &[
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
const ABSENT: &[&str] = &["manifest unknown", "name unknown", "not found", "does not exist"];
/// What an engine says when a program cannot be run, and what to do about it.
const START: &[(&str, &str)] = &[
    (
        "docker-init",
        "the engine lacks its init program; install it on the host (`apt install tini` where Docker is Debian's own)",
    ),
    (
        "executable file not found",
        "the start command's program is not in the image; correct the start command, or install it in the Dockerfile",
    ),
    (
        "no such file or directory",
        "the start command's program is not in the image, or names an interpreter that is not; correct the start command",
    ),
    (
        "permission denied",
        "the start command's program may not be executed; make it executable in the Dockerfile (`chmod +x`)",
    ),
    (
        "exec format error",
        "the start command's program is made for another architecture, or lacks its `#!` line",
    ),
    ("No command specified", "the image has no command; set the app's start command"),
    (
        "bind source path does not exist",
        "a path that the app mounts is not on the host; create it there, or correct the volume",
    ),
    ("unable to find user", "the image's user does not exist in it; correct USER in the Dockerfile"),
];

fn any(text: &str, needles: &[&str]) -> bool {
    needles.iter().any(|needle| text.contains(needle))
}

/// Why a call did not give what it was made for.
#[derive(Debug)]
pub(super) enum Fault {
    /// The engine said no.
    Refused {
        status: u16,
        message: String,
        doing: &'static str,
    },
    Stop(Stop),
}

impl Fault {
    pub(super) fn of(error: Call, host: &str, doing: &'static str) -> Self {
        match error {
            Call::DockerResponseServerError { status_code, message } => {
                Fault::Refused { status: status_code, message, doing }
            }
            Call::DockerStreamError { error } => Fault::Refused { status: 500, message: error, doing },
            // The answer broke off.
            Call::JsonSerdeError { err } if err.is_eof() => Fault::Stop(gone(host, doing, err)),
            error @ (Call::JsonDataError { .. } | Call::JsonSerdeError { .. }) => {
                Fault::Stop(unexpected(doing, "an answer that cannot be read").because(error).into())
            }
            error => Fault::Stop(gone(host, doing, error)),
        }
    }

    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Fault::Refused { status, .. } => Some(*status),
            Fault::Stop(_) => None,
        }
    }

    pub(super) fn overlaps(&self) -> bool {
        matches!(self, Fault::Refused { message, .. } if any(message, OVERLAP))
    }

    pub(super) fn address_taken(&self) -> bool {
        matches!(self, Fault::Refused { message, .. } if any(message, ADDRESS_TAKEN))
    }

    /// Of creating or starting a slot. What the engine repeats of the variables is taken out.
    pub(super) fn of_slot(self, copy: &str, variables: &[(String, SecretString)]) -> Stop {
        let Fault::Refused { message, status, doing } = self else { return self.into() };
        if any(&message, DISK) {
            return Fault::Refused { message, status, doing }.into();
        }
        let mut message = message;
        for (_, value) in variables {
            let value = value.expose_secret();
            if value.len() > 2 {
                message = message.replace(value, "[hidden]");
            }
        }
        let advice =
            START.iter().find(|(said, _)| message.contains(said)).map_or(
                "correct the app's settings or its Dockerfile by what the engine says",
                |(_, advice)| *advice,
            );
        Stop::terminal(
            Code::SlotRefused,
            format!("the engine refused to start `{copy}`: {advice} ({})", shorten(&message)),
        )
    }

    /// Of bringing an image to the host.
    pub(super) fn of_image(self, reference: &str) -> Stop {
        let Fault::Refused { message, status, doing } = self else { return self.into() };
        let registry = registry_of(reference);
        let (code, sentence) = if any(&message, DISK) {
            return Fault::Refused { message, status, doing }.into();
        } else if any(&message, NO_PLATFORM) {
            (
                Code::ImagePlatform,
                format!(
                    "`{reference}` is not made for the target's architecture; build it for that ({})",
                    shorten(&message)
                ),
            )
        } else if any(&message, DENIED) || matches!(status, 401 | 403) {
            (
                Code::RegistryDenied,
                format!(
                    "the registry {registry} refused to give `{reference}`; see that the target's credential is right and may read there"
                ),
            )
        } else if any(&message, UNREACHABLE) {
            (
                Code::RegistryUnreachable,
                format!(
                    "the registry {registry} cannot be reached from the target's engine; see that it runs and that its name resolves there ({})",
                    shorten(&message)
                ),
            )
        } else if status == 404 || any(&message, ABSENT) {
            (
                Code::RegistryImageMissing,
                format!(
                    "the registry {registry} does not have `{reference}`; deploy again to build and push it anew"
                ),
            )
        } else {
            return Fault::Refused { message, status, doing }.into();
        };
        Error::new(code, sentence).context(doing).into()
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Stop(stop) => stop,
            Fault::Refused { message, doing, .. } if any(&message, DISK) => disk_full(doing, &message).into(),
            Fault::Refused { message, doing, .. } => unexpected(doing, &shorten(&message)).into(),
        }
    }
}

impl From<Stop> for Fault {
    fn from(stop: Stop) -> Self {
        Fault::Stop(stop)
    }
}

pub(super) fn disk_full(doing: &'static str, message: &str) -> Error {
    Error::new(
        Code::DiskFull,
        "the target's disk is full; free room there with `docker image prune` and `docker builder prune`, then deploy again",
    )
    .context(doing)
    .because(shorten(message))
}

fn unexpected(doing: &'static str, message: &str) -> Error {
    Error::new(
        Code::EngineUnexpected,
        format!("the target's Docker engine answered in a way that is not understood: {message}; see the engine's log (`journalctl -u docker`)"),
    )
    .context(doing)
}

/// The engine did not answer, or not in time.
pub(super) fn gone(
    host: &str,
    doing: &'static str,
    why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Stop {
    Error::new(
        Code::EngineUnavailable,
        format!(
            "the Docker engine at {host} cannot be reached; see that it runs and that the worker may use it"
        ),
    )
    .context(doing)
    .because(why)
    .into()
}

/// Something that is not ours has a name that we need.
pub(super) fn name_taken(what: &str, name: &str) -> Error {
    Error::new(
        Code::NameTaken,
        format!(
            "the {what} `{name}` on the target is not DeployMind's; rename or remove it there (`docker {what} inspect {name}` says what it is), or give the fleet another name"
        ),
    )
}

fn registry_of(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}

pub(super) fn shorten(text: &str) -> String {
    // Some control characters cannot be stored, and none can be shown.
    let text = text.replace(char::is_control, " ");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(400) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}
