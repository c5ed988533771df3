//! What a roll-out says, as lines of the deployment's log and as events. Pure.

use deploymind_shared::clock::Clock;
use deploymind_shared::domain::deployment::DeploymentStatus;
use deploymind_shared::events::EventKind;
use serde_json::{Value, json};

use super::ending::Verdict;
use crate::log::Level;
use crate::pipeline::session::Course;
use crate::rollout::driver::{Count, News};
use crate::rollout::{Side, Why};

const fn side(side: Side) -> &'static str {
    match side {
        Side::Old => "old",
        Side::New => "new",
    }
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

fn count(of: &str, count: Option<&Count>) -> String {
    match count {
        None => format!("{of}: not read"),
        Some(Count { requests, errors, p95_ms }) => {
            let slow = p95_ms.map_or_else(String::new, |ms| format!(", p95 {ms:.0} ms"));
            format!("{of}: {requests} requests, {errors} errors{slow}")
        }
    }
}

fn why(why: &Why) -> String {
    match why {
        Why::Refused { code, sentence } => format!("{code}: {sentence}"),
        Why::Unhealthy { finding, .. } => format!("{}: {}", finding.code.code(), finding.sentence),
        Why::Verdict { sentence } | Why::Insufficient { sentence } => sentence.clone(),
        Why::Aborted => "somebody aborted it".to_owned(),
        Why::Cancelled => "the deployment was cancelled".to_owned(),
        Why::PauseTooLong => "it stood paused for too long".to_owned(),
    }
}

pub(super) fn lines(news: &News) -> Vec<(Level, String)> {
    let line = match news {
        News::TakenOver => (Level::Warn, "another worker goes on with the roll-out".to_owned()),
        News::Launching { side: of, slots } => {
            let slots = list(slots.iter().map(|(target, slot)| format!("{slot} on {target}")));
            (Level::Info, format!("starting the {} release: {slots}", side(*of)))
        }
        News::Healthy { side: of, targets } => {
            (Level::Info, format!("the {} release is healthy on {}", side(*of), list(targets)))
        }
        News::Unhealthy { .. } => return unhealthy(news),
        News::Routed { weight, targets } => {
            (Level::Info, format!("{weight} % of the requests go to the new release on {}", list(targets)))
        }
        News::Stage { stage, of, weight } => {
            (Level::Info, format!("stage {stage} of {of}: counting at {weight} %"))
        }
        News::Verdict { stage, passed, sentence, new, old } => {
            let counts = format!("{}; {}", count("new", new.as_ref()), count("old", old.as_ref()));
            let level = if *passed { Level::Info } else { Level::Warn };
            (level, format!("stage {stage}: {sentence} ({counts})"))
        }
        News::Held { reason } => (Level::Warn, format!("held: {reason}; resume, promote or abort it")),
        News::Resumed => (Level::Info, "goes on".to_owned()),
        News::TurningBack { why: reason } => (Level::Error, format!("going back: {}", why(reason))),
        News::Drained { targets, cut: false } => {
            (Level::Info, format!("no request of the earlier route is under way on {}", list(targets)))
        }
        News::Drained { targets, cut: true } => (
            Level::Warn,
            format!(
                "requests of the earlier route are still under way on {}; they had their time",
                list(targets)
            ),
        ),
        News::Retired { side: of, targets, kept } => {
            let how = if *kept { "stopped and kept" } else { "removed" };
            (Level::Info, format!("the {} release is {how} on {}", side(*of), list(targets)))
        }
        News::Failed { code, sentence } => (Level::Error, format!("{code}: {sentence}")),
        News::Corrected { target } => (Level::Warn, format!("the routes of {target} were set once more")),
        News::NeitherHealthy => {
            (Level::Error, "neither release is healthy: traffic was left where it was; act now".to_owned())
        }
        News::Ended { ending } => (Level::Info, format!("roll-out ended: {}", ending.outcome)),
    };
    vec![line]
}

