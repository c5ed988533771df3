//! The edge and the slots die themselves.

use std::process::Command;

use deploymind_shared::domain::rollout::StrategyKind;
use deploymind_tests::delivery::{Delivery, docker};
use deploymind_tests::wait_for;

use super::bench::{
    answers, assert_settled, base, comes_to, containers, edge_name, hasty, scheduler, shown, standing, worker,
};
use crate::common::{SOON, Sample};

const ROUNDS: usize = 3;

async fn answers_only(sample: &Sample<'_>, version: &str) {
    wait_for("users to be answered again", SOON, async || {
        let seen = answers(sample).await;
        if seen.len() == 1 && seen.contains_key(version) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
}

fn kill_edge(delivery: &Delivery) -> bool {
    let killed = Command::new("docker").args(["kill", "--signal", "KILL", &edge_name(delivery)]).output();
    killed.expect("the docker client is installed").status.success()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_a_change_of_routes() {
    let delivery = Delivery::on_docker().await;
    let sample = Sample::new(&delivery, "shop", hasty(StrategyKind::Rolling)).await;
    let _scheduler = scheduler(&delivery).ready().await;
    base(&sample).await;
    let _worker = worker(&delivery).ready().await;
    let mut kills = 0;
    for round in 1..=ROUNDS {
        let version = format!("v{round}");
        let created = sample.push(&version, &[]).await;
        comes_to(&delivery, &created, "route").await;
        // A little later in each round: before the call, while it writes, while nginx loads.
        let later = std::time::Duration::from_millis(200 * (round as u64 - 1));
        tokio::time::sleep(later).await;
        kills += usize::from(kill_edge(&delivery));
        let ended = delivery.ended(&created, SOON).await;
        assert_eq!(ended.status(), "DEPLOYED", "{}", shown(&ended));
        assert_settled(&version, &sample, &version, created.deployment).await;
    }
    assert_eq!(kills, ROUNDS);
    println!("{kills} kills of the edge around a change of routes, each version arrived");

    let before = standing(&sample).expect("the edge answers");
    docker(&["restart", "--time", "0", &edge_name(&delivery)]);
    answers_only(&sample, &format!("v{ROUNDS}")).await;
    assert_eq!(standing(&sample).expect("the edge answers"), before);

    // Nobody else is there to see to it: the engine brings it back, and the edge finds it where it was.
    let address = |name: &str| {
        docker(&["inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name])
    };
    let serving = containers(&sample).into_iter().find(|one| one.running).expect("one serves").name;
    let was = address(&serving);
    let pid = docker(&["inspect", "--format", "{{.State.Pid}}", &serving]);
    let killed = Command::new("kill").args(["-9", pid.trim()]).status().expect("kill");
    assert!(killed.success());
    answers_only(&sample, &format!("v{ROUNDS}")).await;
    let restarts = docker(&["inspect", "--format", "{{.RestartCount}}", &serving]);
    assert_eq!(restarts.trim(), "1");
    assert_eq!(address(&serving), was);
    delivery.finish().await;
}
