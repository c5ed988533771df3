//! Many jobs, few targets, three workers: all end, none holds what another holds, and building goes on beside locking.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use deploymind_shared::domain::job::Priority;
use deploymind_shared::ids::{JobId, TargetName};
use deploymind_tests::checker::{Violation, check};
use deploymind_tests::rig::{Rig, request};
use deploymind_tests::script::{Row, Script, Step, history};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use uuid::Uuid;

use super::effects;

const JOBS: usize = 240;
const TARGETS: usize = 12;

fn note(label: &str) -> Step {
    Step::Note { label: label.to_owned() }
}

struct Wish {
    targets: Vec<TargetName>,
    at_claim: bool,
    twice: bool,
    high: bool,
    build: u64,
    hold: u64,
}

impl Wish {
    fn random(random: &mut StdRng, all: &[TargetName]) -> Self {
        let count = random.random_range(1..=4);
        let mut targets: Vec<TargetName> = Vec::new();
        while targets.len() < count {
            let target = &all[random.random_range(0..all.len())];
            if !targets.contains(target) {
                targets.push(target.clone());
            }
        }
        Self {
            targets,
            at_claim: random.random_range(0..3) == 0,
            twice: random.random_range(0..2) == 0,
            high: random.random_range(0..4) == 0,
            build: random.random_range(5..60),
            hold: random.random_range(5..40),
        }
    }

    fn script(&self) -> Script {
        let mut steps = Vec::new();
        if !self.at_claim {
            steps.extend([note("build"), Step::Sleep { ms: self.build }, note("built")]);
            let first = if self.twice { 1 } else { self.targets.len() };
            for part in [&self.targets[..first], &self.targets[first..]] {
                if !part.is_empty() {
                    steps.push(Step::Lock { targets: part.to_vec() });
                    steps.extend(effects(part));
                    steps.push(Step::Sleep { ms: self.hold / 2 });
                }
            }
        } else {
            steps.extend(effects(&self.targets));
            steps.push(Step::Sleep { ms: self.hold });
        }
        Script::new(steps)
    }
}

/// Phases by the database's clock: builds that ran without a lock, and targets held.
#[derive(Default)]
struct Phases {
    builds: BTreeMap<Uuid, (f64, f64)>,
    held: BTreeMap<String, Vec<(f64, f64)>>,
}

impl Phases {
    fn of(rows: &[Row]) -> Self {
        let mut phases = Self::default();
        let mut locked: HashSet<(Uuid, i32)> = HashSet::new();
        let mut began: BTreeMap<(Uuid, i32), f64> = BTreeMap::new();
        let mut open: BTreeMap<(Uuid, i32, String), f64> = BTreeMap::new();
        for row in rows {
            let run = (row.job, row.attempt);
            match row.kind.as_str() {
                "locked" => {
                    locked.insert(run);
                    for target in row.detail.as_object().into_iter().flatten().map(|(target, _)| target) {
                        open.insert((row.job, row.attempt, target.clone()), row.clock);
                    }
                }
                "unlocked" => {
                    for target in row.detail.as_array().into_iter().flatten().filter_map(|name| name.as_str())
                    {
                        if let Some(from) = open.remove(&(row.job, row.attempt, target.to_owned())) {
                            phases.held.entry(target.to_owned()).or_default().push((from, row.clock));
                        }
                    }
                }
                // One that has its targets already, because it parked before, builds again in name only.
                "note" if row.detail["label"] == "build" && !locked.contains(&run) => {
                    began.insert(run, row.clock);
                }
                "note" if row.detail["label"] == "built" => {
                    if let Some(from) = began.remove(&run) {
                        phases.builds.insert(row.job, (from, row.clock));
                    }
                }
                _ => {}
            }
        }
        phases
    }
}

fn overlap(one: (f64, f64), other: (f64, f64)) -> bool {
    one.0 < other.1 && other.0 < one.1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_over_few_targets_all_ends_and_never_shares_one() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let rig = Rig::start().await;
    let targets = rig.targets(TARGETS).await;
    let _scheduler = rig.scheduler().spawn();
    let _workers = tokio::join!(rig.worker(6).ready(), rig.worker(6).ready(), rig.worker(6).ready());
    let mut wishes = BTreeMap::new();
    for _ in 0..JOBS {
        let wish = Wish::random(&mut random, &targets);
        let mut request = request(&wish.script());
        if wish.at_claim {
            request.targets.clone_from(&wish.targets);
        }
        if wish.high {
            request.priority = Priority::High;
        }
        let job = rig.submitter.submit(request).await.expect("submit");
        wishes.insert(job.as_uuid(), wish);
    }
    let jobs: Vec<JobId> = wishes.keys().map(|job| JobId::from_uuid(*job)).collect();
    rig.wait_ended(&jobs, Duration::from_secs(60)).await;
    let verdict = rig.verdict(&jobs).await;
    verdict.assert_clean();
    assert_eq!(verdict.outcomes.get("succeeded"), Some(&JOBS));
    let rows = rig.rows().await;
    let phases = Phases::of(&rows);
    let parked = rows.iter().filter(|row| row.kind == "state" && row.detail["is"] == "queued").count();
    let builds: Vec<(&Uuid, &(f64, f64))> = phases.builds.iter().collect();
    let mut beside = 0;
    for (index, (one, phase)) in builds.iter().enumerate() {
        for (other, other_phase) in &builds[index + 1..] {
            let shares = wishes[*one].targets.iter().any(|target| wishes[*other].targets.contains(target));
            beside += usize::from(shares && overlap(**phase, **other_phase));
        }
    }
    let mut holds = 0;
    for (target, mut held) in phases.held {
        holds += held.len();
        held.sort_by(|one, other| one.0.total_cmp(&other.0));
        for pair in held.windows(2) {
            assert!(!overlap(pair[0], pair[1]), "{target} was held twice: {pair:?}");
        }
    }
    println!(
        "{} jobs, {} built first, {parked} parked at their checkpoint, {holds} times a target was held, \
         {beside} pairs for one target built side by side",
        jobs.len(),
        phases.builds.len()
    );
    assert!(beside > 0, "two jobs for one target build side by side");
    judge_sees_a_shared_target(&jobs, &rows);
    rig.finish().await;
}

/// The control: one hand-over told in the wrong order, so that two hold a target at once, is seen by the judge.
fn judge_sees_a_shared_target(jobs: &[JobId], rows: &[Row]) {
    let mut rows = rows.to_vec();
    let unlocked = rows.iter().position(|row| row.kind == "unlocked").expect("somebody let go");
    let target = rows[unlocked].detail[0].as_str().expect("a target").to_owned();
    let next =
        rows[unlocked..].iter().position(|row| row.kind == "locked" && row.detail.get(&target).is_some());
    let next = unlocked + next.expect("somebody was next");
    let (before, after) = (rows[unlocked].at, rows[next].at);
    (rows[unlocked].at, rows[next].at) = (after, before);
    let verdict = check(&history(jobs.iter().map(|job| job.as_uuid()), &rows));
    let seen = verdict.violations.iter().any(|violation| matches!(violation, Violation::Overlap { .. }));
    assert!(seen, "two holders at once, and the judge saw nothing");
}