/// With the slot's own last lines: they are gone with it.
fn unhealthy(news: &News) -> Vec<(Level, String)> {
    let News::Unhealthy { side: of, target, slot, finding, ended, log } = news else { return Vec::new() };
    let mut lines = vec![(
        Level::Error,
        format!("the {} release ({slot} on {target}) is not healthy: {}", side(*of), finding.sentence),
    )];
    if let Some(ended) = ended {
        lines.push((Level::Error, format!("its program ended: {ended}")));
    }
    if log.is_empty() {
        lines.push((Level::Warn, "it wrote nothing to its log".to_owned()));
    } else {
        lines.push((Level::Warn, format!("its last {} lines:", log.len())));
        lines.extend(log.iter().map(|line| (Level::Warn, format!("| {line}"))));
    }
    lines
}

/// What is told of the end.
pub(super) fn end(verdict: &Verdict, course: Course) -> Vec<(EventKind, Value)> {
    let why = verdict.why.as_ref();
    let body = json!({
        "status": verdict.status,
        "code": why.map(|(code, _)| code.as_str()),
        "reason": why.map(|(_, sentence)| sentence),
    });
    let back = matches!(verdict.status, DeploymentStatus::RolledBack);
    let mut events = Vec::new();
    if back || (course == Course::Rollback && verdict.status == DeploymentStatus::Deployed) {
        events.push((EventKind::RollbackCompleted, body.clone()));
    }
    let kind = match verdict.status {
        DeploymentStatus::Deployed => EventKind::DeploymentCompleted,
        _ => EventKind::DeploymentFailed,
    };
    events.push((kind, body));
    events
}

/// How far along, in percent of the deployment. The steps before it take it to 90.
const fn progress(weight: u8) -> u8 {
    92 + weight / 15
}

pub(super) fn events(news: &News, course: Course) -> Vec<(EventKind, Value)> {
    let body = json!(news);
    let progressed = |percent: u8, message: String| {
        let status = DeploymentStatus::Deploying;
        let body = json!({
            "status": status,
            "phase": status.as_str().to_lowercase(),
            "message": message,
            "progress_percentage": percent,
            "timestamp": Clock::system().now(),
        });
        (EventKind::Progress, body)
    };
    match news {
        News::Launching { side: Side::New, .. } => {
            let kind = match course {
                Course::Deploy => EventKind::RolloutStarted,
                Course::Rollback => EventKind::RollbackStarted,
            };
            vec![(kind, body), progressed(91, "starting the new release".to_owned())]
        }
        News::Routed { weight, .. } => {
            let message = format!("{weight} % of the requests go to the new release");
            vec![(EventKind::RolloutStage, body), progressed(progress(*weight), message)]
        }
        News::TurningBack { .. } => vec![(EventKind::RollbackStarted, body)],
        // The slot's own lines are in the log.
        News::Unhealthy { .. } => {
            let mut body = body;
            if let Some(fields) = body.as_object_mut() {
                fields.remove("log");
            }
            vec![(EventKind::RolloutStage, body)]
        }
        News::Launching { .. }
        | News::Healthy { .. }
        | News::Stage { .. }
        | News::Verdict { .. }
        | News::Held { .. }
        | News::Failed { .. }
        | News::Resumed
        | News::NeitherHealthy
        | News::TakenOver => vec![(EventKind::RolloutStage, body)],
        News::Drained { .. } | News::Retired { .. } | News::Corrected { .. } | News::Ended { .. } => {
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use deploymind_shared::ids::TargetName;

    use super::*;
    use crate::runtime::{Finding, FindingCode, SlotName};

    #[test]
    fn a_failing_slot_says_why_and_shows_its_own_lines_in_the_log_only() {
        let news = News::Unhealthy {
            side: Side::New,
            target: TargetName::parse("docker://local").expect("a target"),
            slot: SlotName("dm-shop-4".into()),
            finding: Finding { code: FindingCode::Exited, sentence: "it ended".into(), last: true },
            ended: Some("exit code 3".into()),
            log: vec!["no such table".into()],
        };
        let lines: Vec<String> = lines(&news).into_iter().map(|(_, line)| line).collect();
        let text = lines.join("\n");
        assert!(
            text.contains("dm-shop-4") && text.contains("exit code 3") && text.contains("| no such table"),
            "{text}"
        );
        let events = events(&news, Course::Deploy);
        assert!(!events[0].1.to_string().contains("no such table"));
    }

    #[test]
    fn progress_never_passes_the_end() {
        assert!(progress(0) > 91 && progress(100) < 100);
    }
}
