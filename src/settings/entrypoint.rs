//! Entry points: where requests come in.

use std::fmt;

use ipnet::IpNet;

use super::Listen;
use super::typed::network;

/// Where requests come in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EntryPoint {
    /// As frontends name it.
    pub name: String,
    /// Where it listens.
    pub listen: Listen,
    /// Whose own `X-Forwarded-*` lines are believed here.
    pub trust: Trust,
    /// Why it is not opened: it asks for what is not there yet, and would let in whom it should not.
    pub shut: Option<&'static str>,
    /// What else it asks for that is not acted on yet.
    pub later: Vec<&'static str>,
}

/// Whose own `X-Forwarded-*` lines are believed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Trust {
    /// Those of the settings as a whole.
    Usual,
    /// Those of these addresses.
    Networks(Vec<IpNet>),
    /// Everybody's.
    All,
}

impl EntryPoint {
    /// An entry point of which only the name and the address are said.
    pub fn plain(name: &str, listen: Listen) -> Self {
        let (name, trust) = (name.to_owned(), Trust::Usual);
        Self { name, listen, trust, shut: None, later: Vec::new() }
    }
}

impl std::str::FromStr for EntryPoint {
    type Err = String;

    /// `Name:http Address::80 ForwardedHeaders.TrustedIPs:10.0.0.0/8`: Traefik 1.7's notation, without regard to the case
    /// of the keys (configuration/entrypoints.go).
    fn from_str(text: &str) -> Result<Self, String> {
        let (mut name, mut listen, mut trust) = (None, None, Trust::Usual);
        let (mut shut, mut later) = (None, Vec::new());
        for part in text.split_whitespace() {
            let (key, value) = part.split_once(':').unwrap_or((part, "true"));
            let lower = key.to_ascii_lowercase();
            match lower.split('.').collect::<Vec<_>>().as_slice() {
                ["name"] => name = Some(value.to_owned()),
                ["address"] => listen = Some(value.parse::<Listen>()?),
                ["forwardedheaders", "trustedips"] => {
                    let networks = value.split(',').map(network).collect::<Result<_, _>>()?;
                    trust = Trust::Networks(networks);
                }
                ["forwardedheaders", "insecure"] => match value {
                    "true" => trust = Trust::All,
                    "false" => {}
                    _ => return Err(format!("{key} \"{value}\" is neither true nor false")),
                },
                ["tls" | "ca", ..] => {
                    shut = shut.or(Some("it asks for TLS, which is not served yet"))
                }
                ["auth", ..] => {
                    shut = shut.or(Some("it asks for authentication, which is not there yet"))
                }
                ["whitelist", ..] | ["whitelistsourcerange"] => {
                    shut = shut
                        .or(Some("it asks for an allow list of addresses, which is not there yet"));
                }
                ["proxyprotocol", ..] => {
                    shut = shut.or(Some("it asks for the PROXY protocol, which is not there yet"));
                }
                ["redirect", ..] => later.push("redirects are not there yet"),
                ["compress"] if value == "true" => later.push("compression is not there yet"),
                ["compress"] => {}
                ["clientipstrategy", ..] => {
                    later.push("client address strategies are not there yet")
                }
                _ => {
                    return Err(format!(
                        "\"{key}\" is not a key of an entry point; there are Name, Address, \
                         ForwardedHeaders.TrustedIPs, ForwardedHeaders.Insecure, TLS, Redirect.EntryPoint, \
                         Redirect.Regex, Redirect.Replacement, Redirect.Permanent, Compress, WhiteList.SourceRange, \
                         ProxyProtocol.TrustedIPs, Auth.Basic.Users"
                    ));
                }
            }
        }
        later.dedup();
        let name = name.filter(|name| !name.is_empty());
        let name = name.ok_or("an entry point has no name; write Name:http Address::80")?;
        let listen = listen
            .ok_or_else(|| format!("the entry point {name} has no address; write Address::80"))?;
        Ok(Self { name, listen, trust, shut, later })
    }
}

impl fmt::Display for EntryPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.listen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notation_of_traefik_is_read() {
        let text = "name:web Address::80 ForwardedHeaders.TrustedIPs:10.0.0.0/8,127.0.0.1 compress:true Redirect.EntryPoint:https";
        let read: EntryPoint = text.parse().expect("a good one");
        assert_eq!(read.to_string(), "web at :80");
        assert!(matches!(read.trust, Trust::Networks(ref networks) if networks.len() == 2));
        assert_eq!((read.shut, read.later.len()), (None, 2));
    }

    #[test]
    fn what_would_let_in_too_many_is_shut() {
        for asks in [
            "TLS",
            "TLS:a.crt,a.key",
            "TLS.MinVersion:VersionTLS12",
            "Auth.Basic.Users:a:b",
            "WhiteList.SourceRange:10.0.0.0/8",
            "ProxyProtocol.TrustedIPs:10.0.0.1",
        ] {
            let read: EntryPoint = format!("Name:https Address::443 {asks}").parse().expect(asks);
            assert!(read.shut.is_some(), "{asks}");
        }
    }

    #[test]
    fn a_wrong_one_is_explained() {
        for (text, word) in [
            ("", "no name"),
            ("Address::80", "no name"),
            ("Name:http", "no address"),
            ("Name:http Address:80a", "80a"),
            ("Name:http Adress::80", "Adress"),
            ("Name:http Address::80 ForwardedHeaders.TrustedIPs:x", "\"x\""),
        ] {
            let why = text.parse::<EntryPoint>().expect_err(text);
            assert!(why.contains(word), "{why}");
        }
    }
}
