//! A socket here that is the engine's socket there, by the system's `ssh`.
//!
//! Guarantees: the key is in a file of mode 0600 in a directory of mode 0700, only until the connection stands; it is in no
//! argument and no environment. Only a host key that is in the given file is accepted. The process ends with the tunnel.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;
use secrecy::ExposeSecret as _;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::config::Ssh;
use super::failure::shorten;

const LOOK_EVERY: Duration = Duration::from_millis(20);
const SAID_BYTES: u64 = 4096;
const PROGRAMS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const OPTIONS: [&str; 16] = [
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "BatchMode=yes",
    "PreferredAuthentications=publickey",
    "StrictHostKeyChecking=yes",
    "GlobalKnownHostsFile=/dev/null",
    "UpdateHostKeys=no",
    "PermitLocalCommand=no",
    "ForwardAgent=no",
    "ControlPath=none",
    "ExitOnForwardFailure=yes",
    "StreamLocalBindMask=0177",
    "ConnectTimeout=15",
    "ServerAliveInterval=10",
    "ServerAliveCountMax=3",
    "LogLevel=ERROR",
];

pub(super) struct Tunnel {
    child: Mutex<Child>,
    /// Removed after the process that listens in it: fields are dropped in this order.
    directory: TempDir,
}

impl Tunnel {
    /// # Errors
    /// `TargetConnection` where key, user or host key is refused; `EngineUnavailable`.
    pub(super) async fn dig(ssh: &Ssh) -> Result<Self, Stop> {
        let directory = tempfile::Builder::new().prefix("dm-").tempdir().map_err(|error| disk(&error))?;
        let key = directory.path().join("key");
        write_key(&key, ssh).map_err(|error| disk(&error))?;
        let said = directory.path().join("said");
        let log = fs::File::create(&said).map_err(|error| disk(&error))?;
        let socket = socket_in(directory.path());
        let mut forward = socket.clone().into_os_string();
        forward.push(":");
        forward.push(&ssh.socket);
        let mut known_hosts = std::ffi::OsString::from("UserKnownHostsFile=\"");
        known_hosts.push(&ssh.known_hosts);
        known_hosts.push("\"");
        let mut command = Command::new("ssh");
        command.args(["-F", "/dev/null", "-N", "-T"]);
        for option in OPTIONS {
            command.args(["-o", option]);
        }
        command
            .arg("-o")
            .arg(known_hosts)
            .arg("-i")
            .arg(&key)
            .arg("-L")
            .arg(forward)
            .args(["-p", &ssh.port.to_string(), "-l", &ssh.user, "--", &ssh.host])
            .env_clear()
            .env("PATH", PROGRAMS)
            .env("LC_ALL", "C")
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn().map_err(|error| {
            Error::new(
                Code::TargetConnection,
                "the worker could not start the program ssh; install openssh-client where it runs",
            )
            .context("start ssh")
            .because(error)
        })?;
        let tunnel = Self { child: Mutex::new(child), directory };
        while UnixStream::connect(&socket).await.is_err() {
            if !tunnel.is_alive() {
                return Err(explain(ssh, &read_some(&said)).into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        // It listens only after it was let in: the key has done its work.
        fs::remove_file(&key).map_err(|error| disk(&error))?;
        Ok(tunnel)
    }

    pub(super) fn socket(&self) -> PathBuf {
        socket_in(self.directory.path())
    }

    pub(super) fn is_alive(&self) -> bool {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(child.try_wait(), Ok(None))
    }

    #[cfg(test)]
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).id()
    }
}

fn socket_in(directory: &Path) -> PathBuf {
    directory.join("docker.sock")
}

fn write_key(path: &Path, ssh: &Ssh) -> std::io::Result<()> {
    let mut text = ssh.key.expose_secret().replace("\r\n", "\n").trim().to_owned();
    text.push('\n');
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

fn read_some(path: &Path) -> String {
    let mut said = Vec::new();
    // What cannot be read explains nothing.
    let _unread = fs::File::open(path).and_then(|file| file.take(SAID_BYTES).read_to_end(&mut said)).is_err();
    String::from_utf8_lossy(&said).into_owned()
}

fn disk(error: &std::io::Error) -> Error {
    Error::new(
        Code::WorkspaceFailed,
        format!("the worker cannot write its temporary directory ({}); see that it has room", error.kind()),
    )
    .context("write ssh files")
}

/// OpenSSH's words (`sshconnect.c`, `authfile.c`), with its exit status 255 for all of them.
fn explain(ssh: &Ssh, said: &str) -> Error {
    let at = format!("{}@{}:{}", ssh.user, ssh.host, ssh.port);
    let any = |needles: &[&str]| needles.iter().any(|needle| said.contains(needle));
    let sentence = if any(&[
        "Host key verification failed",
        "host key is known",
        "IDENTIFICATION HAS CHANGED",
    ]) {
        format!(
            "the SSH host key of the target {at} is not the known one; print it with `ssh-keyscan -p {} {}`, compare it with what the host's owner says, and add it to {}",
            ssh.port,
            ssh.host,
            ssh.known_hosts.display()
        )
    } else if any(&["Load key", "invalid format", "error in libcrypto"]) {
        "the target's SSH key cannot be used; store an OpenSSH private key without a passphrase (`ssh-keygen -t ed25519 -N ''`)".to_owned()
    } else if any(&["Permission denied", "Too many authentication failures"]) {
        format!("the target {at} refused the SSH key; see that it is among the user's authorized keys there")
    } else if any(&["forwarding failed", "administratively prohibited"]) {
        format!(
            "the target {at} does not let its Docker socket be forwarded; allow `AllowStreamLocalForwarding yes` in its sshd_config"
        )
    } else {
        return Error::new(
            Code::EngineUnavailable,
            format!(
                "the target {at} cannot be reached over SSH; see that it runs and that its port is open ({})",
                shorten(said)
            ),
        )
        .context("open ssh tunnel");
    };
    Error::new(Code::TargetConnection, sentence).context("open ssh tunnel").because(shorten(said))
}
