//! One run of the scanner: a process group of its own, an empty environment, bounded output, and a certain end.
//!
//! Guarantees: when [`run`] returns, or its future is dropped, the whole group has been killed; when it returns, the
//! leader has also been reaped.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::parse::clean;
use crate::log::{Level, Lines};

/// Of the scanner's own talk: lines shown, bytes of one line, bytes in all. What is beyond is read and dropped.
const LINES: usize = 200;
const LINE: u64 = 4 * 1024;
const SHOWN: usize = 500;
/// Killed processes end at once unless the kernel holds them in a disk call.
const REAP: Duration = Duration::from_secs(5);

pub(super) struct Job<'a> {
    pub program: &'a Path,
    pub args: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
    pub folder: &'a Path,
    pub stdout: &'a Path,
    pub stdout_limit: u64,
    pub deadline: tokio::time::Instant,
}

#[derive(Debug)]
pub(super) enum End {
    /// With what it said about it.
    Exited(ExitStatus, String),
    /// It wrote more than `stdout_limit`.
    TooMuch,
    Deadline,
    Cancelled,
}

pub(super) async fn run(job: Job<'_>, lines: &Lines, cancel: &CancellationToken) -> io::Result<End> {
    let mut stdout = File::create(job.stdout).await?;
    let mut child = Command::new(job.program)
        .args(job.args)
        .env_clear()
        .envs(job.env)
        .current_dir(job.folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let group = Group::of(&child);
    let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::Error::other("the child has no pipes"));
    };
    let ended = async {
        let status = child.wait().await?;
        // A process it left behind would hold the pipes open.
        group.kill();
        Ok::<_, io::Error>(status)
    };
    let copied = async {
        let read = tokio::io::copy(&mut out.take(job.stdout_limit + 1), &mut stdout).await?;
        stdout.flush().await?;
        if read > job.stdout_limit {
            group.kill();
        }
        Ok(read > job.stdout_limit)
    };
    let all = async { tokio::try_join!(ended, copied, talk(err, lines)) };
    let end = tokio::select! {
        biased;
        () = cancel.cancelled() => Ok(End::Cancelled),
        () = tokio::time::sleep_until(job.deadline) => Ok(End::Deadline),
        result = all => result.map(|(status, too_much, said)| {
            if too_much { End::TooMuch } else { End::Exited(status, said) }
        }),
    };
    group.kill();
    // Already reaped unless it was stopped above.
    let _reaped = tokio::time::timeout(REAP, child.wait()).await.is_ok();
    group.disarm();
    end
}

/// Passes on what the scanner says, line by line. Returns the line that tells most about a failure.
async fn talk(stderr: impl AsyncRead + Unpin, lines: &Lines) -> io::Result<String> {
    let mut reader = BufReader::new(stderr);
    let (mut last, mut fatal) = (String::new(), None);
    let mut count = 0usize;
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if (&mut reader).take(LINE).read_until(b'\n', &mut bytes).await? == 0 {
            break;
        }
        let line = clean(&String::from_utf8_lossy(&bytes), SHOWN);
        if line.is_empty() {
            continue;
        }
        count += 1;
        if count <= LINES {
            lines.say(Level::Debug, format!("trivy: {line}")).await;
        }
        // A crash of the program ends with the calls that led to it; what it says first is the reason.
        if fatal.is_none() && (line.starts_with("panic:") || line.contains(" FATAL ")) {
            fatal = Some(line.clone());
        }
        last = line;
    }
    if count > LINES {
        lines.say(Level::Debug, format!("trivy: {} more lines are not shown", count - LINES)).await;
    }
    Ok(fatal.unwrap_or(last))
}

/// The child's process group, killed at the latest when this is dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &tokio::process::Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    fn kill(&self) {
        if let Some(group) = self.0 {
            // No such group: all its processes have ended.
            let _gone = killpg(group, Signal::SIGKILL).is_err();
        }
    }

    /// All have ended; the number may be another's soon.
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
