//! Two apps on one host: a change for one reloads the edge of both.

use deploymind_shared::domain::rollout::StrategyKind;
use deploymind_tests::delivery::Delivery;
use deploymind_tests::rolling::{Row, Sample, by, users};

#[tokio::test(flavor = "multi_thread")]
async fn neither_of_two_apps_loses_anything_while_the_other_deploys() {
    let delivery = Delivery::on_docker().await;
    let strategy = StrategyKind::Rolling;
    let shop = Sample::new(&delivery, "shop", by(strategy)).await;
    let cart = Sample::new(&delivery, "cart", by(strategy)).await;
    let (_worker, _scheduler) = delivery.nodes().await;
    shop.deploy_well("shop-1", &[]).await;
    cart.deploy_well("cart-1", &[]).await;
    // The shop stays as it is, then the cart does.
    let mut told = Vec::new();
    for (moves, stays) in [(&cart, &shop), (&shop, &cart)] {
        let at_rest = users(&stays.url()).start().await;
        let prefix = if std::ptr::eq(moves, &cart) { "cart-new-" } else { "shop-new-" };
        let row = Row { strategy, deployments: 1, broken: &[], prefix };
        let (_, moved) = row.prove(moves).await;
        let rested = at_rest.finish().await;
        rested.assert_nothing_lost();
        assert_eq!(rested.versions.len(), 1, "one version served all the time: {rested:#?}");
        assert_eq!(
            rested.ws_reopened, 0,
            "the other app's deployment leaves its WebSocket alone: {rested:#?}"
        );
        told.push((moved.requests, rested.requests));
    }
    println!("requests of the app that deployed and of its neighbour, none lost: {told:?}");
    delivery.finish().await;
}
