//! Requests at a steady rate. When each of them is due is fixed beforehand, so answers that are late make none of the others
//! late, and what a user waits for a late one is measured whole.

use std::sync::Arc;

use deploymind_tests::load::FailureKind;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::connection::{Failure, timed_out};
use crate::pool::Pool;
use crate::tally::Tally;
use crate::target::{Ask, Target};

/// More than these under way say nothing new about a server, and would run out of ports and memory here.
const UNDER_WAY_MAX: usize = 4000;

pub async fn run(target: Arc<Target>, tally: Arc<Tally>, stop: CancellationToken) {
    let pool = Arc::new(Pool::new());
    let mut under_way = JoinSet::new();
    let start = Instant::now();
    for number in 0_u64.. {
        let after = std::time::Duration::from_secs_f64(number as f64 / target.rate);
        if target.lasts.is_some_and(|lasts| after >= lasts) {
            break;
        }
        let due = start + after;
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = sleep_until(due) => {}
        }
        while under_way.try_join_next().is_some() {}
        let ask = if target.posts.takes(number + 1) { target.post() } else { target.get() };
        if under_way.len() >= UNDER_WAY_MAX {
            let text = format!("{UNDER_WAY_MAX} requests were under way");
            tally.ended(&ask, Err(Failure::new(FailureKind::NotSent, text)), Some(due));
            continue;
        }
        let (target, tally, pool) = (Arc::clone(&target), Arc::clone(&tally), Arc::clone(&pool));
        under_way.spawn(async move { one(&ask, &target, &tally, &pool, due).await });
    }
    under_way.join_all().await;
}

async fn one(ask: &Ask, target: &Target, tally: &Tally, pool: &Pool, due: Instant) {
    let outcome = match timeout(target.timeout, pool.ask(ask, target, tally)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(timed_out(target.timeout)),
    };
    tally.ended(ask, outcome, Some(due));
}
