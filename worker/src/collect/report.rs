//! A plan in words, for whoever asks before anything is removed.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::bytes::bytes_text;
use super::words::{Kept, Kind, Plan};

/// A table of what goes, bytes and why; what stays and why; what is left to the operator; the sum.
pub fn report(plan: &Plan) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _never = write_all(plan, &mut text);
    text
}

fn write_all(plan: &Plan, text: &mut String) -> std::fmt::Result {
    if plan.items.is_empty() {
        writeln!(text, "Nothing to remove.")?;
    } else {
        writeln!(text, "To remove:")?;
        let names: Vec<String> =
            plan.items.iter().map(|item| shown(item.kind, &item.id, &item.names)).collect();
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        for (item, name) in plan.items.iter().zip(&names) {
            let running = if item.stop { "; it runs and is stopped first" } else { "" };
            writeln!(
                text,
                "  {:<5}  {name:<width$}  {:>10}  {}{running}",
                item.kind,
                bytes_text(item.bytes),
                safe(&item.why.to_string())
            )?;
        }
        writeln!(text, "Total: {} of {}", count(plan.items.len()), bytes_text(plan.bytes()))?;
    }
    if !plan.kept.is_empty() {
        writeln!(text, "Kept:")?;
        for ((kind, why), kept) in by_reason(&plan.kept) {
            // Steps of builds are many and have no names.
            let names = if kind == Kind::Layer {
                count(kept.len())
            } else {
                kept.iter().map(|kept| shown(kind, &kept.id, &kept.names)).collect::<Vec<_>>().join(", ")
            };
            writeln!(text, "  {kind:<5}  {names}: {}", safe(&why))?;
        }
    }
    if !plan.orphaned_volumes.is_empty() {
        writeln!(
            text,
            "Volumes of apps that are gone; they hold data and are never removed here (`docker volume rm`):"
        )?;
        for name in &plan.orphaned_volumes {
            writeln!(text, "  {}", safe(name))?;
        }
    }
    for note in &plan.notes {
        writeln!(text, "Note: {note}.")?;
    }
    Ok(())
}

fn by_reason(kept: &[Kept]) -> BTreeMap<(Kind, String), Vec<&Kept>> {
    let mut reasons: BTreeMap<_, Vec<&Kept>> = BTreeMap::new();
    for kept in kept {
        // One line for all steps below something, whatever it is.
        let why = match (kept.kind, &kept.why) {
            (Kind::Layer, super::words::WhyKept::BuiltOn(_)) => "something is built on it".to_owned(),
            (_, why) => why.to_string(),
        };
        reasons.entry((kept.kind, why)).or_default().push(kept);
    }
    reasons
}

fn count(things: usize) -> String {
    if things == 1 { "1 thing".to_owned() } else { format!("{things} things") }
}

fn shown(kind: Kind, id: &str, names: &[String]) -> String {
    let short: String = id.trim_start_matches("sha256:").chars().take(12).collect();
    match names {
        [] if kind == Kind::Cache => "BuildKit's cache".to_owned(),
        [] => short,
        names => format!("{short} {}", safe(&names.join(" "))),
    }
}

/// Names come from the engine, and a terminal obeys control characters.
fn safe(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
