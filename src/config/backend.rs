//! Servers, and how to share load among them.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use litemap::LiteMap;

use super::BackendWishes;
use crate::model::{Origin, ServerName, is_token};

/// Servers that do the same work.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Backend {
    /// How the next server is chosen.
    pub method: Method,
    /// Whether a client comes back to the server it had.
    pub sticky: Option<Arc<Sticky>>,
    /// How long the share of a server grows that has just come, or come back; zero gives it all of it at once.
    pub slow_start: Duration,
    /// Only those that may get requests now.
    pub servers: Servers,
    /// What else it asks for, where it does.
    pub wishes: Option<Box<BackendWishes>>,
    /// Tells it from others of its name, where that was made of its service's: `web-shop` of `a` and `web` of `shop-a` are two.
    /// None where its owner chose the name.
    pub mark: Option<NonZeroU32>,
    /// Who asked for it.
    pub origin: Origin,
}

/// Servers by name. In one piece of memory: most backends have few of them.
pub type Servers = LiteMap<ServerName, Server>;

/// One address that answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Server {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// Where it is.
    pub addr: SocketAddr,
    /// Its name, where it was not called by its address: it is asked for by it, and shows a certificate for it.
    pub host: Option<Arc<str>>,
    /// Its share, relative to the others of its backend; 0 gets nothing.
    pub weight: u32,
    /// Whether its owner said so; Traefik 1.7's API shows 0 for a file's server without a weight, which counts as 1.
    pub is_weight_said: bool,
    /// The container behind it.
    pub origin: Origin,
}

impl Server {
    /// `http://10.42.0.7:8080`, as Traefik's API shows it.
    pub fn url(&self) -> String {
        self.scheme.url(self.addr, self.host.as_deref())
    }
}

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Scheme {
    /// HTTP/1.1 in clear.
    Http,
    /// HTTP/1.1 over TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// `http://10.42.0.7:8080`, or `http://shop.test:8080` of a server that was called by its name.
    pub fn url(self, addr: SocketAddr, host: Option<&str>) -> String {
        format!("{}://{}", self.as_str(), authority(addr, host))
    }

    /// The port that need not be said.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// What a URL has of a server: its address, or the name that it was called by, with its port.
pub fn authority(addr: SocketAddr, host: Option<&str>) -> String {
    match host {
        None => addr.to_string(),
        Some(host) => format!("{host}:{}", addr.port()),
    }
}

/// How the next server is chosen. `wrr` and `drr` are Traefik 1.7's, the others our own.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Method {
    /// Smooth weighted round robin.
    #[default]
    Wrr,
    /// Dynamic round robin: weights that shrink for servers that fail or are slow.
    Drr,
    /// The fewest requests under way, by weight.
    LeastConn,
    /// The power of two choices: the one with less to do of two that are drawn by weight.
    P2c,
    /// The least time: how long answers take (peak-EWMA), times what is under way.
    Ewma,
    /// Always the same server for the same of these.
    Hash(HashKey),
}

impl Method {
    /// As it is written in labels and files.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Wrr => "wrr",
            Self::Drr => "drr",
            Self::LeastConn => "leastconn",
            Self::P2c => "p2c",
            Self::Ewma => "ewma",
            Self::Hash(_) => "hash",
        }
    }

    /// The method of this name, written in any case; `hash` by the client's address.
    pub fn named(name: &str) -> Option<Self> {
        let all = [
            Self::Wrr,
            Self::Drr,
            Self::LeastConn,
            Self::P2c,
            Self::Ewma,
            Self::Hash(HashKey::ClientIp),
        ];
        all.into_iter().find(|method| method.as_str().eq_ignore_ascii_case(name))
    }

    /// Whether it looks at how long answers take.
    pub fn is_timed(&self) -> bool {
        matches!(self, Self::Drr | Self::Ewma)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash(key) => write!(f, "hash of {key}"),
            _ => f.write_str(self.as_str()),
        }
    }
}

/// What decides about the server where the method is `hash`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum HashKey {
    /// The client's address.
    ClientIp,
    /// The host that is asked for.
    Host,
    /// The value of this header line (lower case).
    Header(Arc<str>),
    /// The value of this cookie.
    Cookie(Arc<str>),
}

impl FromStr for HashKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = |name: &str| match is_token(name) {
            true => Ok(name.into()),
            false => Err(format!("\"{text}\" names no line of a head and no cookie")),
        };
        match (text, text.strip_prefix("request.header."), text.strip_prefix("request.cookie.")) {
            ("client.ip", ..) => Ok(Self::ClientIp),
            ("request.host", ..) => Ok(Self::Host),
            (_, Some(header), _) => Ok(Self::Header(name(&header.to_ascii_lowercase())?)),
            (_, _, Some(cookie)) => Ok(Self::Cookie(name(cookie)?)),
            _ => Err(format!("\"{text}\" is nothing that a server is chosen by")),
        }
    }
}

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientIp => f.write_str("client.ip"),
            Self::Host => f.write_str("request.host"),
            Self::Header(name) => write!(f, "request.header.{name}"),
            Self::Cookie(name) => write!(f, "request.cookie.{name}"),
        }
    }
}

/// A cookie that brings a client back to the server it had.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sticky {
    /// The cookie's name. Its value is a digest: it names no address in clear.
    pub cookie: String,
    /// Whether its owner left the name to us.
    pub is_named_by_us: bool,
    /// Whether it was asked for by the word of Traefik 1.2, `sticky`.
    pub is_deprecated: bool,
    /// To whom browsers show it.
    pub scope: CookieScope,
}

/// To whom browsers show a cookie.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CookieScope {
    /// Only over https.
    pub is_secure: bool,
    /// Not to scripts.
    pub is_http_only: bool,
    /// Not to the requests that other sites make.
    pub same_site: SameSite,
}

impl Default for CookieScope {
    /// Over http too, hidden from scripts, and not where another site embeds or posts.
    fn default() -> Self {
        Self { is_secure: false, is_http_only: true, same_site: SameSite::Lax }
    }
}

/// Which requests that another site makes carry a cookie.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SameSite {
    /// Those that go there: links.
    Lax,
    /// None.
    Strict,
    /// All; browsers want such a cookie to be secure.
    None,
}

impl SameSite {
    /// As it stands in `Set-Cookie`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lax => "Lax",
            Self::Strict => "Strict",
            Self::None => "None",
        }
    }

    /// The one of this name, written in any case.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Lax, Self::Strict, Self::None];
        all.into_iter().find(|same_site| same_site.as_str().eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_found_by_their_names() {
        for name in ["wrr", "drr", "leastconn", "p2c", "ewma", "hash"] {
            assert_eq!(Method::named(&name.to_uppercase()).expect(name).as_str(), name);
        }
        assert_eq!(Method::named("random"), None);
    }

    #[test]
    fn what_a_server_is_chosen_by_is_read_as_it_is_printed() {
        for text in ["client.ip", "request.host", "request.header.x-user", "request.cookie.Sid"] {
            assert_eq!(text.parse::<HashKey>().expect(text).to_string(), text);
        }
        assert_eq!("request.header.X-User".parse(), Ok(HashKey::Header("x-user".into())));
        for bad in ["", "ip", "request.header.", "request.cookie.a b", "request.cookie."] {
            assert!(bad.parse::<HashKey>().is_err(), "{bad}");
        }
    }
}
