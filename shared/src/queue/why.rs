//! Where a job is, by Redis. [`crate::fleet::why`] joins this with the record.

use std::time::Duration;

use redis::Value;

use super::{Queue, script};
use crate::error::{Code, Error, Result};
use crate::ids::{JobId, TargetName};

/// How far into a list a position is looked for; further back it is only "more than this".
pub const FAR: u64 = 10_000;

/// Which kind of place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spot {
    Queued,
    /// With a worker, by its id.
    Processing(String),
    /// Behind a target.
    Parked(String),
    Delayed,
}

/// A lock that a waiting job needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    pub target: TargetName,
    /// The job that holds it, or that it was handed to; `None` when free.
    pub holder: Option<JobId>,
    /// How long it lasts unless renewed.
    pub remaining: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub spot: Spot,
    /// Since when, in ms of Redis's clock.
    pub since_ms: i64,
    /// How many are taken before it; `None` past [`FAR`] or where there is no order.
    pub ahead: Option<u64>,
    pub locks: Vec<Lock>,
}

/// `None`: Redis does not know the job.
pub async fn place(queue: &Queue, job: JobId) -> Result<Option<Place>> {
    let answer: Vec<Value> = queue
        .run(&script::WHY, |call| {
            call.arg(job.to_string()).arg(FAR);
        })
        .await?;
    let mut answer = answer.into_iter();
    let Some(Value::BulkString(text)) = answer.next() else { return Ok(None) };
    let unexpected = || Error::new(Code::StoreUnexpected, "Redis holds a place this version cannot read");
    let text = String::from_utf8(text).map_err(|_| unexpected())?;
    let mut words = text.splitn(5, ' ');
    let (Some(spot), Some(_), Some(_), Some(since), Some(detail)) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err(unexpected());
    };
    let ahead: i64 =
        redis::from_redis_value(answer.next().unwrap_or(Value::Int(-1))).map_err(|_| unexpected())?;
    let mut locks = Vec::new();
    while let (Some(target), Some(value), Some(remaining)) = (answer.next(), answer.next(), answer.next()) {
        let read = |value| redis::from_redis_value::<String>(value).map_err(|_| unexpected());
        let value = read(value)?;
        let remaining: i64 = redis::from_redis_value(remaining).map_err(|_| unexpected())?;
        locks.push(Lock {
            target: TargetName::parse(&read(target)?)?,
            holder: value.split_once(':').and_then(|(job, _)| job.parse().ok()),
            remaining: Duration::from_millis(remaining.try_into().unwrap_or(0)),
        });
    }
    Ok(Some(Place {
        spot: match spot {
            "queued" => Spot::Queued,
            "processing" => Spot::Processing(detail.to_owned()),
            "parked" => Spot::Parked(detail.to_owned()),
            "delayed" => Spot::Delayed,
            _ => return Err(unexpected()),
        },
        since_ms: since.parse().map_err(|_| unexpected())?,
        ahead: ahead.try_into().ok(),
        locks,
    }))
}
