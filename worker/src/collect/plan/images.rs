//! Images that builds made, and the nameless steps that the classic builder keeps as its cache.

use std::collections::{HashMap, HashSet};

use deploymind_shared::ids::{AppId, DeploymentId, ReleaseId};

use super::{Case, Verdict, kept};
use crate::collect::bytes::{bytes_alone, bytes_text};
use crate::collect::words::{Image, Item, Kind, Plan, ReleaseFate, Why, WhyKept};
use crate::collect::{LABEL_APP, LABEL_DEPLOYMENT};

/// The images of this fleet while it is decided which go.
struct Lot<'a> {
    case: &'a Case<'a>,
    ours: Vec<&'a Image>,
    kinds: HashMap<&'a str, Kind>,
    verdicts: HashMap<&'a str, Verdict>,
    /// What is built directly on an image, by its id.
    children: HashMap<&'a str, Vec<&'a Image>>,
    going: HashMap<&'a str, Why>,
}

/// What goes, in an order in which each can be removed.
pub(super) fn plan<'a>(case: &'a Case<'a>, plan: &mut Plan) -> Vec<(&'a Image, Item)> {
    let mut lot = Lot::new(case, plan);
    lot.go_for_good();
    if let Some(most) = case.budget.images_max_bytes {
        lot.go_for_bytes(Kind::Image, most, "images", plan);
    }
    if let Some(most) = case.budget.cache_max_bytes {
        lot.go_for_bytes(Kind::Layer, most, "layers of builds", plan);
    }
    for image in &lot.ours {
        if !lot.going.contains_key(image.id.as_str()) {
            let why = lot.reason(image);
            plan.kept.push(kept(lot.kind(image), &image.id, &image.names, why));
        }
    }
    lot.in_order()
}

/// Steps of a build carry at most the fleet's and the app's label, and no name.
fn kind_of(image: &Image) -> Kind {
    let bare = image.names.is_empty() && image.digests.is_empty();
    if bare && !image.labels.contains_key(LABEL_DEPLOYMENT) { Kind::Layer } else { Kind::Image }
}

impl<'a> Lot<'a> {
    fn new(case: &'a Case<'a>, plan: &Plan) -> Self {
        let ours: Vec<&Image> = case.survey.images.iter().filter(|image| case.ours(image)).collect();
        let mut children: HashMap<&str, Vec<&Image>> = HashMap::new();
        for image in &case.survey.images {
            for below in image.parent.iter().chain(&image.continues) {
                children.entry(below).or_default().push(image);
            }
        }
        let gone: HashSet<&str> = plan.items.iter().map(|item| item.id.as_str()).collect();
        let users: HashMap<&str, &str> = case
            .survey
            .containers
            .iter()
            .filter(|container| !gone.contains(container.id.as_str()))
            .map(|container| (container.image.as_str(), container.name.as_str()))
            .collect();
        let releases = Releases::of(case);
        let verdicts = ours
            .iter()
            .map(|image| (image.id.as_str(), judge(case, image, &ours, &users, &releases)))
            .collect();
        let kinds = ours.iter().map(|image| (image.id.as_str(), kind_of(image))).collect();
        Self { case, ours, kinds, verdicts, children, going: HashMap::new() }
    }

    fn kind(&self, image: &Image) -> Kind {
        self.kinds.get(image.id.as_str()).copied().unwrap_or(Kind::Image)
    }

    /// Whether nothing that stays is built on it.
    fn free(&self, image: &Image) -> bool {
        self.blocker(image).is_none()
    }

