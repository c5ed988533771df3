//! What the queue should do, said without Redis: two lines, a line behind each target, locks, hands.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub type Job = usize;
pub type Target = usize;
pub type Set = BTreeSet<Target>;

pub const TARGETS: usize = 4;
pub const WORKERS: usize = 3;
/// Passed over this often, a job keeps what is free for itself.
const PATIENCE: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Worker(usize),
    /// Handed to a job that waits to be taken.
    Granted,
    /// Kept by a parked job that was passed over too often.
    Reserved,
}

/// Who let go of a job before a renewal that had already been sent arrived.
pub type Late = (usize, Job, Set);

#[derive(Debug, Clone, Default)]
pub struct Model {
    pub joined: usize,
    /// All jobs ever: whether high.
    pub high: Vec<bool>,
    /// What each known job needs. A job not in here has no place.
    pub needs: BTreeMap<Job, Set>,
    /// Front first.
    pub line: [VecDeque<Job>; 2],
    pub parked: [VecDeque<Job>; TARGETS],
    pub delayed: BTreeSet<Job>,
    /// With the locks its worker believes in.
    pub hands: [BTreeMap<Job, Set>; WORKERS],
    /// Moved to a worker's list by a pop whose answer nobody got.
    pub strays: [Vec<Job>; WORKERS],
    pub locks: [Option<(Job, Owner)>; TARGETS],
    /// Late locks that were refused: the job has to park for these.
    pub refused: BTreeMap<Job, Set>,
    pub late: Vec<Late>,
    /// Targets that are free with somebody behind them, because their lock expired and nobody has looked since.
    pub expired: Set,
    /// Jobs under which a lock expired, and which have not heard of it.
    pub doubt: BTreeSet<(Job, Target)>,
    /// The answer of the last take or renewal.
    pub answer: Vec<(Job, Set)>,
    /// Jobs that may be what killed their workers; no worker has two of them.
    pub suspects: BTreeSet<Job>,
    pub bounces: BTreeMap<Job, u32>,
    pub reserver: Option<Job>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Gone,
    Front,
    After,
}

#[derive(Debug, Clone)]
pub enum Step {
    Enqueue {
        high: bool,
        needs: Set,
        delayed: bool,
    },
    EnqueueAgain {
        job: Job,
    },
    Take {
        worker: usize,
        count: usize,
    },
    /// A pop whose answer is lost.
    Pop {
        worker: usize,
    },
    TakeUp {
        worker: usize,
    },
    Lock {
        worker: usize,
        job: Job,
        more: Set,
    },
    Park {
        worker: usize,
        job: Job,
    },
    Finish {
        worker: usize,
        job: Job,
        fate: Fate,
    },
    Withdraw {
        job: Job,
    },
    /// Its jobs go back in line, except those that have ended in the record.
    Reap {
        worker: usize,
        ended: Vec<Job>,
        suspects: Vec<Job>,
    },
    Expire {
        target: Target,
    },
    Unpark,
    Promote {
        job: Job,
    },
    Renew {
        worker: usize,
    },
    /// A renewal that was on its way when the job left its worker's hands.
    LateRenew {
        late: Late,
    },
}

impl Model {
    pub fn in_hand(&self, job: Job) -> bool {
        self.hands.iter().any(|hands| hands.contains_key(&job))
    }

    /// The first of the targets that another job holds.
    pub fn held(&self, job: Job, targets: &Set) -> Option<Target> {
        targets.iter().copied().find(|&target| self.locks[target].is_some_and(|(by, _)| by != job))
    }

    fn lock(&mut self, job: Job, owner: Owner, targets: &Set) {
        for &target in targets {
            self.locks[target] = Some((job, owner));
        }
    }

    fn forget(&mut self, job: Job) {
        self.needs.remove(&job);
        self.bounces.remove(&job);
        self.suspects.remove(&job);
        if self.reserver == Some(job) {
            self.reserver = None;
        }
    }

    fn line_of(&mut self, job: Job) -> &mut VecDeque<Job> {
        &mut self.line[usize::from(self.high[job])]
    }

    fn park(&mut self, job: Job, target: Target, front: bool) {
        let high = &self.high;
        let line = &mut self.parked[target];
        if front {
            line.push_front(job);
        } else if high[job] {
            let after = line.iter().take_while(|&&other| high[other]).count();
            line.insert(after, job);
        } else {
            line.push_back(job);
        }
    }

