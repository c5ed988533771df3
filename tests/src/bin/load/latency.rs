//! One request after another over one connection: what stands between it and the app costs this much.

use deploymind_tests::load::Latency;
use tokio::time::{Instant, timeout};

use crate::connection::Connection;
use crate::tally::percentile;
use crate::target::Target;

pub async fn measure(target: &Target, requests: u64) -> Latency {
    let mut connection = None;
    let mut latencies_us = Vec::new();
    let mut found = Latency { requests, ..Latency::default() };
    let warm_up = requests / 10;
    for number in 0..requests + warm_up {
        let open = match connection.take() {
            Some(open) => Ok(open),
            None => Connection::open(target).await,
        };
        let start = Instant::now();
        let is_good = match open {
            Ok(mut open) => match timeout(target.timeout, open.ask(&target.get(), target)).await {
                Ok(Ok(answer)) => {
                    connection = answer.stays.then_some(open);
                    answer.status == 200
                }
                _ => false,
            },
            Err(_) => false,
        };
        let took = start.elapsed().as_micros();
        if number >= warm_up {
            found.failures += u64::from(!is_good);
            latencies_us.push(u32::try_from(took).unwrap_or(u32::MAX));
        }
    }
    latencies_us.sort_unstable();
    let mean = latencies_us.iter().copied().map(f64::from).sum::<f64>() / latencies_us.len().max(1) as f64;
    found.p50_us = percentile(&latencies_us, 50);
    found.p99_us = percentile(&latencies_us, 99);
    found.max_us = percentile(&latencies_us, 100);
    found.mean_us = mean;
    found
}
