//! The mouth of a deployment's log: what a step holds to say something.

use deploymind_shared::clock::Timestamp;
use tokio::sync::mpsc;

deploymind_shared::text_enum! {
    /// How much a line matters.
    Level {
        Debug = "debug",
        Info = "info",
        Warn = "warn",
        Error = "error",
    }
}

/// One line as a step said it: not numbered, not redacted, without its line break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub at: Timestamp,
    pub level: Level,
    pub text: String,
}

/// Cheap to clone. Waiting for room is the back-pressure: a build that talks faster than the log can be written is held
/// up, and nothing grows.
#[derive(Debug, Clone)]
pub struct Lines(mpsc::Sender<Line>);

impl Lines {
    /// `room` in lines. The receiver belongs to the deployment's one writer, or to a test.
    pub fn channel(room: usize) -> (Self, mpsc::Receiver<Line>) {
        let (sender, receiver) = mpsc::channel(room);
        (Self(sender), receiver)
    }

    pub async fn say(&self, level: Level, text: impl Into<String>) {
        let line = Line { at: deploymind_shared::clock::Clock::system().now(), level, text: text.into() };
        // The writer ends only after all steps; a line said to nobody is a line of a run that lost its claim.
        let _gone = self.0.send(line).await.is_err();
    }

    pub async fn info(&self, text: impl Into<String>) {
        self.say(Level::Info, text).await;
    }

    pub async fn warn(&self, text: impl Into<String>) {
        self.say(Level::Warn, text).await;
    }

    pub async fn error(&self, text: impl Into<String>) {
        self.say(Level::Error, text).await;
    }
}
