//! A child process that a test may kill, freeze and read the log of. It never outlives the test.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::{env, signal, wait_for};

/// A child starts with these and with what the test gives it, so that a test sees what a bare host would show.
const INHERITED: [&str; 6] = ["PATH", "HOME", "TMPDIR", "LANG", "RUST_BACKTRACE", "LLVM_PROFILE_FILE"];
const TAIL_LINES: usize = 60;

/// What to start; `Proc::builder` makes one.
pub struct ProcBuilder {
    name: String,
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
}

/// A running child in a process group of its own.
///
/// Dropped, it is killed with all it started; if the test is failing, the end of its log is printed first.
pub struct Proc {
    name: String,
    child: Child,
    exit: Option<ExitStatus>,
    directory: TempDir,
}

/// The path of a program this workspace builds, next to the running test, or to the benchmark that asks.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn workspace_binary(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("a running program has a path");
    // Tests are in a folder of their own there.
    let folders = [this.ancestors().nth(2), this.parent()];
    let mut paths = folders.into_iter().flatten().map(|folder| folder.join(name));
    paths.find(|path| path.is_file()).unwrap_or_else(|| {
        panic!("the program {name} is not built: run `make test`, or `cargo build --workspace` first")
    })
}

impl ProcBuilder {
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The working directory; by default the temporary one that also holds the log.
    #[must_use]
    pub fn directory(mut self, directory: impl AsRef<Path>) -> Self {
        self.directory = Some(directory.as_ref().to_owned());
        self
    }

    /// # Panics
    /// When the program cannot be started.
    #[must_use]
    pub fn start(self) -> Proc {
        let directory = tempfile::Builder::new().prefix("proc-").tempdir().expect("a temporary directory");
        let file = |name| File::create(directory.path().join(name)).expect("a log file in a fresh directory");
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .envs(INHERITED.iter().filter_map(|name| Some((name, env::optional(name)?))))
            .envs(self.env)
            .current_dir(self.directory.as_deref().unwrap_or(directory.path()))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"));
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {}: {error}", self.name, self.program.display()));
        Proc { name: self.name, child, exit: None, directory }
    }
}

impl Proc {
    /// `name` is what messages call it.
    #[must_use]
    pub fn builder(name: &str, program: impl AsRef<OsStr>) -> ProcBuilder {
        ProcBuilder {
            name: name.to_owned(),
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            directory: None,
        }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, or `None` while it runs (also while it is stopped).
    pub fn exit(&mut self) -> Option<ExitStatus> {
        if self.exit.is_none() {
            self.exit = self.child.try_wait().expect("our own child can be waited for");
        }
        self.exit
    }

    /// `kill -9` of the process and everything it started. When it returns, all of it is gone.
    pub fn kill9(&mut self) {
        if self.exit().is_none() {
            signal::kill_tree(self.as_pid());
            self.exit = Some(self.child.wait().expect("our own child can be waited for"));
        }
        signal::kill_group(self.as_pid());
    }

    /// Waits without a deadline, for a program that ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let exit = self.child.wait().expect("our own child can be waited for");
        *self.exit.insert(exit)
    }

    /// To the process alone, as an orchestrator sends it; what it started is its own affair.
    pub fn sigterm(&mut self) {
        self.signal(Signal::SIGTERM);
    }

    /// To the process alone.
    pub fn signal(&mut self, signal: Signal) {
        if self.exit().is_none() {
            kill(self.as_pid(), signal).expect("our own child takes a signal");
        }
    }

    /// Freezes the process and everything it started. When it returns, none of it runs.
    pub fn sigstop(&mut self) {
        if self.exit().is_none() {
            signal::stop_tree(self.as_pid());
        }
    }

    pub fn sigcont(&mut self) {
        if self.exit().is_none() {
            signal::continue_tree(self.as_pid());
        }
    }

    /// # Panics
    /// When it still runs after `deadline`; with the end of its log.
    pub async fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        wait_for(&what, deadline, async || {
            self.exit().ok_or_else(|| format!("still running; its log ends with\n{}", self.log_tail()))
        })
        .await
    }

    #[must_use]
    pub fn stdout(&self) -> String {
        self.read("stdout")
    }

    #[must_use]
    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    /// All it has written: stdout, then stderr.
    #[must_use]
    pub fn log(&self) -> String {
        self.stdout() + &self.stderr()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    fn read(&self, file: &str) -> String {
        let bytes = fs::read(self.directory.path().join(file)).expect("the log file we made");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn as_pid(&self) -> Pid {
        Pid::from_raw(self.pid().try_into().expect("a pid fits pid_t"))
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (name, pid, tail) = (&self.name, self.pid(), self.log_tail());
            eprintln!("--- the last {TAIL_LINES} lines of {name} ({pid})\n{tail}\n---");
        }
        self.kill9();
    }
}
