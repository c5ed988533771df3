//! The way back by a person's wish: image, variables and routes, and how soon users see it.

use std::time::Duration;

use deploymind_shared::db::deployments::Created;
use deploymind_shared::db::rollouts::serving_list;
use deploymind_shared::domain::app::VariableScope;
use deploymind_shared::domain::rollout::Warm;
use deploymind_shared::error::Error;
use deploymind_shared::ids::{AppId, ReleaseId};
use deploymind_tests::delivery::{Delivery, Ended, docker};
use deploymind_tests::free_port;
use deploymind_tests::load::Lookout;

use super::follow::{assert_deployed, copies, inspected, running, unix_us, users};
use super::visitor::visit;
use crate::common::{SOON, Sample, quick};

async fn back(delivery: &Delivery, app: AppId, to: Option<ReleaseId>) -> Result<Created, Error> {
    delivery.rig.fleet.rollback(app, to, Some(delivery.owner)).await
}

async fn gone_back(delivery: &Delivery, app: AppId, to: Option<ReleaseId>) -> Ended {
    let created = back(delivery, app, to).await.expect("a way back");
    let ended = delivery.ended(&created, SOON).await;
    assert_deployed(&ended);
    ended
}

fn refusal(answer: Result<Created, Error>) -> String {
    answer.expect_err("a refusal").code().as_str().to_owned()
}

fn release(ended: &Ended) -> ReleaseId {
    ended.deployment.release.expect("a release")
}

#[tokio::test(flavor = "multi_thread")]
async fn image_variables_and_routes_come_back() {
    let delivery = Delivery::on_docker().await;
    let mut settings = quick();
    settings.rollout.verify_s = 0;
    let sample = Sample::new(&delivery, "back", settings.clone()).await;
    let other = Sample::new(&delivery, "other", settings.clone()).await;
    let _nodes = delivery.nodes().await;
    let color = |container: &str| {
        let env = inspected(container, "{{range .Config.Env}}{{println .}}{{end}}");
        env.lines().find(|line| line.starts_with("COLOR=")).unwrap_or("none").to_owned()
    };
    assert_eq!(refusal(back(&delivery, sample.app, None).await), "DM-4811", "nothing was ever deployed");
    delivery.variable(sample.app, "COLOR", "blue", VariableScope::Run).await;
    let v1 = sample.deploy("v1", &[]).await;
    assert_deployed(&v1);
    assert_eq!(refusal(back(&delivery, sample.app, None).await), "DM-4811", "there is no earlier one");
    assert_eq!(refusal(back(&delivery, sample.app, v1.deployment.release).await), "DM-4811", "it serves");
    let first = running(sample.app);

    delivery.variable(sample.app, "COLOR", "red", VariableScope::Run).await;
    let port = free_port();
    settings.run.routes.port = Some(port);
    delivery.settings(sample.app, &settings).await;
    let v2 = sample.deploy("v2", &[]).await;
    assert_deployed(&v2);
    assert_eq!(color(&running(sample.app).id), "COLOR=red");
    assert_eq!(visit(port, "/", &[]).await.expect("the new port").version, "v2");
    visit(sample.port, "/", &[]).await.expect_err("the old port is closed");

    let ended = gone_back(&delivery, sample.app, None).await;
    assert_eq!(ended.deployment.release, v1.deployment.release);
    sample.assert_answers("v1").await;
    assert_eq!(visit(sample.port, "/", &[]).await.expect("the old port").version, "v1");
    visit(port, "/", &[]).await.expect_err("the new port is closed");
    assert_eq!(running(sample.app).id, first.id, "the slot that was kept");
    assert_eq!(color(&first.id), "COLOR=blue");

    // What somebody has taken away is made again from its image.
    let second = copies(sample.app).into_iter().find(|copy| !copy.running).expect("the one before is kept");
    docker(&["rm", "--force", &second.id]);
    gone_back(&delivery, sample.app, Some(release(&v2))).await;
    let again = running(sample.app);
    assert!(again.id != second.id && color(&again.id) == "COLOR=red", "{again:?}");
    assert_eq!(visit(port, "/", &[]).await.expect("the new port").version, "v2");

    let theirs = other.deploy("w1", &[]).await;
    assert_deployed(&theirs);
    assert_eq!(refusal(back(&delivery, sample.app, theirs.deployment.release).await), "DM-4817");
    assert_eq!(refusal(back(&delivery, sample.app, Some(ReleaseId::generate())).await), "DM-4817");
    delivery.finish().await;
}

/// The figures of record are the benchmark's; here they are printed, and bounded far above what they are on a busy machine.
#[tokio::test(flavor = "multi_thread")]
async fn users_meet_an_earlier_release_at_once() {
    let delivery = Delivery::on_docker().await;
    let mut settings = quick();
    settings.rollout.verify_s = 0;
    let sample = Sample::new(&delivery, "soon", settings.clone()).await;
    settings.run.routes.port = Some(sample.port);
    let _nodes = delivery.nodes().await;
    let mut releases = Vec::new();
    for version in ["v1", "v2", "v3"] {
        let ended = sample.deploy(version, &[]).await;
        assert_deployed(&ended);
        releases.push((version, release(&ended)));
    }
    let load = users(&sample.url()).start().await;
    for warm in [Warm::Stopped, Warm::Running] {
        settings.rollout.warm = warm;
        delivery.settings(sample.app, &settings).await;
        let mut times = Vec::new();
        // To an older one as well as to the one before.
        for (version, release) in [releases[0], releases[2], releases[1], releases[2], releases[1]] {
            let lookout = Lookout::start(
                &sample.url(),
                None,
                version,
                Duration::from_millis(2),
                Duration::from_secs(30),
            );
            let asked = unix_us();
            let created = back(&delivery, sample.app, Some(release)).await.expect("a way back");
            let seen = lookout.sighting().await.at.expect("it was seen");
            times.push(Duration::from_micros(seen.unix_us.saturating_sub(asked)));
            assert_deployed(&delivery.ended(&created, SOON).await);
        }
        println!("from the request to the first answer of the earlier release, warm {warm}: {times:?}");
        times.sort();
        println!("  median {:?}, largest {:?}", times[times.len() / 2], times[times.len() - 1]);
        assert!(times[times.len() / 2] < Duration::from_secs(8), "{times:?}");
    }
    load.finish().await.assert_nothing_lost();
    let serving = serving_list(&delivery.rig.fleet.db, sample.app).await.expect("read serving");
    assert_eq!(serving[0].release, releases[1].1);
    delivery.finish().await;
}
