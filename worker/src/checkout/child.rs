//! One run of git as a child: a process group with limits that never outlives the call.
//!
//! Guarantees: when a run returns, or its future is dropped, every process of its group has been sent SIGKILL or had
//! ended. What is cancelled gets SIGTERM first and up to 1.5 s to end by itself.

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustix::process::{Resource, Rlimit, prlimit};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::private::Private;
use super::{Limits, workspace};
use crate::log::Lines;

const PATIENCE: Duration = Duration::from_millis(1_500);
const WATCH_EVERY: Duration = Duration::from_millis(100);
/// For what does not talk to a server: reading and writing a tree within its limits.
const LOCAL_DEADLINE: Duration = Duration::from_secs(300);
/// Address space of a git process. Objects above `core.bigFileThreshold` are streamed, so honest ones stay far below; a
/// delta that unfolds to more does not take the worker with it.
const MEMORY: u64 = 4 << 30;
/// Bytes read from a pipe at once.
const PIECE: usize = 16 * 1024;
const STDERR_KEPT: usize = 32 * 1024;
const LINES_SAID: usize = 200;
const LINE_LONGEST: usize = 1_000;

/// How git is run for one request.
pub(super) struct Git<'a> {
    private: &'a Private,
    cancel: &'a CancellationToken,
    lines: Option<&'a Lines>,
    pub limits: Limits,
    /// When everything that talks to the server must have ended.
    deadline: Instant,
}

/// One command line.
pub(super) struct Run<'a> {
    args: Vec<&'a OsStr>,
    directory: Option<&'a Path>,
    input: &'a [u8],
    remote: bool,
    environment: Vec<(&'static str, &'a OsStr)>,
}

/// How a run that was left alone ended.
pub(super) struct Ended {
    pub success: bool,
    /// The first 32 KiB.
    pub stderr: String,
    /// The reader of standard output had seen enough and the run was stopped.
    pub satisfied: bool,
    /// The private directory grew over what may be fetched.
    pub overgrown: bool,
    pub late: bool,
}

impl<'a> Run<'a> {
    pub fn new(args: &[&'a str]) -> Self {
        let args = args.iter().map(|arg| OsStr::new(*arg)).collect();
        Self { args, directory: None, input: &[], remote: false, environment: Vec::new() }
    }

    /// It talks to a server: held to the fetch deadline, watched for size, and heard in the log.
    pub fn remote(mut self) -> Self {
        self.remote = true;
        self
    }

    pub fn directory(mut self, directory: &'a Path) -> Self {
        self.directory = Some(directory);
        self
    }

    pub fn input(mut self, input: &'a [u8]) -> Self {
        self.input = input;
        self
    }

    pub fn env(mut self, name: &'static str, value: &'a Path) -> Self {
        self.environment.push((name, value.as_os_str()));
        self
    }
}

impl<'a> Git<'a> {
    pub fn new(private: &'a Private, cancel: &'a CancellationToken, limits: Limits) -> Self {
        let deadline = Instant::now() + limits.fetch_deadline;
        Self { private, cancel, lines: None, limits, deadline }
    }

    pub fn speaking(mut self, lines: &'a Lines) -> Self {
        self.lines = Some(lines);
        self
    }

    /// The most that may be fetched, in bytes: the files, and room for trees and what does not compress.
    pub fn fetch_cap(&self) -> u64 {
        self.limits.bytes.saturating_add(self.limits.bytes / 8).saturating_add(1 << 20)
    }

