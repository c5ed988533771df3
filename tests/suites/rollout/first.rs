//! A push reaches users; a bad version does not.

use deploymind_tests::delivery::Delivery;

use deploymind_tests::rolling::{Sample, quick};

#[tokio::test(flavor = "multi_thread")]
async fn a_push_reaches_users_and_a_bad_one_does_not() {
    let delivery = Delivery::on_docker().await;
    let sample = Sample::new(&delivery, "shop", quick()).await;
    let (_worker, _scheduler) = delivery.nodes().await;
    let first = sample.deploy("v1", &[]).await;
    assert_eq!(first.status(), "DEPLOYED", "{}", first.text());
    sample.assert_answers("v1").await;
    let second = sample.deploy("v2", &[]).await;
    assert_eq!(second.status(), "DEPLOYED", "{}", second.text());
    sample.assert_answers("v2").await;
    let bad = sample.deploy("v3", &[("EXIT_AT_START", "7")]).await;
    assert_eq!((bad.status(), bad.code()), ("FAILED", "DM-4801"), "{}", bad.text());
    sample.assert_answers("v2").await;
    println!("{}", bad.text());
    println!("{:#?}", delivery.slots());
    delivery.finish().await;
}
