//! Settings of a gateway process.

use std::net::SocketAddr;

use super::reader::Reader;

#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Where the API listens. Loopback by default: whoever opens it to a network puts TLS in front.
    pub listen: SocketAddr,
}

impl GatewayConfig {
    pub fn read(reader: &mut Reader) -> Self {
        let default = SocketAddr::from(([127, 0, 0, 1], 8080));
        let listen =
            reader.parsed("DEPLOYMIND_LISTEN", default, "The address and port of the API.", |text| {
                text.parse().map_err(|_| "is not an address and port".to_owned())
            });
        Self { listen }
    }
}
