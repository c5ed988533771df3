//! Signals to a process and everything below it.
//!
//! A process group is not enough: each Postgres backend leads a group of its own.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

struct Stat {
    parent: Pid,
    state: char,
}

fn stat(pid: Pid) -> Option<Stat> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in brackets and may itself hold brackets and spaces.
    let (_, rest) = line.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Stat { parent: Pid::from_raw(parent), state })
}

fn descendants(root: Pid) -> Vec<Pid> {
    let mut children: HashMap<Pid, Vec<Pid>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let pid = Pid::from_raw(pid);
        if let Some(stat) = stat(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        if let Some(below) = children.get(&found[next]) {
            found.extend(below);
        }
        next += 1;
    }
    found.remove(0);
    found
}

fn send(pid: Pid, signal: Signal) {
    report(pid, kill(pid, signal));
}

/// A process that has just gone is no fault; anything else is said, but not by a panic, for destructors come through here.
fn report(pid: Pid, sent: nix::Result<()>) {
    match sent {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => eprintln!("signal to {pid}: {error}"),
    }
}

/// Freezes the whole tree; when it returns, none of it runs.
pub(crate) fn stop_tree(root: Pid) {
    // The parent first, so that it starts no new child while the others are looked up.
    send(root, Signal::SIGSTOP);
    await_states(&[root], "TtZX");
    let below = descendants(root);
    for pid in &below {
        send(*pid, Signal::SIGSTOP);
    }
    await_states(&below, "TtZX");
}

pub(crate) fn continue_tree(root: Pid) {
    for pid in descendants(root) {
        send(pid, Signal::SIGCONT);
    }
    send(root, Signal::SIGCONT);
}

/// `kill -9` of the whole tree and of its process group; when it returns, all of it is dead (the root still has to be waited for).
pub(crate) fn kill_tree(root: Pid) {
    stop_tree(root);
    let below = descendants(root);
    // The parent first: a postmaster that sees a child die would begin crash recovery.
    send(root, Signal::SIGKILL);
    for pid in &below {
        send(*pid, Signal::SIGKILL);
    }
    kill_group(root);
    await_states(&below, "ZX");
}

/// What is left of the group of a process that has ended.
pub(crate) fn kill_group(leader: Pid) {
    report(leader, killpg(leader, Signal::SIGKILL));
}

fn await_states(pids: &[Pid], wanted: &str) {
    let end = Instant::now() + Duration::from_secs(5);
    for pid in pids {
        while stat(*pid).is_some_and(|stat| !wanted.contains(stat.state)) {
            assert!(Instant::now() < end, "process {pid} ignores a signal no process can ignore");
            std::thread::yield_now();
        }
    }
}
