//! Ends processes by the folder they work in: git and the scanner outlive a worker that was killed, and whoever takes its
//! deployment over knows of them only that they stand in the deployment's folder.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Each round finds what was forked during the one before. A killed process is gone within milliseconds.
const ROUNDS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// Kills every process whose working folder is `folder` or below; says how many signals that took. Where there is no
/// `/proc`, it finds none. For a blocking thread.
#[expect(
    clippy::disallowed_methods,
    reason = "it runs on a blocking thread, and nothing tells when a process is gone"
)]
pub(super) fn evict(folder: &Path) -> usize {
    // The kernel tells real paths. A folder that is not there may still be somebody's, by the name it had.
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let mut sent = 0;
    for _ in 0..ROUNDS {
        let found = round(&folder);
        if found == 0 {
            break;
        }
        sent += found;
        sleep(PAUSE);
    }
    sent
}

fn round(folder: &Path) -> usize {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|number| stands_in(*number, folder) && kill(*number, folder)).count()
}

/// Not for a process of somebody else, whose folder is not told.
fn stands_in(number: i32, folder: &Path) -> bool {
    std::fs::read_link(format!("/proc/{number}/cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
}

fn kill(number: i32, folder: &Path) -> bool {
    let Some(handle) = Pid::from_raw(number).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
        return false;
    };
    // From here on the number cannot become a stranger's under our hands.
    stands_in(number, folder) && pidfd_send_signal(&handle, Signal::KILL).is_ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn only_what_stands_in_the_folder_is_ended_with_what_it_started() {
        let (ours, other) = (tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
        let start = |folder: &Path| {
            let mut shell = Command::new("sh");
            shell.args(["-c", "sleep 600 & wait"]).current_dir(folder).stdout(Stdio::null());
            shell.spawn().expect("a shell")
        };
        let below = ours.path().join("below");
        std::fs::create_dir(&below).expect("folder");
        let (mut evicted, mut stays) = (start(&below), start(other.path()));
        assert!(evict(ours.path()) >= 1);
        assert!(!evicted.wait().expect("ended").success());
        assert_eq!(round(ours.path()), 0);
        assert!(stays.try_wait().expect("alive").is_none());
        assert!(evict(other.path()) >= 1);
        stays.wait().expect("ended");
        assert_eq!(evict(other.path()), 0);
    }
}
