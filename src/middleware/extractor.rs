//! What requests are counted by: `client.ip`, `request.host`, `request.header.NAME` (vulcand/oxy, utils/source.go).

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};

use crate::model::{Exchange, subscriber};

/// Where a request's name for counting comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Extractor {
    /// The client's address; of IPv6 the network of 64 bits, for that is what one subscriber gets (RFC 6177).
    ClientIp,
    /// The host that is asked for.
    Host,
    /// A header line, by its name in lower case. Requests without it count together.
    Header(Box<str>),
}

impl Extractor {
    /// Reads `client.ip`, `request.host` or `request.header.NAME`.
    ///
    /// # Errors
    /// A clause without a full stop that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("request.header.")) {
            ("client.ip", _) => Ok(Self::ClientIp),
            ("request.host", _) => Ok(Self::Host),
            (_, Some(name)) if http::HeaderName::from_bytes(name.as_bytes()).is_ok() => {
                Ok(Self::Header(name.to_ascii_lowercase().into()))
            }
            _ => Err(format!("\"{text}\" is nothing that requests are counted by")),
        }
    }

    /// A digest of the request's name: as long as any other, however long the name is. `secret` is drawn at the start,
    /// so nobody can choose two names with one digest.
    pub(super) fn key(&self, exchange: &Exchange<'_>, secret: &impl BuildHasher) -> u64 {
        let mut hasher = secret.build_hasher();
        match self {
            Self::ClientIp => (0_u8, subscriber(exchange.client_ip())).hash(&mut hasher),
            Self::Host => (1_u8, &exchange.host).hash(&mut hasher),
            Self::Header(name) => (2_u8, exchange.head.header(name)).hash(&mut hasher),
        }
        hasher.finish()
    }
}

/// As it is written.
impl fmt::Display for Extractor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientIp => f.write_str("client.ip"),
            Self::Host => f.write_str("request.host"),
            Self::Header(name) => write!(f, "request.header.{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;

    use super::*;
    use crate::model::Head;

    struct Line(&'static str, &'static str);

    impl Head for Line {
        fn header(&self, name: &str) -> Option<&[u8]> {
            (name == self.0).then_some(self.1.as_bytes())
        }

        fn has_line(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
            self.header(name).is_some_and(test)
        }

        fn each_line(&self, see: &mut dyn FnMut(&str, &[u8])) {
            see(self.0, self.1.as_bytes());
        }
    }

    /// Whether two requests, each by its client's address, its host and its line `x-user`, count together.
    #[track_caller]
    fn check(by: &str, one: [&'static str; 3], other: [&'static str; 3], expected: bool) {
        let (by, secret) = (Extractor::parse(by).expect("a good one"), RandomState::new());
        let key = |[ip, host, user]: [&'static str; 3]| {
            let line = Line("x-user", user);
            let mut exchange = Exchange::new("http", "GET", host, "/", &line);
            exchange.sender.ip = ip.parse().expect("an address");
            by.key(&exchange, &secret)
        };
        assert_eq!(key(one) == key(other), expected, "{by}: {one:?}, {other:?}");
    }

    #[test]
    fn requests_count_together_by_what_was_chosen() {
        let one = ["10.0.0.1", "a.t", "me"];
        check("client.ip", one, ["10.0.0.1", "b.t", "you"], true);
        check("client.ip", one, ["::ffff:10.0.0.1", "a.t", "me"], true);
        check("client.ip", one, ["10.0.0.2", "a.t", "me"], false);
        check("request.host", one, ["10.0.0.2", "A.T:80", "you"], true);
        check("request.host", one, ["10.0.0.1", "b.t", "me"], false);
        check("request.header.X-User", one, ["10.0.0.2", "b.t", "me"], true);
        check("request.header.X-User", one, ["10.0.0.1", "a.t", "you"], false);
        check("request.header.X-Other", one, ["10.0.0.2", "b.t", "you"], true);
    }

    #[test]
    fn a_subscriber_has_one_network_of_ipv6() {
        let one = ["2001:db8:1:2::1", "a.t", ""];
        check("client.ip", one, ["2001:db8:1:2:ffff::9", "a.t", ""], true);
        check("client.ip", one, ["2001:db8:1:3::1", "a.t", ""], false);
    }

    #[test]
    fn nothing_else_is_counted_by() {
        for bad in ["", "client", "request.header.", "request.header.a b", "Client.IP"] {
            assert!(Extractor::parse(bad).is_err(), "{bad}");
        }
    }
}