    fn blocker(&self, image: &Image) -> Option<&'a Image> {
        let children = self.children.get(image.id.as_str())?;
        children.iter().copied().find(|child| !self.going.contains_key(child.id.as_str()))
    }

    /// What is built on a thing is decided before the thing, until nothing changes.
    fn go_for_good(&mut self) {
        loop {
            let before = self.going.len();
            for image in &self.ours {
                let id = image.id.as_str();
                if let Some(Verdict::Goes(why)) = self.verdicts.get(id)
                    && !self.going.contains_key(id)
                    && self.free(image)
                {
                    self.going.insert(id, why.clone());
                }
            }
            if self.going.len() == before {
                return;
            }
        }
    }

    /// Lets the oldest that may go until those of the kind take no more than `most`.
    fn go_for_bytes(&mut self, kind: Kind, most: u64, what: &str, plan: &mut Plan) {
        let mut taken = self.taken(kind);
        while taken > most {
            let spare = |image: &&&Image| {
                self.kind(image) == kind
                    && !self.going.contains_key(image.id.as_str())
                    && matches!(self.verdicts.get(image.id.as_str()), Some(Verdict::Spare(_)))
                    && self.free(image)
            };
            let oldest =
                self.ours.iter().filter(spare).min_by_key(|image| (image.created, image.id.as_str()));
            let Some(oldest) = oldest.copied() else { break };
            self.going.insert(&oldest.id, Why::BeyondBytes(most));
            // Its own steps may be free now, and have nothing more to say for them.
            self.go_for_good();
            taken = self.taken(kind);
        }
        if taken > most {
            plan.notes.push(format!(
                "{what} stay at {} instead of {}: what is left serves, is a way back, is in use or too young",
                bytes_text(taken),
                bytes_text(most)
            ));
        }
    }

    /// Bytes on the disk that nobody else's image has; of layers, those that no image of ours has either.
    fn taken(&self, kind: Kind) -> u64 {
        let stays = |image: &&&Image| !self.going.contains_key(image.id.as_str());
        let of_kind = self.ours.iter().filter(stays).filter(|image| self.kind(image) == kind);
        let others = self.case.survey.images.iter().filter(|image| {
            let ours = self.case.ours(image);
            !ours || (kind == Kind::Layer && stays(&image) && self.kind(image) == Kind::Image)
        });
        bytes_alone(self.case.survey, of_kind.copied(), others)
    }

    fn reason(&self, image: &Image) -> WhyKept {
        let built_on = || self.blocker(image).map(|child| WhyKept::BuiltOn(name(child)));
        match self.verdicts.get(image.id.as_str()) {
            Some(Verdict::Stays(why)) => why.clone(),
            Some(Verdict::Spare(why)) if self.kind(image) == Kind::Image => why.clone(),
            Some(Verdict::Spare(why)) => built_on().unwrap_or_else(|| why.clone()),
            Some(Verdict::Goes(_)) | None => built_on().unwrap_or(WhyKept::Unreadable),
        }
    }

    /// What is built on another goes before it; older ones first where either may.
    fn in_order(&self) -> Vec<(&'a Image, Item)> {
        let mut left: Vec<&Image> =
            self.ours.iter().copied().filter(|image| self.going.contains_key(image.id.as_str())).collect();
        left.sort_by_key(|image| (self.kind(image), image.created, image.id.as_str()));
        let mut waiting: HashSet<&str> = left.iter().map(|image| image.id.as_str()).collect();
        let mut ordered = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let before = left.len();
            left.retain(|image| {
                let children = self.children.get(image.id.as_str()).map(Vec::as_slice).unwrap_or_default();
                if children.iter().any(|child| waiting.contains(child.id.as_str())) {
                    return true;
                }
                waiting.remove(image.id.as_str());
                ordered.push(*image);
                false
            });
            if left.len() == before {
                // Images that claim to be built on each other: none of them can be removed.
                break;
            }
        }
        ordered.into_iter().filter_map(|image| Some((image, self.item(image)?))).collect()
    }

    fn item(&self, image: &Image) -> Option<Item> {
        Some(Item {
            kind: self.kind(image),
            id: image.id.clone(),
            names: image.names.clone(),
            bytes: 0,
            why: self.going.get(image.id.as_str())?.clone(),
            stop: false,
        })
    }
}

/// What the releases of the record say of images.
struct Releases<'a> {
    by_image: HashMap<&'a str, Vec<(ReleaseId, &'a ReleaseFate)>>,
    way_back: HashSet<ReleaseId>,
    counted: HashSet<ReleaseId>,
}

impl<'a> Releases<'a> {
    fn of(case: &Case<'a>) -> Self {
        let mut by_image: HashMap<&str, Vec<_>> = HashMap::new();
        let mut apps: HashMap<AppId, Vec<(usize, ReleaseId, bool)>> = HashMap::new();
        for (id, fate) in &case.known.releases {
            for image in &fate.images {
                by_image.entry(image).or_default().push((*id, fate));
            }
            if let Some(rank) = fate.rank {
                apps.entry(fate.app).or_default().push((rank, *id, fate.serving));
            }
        }
        let (mut way_back, mut counted) = (HashSet::new(), HashSet::new());
        for releases in apps.values_mut() {
            releases.sort_unstable();
            // Several targets may serve different ones.
            for (at, _) in releases.iter().enumerate().filter(|(_, (_, _, serving))| *serving) {
                way_back
                    .extend(releases[at + 1..].iter().find(|(_, _, serving)| !serving).map(|(_, id, _)| *id));
            }
            let beside = releases.iter().filter(|(_, _, serving)| !serving);
            counted.extend(beside.take(case.budget.images_keep).map(|(_, id, _)| *id));
        }
        Self { by_image, way_back, counted }
    }

