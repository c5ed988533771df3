//! Whether a Redis may be trusted with a queue, asked at start.

use std::collections::HashMap;

use super::Queue;
use crate::error::{Code, Error, Result};

/// Refuses a server that would throw jobs away when memory is short, or that is too old. One without an append-only
/// file is allowed, loudly: the reconciler puts back what a restart loses.
pub async fn check_server(queue: &Queue) -> Result<()> {
    let text: String = queue.command(&redis::cmd("INFO")).await?;
    let info: HashMap<&str, &str> = text.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    for warning in judge(&info)? {
        tracing::warn!(warning, "redis is usable but not as it should be");
    }
    Ok(())
}

fn judge(info: &HashMap<&str, &str>) -> Result<Vec<&'static str>> {
    let version = info.get("redis_version").copied().unwrap_or("0");
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version_pair = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if version_pair < (6, 2) {
        return Err(Error::new(
            Code::RedisUnsuitable,
            format!("Redis {version:?} is too old; 6.2 or newer is needed"),
        ));
    }
    match info.get("maxmemory_policy").copied() {
        Some("noeviction") => {}
        Some(policy) => {
            return Err(Error::new(
                Code::RedisEvicts,
                format!(
                    "Redis has maxmemory-policy {policy:?} and would evict jobs when memory is short; set it to \
                     noeviction"
                ),
            ));
        }
        None => {
            return Err(Error::new(
                Code::RedisUnsuitable,
                "this server does not say its maxmemory-policy; it is not a Redis this program can trust",
            ));
        }
    }
    let mut warnings = Vec::new();
    if info.get("aof_enabled").copied() != Some("1") {
        warnings.push(
            "append-only is off: a restart of Redis forgets the queues until the scheduler has put them back; \
             set appendonly yes",
        );
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(pairs: &[(&'static str, &'static str)]) -> Result<Vec<&'static str>> {
        judge(&pairs.iter().copied().collect())
    }

    #[test]
    fn eviction_is_refused_and_a_missing_append_only_file_warned_about() {
        let good = [("redis_version", "7.0.15"), ("maxmemory_policy", "noeviction"), ("aof_enabled", "1")];
        assert_eq!(verdict(&good).expect("good").len(), 0);
        let no_aof = [("redis_version", "7.0.15"), ("maxmemory_policy", "noeviction"), ("aof_enabled", "0")];
        assert_eq!(verdict(&no_aof).expect("usable").len(), 1);
        let evicts = [("redis_version", "7.0.15"), ("maxmemory_policy", "allkeys-lru"), ("aof_enabled", "1")];
        assert_eq!(verdict(&evicts).expect_err("evicts").code(), Code::RedisEvicts);
        let old = [("redis_version", "6.0.9"), ("maxmemory_policy", "noeviction")];
        assert_eq!(verdict(&old).expect_err("old").code(), Code::RedisUnsuitable);
    }
}
