//! Is there room on the engine's disk before a build begins?

use std::time::Duration;

use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;
use serde_json::Value;

use super::context::size_text;
use super::engine::{Address, Engine};
use super::{failure, http};

/// The context lies on the engine's disk twice: as it came, and unpacked.
const COPIES: u64 = 2;
const USAGE_DEADLINE: Duration = Duration::from_secs(20);
const USAGE_BYTES: usize = 64 * 1024 * 1024;

/// # Errors
/// `DiskFull`, to be tried again.
pub(super) async fn check(engine: &Engine, context_bytes: u64, min_free: u64) -> Result<(), Stop> {
    let Some(free) = free_bytes(engine).await? else { return Ok(()) };
    let needed = min_free.saturating_add(context_bytes.saturating_mul(COPIES));
    if free >= needed {
        return Ok(());
    }
    let collectable = match tokio::time::timeout(USAGE_DEADLINE, collectable_bytes(engine)).await {
        Ok(Some(bytes)) => format!("{} can be collected with `docker system prune`", size_text(bytes)),
        _ => "`docker system df` says what can be collected".to_owned(),
    };
    Err(Error::new(
        Code::DiskFull,
        format!(
            "the engine's disk has {} free and this build needs {}; {collectable}",
            size_text(free),
            size_text(needed)
        ),
    )
    .into())
}

/// `None` where the engine's disk is not on this machine: no engine tells how much is free.
async fn free_bytes(engine: &Engine) -> Result<Option<u64>, Stop> {
    if !matches!(engine.config.address, Address::Unix(_)) {
        return Ok(None);
    }
    let info =
        engine.docker.info().await.map_err(|error| failure::of_call(engine, error, "read engine info"))?;
    let Some(root) = info.docker_root_dir else { return Ok(None) };
    let free = tokio::task::spawn_blocking(move || {
        nix::sys::statvfs::statvfs(root.as_str())
            .ok()
            .map(|disk| disk.blocks_available() * disk.fragment_size())
    });
    Ok(free.await.ok().flatten())
}

/// Build cache and images that nothing uses. The two generations of the answer name them differently.
async fn collectable_bytes(engine: &Engine) -> Option<u64> {
    let request = http::get(engine, "/system/df").body(http::empty()).ok()?;
    let mut answer = http::exchange(engine, request).await.ok()?;
    let usage: Value = serde_json::from_slice(&answer.text(USAGE_BYTES).await.ok()?).ok()?;
    Some(collectable(&usage))
}

fn collectable(usage: &Value) -> u64 {
    let number = |value: &Value, name: &str| value.get(name).and_then(Value::as_u64).unwrap_or(0);
    let list = |name: &str| usage.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let cache: u64 = list("BuildCache")
        .iter()
        .filter(|entry| entry.get("InUse").and_then(Value::as_bool) == Some(false))
        .map(|entry| number(entry, "Size"))
        .sum();
    let images: u64 = list("Images")
        .iter()
        .filter(|image| image.get("Containers").and_then(Value::as_i64) == Some(0))
        .map(|image| number(image, "Size").saturating_sub(number(image, "SharedSize")))
        .sum();
    let newer: u64 = ["ImageUsage", "BuildCacheUsage"]
        .iter()
        .filter_map(|name| usage.get(name))
        .map(|part| number(part, "Reclaimable"))
        .sum();
    if newer > 0 { newer } else { cache + images }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_generations_of_the_answer_are_read() {
        let old = serde_json::json!({
            "LayersSize": 100,
            "Images": [{"Containers": 0, "Size": 70, "SharedSize": 20}, {"Containers": 1, "Size": 30, "SharedSize": 0}],
            "BuildCache": [{"InUse": false, "Size": 5}, {"InUse": true, "Size": 7}],
        });
        assert_eq!(collectable(&old), 55);
        let new =
            serde_json::json!({"ImageUsage": {"Reclaimable": 9}, "BuildCacheUsage": {"Reclaimable": 2}});
        assert_eq!(collectable(&new), 11);
        assert_eq!(collectable(&serde_json::json!([])), 0);
    }
}
