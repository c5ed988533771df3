//! The real scripts on the real Redis, driven step by step.

use std::collections::HashMap;
use std::time::Duration;

use deploymind_shared::config::{MapSource, Reader, RedisConfig};
use deploymind_shared::db::jobs::Placement;
use deploymind_shared::domain::job::Priority;
use deploymind_shared::ids::{JobId, TargetName, WorkerId};
use deploymind_shared::queue::hands::{self, Fate as HandFate, InHand, Taken};
use deploymind_shared::queue::recovery::{self, Salvage};
use deploymind_shared::queue::{Queue, line};
use deploymind_tests::redis::{base_redis_url, unique_fleet};
use deploymind_tests::rig::{production, target};
use redis::Script;
use redis::aio::MultiplexedConnection;

use super::check::LOOK;
use super::reference::{Fate, Job, Model, Set, Step, TARGETS, WORKERS};
use crate::lua;

const TTL: Duration = Duration::from_secs(600);

/// A script of the product with a mistake in it, run in place of the right one.
pub struct Mistake {
    pub script: &'static str,
    pub right: &'static str,
    pub wrong: &'static str,
}

pub struct System {
    queue: Queue,
    pub(super) redis: MultiplexedConnection,
    pub(super) prefix: String,
    pub(super) jobs: Vec<JobId>,
    numbers: HashMap<String, Job>,
    pub(super) workers: Vec<WorkerId>,
    pub(super) targets: Vec<TargetName>,
    pub(super) look: Script,
    wrong: Option<(&'static str, Script)>,
}

impl System {
    pub async fn start(mistake: Option<&Mistake>) -> Self {
        let (url, fleet) = (base_redis_url(), unique_fleet());
        let source = MapSource::new()
            .with("DEPLOYMIND_REDIS_URL", &url)
            .with("DEPLOYMIND_FLEET", &fleet)
            .with("DEPLOYMIND_REDIS_RESPONSE_TIMEOUT", "20s")
            .with("DEPLOYMIND_REDIS_POOL_SIZE", "1");
        let mut reader = Reader::new(&source);
        let config = RedisConfig::read(&mut reader);
        reader.finish().expect("good settings");
        let queue = Queue::open(&config).expect("open");
        let workers: Vec<WorkerId> = (0..WORKERS).map(|_| WorkerId::generate()).collect();
        for worker in &workers {
            // A worker beats before it takes anything.
            hands::renew(&queue, *worker, TTL, TTL, &[]).await.expect("beat");
        }
        Self {
            queue,
            redis: lua::connect(&url).await,
            prefix: format!("{{{fleet}}}:"),
            jobs: Vec::new(),
            numbers: HashMap::new(),
            workers,
            targets: (0..TARGETS).map(target).collect(),
            look: Script::new(LOOK),
            wrong: mistake.map(|it| (it.script, lua::script(it.script, &[(it.right, it.wrong)]))),
        }
    }

    pub(super) fn named(&self, targets: &Set) -> Vec<TargetName> {
        targets.iter().map(|&number| self.targets[number].clone()).collect()
    }

    fn set(&self, names: &[TargetName]) -> Set {
        names.iter().filter_map(|name| self.targets.iter().position(|other| other == name)).collect()
    }

    pub(super) fn number(&self, job: &str) -> Job {
        *self.numbers.get(job).expect("a job of this test")
    }

    fn placement(&self, model: &Model, job: Job, needs: &Set, delayed: bool) -> Placement {
        Placement {
            job: self.jobs[job],
            environment: production(),
            priority: if model.high[job] { Priority::High } else { Priority::Normal },
            targets: self.named(needs),
            delay: if delayed { Duration::from_secs(3600) } else { Duration::ZERO },
        }
    }

    fn held(&self, model: &Model, job: Job, targets: &Set) -> InHand {
        let Placement { job, environment, priority, targets, .. } =
            self.placement(model, job, targets, false);
        InHand { job, environment, priority, targets }
    }

    /// Runs the mistaken script when there is one for this operation; else the right one is to be called.
    async fn mistaken(&mut self, script: &str, arguments: &[String]) -> Option<redis::Value> {
        let (name, wrong) = self.wrong.as_ref()?;
        if *name != script {
            return None;
        }
        let mut call = wrong.key(&self.prefix);
        for argument in arguments {
            call.arg(argument);
        }
        Some(call.invoke_async(&mut self.redis).await.expect("run the mistaken script"))
    }

