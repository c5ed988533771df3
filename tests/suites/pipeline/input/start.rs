//! A worker that cannot do its work says so before it takes any.

use std::time::Duration;

use deploymind_shared::secret::{KeyId, Keyring};
use deploymind_tests::process::Proc;
use deploymind_tests::rig::{NodeBuilder, Rig};

const SOON: Duration = Duration::from_secs(30);

async fn ends(rig: &Rig, set: &[(&str, &str)]) -> (Option<i32>, Proc) {
    let mut node =
        NodeBuilder::shipped("worker", &rig.stores, &rig.name).set("DEPLOYMIND_ENVIRONMENTS", "production");
    for (key, value) in set {
        node = node.set(key, value);
    }
    let mut process = node.spawn().process;
    let code = process.wait_exit(SOON).await.code();
    (code, process)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_work_says_so_at_its_start() {
    let rig = Rig::start().await;
    let good = Keyring::generate_line(&KeyId::parse("main").expect("a key id"));
    let work = tempfile::tempdir().expect("a temporary directory");
    let work = work.path().display().to_string();

    // Root may write everywhere but below a file.
    let (code, process) =
        ends(&rig, &[("DEPLOYMIND_KEYS", &good), ("DEPLOYMIND_WORK_DIR", "/etc/hostname/work")]).await;
    let said = process.stderr();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("DM-4703") && said.contains("/etc/hostname/work"), "{said}");
    assert!(said.contains("DEPLOYMIND_WORK_DIR"), "{said}");

    for (keys, telling) in [
        ("main:bm90LTMyLWJ5dGVzLW9mLWtleQ==", "bm90LTMyLWJ5dGVz"),
        ("main:not*base64*but*secret*all*the*same", "but*secret"),
        ("no-colon-and-no-key-but-a-secret", "and-no-key"),
        ("MAIN:bm90LTMyLWJ5dGVzLW9mLWtleQ==", "bm90LTMyLWJ5dGVz"),
        (&format!("{},{}", good.as_str(), good.as_str()), good.split_once(':').expect("id and key").1),
    ] {
        let (code, process) = ends(&rig, &[("DEPLOYMIND_KEYS", keys), ("DEPLOYMIND_WORK_DIR", &work)]).await;
        let said = process.log();
        assert_eq!(code, Some(64), "{said}");
        assert!(said.contains("DM-4602") && said.contains("deploymind keys generate"), "{said}");
        assert!(!said.contains(telling), "a key is shown: {said}");
    }
    let (code, process) = ends(&rig, &[("DEPLOYMIND_KEYS", ""), ("DEPLOYMIND_WORK_DIR", &work)]).await;
    assert_eq!(code, Some(64), "{}", process.stderr());
    assert!(process.stderr().contains("DEPLOYMIND_KEYS"), "{}", process.stderr());
    rig.finish().await;
}
