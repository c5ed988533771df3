//! Data of an app over its releases.

use deploymind_shared::domain::app::AppSettings;
use deploymind_shared::domain::slot::Volume;
use deploymind_tests::delivery::{Delivery, Ended, docker};

use super::follow::{assert_deployed, inspected, running, users};
use crate::common::{Sample, quick};

fn with_volume(exclusive: bool) -> AppSettings {
    let mut settings = quick();
    settings.rollout.verify_s = 0;
    let (source, path) = ("data".to_owned(), "/data".to_owned());
    settings.run.volumes = vec![Volume { source, path, read_only: false, exclusive }];
    settings
}

/// Whether the first copy had ended when the second began to run.
fn apart(first: &str, second: &str) -> bool {
    let ended = inspected(first, "{{.State.FinishedAt}}");
    let began = inspected(second, "{{.State.StartedAt}}");
    println!("the old one ended at {ended}, the new one began at {began}");
    assert!(ended.as_str() > "0002", "it has ended");
    ended < began
}

/// The number of the first line with these words.
fn line(ended: &Ended, words: &str) -> usize {
    let place = ended.log.iter().position(|line| line.line.contains(words));
    place.unwrap_or_else(|| panic!("nothing says `{words}`:\n{}", ended.text()))
}

async fn kept_data(exclusive: bool, name: &str) {
    let delivery = Delivery::on_docker().await;
    let sample = Sample::new(&delivery, name, with_volume(exclusive)).await;
    let _nodes = delivery.nodes().await;
    assert_deployed(&sample.deploy("v1", &[]).await);
    let first = running(sample.app);
    docker(&["exec", "--user", "0", &first.id, "sh", "-c", "echo precious > /data/file"]);
    let load = users(&sample.url()).start().await;
    let ended = sample.deploy("v2", &[("START_MS", "500")]).await;
    assert_deployed(&ended);
    let seen = load.finish().await;
    let second = running(sample.app);
    assert_eq!(docker(&["exec", &second.id, "cat", "/data/file"]), "precious\n");
    println!("exclusive {exclusive}: {} of {} requests failed", seen.failures, seen.requests);
    assert_eq!(apart(&first.id, &second.id), exclusive);
    assert_eq!(seen.failures > 0, exclusive, "{seen:#?}");
    if exclusive {
        assert!(line(&ended, "downtime: ") < line(&ended, "building the image"), "{}", ended.text());
        // A bad one: the old one comes back with the data.
        let bad = sample.deploy("v3", &[("EXIT_AT_START", "1")]).await;
        assert_eq!((bad.status(), bad.code()), ("FAILED", "DM-4801"), "{}", bad.text());
        sample.assert_answers("v2").await;
        assert_eq!(running(sample.app).id, second.id);
    }
    delivery.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_keeps_its_data() {
    kept_data(false, "shared-data").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exclusive_volume_is_never_had_twice() {
    kept_data(true, "own-data").await;
}
