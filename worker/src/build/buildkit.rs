//! What BuildKit says: a graph of vertexes, told as numbered lines in the manner of its own plain output.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard_buildkit_proto::google::protobuf::Timestamp;
use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, Vertex};
use prost::Message as _;

use super::context::size_text;
use super::http::Cause;
use super::message::Message;
use super::output::Output;
use crate::log::{LineSplitter, Redactor};

/// More vertexes than any Dockerfile has; what is past them is said without a number of its own.
const VERTEXES: usize = 10_000;

struct Seen {
    number: usize,
    name: String,
    begun: bool,
    ended: bool,
    splitter: LineSplitter,
}

pub(super) struct BuildKit {
    redactor: Arc<Redactor>,
    seen: HashMap<String, Seen>,
    /// Statuses whose end has been said.
    said: HashSet<String>,
    /// The error of the first vertex that failed by itself.
    failed: bool,
}

impl BuildKit {
    pub(super) fn new(redactor: Arc<Redactor>) -> Self {
        Self { redactor, seen: HashMap::new(), said: HashSet::new(), failed: false }
    }

    pub(super) async fn hear(&mut self, message: &Message, output: &mut Output<'_>) -> Result<(), Cause> {
        match (message.id.as_deref(), &message.aux) {
            (Some("moby.image.id"), Some(aux)) => {
                if let Some(id) = aux.get("ID").and_then(|id| id.as_str()) {
                    output.image_id = Some(id.to_owned());
                }
            }
            (Some("moby.buildkit.trace"), Some(aux)) => {
                let encoded = aux.as_str().ok_or("a trace that is not text")?;
                let status = StatusResponse::decode(STANDARD.decode(encoded)?.as_slice())?;
                self.status(status, output).await;
            }
            _ => {
                if let Some(text) = &message.stream {
                    output.say(text.trim_end()).await;
                }
            }
        }
        Ok(())
    }

    async fn status(&mut self, status: StatusResponse, output: &mut Output<'_>) {
        for vertex in &status.vertexes {
            self.begin(vertex, output).await;
        }
        for state in &status.statuses {
            if state.completed.is_some()
                && self.said.len() < VERTEXES
                && self.said.insert(format!("{} {}", state.vertex, state.id))
                && let Some(seen) = self.seen.get(&state.vertex)
            {
                let size = u64::try_from(state.total).ok().filter(|total| *total > 0);
                let size = size.map(|size| format!(" {}", size_text(size))).unwrap_or_default();
                output.detail(format!("#{} {}{size} done", seen.number, state.id)).await;
            }
        }
        for log in &status.logs {
            if let Some(seen) = self.seen.get_mut(&log.vertex) {
                let prefix = format!("#{} ", seen.number);
                let mut lines = Vec::new();
                seen.splitter.push(&log.msg, |line| lines.push(line));
                for line in lines {
                    output.step(&prefix, &line).await;
                }
            }
        }
        for warning in &status.warnings {
            output.warn(String::from_utf8_lossy(&warning.short).trim()).await;
        }
        for vertex in &status.vertexes {
            self.end(vertex, output).await;
        }
    }

    async fn begin(&mut self, vertex: &Vertex, output: &mut Output<'_>) {
        let next = self.seen.len() + 1;
        if next > VERTEXES || (vertex.started.is_none() && !vertex.cached) {
            return;
        }
        let seen = self.seen.entry(vertex.digest.clone()).or_insert_with(|| Seen {
            number: next,
            name: vertex.name.clone(),
            begun: false,
            ended: false,
            splitter: LineSplitter::new().hiding(Arc::clone(&self.redactor)),
        });
        if !seen.begun {
            seen.begun = true;
            // Output of steps that run side by side stays apart by the number.
            output.say(format!("#{} {}", seen.number, one_line(&seen.name))).await;
        }
    }

    async fn end(&mut self, vertex: &Vertex, output: &mut Output<'_>) {
        let Some(seen) = self.seen.get_mut(&vertex.digest) else { return };
        if seen.ended || vertex.completed.is_none() {
            return;
        }
        seen.ended = true;
        let prefix = format!("#{} ", seen.number);
        let mut lines = Vec::new();
        seen.splitter.finish(|line| lines.push(line));
        for line in lines {
            output.step(&prefix, &line).await;
        }
        if vertex.cached {
            if vertex.name.starts_with('[') && !vertex.name.starts_with("[internal]") {
                output.cached_steps += 1;
            }
            output.say(format!("{prefix}CACHED")).await;
        } else if vertex.error.is_empty() {
            output.say(format!("{prefix}DONE {:.1}s", seconds(vertex))).await;
        } else {
            // The others of its side are cancelled because of it.
            if !self.failed && !vertex.error.contains("context canceled") {
                self.failed = true;
                output.instruction = Some(one_line(&seen.name));
            }
            output.say(format!("{prefix}ERROR: {}", one_line(&vertex.error))).await;
        }
    }
}

fn seconds(vertex: &Vertex) -> f64 {
    let at = |time: &Timestamp| time.seconds as f64 + f64::from(time.nanos) / 1e9;
    match (&vertex.started, &vertex.completed) {
        (Some(started), Some(completed)) => (at(completed) - at(started)).max(0.0),
        _ => 0.0,
    }
}

fn one_line(text: &str) -> String {
    text.split(['\n', '\r']).map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}
