//! What is wrong with a slot, in the words of the person who deployed it.

use bollard::models::{ContainerStateStatusEnum, RestartPolicyNameEnum};
use deploymind_shared::domain::slot::HealthCheck;

use super::listening::Hears;
use super::slot::{Found, ended};
use crate::runtime::edge::Answer;
use crate::runtime::{Finding, FindingCode};

/// As often as this a program has ended before it is said that it always will.
const LOOP: u32 = 3;

fn finding(code: FindingCode, last: bool, sentence: String) -> Finding {
    Finding { code, sentence, last }
}

pub(super) fn absent(slot: &str) -> Finding {
    finding(
        FindingCode::Absent,
        true,
        format!("there is no slot `{slot}` on the target: it was retired, or removed by hand; deploy again"),
    )
}

/// What is wrong with a copy that nobody need ask anything.
pub(super) fn of_state(found: &Found, is_memory: bool) -> Option<Finding> {
    if found.is_running() {
        return None;
    }
    let name = &found.name;
    let how = ended(found, is_memory).unwrap_or_default();
    if found.state.paused == Some(true) {
        return Some(finding(
            FindingCode::Absent,
            false,
            format!("`{name}` is paused; resume it with `docker unpause {name}`"),
        ));
    }
    if found.state.status == Some(ContainerStateStatusEnum::CREATED) {
        return Some(finding(FindingCode::Absent, false, format!("`{name}` has {how}")));
    }
    let restarting = found.state.restarting == Some(true);
    let last = !restarting || found.restarts >= LOOP;
    if is_memory {
        return Some(memory(name, last));
    }
    // What is to run always and does not, and is not waiting to be started either, was stopped.
    if !restarting && found.policy == Some(RestartPolicyNameEnum::UNLESS_STOPPED) {
        return Some(finding(FindingCode::Absent, true, format!("`{name}` is stopped ({how})")));
    }
    Some(exited(found, last, &format!("ended with {how}")))
}

/// Of a copy that was running, and is again, and ended in between.
pub(super) fn started_again(found: &Found, is_memory: bool) -> Finding {
    let last = found.restarts >= LOOP;
    if is_memory { memory(&found.name, last) } else { exited(found, last, "ended while it was asked") }
}

fn memory(name: &str, last: bool) -> Finding {
    let sentence = format!(
        "`{name}` was killed for want of memory; make the program need less, or raise resources.memory_mb"
    );
    finding(FindingCode::OutOfMemory, last, sentence)
}

fn exited(found: &Found, last: bool, how: &str) -> Finding {
    let again = match found.restarts {
        0 => String::new(),
        1 => ", and the engine has started it once more".to_owned(),
        n => format!(", and the engine has started it {n} more times"),
    };
    let sentence = format!("the program of `{}` {how}{again}; its last lines say why", found.name);
    finding(FindingCode::Exited, last, sentence)
}

/// What an answer means; `None` if it is what was expected.
pub(super) fn of_answer(
    found: &Found,
    port: u16,
    check: &HealthCheck,
    answer: &Answer,
    hears: &Hears,
) -> Option<Finding> {
    let (low, high) = check.status;
    let path = &check.path;
    let (code, sentence) = match answer {
        Answer::Accepted => return None,
        Answer::Status(status) if (low..=high).contains(status) => return None,
        Answer::Status(status) => (FindingCode::WrongAnswer, wrong_status(path, *status, low, high)),
        Answer::Refused => (FindingCode::PortClosed, closed(&found.name, port, &found.exposed, hears)),
        Answer::TimedOut => (
            FindingCode::NoAnswer,
            format!(
                "`{path}` on port {port} did not answer within {} ms; make the health check's page cheap, or raise health.timeout_ms",
                check.timeout_ms
            ),
        ),
        Answer::NotHttp(how) => (
            FindingCode::WrongAnswer,
            format!(
                "port {port} was asked for `{path}` over HTTP: {how}; if the program does not speak HTTP, set health.kind to tcp"
            ),
        ),
    };
    if found.restarts >= LOOP {
        return Some(finding(
            FindingCode::Exited,
            true,
            format!(
                "the program of `{}` ends again and again (started {} more times); its last lines say why. When last asked: {sentence}",
                found.name, found.restarts
            ),
        ));
    }
    Some(finding(code, false, sentence))
}

fn wrong_status(path: &str, status: u16, low: u16, high: u16) -> String {
    let expected = if low == high { low.to_string() } else { format!("{low} to {high}") };
    let advice = match status {
        301 | 302 | 303 | 307 | 308 => {
            "a redirect is not followed: set health.path to the page that it leads to (the `Location` of the answer), or let health.status include it"
        }
        401 | 403 => "the page asks for a login: set health.path to one that does not",
        404 => "there is no such page: correct health.path",
        500..=599 => "the program says that it is broken: its log says why",
        _ => "correct health.path, or the program's answer",
    };
    format!("`{path}` answered with status {status}, expected was {expected}; {advice}")
}

fn closed(name: &str, port: u16, exposed: &[u16], hears: &Hears) -> String {
    let list = |ports: &[u16]| ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    let advice = if hears.loopback.contains(&port) {
        "the program listens on 127.0.0.1 only, which nobody outside its container reaches: let it listen on 0.0.0.0".to_owned()
    } else if !hears.everywhere.is_empty() {
        format!(
            "the program listens on {} instead: set the app's port to that, or let the program listen on {port}",
            list(&hears.everywhere)
        )
    } else {
        let others: Vec<u16> = exposed.iter().copied().filter(|other| *other != port).collect();
        let named =
            if others.is_empty() { String::new() } else { format!(" (its image names {})", list(&others)) };
        format!(
            "let the program listen on 0.0.0.0:{port}, or set the app's port to the one it listens on{named}"
        )
    };
    format!("nothing listens on port {port} of `{name}`; {advice}")
}
