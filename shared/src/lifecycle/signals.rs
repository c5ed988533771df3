//! SIGTERM and SIGINT: the first starts the shutdown, the second ends the process at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Lifecycle;

/// The exit code after a second signal: 128 + SIGINT, what a shell reports for an interrupted program.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Starts listening. From here on the signals no longer end the process by themselves.
#[expect(
    clippy::disallowed_methods,
    reason = "must outlive the shutdown: the second signal is the way out of one that hangs"
)]
pub fn listen(lifecycle: &Lifecycle) -> io::Result<()> {
    let mut signals =
        Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
    let lifecycle = lifecycle.clone();
    tokio::spawn(async move {
        let name = signals.next().await;
        tracing::info!(signal = name, "signal received, shutting down; a second one exits at once");
        lifecycle.begin_shutdown();
        let name = signals.next().await;
        tracing::warn!(signal = name, "second signal received, exiting at once");
        std::process::exit(i32::from(EXIT_INTERRUPTED));
    });
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::Command;
    use std::time::Duration;

    use super::*;
    use crate::lifecycle::tests::{in_child, run_in_child};

    #[test]
    fn the_first_signal_stops_and_the_second_exits() {
        let mut child = run_in_child("lifecycle::signals::tests::child");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut wait_for = |word: &str| {
            let found = lines.by_ref().any(|line| line.is_ok_and(|line| line.contains(word)));
            assert!(found, "the child never said {word:?}");
        };
        let pid = child.id().to_string();
        let send = |signal: &str| {
            assert!(Command::new("kill").args([signal, &pid]).status().expect("kill").success())
        };
        wait_for("ready");
        send("-TERM");
        wait_for("stopping");
        send("-INT");
        assert_eq!(child.wait().expect("child ends").code(), Some(i32::from(EXIT_INTERRUPTED)));
    }

    #[tokio::test]
    async fn child() {
        if !in_child() {
            return;
        }
        let lifecycle = Lifecycle::new();
        listen(&lifecycle).expect("listen");
        lifecycle.spawn_scoped("stubborn", std::future::pending::<()>());
        println!("ready");
        lifecycle.token().cancelled().await;
        println!("stopping");
        lifecycle.shutdown(Duration::from_secs(60)).await;
    }
}