    async fn taken(&self, worker: usize, count: usize, moved: &[Vec<u8>]) -> Vec<(Job, Set)> {
        let taken = hands::take(&self.queue, self.workers[worker], &production(), count, TTL, moved)
            .await
            .expect("take");
        let read = |one| match one {
            Taken::Job { job, locked } => (self.number(&job.to_string()), self.set(&locked)),
            Taken::Undecodable(bytes) => panic!("took {bytes:?}"),
        };
        taken.into_iter().map(read).collect()
    }

    /// Does the step; `before` is the model as it was, `after` as it must be now.
    pub async fn apply(&mut self, before: &Model, after: &Model, step: &Step) {
        let queue = self.queue.clone();
        let mut answer = None;
        match step {
            Step::Enqueue { needs, delayed, .. } => {
                let id = JobId::generate();
                self.numbers.insert(id.to_string(), self.jobs.len());
                self.jobs.push(id);
                let placement = self.placement(after, before.joined, needs, *delayed);
                assert_eq!(line::enqueue(&queue, &[placement]).await.expect("enqueue"), 1);
            }
            Step::EnqueueAgain { job } => {
                let placement = self.placement(before, *job, &Set::from([0]), false);
                assert_eq!(line::enqueue(&queue, &[placement]).await.expect("enqueue"), 0);
            }
            Step::Take { worker, count } => answer = Some(self.taken(*worker, *count, &[]).await),
            Step::Pop { worker } => {
                let list = queue.keys().processing(self.workers[*worker]);
                let _: Vec<u8> = redis::cmd("RPOPLPUSH")
                    .arg(queue.keys().queue(&production()))
                    .arg(list)
                    .query_async(&mut self.redis)
                    .await
                    .expect("pop");
            }
            Step::TakeUp { worker } => {
                let held: Vec<JobId> = before.hands[*worker].keys().map(|&job| self.jobs[job]).collect();
                let differ = hands::compare(&queue, self.workers[*worker], &held).await.expect("compare");
                assert_eq!(differ.missing, [], "held and not in the list");
                let mut strays = differ.strays;
                // Newest first in the list; the model has them as they came.
                strays.reverse();
                answer = Some(self.taken(*worker, 0, &strays).await);
            }
            Step::Lock { worker, job, more } => {
                let wanted: Set = before.hands[*worker][job].union(more).copied().collect();
                let (worker, id, named) = (self.workers[*worker], self.jobs[*job], self.named(&wanted));
                let got = hands::lock(&queue, worker, id, &named, TTL).await.expect("lock");
                answer = Some(if got { vec![(*job, wanted)] } else { Vec::new() });
            }
            Step::Park { worker, job } => {
                let in_hand = self.held(before, *job, &before.refused[job]);
                let worker = self.workers[*worker];
                let arguments = [
                    worker.to_string(),
                    in_hand.job.to_string(),
                    "production".to_owned(),
                    in_hand.priority.as_i16().to_string(),
                    names(&in_hand.targets),
                ];
                if self.mistaken("park", &arguments).await.is_none() {
                    hands::park(&queue, worker, &in_hand).await.expect("park");
                }
            }
            Step::Finish { worker, job, fate } => {
                let in_hand = self.held(before, *job, &before.hands[*worker][job]);
                let worker = self.workers[*worker];
                let (fate, word) = match fate {
                    Fate::Gone => (HandFate::Gone, "gone"),
                    Fate::Front => (HandFate::Front, "front"),
                    Fate::After => (HandFate::After(Duration::from_secs(3600)), "3600000"),
                };
                let arguments = [
                    worker.to_string(),
                    in_hand.job.to_string(),
                    word.to_owned(),
                    "production".to_owned(),
                    in_hand.priority.as_i16().to_string(),
                    names(&in_hand.targets),
                ];
                if self.mistaken("finish", &arguments).await.is_none() {
                    hands::finish(&queue, worker, &[(in_hand, fate)]).await.expect("finish");
                }
            }
            Step::Withdraw { job } => {
                let job = self.jobs[*job];
                if self.mistaken("withdraw", &[job.to_string()]).await.is_none() {
                    line::withdraw(&queue, &[job]).await.expect("withdraw");
                }
            }
            Step::Reap { worker, ended, suspects } => self.reap(before, *worker, ended, suspects).await,
            Step::Expire { target } => {
                let key = queue.keys().lock(&self.targets[*target]);
                let _: i64 = redis::cmd("DEL").arg(key).query_async(&mut self.redis).await.expect("DEL");
            }
            Step::Unpark => {
                recovery::unpark(&queue).await.expect("unpark");
            }
            Step::Promote { job } => {
                let _: i64 = redis::cmd("ZADD")
                    .arg(queue.keys().delayed())
                    .arg(1)
                    .arg(self.jobs[*job].to_string())
                    .query_async(&mut self.redis)
                    .await
                    .expect("ZADD");
                assert_eq!(line::promote(&queue, 10).await.expect("promote"), 1);
            }
            Step::Renew { worker } => {
                let holds: Vec<(Job, Set)> = before.hands[*worker].clone().into_iter().collect();
                answer = Some(self.renew(*worker, &holds).await);
            }
            Step::LateRenew { late: (worker, job, held) } => {
                answer = Some(self.renew(*worker, &[(*job, held.clone())]).await);
            }
        }
        if let Some(answer) = answer {
            assert_eq!(answer, after.answer, "the answer to {step:?}");
        }
    }

