//! One slow request after another, so that there is always one under way when something is switched.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::connection::timed_out;
use crate::pool::Pool;
use crate::tally::Tally;
use crate::target::Target;

/// After a failure, so that a server that refuses all is not asked without end.
const PAUSE: Duration = Duration::from_millis(100);

pub async fn run(target: Arc<Target>, tally: Arc<Tally>, stop: CancellationToken) {
    let pool = Pool::new();
    let limit = target.slow + target.timeout;
    while !stop.is_cancelled() {
        let ask = target.slow();
        let outcome = match timeout(limit, pool.ask(&ask, &target, &tally)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(timed_out(limit)),
        };
        let is_good = outcome.as_ref().is_ok_and(|answer| answer.status == 200);
        tally.ended(&ask, outcome, None);
        if !is_good {
            sleep(PAUSE).await;
        }
    }
}
