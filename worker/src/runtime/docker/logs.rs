//! What the programs of a slot write: live, and the end of it.

use std::sync::Arc;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptions;
use deploymind_shared::clock::Timestamp;
use deploymind_shared::retry::Stop;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::connect::Host;
use super::failure::Fault;
use super::slot::{self, Found, ended};
use crate::log::LineSplitter;
use crate::runtime::{LAST_LINES, Remains, SlotLine};

/// Most of one line that is kept of a slot that failed.
const LINE_MAX: usize = 4096;
/// Most of what failed that is read of one copy, whatever the engine keeps.
const REMAINS_BYTES: usize = 4 << 20;

/// Lines of all copies as they come. Ends when every copy has ended and will not be started again.
pub(super) fn follow(
    host: &Arc<Host>,
    copies: Vec<Found>,
    tail: usize,
) -> BoxStream<'static, Result<SlotLine, Stop>> {
    let each = copies.into_iter().map(|copy| {
        let reader = Reader {
            host: Arc::clone(host),
            copy: copy.name,
            id: copy.id,
            tail: Some(tail),
            last: None,
            open: None,
            waiting: Vec::new(),
        };
        stream::try_unfold(
            reader,
            |mut reader| async move { Ok(reader.next().await?.map(|line| (line, reader))) },
        )
        .boxed()
    });
    stream::select_all(each).boxed()
}

struct Reader {
    host: Arc<Host>,
    copy: String,
    id: String,
    tail: Option<usize>,
    /// When the last piece was written. The engine's stream ends with the program, also where it is started again.
    last: Option<Timestamp>,
    open: Option<Open>,
    /// Lines that are complete, the last one first.
    waiting: Vec<SlotLine>,
}

struct Open {
    pieces: BoxStream<'static, Result<LogOutput, bollard::errors::Error>>,
    stdout: LineSplitter,
    stderr: LineSplitter,
    /// Keeps the way to the engine open.
    _link: Arc<super::connect::Link>,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<SlotLine>, Stop> {
        loop {
            if let Some(line) = self.waiting.pop() {
                return Ok(Some(line));
            }
            if self.open.is_none() && !self.reopen().await? {
                return Ok(None);
            }
            let Some(open) = &mut self.open else { continue };
            let piece = match open.pieces.next().await {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => match Fault::of(error, self.host.name(), "read log") {
                    fault if fault.status() == Some(404) => return Ok(None),
                    fault => return Err(fault.into()),
                },
                None => {
                    let copy = &self.copy;
                    let waiting = &mut self.waiting;
                    open.stdout
                        .finish(|line| waiting.push(SlotLine { copy: copy.clone(), stderr: false, line }));
                    open.stderr
                        .finish(|line| waiting.push(SlotLine { copy: copy.clone(), stderr: true, line }));
                    waiting.reverse();
                    self.open = None;
                    continue;
                }
            };
            let stderr = matches!(piece, LogOutput::StdErr { .. });
            let bytes = piece.into_bytes();
            let (at, text) = stamped(&bytes);
            if at.is_some() && at <= self.last {
                // Seen before the program was started again.
                continue;
            }
            self.last = at.or(self.last);
            let copy = &self.copy;
            let waiting = &mut self.waiting;
            let splitter = if stderr { &mut open.stderr } else { &mut open.stdout };
            splitter.push(text, |line| waiting.push(SlotLine { copy: copy.clone(), stderr, line }));
            waiting.reverse();
        }
    }

    /// `false`: there is nothing more to come.
    async fn reopen(&mut self) -> Result<bool, Stop> {
        let first = self.tail.take();
        if first.is_none() {
            match slot::inspect(&self.host, &self.id).await? {
                Some(found) if found.is_running() => {}
                // The engine starts it again before long: until then there is nothing to read.
                Some(found) if found.state.restarting == Some(true) => {
                    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                    return Ok(true);
                }
                _ => return Ok(false),
            }
        }
        let link = self.host.link().await?;
        let since = self.last.map_or(0, |last| i32::try_from(last.timestamp()).unwrap_or(0));
        let options = LogsOptions {
            follow: true,
            stdout: true,
            stderr: true,
            timestamps: true,
            since,
            tail: first.map_or_else(|| "all".to_owned(), |tail| tail.to_string()),
            ..LogsOptions::default()
        };
        let pieces = link.docker.logs(&self.id, Some(options)).boxed();
        self.open =
            Some(Open { pieces, stdout: LineSplitter::new(), stderr: LineSplitter::new(), _link: link });
        Ok(true)
    }
}