    /// A free target goes to the first parked behind it that can have all it needs. Whoever is passed over waits at
    /// the front of the line of what it lacks; passed over too often, it keeps this target meanwhile.
    fn hand_on(&mut self, target: Target) {
        if self.locks[target].is_some() {
            return;
        }
        let mut passed = Vec::new();
        while let Some(job) = self.parked[target].pop_front() {
            let needs = self.needs[&job].clone();
            let Some(other) = self.held(job, &needs) else {
                self.lock(job, Owner::Granted, &needs);
                self.bounces.remove(&job);
                if self.reserver == Some(job) {
                    self.reserver = None;
                }
                self.line_of(job).push_front(job);
                break;
            };
            passed.push((job, other));
            let bounces = self.bounces.entry(job).or_default();
            *bounces += 1;
            if *bounces >= PATIENCE && self.reserver.is_none_or(|by| by == job) {
                self.reserver = Some(job);
                self.locks[target] = Some((job, Owner::Reserved));
                break;
            }
        }
        for (job, other) in passed.into_iter().rev() {
            self.park(job, other, true);
        }
    }

    /// Lets go of all at once, then hands each on.
    fn release(&mut self, job: Job, owner: Owner, targets: &Set) {
        for &target in targets {
            if self.locks[target].is_some_and(|(by, as_)| {
                by == job && (as_ == owner || matches!(as_, Owner::Granted | Owner::Reserved))
            }) {
                self.locks[target] = None;
            }
        }
        for &target in targets {
            self.hand_on(target);
        }
    }

    /// Back to the front with its targets kept for it, all or none.
    fn hand_back(&mut self, job: Job, owner: Owner) {
        let needs = self.needs.get(&job).cloned().unwrap_or_default();
        if self.held(job, &needs).is_some() {
            self.release(job, owner, &needs);
        } else {
            self.lock(job, Owner::Granted, &needs);
        }
        self.line_of(job).push_front(job);
    }

    fn admit(&mut self, worker: usize, job: Job) {
        let Some(needs) = self.needs.get(&job).cloned() else {
            // Withdrawn since it was moved: its worker will find in the record that it has ended.
            self.hands[worker].insert(job, Set::new());
            self.answer.push((job, Set::new()));
            return;
        };
        let mut beside = self.hands[worker].keys().chain(&self.strays[worker]);
        if self.suspects.contains(&job) && beside.any(|other| *other != job && self.suspects.contains(other))
        {
            self.delayed.insert(job);
            return self.release(job, Owner::Granted, &needs);
        }
        if let Some(other) = self.held(job, &needs) {
            self.release(job, Owner::Granted, &needs);
            return self.park(job, other, false);
        }
        self.lock(job, Owner::Worker(worker), &needs);
        self.hands[worker].insert(job, needs.clone());
        self.answer.push((job, needs));
    }

    fn next(&mut self) -> Option<Job> {
        let [normal, high] = &mut self.line;
        high.pop_front().or_else(|| normal.pop_front())
    }

    fn leave(&mut self, worker: usize, job: Job) -> Set {
        let held = self.hands[worker].remove(&job).unwrap_or_default();
        self.refused.remove(&job);
        self.doubt.retain(|(other, _)| *other != job);
        if !held.is_empty() {
            self.late.push((worker, job, held.clone()));
        }
        held
    }

    fn finish(&mut self, worker: usize, job: Job, fate: Fate) {
        let held = self.leave(worker, job);
        let known = self.needs.contains_key(&job);
        match fate {
            Fate::Front if known => return self.hand_back(job, Owner::Worker(worker)),
            Fate::After if known => {
                self.delayed.insert(job);
            }
            _ => self.forget(job),
        }
        self.release(job, Owner::Worker(worker), &held);
    }

    fn withdraw(&mut self, job: Job) {
        let Some(needs) = self.needs.get(&job).cloned() else { return };
        if self.in_hand(job) {
            return;
        }
        for line in self.line.iter_mut().chain(&mut self.parked) {
            line.retain(|&other| other != job);
        }
        self.delayed.remove(&job);
        self.forget(job);
        self.release(job, Owner::Granted, &needs);
    }

