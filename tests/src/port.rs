//! Loopback ports that stay ours while a server is down.
//!
//! The kernel hands out ports from 32768 up for outgoing connections, so a restarted server would now and then find its port taken
//! by somebody's client. These come from below that range and above the one `scripts/servers.sh` uses.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// A port nobody listens on, never given twice by this process.
#[must_use]
pub fn free_port() -> u16 {
    // Test processes that run side by side start far from each other.
    static NEXT: LazyLock<AtomicU32> =
        LazyLock::new(|| AtomicU32::new(std::process::id().wrapping_mul(97) % COUNT));
    for _ in 0..COUNT {
        let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = u16::try_from(port).expect("the range ends below 65536");
        if is_free(port) {
            return port;
        }
    }
    panic!("no free loopback port between {FIRST} and {}", FIRST + COUNT);
}

/// Asked by a connection, not by a trial bind: a child that is being forked just then would keep the trial socket open.
fn is_free(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let answer = TcpStream::connect_timeout(&address, Duration::from_secs(1));
    answer.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}
