//! The bridge network of the slots, and who has which address in it.
//!
//! Addresses are ours to choose, because the engine gives a container a new one whenever it starts it, and the edge knows
//! slots by address. A stopped container holds none in the engine's eyes, so what is taken is read from labels.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use bollard::query_parameters::{InspectNetworkOptions, ListContainersOptions, ListNetworksOptions};
use deploymind_shared::error::{Code, Error};
use deploymind_shared::retry::Stop;

use super::config::{DEFAULT_SUBNET, HostConfig, Names, OTHER_SUBNETS};
use super::connect::Host;
use super::failure::name_taken;
use super::labels;

const ROLE: &str = "network";
const ICC: &str = "com.docker.network.bridge.enable_icc";

/// What an engine may take to make a network.
const MAKES: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Network {
    pub(super) id: String,
    pub(super) subnet: Subnet,
    gateway: Option<Ipv4Addr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subnet {
    base: u32,
    bits: u32,
}

impl Subnet {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let bits: u32 = bits.parse().ok().filter(|bits| (8..=29).contains(bits))?;
        let address: Ipv4Addr = address.parse().ok()?;
        let base = u32::from(address) & (u32::MAX << (32 - bits));
        Some(Self { base, bits })
    }

    /// Of hosts: without the network's own address, the gateway's usual one and the broadcast.
    fn room(self) -> u32 {
        (1u32 << (32 - self.bits)) - 3
    }

    fn nth(self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.base + 2 + n)
    }

    /// The first that is free from a place on that follows from the name: another slot is unlikely to begin there, also
    /// while two workers choose at the same time, and an address that has just been given back is not given out at once.
    pub(super) fn choose(self, name: &str, taken: &HashSet<Ipv4Addr>) -> Option<Ipv4Addr> {
        let begin = fnv(name) % self.room();
        (0..self.room()).map(|n| self.nth((begin + n) % self.room())).find(|address| !taken.contains(address))
    }
}

/// FNV-1a: the same on every worker, of whatever version.
fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The network as it is; `None` if there is none of ours.
///
/// # Errors
/// `NetworkUnusable` where it is not ours or cannot hold addresses.
pub(super) async fn find(host: &Host, names: &Names) -> Result<Option<Network>, Stop> {
    let link = host.link().await?;
    let name = names.network();
    let filters = HashMap::from([("name".to_owned(), vec![format!("^{name}$")])]);
    let options = ListNetworksOptions { filters: Some(filters) };
    let found = host.call("list networks", link.docker.list_networks(Some(options))).await?;
    let mut named: Vec<_> =
        found.into_iter().filter(|network| network.name.as_deref() == Some(name)).collect();
    // The engine lets two networks have one name. Every worker must take the same.
    named.sort_by(|a, b| (&a.created, &a.id).cmp(&(&b.created, &b.id)));
    let Some(ours) = named.iter().find(|network| labels::is_of(network.labels.as_ref(), &names.fleet)) else {
        return if named.is_empty() { Ok(None) } else { Err(name_taken("network", name).into()) };
    };
    let configured = ours.ipam.as_ref().and_then(|ipam| ipam.config.as_ref()).and_then(|all| all.first());
    let subnet = configured.and_then(|range| Subnet::parse(range.subnet.as_deref()?));
    let (Some(id), Some(subnet)) = (ours.id.clone(), subnet) else {
        return Err(unusable(format!(
            "the network `{name}` on the target has no IPv4 range; remove it with `docker network rm {name}`"
        ))
        .into());
    };
    let gateway = configured.and_then(|range| range.gateway.as_deref()?.parse().ok());
    Ok(Some(Network { id, subnet, gateway }))
}

