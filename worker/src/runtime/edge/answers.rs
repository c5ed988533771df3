//! What the script says, read. Its output is as untrusted as the host it ran on.

use std::collections::BTreeMap;

use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;
use serde::{Deserialize, de::DeserializeOwned};

use super::Output;
use crate::runtime::{Cursor, SlotName, Standing, Tally, Traffic};

/// The most of an output that is read. The script keeps below 24,000 characters, where SSM cuts.
const OUTPUT_MAX: usize = 64 * 1024;
/// The most of an error's text that is kept.
const REASON_MAX: usize = 2000;

/// How one address answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Status(u16),
    /// A connection was accepted, and nothing more was asked.
    Accepted,
    /// Nothing listens there, or nothing is there.
    Refused,
    TimedOut,
    /// Something listens that does not speak HTTP, or stopped in the middle; how, in words.
    NotHttp(String),
}

/// Who listens on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    Free,
    Edge,
    Foreign,
}

/// An edge that serves.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Alive {
    /// Counts the configurations it has taken over.
    pub generation: u64,
    /// `1.29.0`
    pub nginx: String,
    /// Apps whose routes could not be served since the edge was started, because another program has their port.
    #[serde(default)]
    pub left_out: Vec<String>,
}

/// The script's exit codes, with what each means.
pub(super) fn taken(output: Output) -> Result<Vec<u8>, Stop> {
    let reason = reason(&output.stderr);
    let (code, sentence) = match output.code {
        0 => return Ok(output.stdout),
        10 => (
            Code::EpochRefused,
            "the edge has seen a newer deployment of this target and changed nothing; nothing is to be done, the newer \
             one goes on"
                .to_owned(),
        ),
        11 => (
            Code::EpochRefused,
            format!(
                "the edge belongs to another target and changed nothing ({reason}); give each target an edge of its own"
            ),
        ),
        12 => (
            Code::EdgePortTaken,
            format!("{reason}; stop the program that listens there, or give the app another port"),
        ),
        13 => (Code::RouteTaken, format!("{reason}; give one of the two apps another route")),
        14 => (
            Code::EdgeConfig,
            format!("nginx refused the edge's new configuration ({reason}); traffic is where it was"),
        ),
        15 => (
            Code::EdgeUnavailable,
            "the edge does not run, or did not take its new configuration over; traffic is where it was, see the log \
             of the edge's container"
                .to_owned(),
        ),
        17 => (
            Code::EdgeUnavailable,
            "the configuration did not reach the edge whole; nothing was changed, try again".to_owned(),
        ),
        _ => (
            Code::EdgeUnavailable,
            "the edge's script could not be run; see whether the edge's container runs".to_owned(),
        ),
    };
    let because = format!("dm-edge ended with {}: {reason}", output.code);
    Err(Error::new(code, sentence).context("change edge").because(because).into())
}

/// The last words of the script, on one line and without control characters.
fn reason(stderr: &[u8]) -> String {
    let from = stderr.len().saturating_sub(REASON_MAX);
    let text = String::from_utf8_lossy(&stderr[from..]);
    let plain: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.strip_prefix("dm-edge: ").unwrap_or(&plain).to_owned()
}

fn parse<T: DeserializeOwned>(stdout: &[u8]) -> Result<T, Stop> {
    serde_json::from_slice(&stdout[..stdout.len().min(OUTPUT_MAX)]).map_err(strange)
}

fn strange(because: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Stop {
    Error::new(
        Code::EdgeUnavailable,
        "the edge answered in a way this worker does not understand; see whether another version made it",
    )
    .context("read edge's answer")
    .because(because)
    .into()
}

pub(super) fn standing(stdout: &[u8]) -> Result<Option<Standing>, Stop> {
    parse(stdout)
}

pub(super) fn yes(stdout: &[u8]) -> Result<bool, Stop> {
    parse(stdout)
}

pub(super) fn holder(stdout: &[u8]) -> Result<Holder, Stop> {
    parse(stdout)
}

pub(super) fn alive(stdout: &[u8]) -> Result<Alive, Stop> {
    parse(stdout)
}

/// How curl ended, and the status it saw (0: none), for each address.
pub(super) fn probes(stdout: &[u8], addresses: usize) -> Result<Vec<Answer>, Stop> {
    let ends: Vec<(String, u16, u16)> = parse(stdout)?;
    if ends.len() != addresses {
        return Err(strange("not an answer for each address"));
    }
    Ok(ends.into_iter().map(|(kind, end, status)| answer(&kind, end, status)).collect())
}

/// curl's exit codes: <https://curl.se/docs/manpage.html#EXIT>.
fn answer(kind: &str, end: u16, status: u16) -> Answer {
    match (kind, end) {
        (_, 7) => Answer::Refused,
        ("tcp", 0) => Answer::Accepted,
        // The status came in time; how long the rest takes is not asked, nor how much it is (23: there was no room for it).
        (_, 0 | 23 | 28) if status >= 100 => Answer::Status(status),
        (_, 28) => Answer::TimedOut,
        (_, 52) => Answer::NotHttp("it closed the connection without an answer".to_owned()),
        (_, 18) => Answer::NotHttp("its answer broke off".to_owned()),
        (_, 56) => Answer::NotHttp("it reset the connection".to_owned()),
        (_, 1 | 8) => Answer::NotHttp("it answered with something that is not HTTP".to_owned()),
        (_, end) => Answer::NotHttp(format!("its answer could not be read (curl ended with {end})")),
    }
}

#[derive(Deserialize)]
struct Counted {
    cursor: String,
    slots: BTreeMap<String, Tallied>,
}

#[derive(Deserialize)]
struct Tallied {
    requests: u64,
    errors: u64,
    latency: BTreeMap<i16, u64>,
}

pub(super) fn traffic(stdout: &[u8]) -> Result<(Traffic, Cursor), Stop> {
    let counted: Counted = parse(stdout)?;
    let slots = counted
        .slots
        .into_iter()
        .map(|(slot, Tallied { requests, errors, latency })| {
            (SlotName(slot), Tally { requests, errors, latency })
        })
        .collect();
    Ok((Traffic { slots }, Cursor(counted.cursor)))
}