    fn reap(&mut self, worker: usize, ended: &[Job], suspects: &[Job]) {
        // From the last to the first, each to the front: they keep their order.
        let jobs: Vec<Job> = self.hands[worker].keys().copied().rev().collect();
        for job in jobs {
            let needs = self.needs.get(&job).cloned().unwrap_or_default();
            self.leave(worker, job);
            if ended.contains(&job) || !self.needs.contains_key(&job) {
                self.forget(job);
                self.release(job, Owner::Worker(worker), &needs);
            } else {
                self.suspects.extend(suspects.contains(&job).then_some(job));
                self.hand_back(job, Owner::Worker(worker));
            }
        }
        for job in std::mem::take(&mut self.strays[worker]).into_iter().rev() {
            if self.needs.contains_key(&job) {
                self.hand_back(job, Owner::Worker(worker));
            }
        }
    }

    /// Answers what was lost.
    fn renew(&mut self, worker: usize, holds: &[(Job, Set)]) {
        for (job, held) in holds {
            let ours = self.hands[worker].contains_key(job) && self.needs.contains_key(job);
            let mut lost = Set::new();
            for &target in held {
                match self.locks[target] {
                    None if ours => self.locks[target] = Some((*job, Owner::Worker(worker))),
                    // It has left: nobody else has the lock, and nobody takes it for one that is gone.
                    None => {}
                    Some((by, Owner::Worker(w))) if by == *job && w == worker => {}
                    _ => {
                        lost.insert(target);
                    }
                }
            }
            if !lost.is_empty() {
                self.answer.push((*job, lost));
            }
        }
    }

    pub fn apply(mut self, step: &Step) -> Self {
        self.answer.clear();
        match step {
            Step::Enqueue { high, needs, delayed } => {
                let job = self.joined;
                self.joined += 1;
                self.high.push(*high);
                self.needs.insert(job, needs.clone());
                if *delayed {
                    self.delayed.insert(job);
                } else {
                    self.line_of(job).push_back(job);
                }
            }
            Step::EnqueueAgain { .. } => {}
            Step::Take { worker, count } => {
                for _ in 0..*count + 100 {
                    if self.answer.len() >= *count {
                        break;
                    }
                    let Some(job) = self.next() else { break };
                    self.admit(*worker, job);
                }
            }
            Step::Pop { worker } => {
                if let Some(job) = self.next() {
                    self.strays[*worker].push(job);
                }
            }
            Step::TakeUp { worker } => {
                for job in self.strays[*worker].clone() {
                    self.admit(*worker, job);
                    self.strays[*worker].retain(|&other| other != job);
                }
            }
            Step::Lock { worker, job, more } => {
                let wanted: Set = self.hands[*worker][job].union(more).copied().collect();
                if self.held(*job, &wanted).is_some() {
                    self.refused.insert(*job, wanted);
                } else {
                    self.lock(*job, Owner::Worker(*worker), &wanted);
                    self.needs.insert(*job, wanted.clone());
                    self.answer.push((*job, wanted.clone()));
                    self.hands[*worker].insert(*job, wanted);
                }
            }
            Step::Park { worker, job } => {
                let wanted = self.refused.remove(job).unwrap_or_default();
                self.leave(*worker, *job);
                self.needs.insert(*job, wanted.clone());
                match self.held(*job, &wanted) {
                    Some(other) => {
                        self.release(*job, Owner::Worker(*worker), &wanted);
                        self.park(*job, other, false);
                    }
                    None => {
                        self.lock(*job, Owner::Granted, &wanted);
                        self.line_of(*job).push_front(*job);
                    }
                }
            }
            Step::Finish { worker, job, fate } => self.finish(*worker, *job, *fate),
            Step::Withdraw { job } => self.withdraw(*job),
            Step::Reap { worker, ended, suspects } => self.reap(*worker, ended, suspects),
            Step::Expire { target } => {
                if let Some((job, _)) = self.locks[*target].take() {
                    self.doubt.insert((job, *target));
                }
                self.expired.insert(*target);
            }
            Step::Unpark => (0..TARGETS).for_each(|target| self.hand_on(target)),
            Step::Promote { job } => {
                self.delayed.remove(job);
                self.line_of(*job).push_back(*job);
            }
            Step::Renew { worker } => {
                let holds: Vec<(Job, Set)> = self.hands[*worker].clone().into_iter().collect();
                self.renew(*worker, &holds);
            }
            Step::LateRenew { late: (worker, job, held) } => {
                self.late.clear();
                self.renew(*worker, &[(*job, held.clone())]);
            }
        }
        let (locks, parked) = (&self.locks, &self.parked);
        self.expired.retain(|&target| locks[target].is_none() && !parked[target].is_empty());
        self
    }
}