    /// Those whose image this is.
    fn with(&self, image: &Image) -> Vec<(ReleaseId, &'a ReleaseFate)> {
        let digests = image.digests.iter().filter_map(|name| name.rsplit_once('@').map(|(_, digest)| digest));
        std::iter::once(image.id.as_str())
            .chain(digests)
            .filter_map(|id| self.by_image.get(id))
            .flatten()
            .copied()
            .collect()
    }
}

fn judge(
    case: &Case<'_>,
    image: &Image,
    ours: &[&Image],
    users: &HashMap<&str, &str>,
    releases: &Releases<'_>,
) -> Verdict {
    let deployment = image.labels.get(LABEL_DEPLOYMENT);
    if let Some(name) = image.names.iter().find(|name| !is_given(name, deployment)) {
        return Verdict::Stays(WhyKept::ForeignName(name.clone()));
    }
    let of_image = releases.with(image);
    let any = |holds: &dyn Fn(&(ReleaseId, &ReleaseFate)) -> bool| of_image.iter().any(holds);
    if any(&|(_, fate)| fate.serving) {
        return Verdict::Stays(WhyKept::Serving);
    }
    if any(&|(_, fate)| fate.in_rollout) {
        return Verdict::Stays(WhyKept::Rollout);
    }
    if let Some(name) = users.get(image.id.as_str()) {
        return Verdict::Stays(WhyKept::UsedBy((*name).to_owned()));
    }
    if of_image.is_empty() && is_derived(image, ours, releases) {
        return Verdict::Stays(WhyKept::Derived);
    }
    if case.young(image.created) {
        return Verdict::Stays(WhyKept::Young);
    }
    let Some(app) = image.labels.get(LABEL_APP).and_then(|app| app.parse().ok()) else {
        // Every image of a build has it; a step of one may not have come to it.
        return Verdict::Stays(WhyKept::Unreadable);
    };
    if let Some(verdict) = case.gone(app) {
        return verdict;
    }
    let Some(deployment) = deployment else {
        return if kind_of(image) == Kind::Layer {
            Verdict::Spare(WhyKept::Cached)
        } else {
            Verdict::Stays(WhyKept::Unreadable)
        };
    };
    let Ok(deployment) = deployment.parse::<DeploymentId>() else {
        return Verdict::Stays(WhyKept::Unreadable);
    };
    let fate = case.known.deployments.get(&deployment);
    if fate.is_some_and(|fate| !fate.ended) {
        return Verdict::Stays(WhyKept::Deploying);
    }
    if any(&|(id, _)| releases.way_back.contains(id)) {
        return Verdict::Stays(WhyKept::WayBack);
    }
    if any(&|(id, _)| releases.counted.contains(id)) {
        return Verdict::Spare(WhyKept::Counted);
    }
    if any(&|(_, fate)| fate.rank.is_some()) {
        return Verdict::Goes(Why::BeyondCount(case.budget.images_keep));
    }
    Verdict::Goes(match fate {
        None => Why::DeploymentGone,
        Some(_) if of_image.is_empty() => Why::Unreleased,
        Some(_) => Why::Undeployed,
    })
}

/// Builds tag an image with its deployment, in every repository.
fn is_given(name: &str, deployment: Option<&String>) -> bool {
    let tag = name.rsplit_once(':').map(|(_, tag)| tag);
    tag.is_some() && tag == deployment.map(String::as_str)
}

/// Whether a finished image of ours of the same deployment is below it: builds do not end twice.
fn is_derived(image: &Image, ours: &[&Image], releases: &Releases<'_>) -> bool {
    let find = |id: &String| ours.iter().copied().find(|other| other.id == *id);
    let mut below: Vec<&Image> = image.continues.iter().filter_map(find).collect();
    let mut next = image.parent.as_ref().and_then(find);
    // Bounded, should parents ever go in a circle.
    for _ in 0..ours.len() {
        let Some(parent) = next else { break };
        below.push(parent);
        next = parent.parent.as_ref().and_then(find);
    }
    let deployment = image.labels.get(LABEL_DEPLOYMENT);
    deployment.is_some()
        && below.iter().any(|other| {
            let finished = !other.names.is_empty() || !releases.with(other).is_empty();
            finished && other.labels.get(LABEL_DEPLOYMENT) == deployment
        })
}

fn name(image: &Image) -> String {
    let short = || image.id.chars().take("sha256:".len() + 12).collect();
    image.names.first().cloned().unwrap_or_else(short)
}
