//! Where a program listens, looked up where its host is this machine: the difference between a wrong port and a program that
//! listens on loopback only is what its author needs to know.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::slot::Found;

/// Most of the kernel's table that is read.
const TABLE_BYTES: u64 = 1 << 20;
/// `TCP_LISTEN` of the kernel's `tcp_states.h`.
const LISTEN: &str = "0A";
/// An engine's own name server listens on this in every container.
const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// Ports a program listens on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hears {
    pub(super) everywhere: Vec<u16>,
    pub(super) loopback: Vec<u16>,
}

/// Empty where it cannot be known: the process is not among those of this machine that we see.
pub(super) async fn look(found: &Found) -> Hears {
    let Some(pid) = found.state.pid.filter(|pid| *pid > 0) else { return Hears::default() };
    let id = found.id.clone();
    let look = tokio::task::spawn_blocking(move || {
        // The number may be another process's here, where we see other processes than the engine does.
        if !read(&format!("/proc/{pid}/cgroup")).contains(&id) {
            return Hears::default();
        }
        let mut hears = Hears::default();
        for table in ["tcp", "tcp6"] {
            take(&read(&format!("/proc/{pid}/net/{table}")), &mut hears);
        }
        hears
    });
    look.await.unwrap_or_default()
}

fn read(path: &str) -> String {
    use std::io::Read as _;
    let mut text = Vec::new();
    let _unread =
        fs::File::open(path).and_then(|file| file.take(TABLE_BYTES).read_to_end(&mut text)).is_err();
    String::from_utf8_lossy(&text).into_owned()
}

fn take(table: &str, hears: &mut Hears) {
    for line in table.lines().skip(1) {
        let mut fields = line.split_whitespace().skip(1);
        let (Some(local), Some(state)) = (fields.next(), fields.nth(1)) else { continue };
        let Some((address, port)) = local.split_once(':') else { continue };
        let (Some(class), Ok(port)) = (class(address), u16::from_str_radix(port, 16)) else { continue };
        if state != LISTEN {
            continue;
        }
        let ports = match class {
            Class::Loopback => &mut hears.loopback,
            Class::Everywhere => &mut hears.everywhere,
            Class::Engine => continue,
        };
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
}

enum Class {
    Loopback,
    Everywhere,
    Engine,
}

/// The kernel writes each 32-bit word in the byte order of the machine.
fn class(hex: &str) -> Option<Class> {
    let mut bytes = Vec::with_capacity(16);
    for at in (0..hex.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    }
    let loopback = if let Ok(v4) = <[u8; 4]>::try_from(bytes.as_slice()) {
        let address = Ipv4Addr::from(v4);
        if address == NAME_SERVER {
            return Some(Class::Engine);
        }
        address.is_loopback()
    } else {
        let address = Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?);
        address.is_loopback() || address.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
    };
    Some(if loopback { Class::Loopback } else { Class::Everywhere })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_kernels_table_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue\n\
            0: 0100007F:1F90 00000000:0000 0A 0\n   1: 00000000:0BB8 00000000:0000 0A 0\n\
            2: 0B00007F:9D3B 00000000:0000 0A 0\n   3: 0200D50A:1F91 0100D50A:C350 01 0\nbroken\n";
        let six = "sl local\n 0: 00000000000000000000000001000000:1F92 00000000:0000 0A 0\n\
            1: 00000000000000000000000000000000:0050 0:0 0A 0\n 2: zz:0050 0:0 0A 0\n";
        let mut hears = Hears::default();
        take(table, &mut hears);
        take(six, &mut hears);
        assert_eq!(hears, Hears { everywhere: vec![3000, 80], loopback: vec![8080, 8082] });
    }
}
