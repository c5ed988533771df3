//! Asks until a release answers. Each time over a new connection, as somebody who just arrives.

use std::time::Duration;

use deploymind_tests::load::{FailureKind, Sighting};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::args::Args;
use crate::connection::{Answer, Connection, Failure, Trouble};
use crate::tally::moment;
use crate::target::Target;

const WITHIN: Duration = Duration::from_secs(60);
/// One that is never answered must not keep the others waiting.
const PATIENCE: Duration = Duration::from_secs(1);

pub async fn watch(target: &Target, version: &str, args: &Args) -> Sighting {
    let start = Instant::now();
    let within = target.lasts.unwrap_or(WITHIN);
    let mut sighting = Sighting::default();
    let mut every = interval(Duration::from_millis(args.every_ms.max(1)));
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while start.elapsed() < within {
        every.tick().await;
        sighting.asked += 1;
        let seen = match timeout(PATIENCE, ask(target)).await {
            Ok(Ok(answer)) if answer.status == 200 => answer.version.unwrap_or_default(),
            _ => "failed".to_owned(),
        };
        if seen == version {
            sighting.at = Some(moment(start));
            break;
        }
        *sighting.others.entry(seen).or_default() += 1;
    }
    sighting
}

async fn ask(target: &Target) -> Result<Answer, Failure> {
    let mut connection = Connection::open(target).await?;
    connection.ask(&target.get(), target).await.map_err(|trouble| match trouble {
        Trouble::Failed(failure) => failure,
        Trouble::ClosedBeforeSent => {
            Failure::new(FailureKind::Cut, "the connection was ended at once".to_owned())
        }
    })
}