    /// [`Git::run`] with all of standard output.
    ///
    /// # Errors
    /// As `run`, and when it is not a success or says more than `most` bytes.
    pub async fn output(&self, run: Run<'_>, most: usize) -> Result<Vec<u8>, Stop> {
        let mut all = Vec::new();
        let ended = self
            .run(run, |piece| {
                all.extend_from_slice(piece);
                if all.len() > most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .await?;
        if ended.success { Ok(all) } else { Err(super::explain::local(&ended).into()) }
    }

    /// Runs git and gives standard output to `sink` as it comes; `Break` stops the run.
    ///
    /// # Errors
    /// `Cancelled`, or when git cannot be started. How it ended is no error here.
    pub async fn run(
        &self,
        run: Run<'_>,
        mut sink: impl FnMut(&[u8]) -> ControlFlow<()> + Send,
    ) -> Result<Ended, Stop> {
        if self.cancel.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        let mut group = self.start(&run)?;
        let (stdin, stdout, stderr) = group.pipes();
        let mut heard =
            Heard { kept: Vec::new(), line: Vec::new(), said: 0, lines: self.lines.filter(|_| run.remote) };
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A child that wants no more input has its own reasons, which its status tells.
                let _broken_pipe = stdin.write_all(run.input).await.is_err();
            }
        };
        let read = async {
            let Some(mut stdout) = stdout else { return ControlFlow::Continue(()) };
            let mut buffer = vec![0; PIECE];
            while let Some(piece) = next(&mut stdout, &mut buffer).await {
                sink(piece)?;
            }
            ControlFlow::Continue(())
        };
        let listen = async {
            let Some(mut stderr) = stderr else { return };
            let mut buffer = vec![0; PIECE];
            while let Some(piece) = next(&mut stderr, &mut buffer).await {
                heard.take(piece).await;
            }
        };
        let deadline = if run.remote { self.deadline } else { Instant::now() + LOCAL_DEADLINE };
        let work = async {
            // Standard error is read on while output is, and the input is written meanwhile.
            let mut rest = std::pin::pin!(async { tokio::join!(feed, listen) });
            let read = std::pin::pin!(read);
            match futures::future::select(read, rest.as_mut()).await {
                futures::future::Either::Left((ControlFlow::Break(()), _)) => false,
                futures::future::Either::Left((ControlFlow::Continue(()), rest)) => {
                    rest.await;
                    true
                }
                futures::future::Either::Right((_, read)) => read.await.is_continue(),
            }
        };
        enum Why {
            Read,
            Satisfied,
            Cancelled,
            Late,
            Overgrown,
        }
        let why = tokio::select! {
            biased;
            () = self.cancel.cancelled() => Why::Cancelled,
            whole = work => if whole { Why::Read } else { Why::Satisfied },
            () = sleep_until(deadline) => Why::Late,
            () = self.outgrown(), if run.remote => Why::Overgrown,
        };
        let mut success = false;
        if matches!(why, Why::Read) {
            // Its pipes are closed: it ends now, or is made to.
            if let Ok(status) = timeout(PATIENCE, group.child.wait()).await {
                success = status.map_err(workspace("wait for git"))?.success();
                group.reaped = true;
            }
        }
        group.stop(matches!(why, Why::Cancelled | Why::Late)).await;
        if matches!(why, Why::Cancelled) {
            return Err(Stop::Cancelled);
        }
        heard.flush().await;
        // A fast one may have ended between two looks.
        let overgrown = matches!(why, Why::Overgrown) || (run.remote && success && self.is_overgrown().await);
        Ok(Ended {
            success: success && !overgrown,
            stderr: String::from_utf8_lossy(&heard.kept).into_owned(),
            satisfied: matches!(why, Why::Satisfied),
            overgrown,
            late: matches!(why, Why::Late),
        })
    }

