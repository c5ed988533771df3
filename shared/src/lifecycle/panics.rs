//! Panics go to the log like everything else. What a panic means for the process is the task's policy, not decided here.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};

/// Logs every panic with its place and, where `RUST_BACKTRACE` asks for it, its backtrace. Before a subscriber is set
/// the hook that was there speaks instead, so that a panic at start is never silent.
pub fn install_panic_hook() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !tracing::dispatcher::has_been_set() {
            before(info);
            return;
        }
        let location = info.location().map(ToString::to_string);
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        tracing::error!(
            panic.message = panic_text(info.payload()),
            panic.location = location.as_deref(),
            panic.backtrace = backtrace.as_deref(),
            thread.name = std::thread::current().name(),
            "a thread panicked"
        );
    }));
}

/// The text of a panic, from the payload that `catch_unwind` or `JoinError::into_panic` gives.
pub fn panic_text(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "a payload that is not text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::tests::{in_child, run_in_child};

    #[test]
    fn every_kind_of_payload_has_a_text() {
        let caught = |f: fn()| std::panic::catch_unwind(f).expect_err("panics");
        assert_eq!(panic_text(caught(|| panic!("plain")).as_ref()), "plain");
        assert_eq!(panic_text(caught(|| panic!("{} words", 2)).as_ref()), "2 words");
        assert_eq!(panic_text(caught(|| std::panic::panic_any(7)).as_ref()), "a payload that is not text");
    }

    #[test]
    fn a_panic_is_one_structured_line() {
        let child = run_in_child("lifecycle::panics::tests::child");
        let output = child.wait_with_output().expect("child ran");
        let stderr = String::from_utf8_lossy(&output.stderr);
        let line = stderr.lines().find(|line| line.contains("on purpose")).expect("the panic is logged");
        let line: serde_json::Value = serde_json::from_str(line).expect("as JSON");
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["fields"]["panic.message"], "on purpose");
        assert!(line["fields"]["panic.location"].as_str().is_some_and(|at| at.contains("panics.rs")));
        assert_eq!(stderr.matches("on purpose").count(), 1, "the default hook must not print it again");
    }

    #[test]
    fn child() {
        if !in_child() {
            return;
        }
        tracing_subscriber::fmt().json().with_writer(std::io::stderr).init();
        install_panic_hook();
        assert!(std::thread::spawn(|| panic!("on purpose")).join().is_err());
    }
}
