//! Settings of the admin server.

use std::net::SocketAddr;

use super::reader::Reader;

#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// Where `/healthz`, `/readyz`, `/metrics` and `/status` are served. They are not authenticated: keep the address
    /// off the public network.
    pub addr: SocketAddr,
}

impl AdminConfig {
    /// `default` differs between processes, so that all of them can run on one machine.
    pub fn read(reader: &mut Reader, default: SocketAddr) -> Self {
        let addr = reader.parsed_per_process(
            "DEPLOYMIND_ADMIN_ADDR",
            default,
            "own port per process",
            "Where health, readiness, metrics and status are served, without authentication.",
            |text| text.parse().map_err(|_| "is not an address and a port".to_owned()),
        );
        Self { addr }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MapSource;

    #[test]
    fn the_callers_default_is_used_until_an_address_is_given() {
        let default = SocketAddr::from(([127, 0, 0, 1], 9101));
        for (given, expected) in [("", "127.0.0.1:9101"), ("[::1]:9000", "[::1]:9000")] {
            let source = MapSource::new().with("DEPLOYMIND_ADMIN_ADDR", given);
            let mut reader = Reader::new(&source);
            assert_eq!(AdminConfig::read(&mut reader, default).addr.to_string(), expected);
            reader.finish().expect("valid");
        }
        let source = MapSource::from([("DEPLOYMIND_ADMIN_ADDR", "9000")]);
        let mut reader = Reader::new(&source);
        AdminConfig::read(&mut reader, default);
        let error = reader.finish().expect_err("a port alone is ambiguous").to_string();
        assert!(error.contains("DEPLOYMIND_ADMIN_ADDR=127.0.0.1:9101"), "{error}");
    }
}
