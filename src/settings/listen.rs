//! Where to listen: `:8080`, `127.0.0.1:8080`, `[::1]:8080`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// An address to listen on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Listen {
    /// The address; none means all of them, IPv4 and IPv6.
    pub ip: Option<IpAddr>,
    /// The port; 0 lets the system choose.
    pub port: u16,
}

impl Listen {
    /// Whether who has one has no place for the other.
    pub fn is_same_as(self, other: Self) -> bool {
        let is_one_ip = self.ip == other.ip || self.ip.is_none() || other.ip.is_none();
        is_one_ip && self.port == other.port && self.port != 0
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("\"{text}\" is not an address to listen on; write :8080 or 127.0.0.1:8080");
        if let Some(port) = text.strip_prefix(':') {
            return Ok(Self { ip: None, port: port.parse().map_err(|_| wrong())? });
        }
        if let Ok(port) = text.parse() {
            return Ok(Self { ip: None, port });
        }
        let addr: SocketAddr = text.parse().map_err(|_| wrong())?;
        Ok(Self { ip: Some(addr.ip()), port: addr.port() })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            None => write!(f, ":{}", self.port),
            Some(ip) => SocketAddr::new(ip, self.port).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in [":8080", "127.0.0.1:80", "[::1]:8000", ":0"] {
            assert_eq!(text.parse::<Listen>().expect(text).to_string(), text);
        }
        assert_eq!("8080".parse::<Listen>().expect("a bare port").to_string(), ":8080");
    }

    #[test]
    fn says_what_would_be_right() {
        for text in ["", ":", "80a", ":80a", "localhost:80", ":65536", "1.2.3.4"] {
            assert!(text.parse::<Listen>().expect_err(text).contains(":8080"));
        }
    }
}
