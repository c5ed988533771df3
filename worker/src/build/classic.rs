//! What the classic builder says.

use std::sync::Arc;

use super::message::Message;
use super::output::Output;
use crate::log::{LineSplitter, Redactor};

/// Steps write in pieces, the builder in between; lines are put together across messages.
pub(super) struct Classic {
    splitter: LineSplitter,
}

impl Classic {
    pub(super) fn new(redactor: Arc<Redactor>) -> Self {
        Self { splitter: LineSplitter::new().hiding(redactor) }
    }

    pub(super) async fn hear(&mut self, message: &Message, output: &mut Output<'_>) {
        if let Some(text) = &message.stream {
            let mut lines = Vec::new();
            self.splitter.push(uncoloured(text).as_bytes(), |line| lines.push(line));
            for line in lines {
                Self::line(&line, output).await;
            }
        }
        if let Some(status) = &message.status {
            Self::pull(status, message.id.as_deref(), output).await;
        }
        if let Some(id) = message.aux.as_ref().and_then(|aux| aux.get("ID")).and_then(|id| id.as_str()) {
            output.image_id = Some(id.to_owned());
        }
    }

    pub(super) async fn finish(&mut self, output: &mut Output<'_>) {
        let mut lines = Vec::new();
        self.splitter.finish(|line| lines.push(line));
        for line in lines {
            Self::line(&line, output).await;
        }
    }

    async fn line(line: &str, output: &mut Output<'_>) {
        if let Some(instruction) = step(line) {
            output.begin(instruction);
            output.say(line).await;
        } else if line == " ---> Using cache" {
            output.cached_steps += 1;
            output.say(line).await;
        } else if let Some(warning) = line.strip_prefix("[Warning] ") {
            output.warn(warning).await;
        } else if line.starts_with(" ---> ") || line.starts_with("Removing intermediate container ") {
            output.detail(line).await;
        } else if !line.is_empty() {
            output.step("", line).await;
        }
    }

    /// Layers of a base image: what is drawn as bars elsewhere is a line at their end here.
    async fn pull(status: &str, id: Option<&str>, output: &Output<'_>) {
        let moves = [
            "Pulling fs layer",
            "Waiting",
            "Downloading",
            "Verifying Checksum",
            "Download complete",
            "Extracting",
        ];
        if !moves.contains(&status) {
            match id {
                Some(id) => output.say(format!("{id}: {status}")).await,
                None => output.say(status).await,
            }
        }
    }
}

/// `Step 2/5 : RUN make` is the header of a step.
fn step(line: &str) -> Option<&str> {
    let (numbers, instruction) = line.strip_prefix("Step ")?.split_once(" : ")?;
    let (at, of) = numbers.split_once('/')?;
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (number(at) && number(of)).then_some(instruction)
}

/// The builder paints what a step writes to its standard error; the paint is not the step's.
fn uncoloured(text: &str) -> &str {
    text.strip_prefix("\u{1b}[91m").and_then(|text| text.strip_suffix("\u{1b}[0m")).unwrap_or(text)
}