/// Each piece that the engine gives begins with when it was written.
fn stamped(piece: &[u8]) -> (Option<Timestamp>, &[u8]) {
    let Some(space) = piece.iter().take(40).position(|byte| *byte == b' ') else { return (None, piece) };
    let at = std::str::from_utf8(&piece[..space]).ok().and_then(|text| text.parse().ok());
    match at {
        Some(at) => (Some(at), &piece[space + 1..]),
        None => (None, piece),
    }
}

/// The last lines of all copies together, and how the first of them that ended did.
pub(super) async fn remains(host: &Host, copies: &[Found]) -> Result<Remains, Stop> {
    let fallen: Vec<&Found> = copies.iter().filter(|copy| !copy.is_running() || copy.restarts > 0).collect();
    let how = match fallen.first() {
        Some(copy) => how(host, copy).await?,
        None => None,
    };
    // Of copies that ended, where some did: what the healthy ones write hides what is looked for.
    let told = if fallen.is_empty() { copies.iter().collect() } else { fallen };
    let mut lines: Vec<(Timestamp, String)> = Vec::new();
    for copy in told {
        lines.extend(last_lines(host, copy).await?);
    }
    lines.sort_by_key(|(at, _)| *at);
    let skip = lines.len().saturating_sub(LAST_LINES);
    Ok(Remains { ended: how, log: lines.into_iter().skip(skip).map(|(_, line)| line).collect() })
}

async fn how(host: &Host, copy: &Found) -> Result<Option<String>, Stop> {
    let is_memory = slot::lacked_memory(host, copy).await?;
    let restarts = match copy.restarts {
        0 => String::new(),
        1 => ", after 1 restart".to_owned(),
        n => format!(", after {n} restarts"),
    };
    let how = ended(copy, is_memory).or_else(|| is_memory.then(|| "killed for want of memory".to_owned()));
    Ok(match how {
        Some(how) => Some(format!("{how}{restarts}")),
        None if copy.restarts > 0 => Some(format!("ended and was started again{restarts}")),
        None => None,
    })
}

async fn last_lines(host: &Host, copy: &Found) -> Result<Vec<(Timestamp, String)>, Stop> {
    let link = host.link().await?;
    let options = LogsOptions {
        stdout: true,
        stderr: true,
        timestamps: true,
        tail: LAST_LINES.to_string(),
        ..LogsOptions::default()
    };
    let read = async {
        let mut pieces = std::pin::pin!(link.docker.logs(&copy.id, Some(options)));
        let mut lines: Vec<(Timestamp, String)> = Vec::new();
        let (mut bytes, mut at) = (0, Timestamp::default());
        let (mut stdout, mut stderr) = (LineSplitter::new(), LineSplitter::new());
        while let Some(piece) = pieces.try_next().await? {
            let splitter = if matches!(piece, LogOutput::StdErr { .. }) { &mut stderr } else { &mut stdout };
            let piece = piece.into_bytes();
            bytes += piece.len();
            if bytes > REMAINS_BYTES {
                break;
            }
            let (stamp, text) = stamped(&piece);
            at = stamp.unwrap_or(at);
            splitter.push(text, |line| lines.push((at, cut(line))));
        }
        for mut splitter in [stdout, stderr] {
            splitter.finish(|line| lines.push((at, cut(line))));
        }
        Ok(lines)
    };
    match host.call("read log", read).await {
        Err(fault) if fault.status() == Some(404) => Ok(Vec::new()),
        lines => Ok(lines?),
    }
}

fn cut(line: String) -> String {
    match line.char_indices().find(|(at, _)| *at >= LINE_MAX) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line,
    }
}
