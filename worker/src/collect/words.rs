//! What was found, what the record says, what is to be done about it. No behaviour but how a reason reads.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use deploymind_shared::clock::{Timestamp, age};
use deploymind_shared::ids::{AppId, DeploymentId, ReleaseId};

use super::bytes::bytes_text;

/// How much may stay.
#[derive(Debug, Clone)]
pub struct Budget {
    /// Images of the newest deployed releases of each app, beside the one that serves and the one before it.
    pub images_keep: usize,
    /// Of what this fleet's images alone take on the disk. Layers that a foreign image has too do not count: removing ours
    /// does not free them.
    pub images_max_bytes: Option<u64>,
    /// Stopped slots of each app, newest first, beside the release that serves.
    pub slots_keep: usize,
    /// Of unnamed layers of ours that no image of ours needs, and, by itself, of BuildKit's cache where that is ours.
    pub cache_max_bytes: Option<u64>,
    /// Whether nobody else builds on this engine. BuildKit's cache says of nothing who made it.
    pub cache_is_ours: bool,
    /// Nothing younger is touched. Longer than any deployment takes from a build to its row in the record.
    pub min_age: Duration,
}

/// What the record says.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// All that exist. Where there is none the record is taken for the wrong one, and nothing for an orphan.
    pub apps: HashSet<AppId>,
    pub releases: HashMap<ReleaseId, ReleaseFate>,
    pub deployments: HashMap<DeploymentId, DeploymentFate>,
}

#[derive(Debug, Clone)]
pub struct ReleaseFate {
    pub app: AppId,
    /// Every id and digest (`sha256:…`) its image is known by.
    pub images: Vec<String>,
    /// On any target of the app.
    pub serving: bool,
    /// A roll-out that has not ended names it, on either side.
    pub in_rollout: bool,
    /// Among the app's releases that were deployed, 0 the newest. `None`: it never was.
    pub rank: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
pub struct DeploymentFate {
    pub ended: bool,
    pub released: bool,
}

/// What is on an engine: all images and containers, for those of others decide what must stay; volumes of ours.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    pub fleet: String,
    pub images: Vec<Image>,
    pub containers: Vec<Container>,
    pub volumes: Vec<Volume>,
    /// Layers of our images by chain id.
    pub layers: HashMap<String, Layer>,
    pub cache: Option<CacheUse>,
    /// Whether the engine says which layers went with an image. One with containerd's image store does not.
    pub names_layers: bool,
}

#[derive(Debug, Clone)]
pub struct Image {
    /// `sha256:…`
    pub id: String,
    /// What the classic builder made it from.
    pub parent: Option<String>,
    /// With their tags.
    pub names: Vec<String>,
    /// `repository@sha256:…`
    pub digests: Vec<String>,
    pub labels: HashMap<String, String>,
    pub created: Timestamp,
    /// Chain ids, the base first.
    pub layers: Vec<String>,
    /// Images of the same deployment whose history its own continues.
    pub continues: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    pub bytes: u64,
    /// BuildKit's cache has it, too, so that it stays on the disk when its last image goes.
    pub in_cache: bool,
}

#[derive(Debug, Clone)]
pub struct Container {
    pub id: String,
    pub name: String,
    pub image: String,
    pub labels: HashMap<String, String>,
    pub created: Timestamp,
    /// Anything but created, exited or dead.
    pub running: bool,
    /// What it has written into its own layer; known of stopped slots of ours.
    pub bytes: u64,
}

#[derive(Debug, Clone)]
pub struct Volume {
    pub name: String,
    pub labels: HashMap<String, String>,
}

/// BuildKit's cache beside what images have of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheUse {
    pub records: Vec<CacheRecord>,
    /// Sizes of what an image has, too; counted as the image's.
    pub shared: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheRecord {
    pub bytes: u64,
    /// A build that runs has it, or when it was used last cannot be told.
    pub in_use: bool,
    pub last_used: Timestamp,
}

impl CacheUse {
    pub fn bytes(&self) -> u64 {
        self.records.iter().map(|record| record.bytes).sum()
    }

