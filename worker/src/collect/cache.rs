//! BuildKit's cache: how large it is, and less of it.
//!
//! The client library reads the disk usage of engines of API 1.52 and newer alone, and does not know what older ones call
//! the part of the cache that stays. Both are mended on its requests here.

use std::collections::HashMap;
use std::time::Duration;

use bollard::errors::Error as Call;
use bollard::query_parameters::PruneBuildOptions;
use bollard::{BollardRequest, Docker};
use deploymind_shared::clock::Timestamp;
use deploymind_shared::retry::Stop;
use futures::StreamExt;
use hyper::Uri;
use serde_json::Value;

use super::survey::failed;
use super::words::{CacheRecord, CacheUse};

/// Of one answer about the disk; a record of the cache is some 500 bytes.
const USAGE_BYTES: usize = 64 << 20;

/// `None` where the engine says nothing of a cache, or not now: it refuses to measure its disk for two at once.
pub(super) async fn used(docker: &Docker) -> Result<Option<CacheUse>, Stop> {
    // A call that gives the bytes as they come, sent to another address.
    let raw = docker.clone().with_request_modifier(|request| {
        at(request, |path| path.replace("/images/usage/get", "/system/df?verbose=1"))
    });
    let mut stream = std::pin::pin!(raw.export_image("usage"));
    let mut text = Vec::new();
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) => text.extend_from_slice(&piece),
            Err(Call::DockerResponseServerError { .. }) => return Ok(None),
            Err(error) => return Err(failed(error, "read disk usage")),
        }
        if text.len() > USAGE_BYTES {
            return Ok(None);
        }
    }
    Ok(serde_json::from_slice(&text).ok().as_ref().and_then(read))
}

/// Both generations of the answer.
fn read(usage: &Value) -> Option<CacheUse> {
    let listed =
        usage.get("BuildCache").or_else(|| usage.get("BuildCacheUsage").map(|part| &part["Items"]))?;
    let mut cache = CacheUse::default();
    // An empty cache is no list at all.
    for record in listed.as_array().map(Vec::as_slice).unwrap_or_default() {
        let flag = |name: &str| record.get(name).and_then(Value::as_bool).unwrap_or(false);
        let time = |name: &str| record.get(name)?.as_str()?.parse::<Timestamp>().ok();
        let last_used = time("LastUsedAt").or_else(|| time("CreatedAt"));
        let bytes = record.get("Size").and_then(Value::as_u64).unwrap_or(0);
        if flag("Shared") {
            cache.shared.push(bytes);
        } else {
            let in_use = flag("InUse") || last_used.is_none();
            cache.records.push(CacheRecord { bytes, in_use, last_used: last_used.unwrap_or_default() });
        }
    }
    Some(cache)
}

/// Removes what was longest unused until `keep` bytes stay; returns what came free.
pub(super) async fn shrink(docker: &Docker, keep: u64, unused_for: Duration) -> Result<u64, Stop> {
    let docker = docker.clone().with_request_modifier(move |request| {
        at(request, |path| {
            let separator = if path.contains('?') { '&' } else { '?' };
            format!("{path}{separator}keep-storage={keep}")
        })
    });
    let filters = HashMap::from([("until".to_owned(), vec![format!("{}s", unused_for.as_secs())])]);
    let options = PruneBuildOptions {
        reserved_space: Some(i64::try_from(keep).unwrap_or(i64::MAX)),
        all: Some(true),
        filters: Some(filters),
        ..PruneBuildOptions::default()
    };
    let pruned =
        docker.prune_build(Some(options)).await.map_err(|error| failed(error, "prune build cache"))?;
    Ok(pruned.space_reclaimed.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0))
}

fn at(mut request: BollardRequest, change: impl Fn(&str) -> String) -> BollardRequest {
    let mut parts = request.uri().clone().into_parts();
    let path = parts.path_and_query.as_ref().map(|path| change(path.as_str()));
    parts.path_and_query = path.and_then(|path| path.parse().ok());
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_generations_of_the_answer_are_read() {
        let records = serde_json::json!([
            {"Size": 5, "InUse": false, "Shared": false, "LastUsedAt": "2026-11-21T04:00:00.5Z"},
            {"Size": 7, "InUse": true, "Shared": false, "LastUsedAt": "2026-11-21T04:00:00Z"},
            {"Size": 11, "InUse": false, "Shared": true, "LastUsedAt": "2026-11-21T04:00:00Z"},
            {"Size": 13, "InUse": false, "Shared": false},
        ]);
        let now = "2026-11-21T05:00:00Z".parse().expect("time");
        for usage in [
            serde_json::json!({"BuildCache": records}),
            serde_json::json!({"BuildCacheUsage": {"Items": records}}),
        ] {
            let cache = read(&usage).expect("cache");
            assert_eq!((cache.bytes(), cache.shared.as_slice()), (25, [11].as_slice()));
            assert_eq!(cache.idle(now, Duration::from_secs(60)), 5);
            assert_eq!(cache.idle(now, Duration::from_secs(7200)), 0);
        }
        assert_eq!(read(&serde_json::json!({})), None);
        assert_eq!(read(&serde_json::json!({"BuildCache": null})), Some(CacheUse::default()));
    }
}
