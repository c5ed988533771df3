//! From an accepted deployment to its release, against fetch and build by hand: same server, same engine, same Dockerfile.
//!
//! Cold: the commit's expensive layer is in no cache. Warm: one source file is new. Both sides get commits of their own, so
//! that neither finds what the other has built.

use deploymind_tests::delivery::docker;
use deploymind_tests::git::{GitServer, Repository};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::ours::{Ours, Run, trivy};
use crate::{by_hand, figure, median, round, sample};

const COLD: usize = 3;
const WARM: usize = 7;
/// Of the floor, and on top of it.
const TARGET_SHARE: f64 = 0.05;
const TARGET_S: f64 = 0.5;

struct Rounds {
    ours: Vec<Run>,
    by_hand: Vec<f64>,
}

struct Bench {
    git: GitServer,
    repository: Repository,
    ours: Ours,
    /// Of what is built by hand.
    name: String,
}

pub async fn measure() {
    let git = GitServer::start().await;
    let repository = git.repository("shop");
    let ours = Ours::start(&git.url("shop")).await;
    let name = format!("bench-by-hand-{}", Uuid::new_v4().simple());
    let bench = Bench { git, repository, ours, name };

    // The worker is up, the base image is read, the server has answered.
    let first = unique();
    bench.rounds(1, &|| (first.clone(), unique())).await;

    let cold = bench.rounds(COLD, &|| (unique(), unique())).await;
    show("cold", &cold);
    let warm = bench.rounds(WARM, &|| (first.clone(), unique())).await;
    show("warm", &warm);
    let parts =
        json!({ "name": "commit_to_image_steps_ms", "cold": steps(&cold.ours), "warm": steps(&warm.ours) });
    println!("{parts}");

    if trivy().is_some() {
        bench.ours.scans("warn").await;
        let mut runs = Vec::new();
        for _ in 0..3 {
            runs.push(bench.ours.commit_to_image(&bench.commit(&first, &unique())).await);
        }
        let more = json!({ "steps_ms": steps(&runs) });
        let seconds = median(runs.iter().map(|run| run.seconds));
        figure("commit_to_image_warm_scanned_s", seconds, "s", None, &more);
    }

    bench.clean();
}

impl Bench {
    /// Both in turn, each first as often as second. `tree` gives the seed and the change of a commit.
    async fn rounds(&self, count: usize, tree: &dyn Fn() -> (String, String)) -> Rounds {
        let mut rounds = Rounds { ours: Vec::new(), by_hand: Vec::new() };
        for number in 0..count * 2 {
            let (seed, change) = tree();
            let commit = self.commit(&seed, &change);
            if (number / 2 + number) % 2 == 0 {
                let run = self.ours.commit_to_image(&commit).await;
                eprintln!("  ours {:.2} s", run.seconds);
                rounds.ours.push(run);
            } else {
                let seconds = self.by_hand(commit).await;
                eprintln!("  by hand {seconds:.2} s");
                rounds.by_hand.push(seconds);
            }
        }
        rounds
    }

    fn commit(&self, seed: &str, change: &str) -> String {
        self.repository.commit("main", "change", &sample::tree(seed, change))
    }

    async fn by_hand(&self, commit: String) -> f64 {
        let (url, tag) = (self.git.url("shop"), format!("{}:{commit}", self.name));
        let work = move || by_hand::commit_to_image(&url, &commit, &tag);
        tokio::task::spawn_blocking(work).await.expect("no panic")
    }

    fn clean(&self) {
        self.ours.clean();
        for image in docker(&["image", "ls", "--quiet", &self.name]).lines() {
            docker(&["image", "rm", "--force", image]);
        }
    }
}

fn unique() -> String {
    Uuid::new_v4().to_string()
}

fn show(name: &str, rounds: &Rounds) {
    let (value, floor) =
        (median(rounds.ours.iter().map(|run| run.seconds)), median(rounds.by_hand.iter().copied()));
    let target = floor * (1.0 + TARGET_SHARE) + TARGET_S;
    let all = |samples: &mut dyn Iterator<Item = f64>| samples.map(round).collect::<Vec<_>>();
    let more = json!({
        "overhead_s": round(value - floor),
        "target": round(target),
        "met": value <= target,
        "builder": rounds.ours.first().map(|run| run.builder.as_str()),
        "rounds": all(&mut rounds.ours.iter().map(|run| run.seconds)),
        "floor_rounds": all(&mut rounds.by_hand.iter().copied()),
    });
    figure(&format!("commit_to_image_{name}_s"), value, "s", Some(floor), &more);
}

/// The median of each part.
fn steps(runs: &[Run]) -> Value {
    let mut shown = Map::new();
    for (name, _) in runs.first().map(|run| run.parts.as_slice()).unwrap_or_default() {
        let of = |run: &Run| run.parts.iter().find(|(part, _)| part == name).map(|(_, ms)| *ms);
        shown.insert(name.clone(), json!(round(median(runs.iter().filter_map(of)))));
    }
    Value::Object(shown)
}