    /// What may be removed: unused for that long.
    pub fn idle(&self, now: Timestamp, unused_for: Duration) -> u64 {
        let idle = |record: &&CacheRecord| !record.in_use && age(now, record.last_used) >= unused_for;
        self.records.iter().filter(idle).map(|record| record.bytes).sum()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Slot,
    Image,
    /// An unnamed image of ours: a step of a build.
    Layer,
    Cache,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Slot => "slot",
            Kind::Image => "image",
            Kind::Layer => "layer",
            Kind::Cache => "cache",
        })
    }
}

/// What is to be removed, in this order.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub items: Vec<Item>,
    pub kept: Vec<Kept>,
    /// Why a budget is not reached, and what is left to the operator; sentences.
    pub notes: Vec<String>,
    /// Volumes of apps that are gone. They hold data and are never collected.
    pub orphaned_volumes: Vec<String>,
    /// Of the layers of what goes, by chain id; `None` where the engine will not tell which of them went.
    pub(super) layers: Option<BTreeMap<String, u64>>,
    /// What BuildKit's cache may keep and how long unused it must be, where the plan has an item of it.
    pub(super) cache: Option<(u64, Duration)>,
}

impl Plan {
    /// What comes free.
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(|item| item.bytes).sum()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub kind: Kind,
    pub id: String,
    pub names: Vec<String>,
    /// What comes free when it is gone and everything before it, too.
    pub bytes: u64,
    pub why: Why,
    /// It runs and is stopped first: nothing in the record speaks for it.
    pub stop: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub kind: Kind,
    pub id: String,
    pub names: Vec<String>,
    pub why: WhyKept,
}

/// What carrying out did not touch although the plan says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    pub id: String,
    pub names: Vec<String>,
    pub why: String,
}

/// Why a thing goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    AppGone,
    /// The record has no such release any more.
    ReleaseGone,
    /// The record has no such deployment any more.
    DeploymentGone,
    /// Its deployment ended without a release, or the release is of another image.
    Unreleased,
    /// Its release was never deployed.
    Undeployed,
    BeyondCount(usize),
    BeyondBytes(u64),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::AppGone => f.write_str("its app is gone"),
            Why::ReleaseGone => f.write_str("its release is gone from the record"),
            Why::DeploymentGone => f.write_str("its deployment is gone from the record"),
            Why::Unreleased => f.write_str("its deployment has ended and no release names it"),
            Why::Undeployed => f.write_str("its release was never deployed"),
            Why::BeyondCount(keep) => write!(f, "older than the {keep} that are kept of its app"),
            Why::BeyondBytes(most) => write!(f, "the oldest beyond {}", bytes_text(*most)),
        }
    }
}

/// Why a thing stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhyKept {
    Serving,
    Rollout,
    /// Its deployment has not ended.
    Deploying,
    /// The release before the one that serves.
    WayBack,
    Young,
    /// Within the count of its app.
    Counted,
    /// Within the budget of the cache.
    Cached,
    UsedBy(String),
    BuiltOn(String),
    /// A name that DeployMind did not give.
    ForeignName(String),
    /// Somebody built it on an image of ours, whose labels it has.
    Derived,
    /// It runs and neither serves nor belongs to a roll-out.
    Runs,
    /// Labels that cannot be read.
    Unreadable,
    /// The record knows no app at all.
    EmptyRecord,
}

impl fmt::Display for WhyKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WhyKept::Serving => f.write_str("its release serves"),
            WhyKept::Rollout => f.write_str("a roll-out in progress uses it"),
            WhyKept::Deploying => f.write_str("its deployment has not ended"),
            WhyKept::WayBack => f.write_str("the way back from the release that serves"),
            WhyKept::Young => f.write_str("younger than the least age"),
            WhyKept::Counted => f.write_str("among those that are kept of its app"),
            WhyKept::Cached => f.write_str("cache for the next build"),
            WhyKept::UsedBy(name) => write!(f, "the container {name} uses it"),
            WhyKept::BuiltOn(name) => write!(f, "{name} is built on it"),
            WhyKept::ForeignName(name) => write!(f, "somebody named it {name}"),
            WhyKept::Derived => f.write_str("somebody built it on an image of ours"),
            WhyKept::Runs => f.write_str("runs without serving: not ours to stop here, a settle job does"),
            WhyKept::Unreadable => f.write_str("its labels cannot be read"),
            WhyKept::EmptyRecord => f.write_str("the record knows no app at all; is it the right one?"),
        }
    }
}
