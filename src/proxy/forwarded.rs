//! Who forwards, and which clients are believed.

use std::net::IpAddr;

use ipnet::IpNet;

/// Who forwards, for the lines that say so.
pub(super) struct Forwarder {
    /// Clients whose own `X-Forwarded-*` lines are believed.
    trusted: Vec<IpNet>,
    /// What every request is told, with the end of the line before it: the protocol, and our own name.
    pub(super) lines: String,
}

const SERVER: &str = "\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Server: ";

impl Forwarder {
    pub(super) fn new(trusted: Vec<IpNet>, server_name: &str) -> Self {
        Self { trusted, lines: format!("{SERVER}{server_name}") }
    }

    /// Our own name.
    pub(super) fn server_name(&self) -> &str {
        self.lines.get(SERVER.len()..).unwrap_or_default()
    }

    /// Clients whose own `X-Forwarded-*` lines are believed.
    pub(super) fn trusted(&self) -> &[IpNet] {
        &self.trusted
    }

    /// Whether a client may say itself who it is.
    pub(super) fn trusts(&self, client: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&client))
    }
}

/// The port a client means by its host, as Traefik 1.7 tells it: what is written, else that of its protocol.
pub(super) fn port_of(host: &str, is_tls: bool) -> &str {
    let digits = host.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (name, port) = host.split_at(host.len() - digits);
    match name.ends_with(':') && !port.is_empty() {
        true => port,
        false if is_tls => "443",
        false => "80",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_is_the_same_client() {
        let forwarder = Forwarder::new(vec!["10.0.0.0/8".parse().expect("a network")], "me");
        assert_eq!(forwarder.server_name(), "me");
        let mapped = "::ffff:10.1.2.3".parse::<IpAddr>().expect("an address").to_canonical();
        assert_eq!(mapped.to_string(), "10.1.2.3");
        assert!(forwarder.trusts(mapped));
        assert!(!forwarder.trusts("192.168.0.1".parse().expect("an address")));
    }

    #[test]
    fn the_port_is_the_one_the_client_means() {
        assert_eq!(port_of("web.local:81", true), "81");
        assert_eq!(port_of("web.local", false), "80");
        assert_eq!(port_of("web.local", true), "443");
        assert_eq!(port_of("[::1]", false), "80");
        assert_eq!(port_of("[::1]:8080", false), "8080");
    }
}