/// The network, made where it is missing.
pub(super) async fn ensure(host: &Host, names: &Names, config: &HostConfig) -> Result<Network, Stop> {
    if let Some(network) = find(host, names).await? {
        return Ok(network);
    }
    let mut ranges = vec![config.subnet.as_str()];
    if config.subnet == DEFAULT_SUBNET {
        ranges.extend(OTHER_SUBNETS);
    }
    let link = host.link().await?;
    for range in &ranges {
        if Subnet::parse(range).is_none() {
            return Err(unusable(format!(
                "the range `{range}` for slots is not one; give an IPv4 range such as {DEFAULT_SUBNET}"
            ))
            .into());
        }
        let request = NetworkCreateRequest {
            name: names.network().to_owned(),
            driver: Some("bridge".to_owned()),
            ipam: Some(Ipam {
                config: Some(vec![IpamConfig { subnet: Some((*range).to_owned()), ..IpamConfig::default() }]),
                ..Ipam::default()
            }),
            options: Some(HashMap::from([(ICC.to_owned(), config.icc.to_string())])),
            labels: Some(labels::of_fleet(&names.fleet, ROLE)),
            ..NetworkCreateRequest::default()
        };
        match host.call("create network", link.docker.create_network(request)).await {
            Ok(_) => {}
            Err(fault) if fault.overlaps() || fault.status() == Some(409) => {}
            Err(fault) => return Err(fault.into()),
        }
        // Another worker may be making it: its range is taken a moment before it is there to be seen.
        let end = tokio::time::Instant::now() + MAKES;
        loop {
            if let Some(network) = find(host, names).await? {
                return Ok(network);
            }
            if tokio::time::Instant::now() > end {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Err(unusable(format!(
        "the addresses {} on the target belong to other networks (`docker network ls`, `ip route`); set another range for the target's slots",
        ranges.join(", ")
    ))
    .into())
}

/// The addresses that somebody has or will have.
pub(super) async fn taken(host: &Host, names: &Names, network: &Network) -> Result<HashSet<Ipv4Addr>, Stop> {
    let link = host.link().await?;
    let options = ListContainersOptions {
        all: true,
        filters: Some(labels::filter(&[(labels::FLEET, &names.fleet), (labels::ROLE, labels::ROLE_SLOT)])),
        ..ListContainersOptions::default()
    };
    let ours = host.call("list containers", link.docker.list_containers(Some(options))).await?;
    let mut taken: HashSet<Ipv4Addr> = ours
        .iter()
        .filter_map(|container| {
            let labels = container.labels.as_ref()?;
            let named = |name: &String| labels::is_copy(labels, name.trim_start_matches('/'));
            container.names.iter().flatten().any(named).then(|| labels.get(labels::ADDRESS)?.parse().ok())?
        })
        .collect();
    let attached = host
        .call("inspect network", link.docker.inspect_network(&network.id, None::<InspectNetworkOptions>))
        .await?;
    // Somebody may have attached a container by hand.
    taken.extend(
        attached
            .containers
            .iter()
            .flatten()
            .filter_map(|(_, end)| end.ipv4_address.as_deref()?.split('/').next()?.parse::<Ipv4Addr>().ok()),
    );
    taken.extend(network.gateway);
    Ok(taken)
}

pub(super) fn full(names: &Names) -> Error {
    unusable(format!(
        "the network `{}` on the target has no free address left; retire old releases there, or set a larger range",
        names.network()
    ))
}

fn unusable(sentence: String) -> Error {
    Error::new(Code::NetworkUnusable, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_chosen_by_name_until_all_are_taken() {
        let subnet = Subnet::parse("10.1.2.3/29").expect("subnet");
        let mut taken = HashSet::new();
        for _ in 0..5 {
            let address = subnet.choose("dm-shop-1", &taken).expect("free");
            assert!(taken.insert(address));
        }
        let mut all: Vec<String> = taken.iter().map(ToString::to_string).collect();
        all.sort();
        assert_eq!(all, ["10.1.2.2", "10.1.2.3", "10.1.2.4", "10.1.2.5", "10.1.2.6"]);
        assert_eq!(subnet.choose("dm-shop-1", &taken), None);
        let wide = Subnet::parse(DEFAULT_SUBNET).expect("subnet");
        let none = HashSet::new();
        assert_eq!(wide.choose("a", &none), wide.choose("a", &none));
        assert_ne!(wide.choose("dm-a-1", &none), wide.choose("dm-a-2", &none));
        for wrong in ["", "10.0.0.0", "10.0.0.0/31", "10.0.0.0/0", "x/16", "::1/64", "10.0.0.0/33"] {
            assert_eq!(Subnet::parse(wrong), None, "{wrong}");
        }
        assert!(OTHER_SUBNETS.iter().all(|range| Subnet::parse(range).is_some()));
    }
}
