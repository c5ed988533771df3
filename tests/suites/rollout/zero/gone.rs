//! The engine goes away in the middle of a roll-out, and comes back: it goes on where it was, and users notice nothing.

use std::time::{Duration, Instant};

use deploymind_shared::domain::rollout::StrategyKind;
use deploymind_tests::delivery::Delivery;
use deploymind_tests::load::Load;
use deploymind_tests::proxy::{FaultProxy, Mode};
use deploymind_tests::rolling::{by, reached};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::common::{SOON, Sample};

const SOCKET: &str = "/var/run/docker.sock";
/// Longer than the driver waits between two tries.
const GONE: Duration = Duration::from_secs(4);

/// The machine's engine over TCP, for as long as it is held; its address.
async fn over_tcp(tasks: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tasks.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.spawn(forward(stream));
        }
    });
    address.to_string()
}

async fn forward(mut stream: TcpStream) {
    if let Ok(mut engine) = UnixStream::connect(SOCKET).await {
        // A connection that was cut is what the test is about.
        drop(copy_bidirectional(&mut stream, &mut engine).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_goes_away_in_the_middle_is_waited_for() {
    let mut tasks = JoinSet::new();
    let proxy = FaultProxy::start(&over_tcp(&mut tasks).await).await;
    let delivery = Delivery::on_docker().await;
    let mut settings = by(StrategyKind::BlueGreen);
    settings.run.health.start_period_s = 30;
    settings.rollout.observe_s = 3;
    let sample = Sample::new(&delivery, "shop", settings).await;
    let engine = format!("tcp://127.0.0.1:{}", proxy.port());
    let _worker = delivery.worker().set("DEPLOYMIND_DOCKER_HOST", &engine).ready().await;
    let _scheduler = delivery.rig.scheduler().ready().await;
    sample.deploy_well("v0", &[]).await;
    let load = Load::of(&sample.url()).rate(50.0).timeout(Duration::from_secs(10)).start().await;
    let points = [
        ("while it starts the new release", "starting the new release"),
        ("while it moves users", "the new release is healthy"),
        ("while it watches", "100 % of the requests go to the new release"),
    ];
    for (number, (when, line)) in points.into_iter().enumerate() {
        let version = format!("v{}", number + 1);
        let created = sample.push(&version, &[]).await;
        reached(&delivery, &created, line).await;
        proxy.set(Mode::Cut).await;
        let cut = Instant::now();
        tokio::time::sleep(GONE).await;
        let meanwhile = delivery.get(created.deployment).await.status;
        proxy.set(Mode::Pass).await;
        let ended = delivery.ended(&created, SOON).await;
        println!(
            "engine gone {when}: {meanwhile}, then {} {:.1} s after the cut",
            ended.status(),
            cut.elapsed().as_secs_f64()
        );
        assert!(!meanwhile.is_terminal(), "{when}: it did not need the engine any more: {}", ended.text());
        assert_eq!(ended.status(), "DEPLOYED", "{when}: {:?}\n{}", ended.deployment.reason, ended.text());
        sample.assert_answers(&version).await;
    }
    let report = load.finish().await;
    println!("{} requests meanwhile, {} failed", report.requests, report.failures);
    report.assert_nothing_lost();
    delivery.finish().await;
}
