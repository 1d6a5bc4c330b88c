//! Where to listen: `:8080`, `127.0.0.1:8080`, `[::1]:8080`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::{fmt, io};

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

    /// Takes it with `bind`. Without an address: all of them, over IPv6 where there is IPv6, else over IPv4 alone.
    ///
    /// # Errors
    /// Those of `bind`. Where somebody else has the port over IPv6, it is not taken over IPv4 alone: the others would be lost.
    pub fn take<T>(self, bind: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
        let of = |ip| bind(SocketAddr::new(ip, self.port));
        match self.ip {
            Some(ip) => of(ip),
            None => match of(Ipv6Addr::UNSPECIFIED.into()) {
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                    of(Ipv4Addr::UNSPECIFIED.into())
                }
                bound => bound,
            },
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let wrong = || {
            let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
            let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            let why = match port.parse::<u16>() {
                Err(_) if is_number => format!(": the last port is {}, not {port}", u16::MAX),
                Ok(_) if host.starts_with(char::is_alphabetic) && host.bytes().all(is_of_name) => {
                    format!(": {host} is a name, and none is looked up here")
                }
                _ => String::new(),
            };
            format!("\"{text}\" is not an address to listen on{why}; write :8080 or 127.0.0.1:8080")
        };
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
    fn a_port_that_somebody_has_is_not_taken_by_half() {
        let all: Listen = ":80".parse().expect("an address");
        let v4 = |error: io::ErrorKind| {
            all.take(|addr| if addr.is_ipv6() { Err(error.into()) } else { Ok(addr.to_string()) })
        };
        assert_eq!(v4(io::ErrorKind::Unsupported).expect("no IPv6 here"), "0.0.0.0:80");
        assert_eq!(
            v4(io::ErrorKind::AddrInUse).expect_err("taken").kind(),
            io::ErrorKind::AddrInUse
        );
        assert_eq!(all.take(|addr| Ok(addr.to_string())).expect("both"), "[::]:80");
        let one: Listen = "127.0.0.1:80".parse().expect("an address");
        assert_eq!(one.take(|addr| Ok(addr.to_string())).expect("that one"), "127.0.0.1:80");
    }

    #[test]
    fn says_what_would_be_right() {
        for text in ["", ":", "80a", ":80a", "localhost:80", ":65536", "1.2.3.4"] {
            assert!(text.parse::<Listen>().expect_err(text).contains(":8080"));
        }
        for (text, why) in [
            (":65536", "the last port is 65535, not 65536"),
            ("127.0.0.1:99999", "not 99999"),
            ("localhost:80", "localhost is a name"),
        ] {
            let error = text.parse::<Listen>().expect_err(text);
            assert!(error.contains(why), "{error}");
        }
        for text in ["fe80::1:8080", "http://0.0.0.0:8080"] {
            let error = text.parse::<Listen>().expect_err(text);
            assert!(!error.contains("is a name"), "{error}");
        }
    }
}