    /// As the scheduler does: first what the record says it was running, then what else is in its list.
    async fn reap(&self, model: &Model, worker: usize, ended: &[Job], suspects: &[Job]) {
        let (queue, id) = (&self.queue, self.workers[worker]);
        let none = Set::new();
        let salvage: Vec<Salvage> = model.hands[worker]
            .keys()
            .map(|job| {
                let placement = self.placement(model, *job, model.needs.get(job).unwrap_or(&none), false);
                if ended.contains(job) || !model.needs.contains_key(job) {
                    Salvage::Drop(placement)
                } else if suspects.contains(job) {
                    Salvage::Suspect(placement)
                } else {
                    Salvage::Requeue(placement)
                }
            })
            .collect();
        recovery::reap(queue, id, &salvage).await.expect("reap");
        let mut left = recovery::processing(queue, id).await.expect("list");
        left.reverse();
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for element in left {
            let job = self.number(&String::from_utf8_lossy(&element));
            match model.needs.get(&job) {
                Some(needs) => known.push(Salvage::Requeue(self.placement(model, job, needs, false))),
                None => unknown.push(element),
            }
        }
        recovery::reap(queue, id, &known).await.expect("reap");
        recovery::discard(queue, id, &unknown).await.expect("discard");
    }

    /// The locks the worker was told it lost.
    async fn renew(&mut self, worker: usize, holds: &[(Job, Set)]) -> Vec<(Job, Set)> {
        let mut lost = Vec::new();
        for (job, held) in holds {
            let mut without = Set::new();
            for &number in held {
                let pair = (self.jobs[*job], self.targets[number].clone());
                let worker = self.workers[worker];
                let arguments = [
                    worker.to_string(),
                    TTL.as_millis().to_string(),
                    TTL.as_millis().to_string(),
                    pair.0.to_string(),
                    pair.1.to_string(),
                ];
                let kept = match self.mistaken("renew", &arguments).await {
                    Some(answer) => redis::from_redis_value::<Vec<u8>>(answer).expect("an answer") == [1],
                    None => {
                        let lost = hands::renew(&self.queue, worker, TTL, TTL, &[pair]).await.expect("renew");
                        lost.is_empty()
                    }
                };
                if !kept {
                    without.insert(number);
                }
            }
            if !without.is_empty() {
                lost.push((*job, without));
            }
        }
        lost
    }

    /// # Panics
    /// When anything but heartbeats is left.
    pub async fn assert_empty(&mut self) {
        let keys: Vec<String> = redis::cmd("KEYS")
            .arg(format!("{}*", self.prefix))
            .query_async(&mut self.redis)
            .await
            .expect("KEYS");
        let left: Vec<&String> = keys.iter().filter(|key| !key.contains("}:worker:")).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        let mut clear = redis::cmd("DEL");
        keys.iter().for_each(|key| {
            clear.arg(key);
        });
        let _: i64 = clear.query_async(&mut self.redis).await.expect("DEL");
    }
}

pub(super) fn names(targets: &[TargetName]) -> String {
    targets.iter().map(TargetName::as_str).collect::<Vec<_>>().join("\n")
}
