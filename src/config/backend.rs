//! Servers, and how to share load among them.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use litemap::LiteMap;

use super::BackendWishes;
use crate::model::{Origin, ServerName};

/// Servers that do the same work.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Backend {
    /// How the next server is chosen.
    pub method: Method,
    /// Whether a client comes back to the server it had.
    pub sticky: Option<Sticky>,
    /// Only those that may get requests now.
    pub servers: Servers,
    /// What else it asks for, where it does.
    pub wishes: Option<Box<BackendWishes>>,
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
        match &self.host {
            None => format!("{}://{}", self.scheme.as_str(), self.addr),
            Some(host) => format!("{}://{host}:{}", self.scheme.as_str(), self.addr.port()),
        }
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
}

/// How the next server is chosen.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Method {
    /// Smooth weighted round robin.
    #[default]
    Wrr,
    /// Dynamic round robin: weighted round robin whose weights shrink for servers that fail.
    Drr,
}

impl Method {
    /// `wrr` or `drr`, as in Traefik's labels and API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wrr => "wrr",
            Self::Drr => "drr",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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
}
