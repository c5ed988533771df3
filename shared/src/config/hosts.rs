//! Settings of the Docker hosts that apps run on: their edge, their network, what each slot may use.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::Reader;

const S: Duration = Duration::from_secs(1);
const MIB: u64 = 1024 * 1024;

#[derive(Debug, Clone)]
pub struct HostsConfig {
    /// nginx with a shell, flock, awk and curl, as the official image has them.
    pub edge_image: String,
    /// The port that apps with host names share.
    pub edge_http_port: u16,
    /// Addresses of slots, of which each keeps its own as long as it exists.
    pub subnet: String,
    /// Whether slots may reach each other without the edge.
    pub icc: bool,
    /// Most processes of one slot: a program that forks without end takes its host with it.
    pub slot_pids: u32,
    /// Of what a slot writes to its output. Older lines fall off.
    pub slot_log_bytes: u64,
    /// Host keys that Docker hosts reached over SSH must have.
    pub known_hosts: Option<PathBuf>,
    pub collect: CollectConfig,
}

#[derive(Debug, Clone)]
pub struct CollectConfig {
    /// Per app, the newest releases whose images stay.
    pub images_keep: usize,
    /// Of all images of this fleet on one engine.
    pub images_max_bytes: Option<u64>,
    /// Of steps of builds that no image needs and, where the engine is this fleet's alone, of BuildKit's cache.
    pub cache_max_bytes: u64,
    pub engine_is_ours: bool,
    /// Nothing younger is collected: it may be on its way into the record.
    pub min_age: Duration,
}

impl HostsConfig {
    pub fn read(reader: &mut Reader) -> Self {
        Self {
            edge_image: reader.parsed(
                "DEPLOYMIND_EDGE_IMAGE",
                "nginx:1.29-bookworm".to_owned(),
                "The edge's image: nginx with a shell, flock, awk and curl.",
                image,
            ),
            edge_http_port: reader.number(
                "DEPLOYMIND_EDGE_HTTP_PORT",
                80,
                1..=65535,
                "The port of a host that apps with host names share.",
            ),
            subnet: reader.parsed(
                "DEPLOYMIND_SLOTS_SUBNET",
                "10.213.0.0/16".to_owned(),
                "Addresses of slots on a host (a private IPv4 network, /16 to /28).",
                subnet,
            ),
            icc: reader.parsed(
                "DEPLOYMIND_SLOTS_ICC",
                false,
                "Whether slots of one host may reach each other without the edge (`true` or `false`). Only for a new network.",
                super::pipeline::flag,
            ),
            slot_pids: reader.number(
                "DEPLOYMIND_SLOT_PIDS",
                4096,
                16..=1_000_000,
                "Most processes and threads of one slot.",
            ),
            slot_log_bytes: MIB
                * reader.number(
                    "DEPLOYMIND_SLOT_LOG_MB",
                    50,
                    1..=10_240,
                    "How much of a slot's own output the host keeps, in MiB.",
                ),
            known_hosts: reader.optional(
                "DEPLOYMIND_DOCKER_KNOWN_HOSTS",
                "/etc/ssh/ssh_known_hosts",
                "File of the host keys that Docker hosts reached over SSH must have.",
                super::pipeline::absolute,
            ),
            collect: CollectConfig::read(reader),
        }
    }
}

impl CollectConfig {
    fn read(reader: &mut Reader) -> Self {
        Self {
            images_keep: reader.number(
                "DEPLOYMIND_COLLECT_IMAGES_KEEP",
                5,
                1..=100,
                "Per app, the newest releases whose images stay on a host.",
            ),
            images_max_bytes: reader.optional(
                "DEPLOYMIND_COLLECT_IMAGES_MAX_MB",
                "20480",
                "Most room of this fleet's images on a host, in MiB; oldest go first. No limit when not set.",
                mebibytes,
            ),
            cache_max_bytes: MIB
                * reader.number(
                    "DEPLOYMIND_COLLECT_CACHE_MAX_MB",
                    10_240,
                    0..=1024 * 1024 * 1024,
                    "Most room of steps of builds that no image needs and, by itself, of BuildKit's cache, in MiB.",
                ),
            engine_is_ours: reader.parsed(
                "DEPLOYMIND_COLLECT_ENGINE_IS_OURS",
                false,
                "Whether nobody else builds with this engine: BuildKit's cache carries no names (`true` or `false`).",
                super::pipeline::flag,
            ),
            min_age: reader.duration(
                "DEPLOYMIND_COLLECT_MIN_AGE",
                3600 * S,
                S..=30 * 24 * 3600 * S,
                "Nothing younger than this is collected.",
            ),
        }
    }
}

fn image(text: &str) -> Result<String, String> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-/:@".contains(&c);
    if text.is_empty() || text.len() > 512 || !text.bytes().all(plain) || text.starts_with('-') {
        return Err("is not the name of an image".to_owned());
    }
    Ok(text.to_owned())
}

fn mebibytes(text: &str) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(number) if (16..=1024 * 1024 * 1024).contains(&number) => Ok(number * MIB),
        _ => Err("is not a number of MiB from 16 up".to_owned()),
    }
}

/// A private network of IPv4, written with its first address.
fn subnet(text: &str) -> Result<String, String> {
    let rule = || "is not a private IPv4 network from /16 to /28, such as 10.213.0.0/16".to_owned();
    let (address, bits) = text.split_once('/').ok_or_else(rule)?;
    let address: std::net::Ipv4Addr = address.parse().map_err(|_| rule())?;
    let bits: u32 = bits.parse().map_err(|_| rule())?;
    let host_part = u32::from(address) & (u32::MAX >> bits.min(31));
    if !(16..=28).contains(&bits) || host_part != 0 || !address.is_private() {
        return Err(rule());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MapSource;

    #[test]
    fn bad_values_are_refused_and_good_ones_are_not() {
        for (key, good, bad) in [
            ("DEPLOYMIND_EDGE_IMAGE", "registry.example/nginx@sha256:00", "nginx; rm -rf /"),
            ("DEPLOYMIND_SLOTS_SUBNET", "172.30.16.0/20", "10.213.0.1/16"),
            ("DEPLOYMIND_SLOTS_SUBNET", "192.168.7.0/24", "8.8.8.0/24"),
            ("DEPLOYMIND_COLLECT_IMAGES_MAX_MB", "100", "1"),
            ("DEPLOYMIND_DOCKER_KNOWN_HOSTS", "/etc/hosts", "hosts"),
        ] {
            let mistakes = |value: &str| {
                let source = MapSource::new().with(key, value);
                let mut reader = Reader::new(&source);
                HostsConfig::read(&mut reader);
                reader.finish().err().map_or(0, |errors| errors.mistakes().len())
            };
            assert_eq!(mistakes(good), 0, "{key}={good}");
            assert_eq!(mistakes(bad), 1, "{key}={bad}");
        }
    }
}
