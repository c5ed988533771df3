//! What must hold of everything in Redis after each step: as the model has it, and whatever the model thinks.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::reference::{Job, Model, Owner, Set};
use super::system::{System, names};

/// Everything a fleet has in Redis, in one look.
pub(super) const LOOK: &str = "
    local P, answer = KEYS[1], {}
    local function list(key) return redis.call('LRANGE', P .. key, 0, -1) end
    answer[1], answer[2] = list('queue:production'), list('queue:production:high')
    local processing, parked, locks, i = {}, {}, {}, 1
    for worker in string.gmatch(ARGV[1], '%S+') do processing[#processing + 1] = list('processing:' .. worker) end
    for target in string.gmatch(ARGV[2], '%S+') do
        parked[i], locks[i] = list('parked:' .. target), redis.call('GET', P .. 'lock:instance:' .. target)
        i = i + 1
    end
    answer[3], answer[4], answer[5] = processing, parked, locks
    answer[6], answer[7] = redis.call('HGETALL', P .. 'place'), redis.call('HGETALL', P .. 'needs')
    answer[8], answer[9] = redis.call('ZRANGE', P .. 'delayed', 0, -1), redis.call('SMEMBERS', P .. 'parked')
    answer[10], answer[11] = redis.call('HGETALL', P .. 'bounces'), redis.call('GET', P .. 'reserver')
    answer[12] = redis.call('SMEMBERS', P .. 'suspects')
    return answer";

type Seen = (
    Vec<String>,
    Vec<String>,
    Vec<Vec<String>>,
    Vec<Vec<String>>,
    Vec<Option<String>>,
    HashMap<String, String>,
    HashMap<String, String>,
    Vec<String>,
    BTreeSet<String>,
    HashMap<String, u32>,
    Option<String>,
    BTreeSet<String>,
);

impl System {
    async fn seen(&self) -> Seen {
        let workers: Vec<String> = self.workers.iter().map(ToString::to_string).collect();
        let mut call = self.look.key(&self.prefix);
        call.arg(workers.join(" ")).arg(names(&self.targets).replace('\n', " "));
        call.invoke_async(&mut self.redis.clone()).await.expect("look")
    }

    /// First what must hold whatever the model thinks, then the model word by word.
    pub async fn check(&self, model: &Model) {
        let seen = self.seen().await;
        self.check_lists(model, &seen);
        self.check_locks(&seen);
        self.compare(model, &seen);
    }

    fn numbers(&self, list: &[String]) -> Vec<Job> {
        list.iter().map(|job| self.number(job)).collect()
    }

    /// No free target has a job behind it, and each job is in one list, the one its place names.
    fn check_lists(&self, model: &Model, seen: &Seen) {
        for (number, list) in seen.3.iter().enumerate() {
            let free = seen.4[number].is_none() && !model.expired.contains(&number);
            assert!(list.is_empty() || !free, "target {number} is free and {} jobs wait for it", list.len());
            assert_eq!(!list.is_empty(), seen.8.contains(self.targets[number].as_str()), "set of {number}");
        }
        // What a pop has moved and its worker has not seen yet; until then the high list may have to wait too.
        let strays: Vec<Job> = model.strays.iter().flatten().copied().collect();
        if seen.0.is_empty() && strays.is_empty() {
            assert!(
                seen.1.is_empty(),
                "high jobs where no blocked worker looks: {:?}",
                self.numbers(&seen.1)
            );
        }
        let mut places: BTreeMap<Job, String> = BTreeMap::new();
        let mut put = |list: &[String], place: &str| {
            for job in self.numbers(list) {
                let place = if strays.contains(&job) { "queued -" } else { place };
                let other = places.insert(job, place.to_owned());
                assert!(other.is_none(), "job {job} is {place} and {other:?}");
            }
        };
        put(&seen.0, "queued -");
        put(&seen.1, "queued -");
        put(&seen.7, "delayed -");
        for (number, list) in seen.2.iter().enumerate() {
            put(list, &format!("processing {}", self.workers[number]));
        }
        for (number, list) in seen.3.iter().enumerate() {
            put(list, &format!("parked {}", self.targets[number]));
        }
        // What was withdrawn after a pop moved it has no place any more; its worker will drop it.
        places.retain(|job, place| {
            let moved = strays.contains(job) || place.starts_with("processing");
            seen.5.contains_key(&self.jobs[*job].to_string()) || !moved
        });
        let said = seen.5.iter().map(|(job, text)| {
            let words: Vec<&str> = text.splitn(5, ' ').collect();
            (self.number(job), format!("{} {}", words[0], words[4]))
        });
        assert_eq!(said.collect::<BTreeMap<_, _>>(), places, "what the places say, and where the jobs are");
    }

    /// Every lock is a known job's, and whoever holds it is where such a holder has to be.
    fn check_locks(&self, seen: &Seen) {
        for (number, value) in seen.4.iter().enumerate() {
            let Some((job, owner)) = value.as_deref().and_then(|value| value.split_once(':')) else {
                continue;
            };
            let number_of_job = self.number(job);
            let place = seen.5.get(job);
            let place =
                place.unwrap_or_else(|| panic!("target {number} is held by {number_of_job}, which is gone"));
            let right = match owner {
                "granted" => place.starts_with("queued"),
                "reserved" => place.starts_with("parked") && seen.10.as_deref() == Some(job),
                worker => place.starts_with("processing") && place.ends_with(worker),
            };
            assert!(right, "target {number} is held by job {number_of_job} as {owner}, which is {place}");
        }
    }

    fn compare(&self, model: &Model, seen: &Seen) {
        let (mut queue, mut high) = (self.numbers(&seen.0), self.numbers(&seen.1));
        queue.reverse();
        high.reverse();
        if queue.first().is_some_and(|&first| model.high[first]) {
            high.insert(0, queue.remove(0));
        }
        assert_eq!([queue, high], model.line.clone().map(Vec::from), "the two lines");
        for (worker, list) in seen.2.iter().enumerate() {
            let mut expected: Vec<Job> =
                model.hands[worker].keys().chain(&model.strays[worker]).copied().collect();
            let mut list = self.numbers(list);
            expected.sort_unstable();
            list.sort_unstable();
            assert_eq!(list, expected, "the list of worker {worker}");
        }
        for (number, list) in seen.3.iter().enumerate() {
            let mut line = self.numbers(list);
            line.reverse();
            assert_eq!(line, Vec::from(model.parked[number].clone()), "behind target {number}");
        }
        for (number, value) in seen.4.iter().enumerate() {
            let expected = model.locks[number].map(|(job, owner)| {
                let owner = match owner {
                    Owner::Worker(worker) => self.workers[worker].to_string(),
                    Owner::Granted => "granted".to_owned(),
                    Owner::Reserved => "reserved".to_owned(),
                };
                format!("{}:{owner}", self.jobs[job])
            });
            assert_eq!(*value, expected, "the lock of target {number}");
            let believes = |(job, held): &(&Job, &Set)| {
                held.contains(&number) && !model.doubt.contains(&(**job, number))
            };
            let believers = model.hands.iter().flatten().filter(believes).count();
            assert!(believers <= 1, "{believers} jobs believe that they hold target {number}");
        }
        let delayed: BTreeSet<Job> = self.numbers(&seen.7).into_iter().collect();
        assert_eq!(delayed, model.delayed, "delayed");
        let known: BTreeSet<Job> = seen.5.keys().map(|job| self.number(job)).collect();
        assert_eq!(known, model.needs.keys().copied().collect(), "known");
        let needs: BTreeMap<Job, String> =
            seen.6.iter().map(|(job, text)| (self.number(job), text.clone())).collect();
        let expected = model.needs.iter().filter(|(_, needs)| !needs.is_empty());
        assert_eq!(needs, expected.map(|(job, needs)| (*job, names(&self.named(needs)))).collect(), "needs");
        let suspects: BTreeSet<Job> = seen.11.iter().map(|job| self.number(job)).collect();
        assert_eq!(suspects, model.suspects, "suspects");
        for (worker, hands) in model.hands.iter().enumerate() {
            let count = hands.keys().filter(|job| model.suspects.contains(job)).count();
            assert!(count <= 1, "worker {worker} has {count} suspects in hand");
        }
        let bounces: BTreeMap<Job, u32> =
            seen.9.iter().map(|(job, count)| (self.number(job), *count)).collect();
        assert_eq!(bounces, model.bounces, "bounces");
        assert_eq!(seen.10.as_deref().map(|job| self.number(job)), model.reserver, "reserver");
    }
}
