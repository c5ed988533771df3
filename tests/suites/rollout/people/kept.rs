//! What stays on a host after many deployments, and what was there before is as it was.

use deploymind_shared::domain::rollout::Warm;
use deploymind_tests::delivery::{Delivery, docker};
use deploymind_tests::sample::image;

use super::follow::{assert_deployed, copies, inspected, running};
use crate::common::{SOON, Sample, quick};

/// Somebody else's on the same engine; gone when dropped.
struct Foreign {
    name: String,
    image: String,
    before: Vec<String>,
}

impl Foreign {
    fn new(name: &str) -> Self {
        let image = format!("{name}:theirs");
        docker(&["tag", &image_of_theirs(), &image]);
        docker(&["network", "create", "--subnet", "10.255.77.0/28", name]);
        docker(&["volume", "create", name]);
        let volume = format!("{name}:/data");
        docker(&["run", "--detach", "--name", name, "--network", name, "--volume", &volume, &image]);
        let mut this = Self { name: name.to_owned(), image, before: Vec::new() };
        this.before = this.now();
        this
    }

    fn now(&self) -> Vec<String> {
        let Self { name, image, .. } = self;
        vec![
            inspected(
                name,
                "{{.Id}} {{.Image}} {{json .State}} {{json .HostConfig}} {{json .NetworkSettings}}",
            ),
            docker(&["image", "inspect", "--format", "{{.Id}} {{json .RepoTags}} {{.Size}}", image]),
            docker(&["network", "inspect", "--format", "{{.Id}} {{json .IPAM}} {{json .Containers}}", name]),
            docker(&["volume", "inspect", name]),
        ]
    }
}

fn image_of_theirs() -> String {
    image("theirs", &[("VERSION", "theirs")])
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let Self { name, image, .. } = self;
        for args in [
            &["rm", "--force", name.as_str()][..],
            &["network", "rm", name],
            &["volume", "rm", name],
            &["image", "rm", image],
        ] {
            // Also when the test failed half way.
            let _gone = std::process::Command::new("docker").args(args).output();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_are_kept_as_is_said_and_what_is_not_ours_is_as_it_was() {
    let delivery = Delivery::on_docker().await;
    let foreign = Foreign::new(&format!("foreign-{}", delivery.http_port()));
    let mut settings = quick();
    settings.rollout.verify_s = 0;
    settings.rollout.keep = 2;
    let sample = Sample::new(&delivery, "many", settings.clone()).await;
    settings.run.routes.port = Some(sample.port);
    let _nodes = delivery.nodes().await;
    let mut slots = Vec::new();
    for version in ["v1", "v2", "v3", "v4", "v5"] {
        assert_deployed(&sample.deploy(version, &[]).await);
        slots.push(running(sample.app).name);
    }
    let left: Vec<(String, bool)> =
        copies(sample.app).into_iter().map(|copy| (copy.name, copy.running)).collect();
    let expected: Vec<(String, bool)> =
        slots[2..].iter().map(|slot| (slot.clone(), *slot == slots[4])).collect();
    println!("after 5 deployments with keep = 2: {left:?}");
    assert_eq!(left, expected, "of {slots:?}");

    settings.rollout.warm = Warm::Running;
    delivery.settings(sample.app, &settings).await;
    assert_deployed(&sample.deploy("v6", &[]).await);
    let left: Vec<(String, bool)> =
        copies(sample.app).into_iter().map(|copy| (copy.name, copy.running)).collect();
    println!("and one more, kept running: {left:?}");
    assert_eq!(left[..2], [(slots[3].clone(), false), (slots[4].clone(), true)]);
    assert!(left[2].1 && left.len() == 3, "{left:?}");
    sample.assert_answers("v6").await;

    // A way back, one that fails, and a collection.
    let fleet = &delivery.rig.fleet;
    let created = fleet.rollback(sample.app, None, Some(delivery.owner)).await.expect("a way back");
    assert_deployed(&delivery.ended(&created, SOON).await);
    sample.assert_answers("v5").await;
    let job = fleet.collect(&delivery.targets[0], false).await.expect("collect");
    delivery.rig.wait_ended(&[job], SOON).await;
    assert_eq!(delivery.rig.state(job).await, "succeeded");
    assert_eq!(foreign.now(), foreign.before);
    drop(foreign);
    delivery.finish().await;
}
