//! Slots: what stopped copies of releases go, and what of the running ones.

use std::collections::{BTreeMap, HashMap};

use deploymind_shared::ids::{AppId, DeploymentId, ReleaseId};

use super::{Case, Verdict, kept};
use crate::collect::survey::is_slot;
use crate::collect::words::{Container, Item, Kind, Plan, Why, WhyKept};
use crate::collect::{LABEL_APP, LABEL_DEPLOYMENT, LABEL_EPOCH, LABEL_RELEASE, LABEL_SLOT};

/// The copies of one launch.
struct Slot<'a> {
    copies: Vec<&'a Container>,
    running: bool,
    app: Option<AppId>,
    release: Option<ReleaseId>,
    deployment: Option<DeploymentId>,
    epoch: Option<i64>,
}

pub(super) fn plan(case: &Case<'_>, plan: &mut Plan) {
    let mut verdicts = Vec::new();
    let mut spare: HashMap<AppId, Vec<usize>> = HashMap::new();
    let slots = slots(case);
    for (at, slot) in slots.iter().enumerate() {
        let verdict = judge(case, slot);
        if let (Verdict::Spare(_), Some(app)) = (&verdict, slot.app) {
            spare.entry(app).or_default().push(at);
        }
        verdicts.push(verdict);
    }
    let keep = case.budget.slots_keep;
    for of_app in spare.values_mut() {
        of_app.sort_by_key(|at| std::cmp::Reverse(slots[*at].epoch));
        for at in of_app.iter().skip(keep) {
            verdicts[*at] = Verdict::Goes(Why::BeyondCount(keep));
        }
    }
    for (slot, verdict) in slots.iter().zip(verdicts) {
        for copy in &slot.copies {
            let names = [copy.name.clone()];
            match &verdict {
                Verdict::Goes(why) => plan.items.push(Item {
                    kind: Kind::Slot,
                    id: copy.id.clone(),
                    names: names.to_vec(),
                    bytes: copy.bytes,
                    why: why.clone(),
                    stop: copy.running,
                }),
                Verdict::Stays(why) | Verdict::Spare(why) => {
                    plan.kept.push(kept(Kind::Slot, &copy.id, &names, why.clone()));
                }
            }
        }
    }
}

fn slots<'a>(case: &Case<'a>) -> Vec<Slot<'a>> {
    let mut slots: BTreeMap<(&str, &str), Slot<'a>> = BTreeMap::new();
    for copy in &case.survey.containers {
        if !is_slot(&copy.labels, &case.survey.fleet) {
            continue;
        }
        let text = |label: &str| text_of(copy, label);
        let slot = slots.entry((text(LABEL_APP), text(LABEL_SLOT))).or_insert_with(|| Slot {
            copies: Vec::new(),
            running: false,
            app: text(LABEL_APP).parse().ok(),
            release: text(LABEL_RELEASE).parse().ok(),
            deployment: text(LABEL_DEPLOYMENT).parse().ok(),
            epoch: text(LABEL_EPOCH).parse().ok(),
        });
        slot.running |= copy.running;
        slot.copies.push(copy);
    }
    slots.into_values().collect()
}

fn text_of<'a>(copy: &'a Container, label: &str) -> &'a str {
    copy.labels.get(label).map_or("", String::as_str)
}

fn judge(case: &Case<'_>, slot: &Slot<'_>) -> Verdict {
    let (Some(app), Some(release), Some(deployment), Some(_)) =
        (slot.app, slot.release, slot.deployment, slot.epoch)
    else {
        return Verdict::Stays(WhyKept::Unreadable);
    };
    let fate = case.known.releases.get(&release);
    if fate.is_some_and(|fate| fate.serving) {
        return Verdict::Stays(WhyKept::Serving);
    }
    if fate.is_some_and(|fate| fate.in_rollout) {
        return Verdict::Stays(WhyKept::Rollout);
    }
    if case.known.deployments.get(&deployment).is_some_and(|fate| !fate.ended) {
        return Verdict::Stays(WhyKept::Deploying);
    }
    if slot.copies.iter().any(|copy| case.young(copy.created)) {
        return Verdict::Stays(WhyKept::Young);
    }
    if let Some(verdict) = case.gone(app) {
        return verdict;
    }
    if slot.running {
        return Verdict::Stays(WhyKept::Runs);
    }
    match fate {
        None => Verdict::Goes(Why::ReleaseGone),
        Some(fate) if fate.rank.is_none() => Verdict::Goes(Why::Undeployed),
        Some(_) => Verdict::Spare(WhyKept::Counted),
    }
}
