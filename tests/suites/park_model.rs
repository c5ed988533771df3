//! The queue's scripts against a model of them, over random histories: no free target with a job behind it, no job in
//! two places, no lock without its job, nothing left at the end.
//!
//! One step at a time is enough: Redis runs one script at a time too. What a worker does between two scripts is steps
//! of others in between.

mod check;
mod reference;
mod system;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Instant;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::Union;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use tokio::runtime::Runtime;

use reference::{Fate, Job, Model, Set, Step, TARGETS, WORKERS};
use system::{Mistake, System};

const JOBS: usize = 24;

fn some(sizes: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Set> {
    subsequence((0..TARGETS).collect::<Vec<_>>(), sizes).prop_map(|some| some.into_iter().collect())
}

struct Reference;

impl ReferenceStateMachine for Reference {
    type State = Model;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Model> {
        Just(Model::default()).boxed()
    }

    fn transitions(model: &Model) -> BoxedStrategy<Step> {
        let mut ways: Vec<(u32, BoxedStrategy<Step>)> = Vec::new();
        let worker = || 0..WORKERS;
        if model.joined < JOBS {
            let needs = prop_oneof![1 => some(0..=0), 3 => some(1..=1), 3 => some(2..=3)];
            let new = (prop::bool::weighted(0.3), needs, prop::bool::weighted(0.1));
            ways.push((
                8,
                new.prop_map(|(high, needs, delayed)| Step::Enqueue { high, needs, delayed }).boxed(),
            ));
        }
        ways.push((
            6,
            (worker(), 1..4usize).prop_map(|(worker, count)| Step::Take { worker, count }).boxed(),
        ));
        let known: Vec<Job> = model.needs.keys().copied().collect();
        if !known.is_empty() {
            ways.push((1, select(known.clone()).prop_map(|job| Step::EnqueueAgain { job }).boxed()));
            ways.push((2, select(known).prop_map(|job| Step::Withdraw { job }).boxed()));
        }
        if may_pop(model) {
            ways.push((2, worker().prop_map(|worker| Step::Pop { worker }).boxed()));
        }
        for worker in worker() {
            if !model.strays[worker].is_empty() {
                ways.push((3, Just(Step::TakeUp { worker }).boxed()));
            }
            let hands: Vec<Job> = model.hands[worker].keys().copied().collect();
            if !hands.is_empty() {
                let fate = prop_oneof![4 => Just(Fate::Gone), 1 => Just(Fate::Front), 1 => Just(Fate::After)];
                let unknown: Vec<Job> =
                    hands.iter().copied().filter(|job| !model.needs.contains_key(job)).collect();
                let finish = (select(hands.clone()), fate).prop_map(move |(job, fate)| {
                    let fate = if unknown.contains(&job) { Fate::Gone } else { fate };
                    Step::Finish { worker, job, fate }
                });
                ways.push((4, finish.boxed()));
                ways.push((1, Just(Step::Renew { worker }).boxed()));
                let some = || subsequence(hands.clone(), 0..=hands.len());
                let reap = (some(), some());
                let reap = reap.prop_map(move |(ended, suspects)| Step::Reap { worker, ended, suspects });
                ways.push((2, reap.boxed()));
            }
            let mut lock: Vec<Job> = hands.clone();
            lock.retain(|job| model.needs.contains_key(job) && !model.refused.contains_key(job));
            if !lock.is_empty() {
                let lock = (select(lock), some(1..=2));
                ways.push((3, lock.prop_map(move |(job, more)| Step::Lock { worker, job, more }).boxed()));
            }
            let park: Vec<Job> =
                hands.iter().copied().filter(|job| model.refused.contains_key(job)).collect();
            if !park.is_empty() {
                ways.push((6, select(park).prop_map(move |job| Step::Park { worker, job }).boxed()));
            }
        }
        if !model.expired.is_empty() {
            ways.push((4, Just(Step::Unpark).boxed()));
        } else if let locked @ [_, ..] =
            &(0..TARGETS).filter(|&t| model.locks[t].is_some()).collect::<Vec<_>>()[..]
        {
            ways.push((1, select(locked.to_vec()).prop_map(|target| Step::Expire { target }).boxed()));
        }
        if !model.delayed.is_empty() {
            let delayed: Vec<Job> = model.delayed.iter().copied().collect();
            ways.push((2, select(delayed).prop_map(|job| Step::Promote { job }).boxed()));
        }
        if !model.late.is_empty() {
            ways.push((2, select(model.late.clone()).prop_map(|late| Step::LateRenew { late }).boxed()));
        }
        Union::new_weighted(ways).boxed()
    }

    fn preconditions(model: &Model, step: &Step) -> bool {
        let holds = |worker: usize, job: &Job| model.hands[worker].contains_key(job);
        match step {
            Step::Enqueue { .. } => model.joined < JOBS,
            Step::EnqueueAgain { job } | Step::Withdraw { job } => model.needs.contains_key(job),
            Step::Take { .. } | Step::Unpark | Step::Renew { .. } => true,
            Step::Pop { .. } => may_pop(model),
            Step::TakeUp { worker } => !model.strays[*worker].is_empty(),
            Step::Lock { worker, job, .. } => {
                holds(*worker, job) && model.needs.contains_key(job) && !model.refused.contains_key(job)
            }
            Step::Park { worker, job } => holds(*worker, job) && model.refused.contains_key(job),
            Step::Finish { worker, job, fate } => {
                holds(*worker, job) && (*fate == Fate::Gone || model.needs.contains_key(job))
            }
            Step::Reap { worker, ended, suspects } => {
                ended.iter().chain(suspects).all(|job| holds(*worker, job))
            }
            Step::Expire { target } => model.locks[*target].is_some() && model.expired.is_empty(),
            Step::Promote { job } => model.delayed.contains(job),
            Step::LateRenew { late } => model.late.contains(late),
        }
    }

    fn apply(model: Model, step: &Step) -> Model {
        model.apply(step)
    }
}

/// A blocking pop sees one list only. Which of two classes it gets when both wait is chance, and of the high ones it sees
/// the first until the pop before it has reached its worker.
fn may_pop(model: &Model) -> bool {
    let [normal, high] = &model.line;
    let reached = model.strays.iter().all(Vec::is_empty);
    if high.is_empty() { !normal.is_empty() } else { normal.is_empty() && reached }
}

thread_local! {
    static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    static MISTAKE: Cell<Option<&'static Mistake>> = const { Cell::new(None) };
    static COUNTS: RefCell<BTreeMap<&'static str, usize>> = const { RefCell::new(BTreeMap::new()) };
}

fn count(what: &'static str, some: usize) {
    COUNTS.with_borrow_mut(|counts| *counts.entry(what).or_default() += some);
}

struct Run {
    system: System,
    model: Model,
}

impl Run {
    fn step(&mut self, step: &Step, after: Model) {
        count("steps", 1);
        count(
            "parked",
            usize::from(after.parked.iter().flatten().count() > self.model.parked.iter().flatten().count()),
        );
        count("reserved", usize::from(after.reserver.is_some() && self.model.reserver.is_none()));
        count("suspects", usize::from(after.suspects.len() > self.model.suspects.len()));
        count("refused", usize::from(after.refused.len() > self.model.refused.len()));
        RUNTIME.with(|runtime| runtime.block_on(self.system.apply(&self.model, &after, step)));
        self.model = after;
    }

    fn then(&mut self, step: &Step) {
        let after = self.model.clone().apply(step);
        self.step(step, after);
        RUNTIME.with(|runtime| runtime.block_on(self.system.check(&self.model)));
    }

    /// Lets every job end, in the way of the product.
    fn drain(&mut self) {
        for _ in 0..JOBS * 4 {
            self.then(&Step::Unpark);
            for job in self.model.delayed.clone() {
                self.then(&Step::Promote { job });
            }
            for worker in 0..WORKERS {
                if !self.model.strays[worker].is_empty() {
                    self.then(&Step::TakeUp { worker });
                }
                for job in self.model.hands[worker].clone().into_keys() {
                    self.then(&Step::Finish { worker, job, fate: Fate::Gone });
                }
            }
            if self.model.needs.is_empty() && self.model.hands.iter().all(BTreeMap::is_empty) {
                return;
            }
            self.then(&Step::Take { worker: 0, count: JOBS });
        }
        panic!("jobs that never come to their turn: {:?}", self.model.needs);
    }
}

struct Test;

impl StateMachineTest for Test {
    type SystemUnderTest = Run;
    type Reference = Reference;

    fn init_test(model: &Model) -> Run {
        count("cases", 1);
        let system = RUNTIME.with(|runtime| runtime.block_on(System::start(MISTAKE.get())));
        Run { system, model: model.clone() }
    }

    fn apply(mut run: Run, after: &Model, step: Step) -> Run {
        run.step(&step, after.clone());
        run
    }

    fn check_invariants(run: &Run, model: &Model) {
        RUNTIME.with(|runtime| runtime.block_on(run.system.check(model)));
    }

    fn teardown(mut run: Run, _: Model) {
        run.drain();
        RUNTIME.with(|runtime| runtime.block_on(run.system.assert_empty()));
    }
}

/// Runs so many random histories; `Err` holds the shortest one found that breaks a rule.
fn run(cases: u32, shrink: u32, mistake: Option<&'static Mistake>) -> Result<(), String> {
    MISTAKE.set(mistake);
    COUNTS.take();
    let seed: Vec<u8> =
        [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()].iter().flat_map(|id| *id.as_bytes()).collect();
    println!("seed {seed:?}");
    let config = Config {
        cases,
        max_shrink_iters: shrink,
        max_local_rejects: 1_000_000,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let started = Instant::now();
    let ended = TestRunner::new_with_rng(config.clone(), rng).run(
        &Reference::sequential_strategy(20..60),
        |(model, steps, seen)| {
            Test::test_sequential(config.clone(), model, steps, seen);
            Ok(())
        },
    );
    println!("{} ms: {:?}", started.elapsed().as_millis(), COUNTS.take());
    ended.map_err(|error| match error {
        TestError::Fail(why, (_, steps, _)) => {
            let steps: Vec<String> = steps.iter().map(|step| format!("  {step:?}")).collect();
            format!("{why}\n{}", steps.join("\n"))
        }
        TestError::Abort(why) => why.to_string(),
    })
}

#[test]
fn the_scripts_do_what_the_model_says_over_random_histories() {
    if let Err(broken) = run(300, 4_000, None) {
        panic!("{broken}");
    }
}

/// Mistakes that must not pass.
const MISTAKES: &[Mistake] = &[
    Mistake { script: "finish", right: "release(job, worker, targets)", wrong: "" },
    Mistake { script: "withdraw", right: "release(job, 'granted', wanted)", wrong: "" },
    Mistake { script: "park", right: "release(job, worker, targets)", wrong: "" },
    Mistake {
        script: "renew",
        right: "if value or (where == 'processing' and detail == worker) then",
        wrong: "if true then",
    },
];

#[test]
fn mistakes_in_the_scripts_are_found() {
    for mistake in MISTAKES {
        let found = run(200, 100, Some(mistake)).expect_err("a history that shows the mistake");
        let first = found.lines().next().unwrap_or_default().chars().take(200).collect::<String>();
        println!("{} without {:?}: {first}", mistake.script, mistake.right);
    }
}