    fn start(&self, run: &Run<'_>) -> Result<Group, Error> {
        let mut command = Command::new("git");
        command
            .args(&run.args)
            .env_clear()
            .envs(self.private.environment())
            .envs(run.environment.iter().copied())
            .current_dir(run.directory.unwrap_or(self.private.root()))
            .stdin(if run.input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn().map_err(|error| {
            Error::new(
                Code::GitFailed,
                format!(
                    "the worker could not start the program git ({}); install git 2.39 or newer on it",
                    error.kind()
                ),
            )
            .context("start git")
            .because(error)
        })?;
        let group = Group { child, reaped: false };
        // What the size watch does not see in time, the kernel refuses.
        group.limit(Resource::As, MEMORY.saturating_add(self.fetch_cap()));
        group.limit(Resource::Core, 0);
        if run.remote {
            group.limit(Resource::Fsize, self.fetch_cap().saturating_add(64 << 20));
        }
        Ok(group)
    }

    /// Ends when more has been fetched than may be.
    async fn outgrown(&self) {
        while !self.is_overgrown().await {
            sleep(WATCH_EVERY).await;
        }
    }

    async fn is_overgrown(&self) -> bool {
        let (root, cap) = (self.private.root().to_owned(), self.fetch_cap());
        let size = tokio::task::spawn_blocking(move || disk_use(&root, 6)).await;
        size.is_ok_and(|size| size > cap)
    }
}

/// A directory that disappears while it is read has no size.
fn disk_use(directory: &Path, depth: u8) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let mut sum = 0;
    for entry in entries.flatten() {
        match entry.metadata() {
            Ok(data) if data.is_dir() && depth > 0 => sum += disk_use(&entry.path(), depth - 1),
            Ok(data) => sum += data.len(),
            Err(_) => {}
        }
    }
    sum
}

/// What comes next out of a pipe; `None` at its end.
async fn next<'b>(pipe: &mut (impl AsyncRead + Unpin), buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    match pipe.read(buffer).await {
        Ok(0) | Err(_) => None,
        Ok(read) => Some(&buffer[..read]),
    }
}

/// What git says on standard error: kept for the explanation, and said in the log.
struct Heard<'a> {
    kept: Vec<u8>,
    line: Vec<u8>,
    said: usize,
    lines: Option<&'a Lines>,
}

impl Heard<'_> {
    async fn take(&mut self, piece: &[u8]) {
        let room = STDERR_KEPT.saturating_sub(self.kept.len()).min(piece.len());
        self.kept.extend_from_slice(&piece[..room]);
        for &byte in piece {
            if matches!(byte, b'\n' | b'\r') {
                self.flush().await;
            } else if self.line.len() < LINE_LONGEST {
                self.line.push(byte);
            }
        }
    }

    async fn flush(&mut self) {
        let text = String::from_utf8_lossy(&self.line).trim().to_owned();
        self.line.clear();
        let Some(lines) = self.lines.filter(|_| !text.is_empty() && self.said <= LINES_SAID) else { return };
        self.said += 1;
        if self.said > LINES_SAID {
            lines.warn("git says more than is shown").await;
        } else {
            lines.info(format!("git: {text}")).await;
        }
    }
}

struct Group {
    child: Child,
    reaped: bool,
}

impl Group {
    fn pipes(
        &mut self,
    ) -> (
        Option<tokio::process::ChildStdin>,
        Option<tokio::process::ChildStdout>,
        Option<tokio::process::ChildStderr>,
    ) {
        (self.child.stdin.take(), self.child.stdout.take(), self.child.stderr.take())
    }

    fn pid(&self) -> Option<i32> {
        self.child.id().and_then(|id| i32::try_from(id).ok())
    }

    fn limit(&self, resource: Resource, most: u64) {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        if let Some(pid) = self.pid().and_then(rustix::process::Pid::from_raw) {
            // A child that has ended already needs no limit.
            let _gone = prlimit(Some(pid), resource, limit).is_err();
        }
    }

    /// The leader's id stays the group's until it has been waited for, so this never hits a stranger.
    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid().filter(|_| !self.reaped) {
            let _gone = killpg(Pid::from_raw(pid), signal).is_err();
        }
    }

    async fn stop(&mut self, gently: bool) {
        if self.reaped {
            return;
        }
        if gently {
            self.signal(Signal::SIGTERM);
            let end = Instant::now() + PATIENCE;
            while Instant::now() < end && !self.leader_is_dead() {
                sleep(Duration::from_millis(10)).await;
            }
        }
        self.signal(Signal::SIGKILL);
        let _reaped = self.child.wait().await.is_ok();
        self.reaped = true;
    }

    /// Without reaping it: a zombie still holds the group's id, which the last SIGKILL needs.
    fn leader_is_dead(&self) -> bool {
        let Some(pid) = self.pid() else { return true };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')')
            .next()
            .is_none_or(|rest| matches!(rest.trim_start().chars().next(), Some('Z' | 'X') | None))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}
