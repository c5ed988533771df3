//! Decides. Pure: the same survey, record, budget and time give the same plan.

mod images;
mod slots;

use std::collections::{BTreeMap, HashSet};

use deploymind_shared::clock::{Timestamp, age};
use deploymind_shared::ids::AppId;

use super::bytes::{Shares, bytes_of, bytes_text, layers_of};
use super::words::{Budget, Image, Item, Kept, Kind, Known, Plan, Survey, Why, WhyKept};
use super::{LABEL_APP, LABEL_FLEET};

/// What one thing comes to.
enum Verdict {
    Goes(Why),
    Stays(WhyKept),
    /// Stays for its count, its cache or its way back to an older version: goes when bytes are short.
    Spare(WhyKept),
}

/// Everything that a verdict looks at.
struct Case<'a> {
    survey: &'a Survey,
    known: &'a Known,
    budget: &'a Budget,
    now: Timestamp,
}

impl Case<'_> {
    fn young(&self, created: Timestamp) -> bool {
        age(self.now, created) < self.budget.min_age
    }

    fn ours(&self, image: &Image) -> bool {
        image.labels.get(LABEL_FLEET).is_some_and(|fleet| *fleet == self.survey.fleet)
    }

    /// An app that the record does not have. An empty record is more likely the wrong one.
    fn gone(&self, app: AppId) -> Option<Verdict> {
        if self.known.apps.contains(&app) {
            None
        } else if self.known.apps.is_empty() {
            Some(Verdict::Stays(WhyKept::EmptyRecord))
        } else {
            Some(Verdict::Goes(Why::AppGone))
        }
    }
}

/// What goes, in order, and what stays, each with its reason.
pub fn plan(survey: &Survey, known: &Known, budget: &Budget, now: Timestamp) -> Plan {
    let case = Case { survey, known, budget, now };
    let mut plan = Plan::default();
    slots::plan(&case, &mut plan);
    let going = images::plan(&case, &mut plan);
    let passed = count_bytes(&case, &going, &mut plan);
    cache(&case, passed, &mut plan);
    for volume in &survey.volumes {
        let app = volume.labels.get(LABEL_APP).and_then(|app| app.parse().ok());
        let gone = app.and_then(|app| case.gone(app));
        if matches!(gone, Some(Verdict::Goes(_))) && volume.labels.get(LABEL_FLEET) == Some(&survey.fleet) {
            plan.orphaned_volumes.push(volume.name.clone());
        }
    }
    plan
}

/// Gives each image the bytes that come free with it; returns those that pass to BuildKit's cache.
fn count_bytes(case: &Case<'_>, going: &[(&Image, Item)], plan: &mut Plan) -> u64 {
    let survey = case.survey;
    let mut shares = Shares::of(survey.images.iter());
    let mut layers = BTreeMap::new();
    let mut passed = 0;
    for (image, item) in going {
        let mut bytes = 0;
        for layer in shares.release(image) {
            let size = bytes_of(survey, layer);
            if survey.layers.get(layer).is_some_and(|layer| layer.in_cache) {
                passed += size;
            } else {
                bytes += size;
            }
            layers.insert(layer.to_owned(), size);
        }
        plan.items.push(Item { bytes, ..item.clone() });
    }
    plan.layers = survey.names_layers.then_some(layers);
    held_back(case, going, plan);
    if passed > 0 && !case.budget.cache_is_ours {
        plan.notes.push(format!(
            "{} of the images that go stay on the disk as BuildKit's cache until it is pruned",
            bytes_text(passed)
        ));
    }
    passed
}

/// The classic builder keeps a nameless image of each step, and only those with a label can be told to be ours.
fn held_back(case: &Case<'_>, going: &[(&Image, Item)], plan: &mut Plan) {
    let survey = case.survey;
    let gone: HashSet<&str> = going.iter().map(|(image, _)| image.id.as_str()).collect();
    let nameless = |image: &&Image| !case.ours(image) && image.names.is_empty() && image.digests.is_empty();
    let others =
        layers_of(survey.images.iter().filter(|image| !nameless(image) && !gone.contains(image.id.as_str())));
    let held = layers_of(survey.images.iter().filter(nameless));
    let bytes: u64 = layers_of(going.iter().map(|(image, _)| *image))
        .into_iter()
        .filter(|layer| held.contains(layer) && !others.contains(layer))
        .map(|layer| bytes_of(survey, layer))
        .sum();
    if bytes > 0 {
        plan.notes.push(format!(
            "{} of the images that go stay on the disk: nameless images without a label have them, too, and nobody can tell whose those are (`docker image prune` removes them)",
            bytes_text(bytes)
        ));
    }
}

fn cache(case: &Case<'_>, passed: u64, plan: &mut Plan) {
    let Some(cache) = &case.survey.cache else {
        if case.budget.cache_is_ours && case.budget.cache_max_bytes.is_some() {
            plan.notes
                .push("the engine does not say now how large BuildKit's cache is, so it is left".to_owned());
        }
        return;
    };
    let held = cache.bytes() + passed;
    if !case.budget.cache_is_ours {
        if held > 0 {
            plan.notes.push(format!(
                "BuildKit's cache ({}) is left: it says of nothing who made it, and the engine is not said to be this fleet's alone (DEPLOYMIND_COLLECT_ENGINE_IS_OURS)",
                bytes_text(held)
            ));
        }
        return;
    }
    let Some(most) = case.budget.cache_max_bytes else { return };
    // What has just come from images was used by a build when they were made, which is longer ago than the least age.
    let idle = cache.idle(case.now, case.budget.min_age) + passed;
    let over = held.saturating_sub(most);
    let bytes = over.min(idle);
    if bytes > 0 {
        plan.items.push(Item {
            kind: Kind::Cache,
            id: "buildkit".to_owned(),
            names: Vec::new(),
            bytes,
            why: Why::BeyondBytes(most),
            stop: false,
        });
        plan.cache = Some((most, case.budget.min_age));
    }
    if over > idle {
        plan.notes.push(format!(
            "BuildKit's cache stays at {} instead of {}: the rest is in use, or was within the least age",
            bytes_text(held - bytes),
            bytes_text(most)
        ));
    }
}

fn kept(kind: Kind, id: &str, names: &[String], why: WhyKept) -> Kept {
    Kept { kind, id: id.to_owned(), names: names.to_vec(), why }
}
