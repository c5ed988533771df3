//! What the copies of a slot use, by the engine's own count.

use std::sync::Arc;
use std::time::Duration;

use bollard::models::{ContainerCpuStats, ContainerMemoryStats, ContainerStatsResponse};
use bollard::query_parameters::StatsOptions;
use deploymind_shared::retry::Stop;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::connect::Host;
use super::failure::{Fault, gone};
use super::slot::Found;
use crate::runtime::Usage;

/// An engine reports about once a second. Longer silence means that it is gone, or the machine is.
const SILENCE: Duration = Duration::from_secs(30);
/// What an engine reports where no limit is set: all that a number can hold, or nearly.
const NO_LIMIT: u64 = 1 << 60;

pub(super) async fn watch(
    host: &Arc<Host>,
    copies: Vec<Found>,
) -> Result<BoxStream<'static, Result<Usage, Stop>>, Stop> {
    let link = host.link().await?;
    let each = copies.into_iter().filter(Found::is_running).map(|copy| {
        let options = StatsOptions { stream: true, one_shot: false };
        let reports = link.docker.stats(&copy.id, Some(options)).boxed();
        // The way to the engine stays open as long as what comes through it.
        let state = (reports, Arc::clone(host), copy.name, Arc::clone(&link));
        stream::try_unfold(state, |(mut reports, host, name, link)| async move {
            loop {
                let report = match tokio::time::timeout(SILENCE, reports.next()).await {
                    Err(late) => return Err(gone(host.name(), "read usage", late)),
                    Ok(None) => return Ok(None),
                    Ok(Some(report)) => report,
                };
                let report = match report.map_err(|error| Fault::of(error, host.name(), "read usage")) {
                    Ok(report) => report,
                    Err(fault) if fault.status() == Some(404) => return Ok(None),
                    Err(fault) => return Err(fault.into()),
                };
                if let Some(usage) = read(&name, &report) {
                    return Ok(Some((usage, (reports, host, name, link))));
                }
                // An engine goes on about one that has ended, with nothing to say.
                if !is_alive(&report) {
                    return Ok(None);
                }
            }
        })
        .into_stream()
        .boxed()
    });
    Ok(stream::select_all(each).boxed())
}

fn is_alive(report: &ContainerStatsResponse) -> bool {
    report.cpu_stats.as_ref().is_some_and(|cpu| cpu.system_cpu_usage.is_some())
}

/// `None` where there is nothing to measure against yet: the first report, and those of a container that has ended.
fn read(copy: &str, report: &ContainerStatsResponse) -> Option<Usage> {
    let cpu_percent = cpu_percent(report.cpu_stats.as_ref()?, report.precpu_stats.as_ref()?)?;
    let memory = report.memory_stats.as_ref()?;
    let networks = || report.networks.iter().flat_map(std::collections::HashMap::values);
    let disk = |kind: &str| {
        let entries = report.blkio_stats.as_ref().and_then(|disk| disk.io_service_bytes_recursive.as_ref());
        let of_kind = entries.into_iter().flatten().filter(|entry| {
            // `Read` and `Write` of cgroup v1, `read` and `write` of v2.
            entry.op.as_deref().is_some_and(|op| op.eq_ignore_ascii_case(kind))
        });
        of_kind.filter_map(|entry| entry.value).sum()
    };
    Some(Usage {
        copy: copy.to_owned(),
        at: report.read.as_deref()?.parse().ok()?,
        cpu_percent,
        memory_bytes: memory_bytes(memory),
        memory_limit_bytes: memory.limit.filter(|limit| *limit < NO_LIMIT),
        network_received_bytes: networks().filter_map(|network| network.rx_bytes).sum(),
        network_sent_bytes: networks().filter_map(|network| network.tx_bytes).sum(),
        disk_read_bytes: disk("read"),
        disk_written_bytes: disk("write"),
    })
}

/// As `docker stats` counts it: the share of what all cores did since the last report, times the cores.
fn cpu_percent(now: &ContainerCpuStats, before: &ContainerCpuStats) -> Option<f64> {
    let used = |stats: &ContainerCpuStats| stats.cpu_usage.as_ref()?.total_usage;
    let all = now.system_cpu_usage?.checked_sub(before.system_cpu_usage.filter(|all| *all > 0)?)?;
    let own = used(now)?.saturating_sub(used(before)?);
    let cores = now.online_cpus.filter(|cores| *cores > 0).map(f64::from).or_else(|| {
        let each = now.cpu_usage.as_ref()?.percpu_usage.as_ref()?.len();
        Some(each as f64)
    })?;
    (all > 0).then(|| own as f64 / all as f64 * cores * 100.0)
}

/// Without what the kernel keeps of files and gives up when memory is short. The names are those of cgroup v1 and v2.
fn memory_bytes(memory: &ContainerMemoryStats) -> u64 {
    let usage = memory.usage.unwrap_or(0);
    let stats = memory.stats.as_ref();
    let cache = ["total_inactive_file", "inactive_file"].iter().find_map(|name| stats?.get(*name)).copied();
    usage.saturating_sub(cache.filter(|cache| *cache < usage).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_both_kinds_of_cgroups_are_read() {
        let report = |cache: &str, op: &str, cpus: &str| {
            serde_json::from_str::<ContainerStatsResponse>(&format!(
                r#"{{"read":"2026-01-02T03:04:05.678Z",
                "cpu_stats":{{"cpu_usage":{{"total_usage":300,"percpu_usage":[1,2]}},"system_cpu_usage":2000{cpus}}},
                "precpu_stats":{{"cpu_usage":{{"total_usage":100}},"system_cpu_usage":1000}},
                "memory_stats":{{"usage":1000,"limit":5000,"stats":{{"{cache}":400}}}},
                "networks":{{"eth0":{{"rx_bytes":7,"tx_bytes":8}},"eth1":{{"rx_bytes":1,"tx_bytes":1}}}},
                "blkio_stats":{{"io_service_bytes_recursive":[{{"op":"{op}","value":11}},{{"op":"Total","value":99}}]}}}}"#
            ))
            .expect("a report")
        };
        for report in [
            report("total_inactive_file", "Read", ""),
            report("inactive_file", "read", r#","online_cpus":2"#),
        ] {
            let usage = read("dm-shop-1", &report).expect("usage");
            assert!((usage.cpu_percent - 40.0).abs() < 0.001, "{usage:?}");
            assert_eq!(usage.memory_bytes, 600);
            assert_eq!(usage.memory_limit_bytes, Some(5000));
            assert_eq!((usage.network_received_bytes, usage.network_sent_bytes), (8, 9));
            assert_eq!((usage.disk_read_bytes, usage.disk_written_bytes), (11, 0));
        }
        assert_eq!(read("x", &ContainerStatsResponse::default()), None);
    }
}
