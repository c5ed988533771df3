//! Each store gone for one, ten and sixty seconds, in each way a store can be gone.
//!
//! Several drills run side by side in one test, each on servers of its own: an outage of a minute is mostly waiting.

use std::time::Duration;

use super::drill::{Fault, Plan, Store, drill};

const FAULTS: [Fault; 4] = [Fault::Stop, Fault::Freeze, Fault::Swallow, Fault::SwallowThenCut];

async fn all_faults(stores: &'static [Store], length: u64) {
    let [stop, freeze, swallow, cut] =
        FAULTS.map(|fault| Box::pin(drill(Plan { stores, fault, length: Duration::from_secs(length) })));
    tokio::join!(stop, freeze, swallow, cut);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minute_without_postgres() {
    all_faults(&[Store::Postgres], 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minute_without_redis() {
    all_faults(&[Store::Redis], 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_seconds_without_postgres() {
    all_faults(&[Store::Postgres], 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_seconds_without_redis() {
    all_faults(&[Store::Redis], 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_second_without_postgres() {
    all_faults(&[Store::Postgres], 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_second_without_redis() {
    all_faults(&[Store::Redis], 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_seconds_without_either() {
    all_faults(&[Store::Redis, Store::Postgres], 10).await;
}
