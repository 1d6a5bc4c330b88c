//! Headers on their way: what belongs to one connection goes, what tells the server about the client comes.

use std::net::{IpAddr, SocketAddr};

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_SERVER: HeaderName = HeaderName::from_static("x-forwarded-server");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const FORWARDED: HeaderName = http::header::FORWARDED;

/// Everything that tells a server who the client is. Only a trusted client may say it itself.
const IDENTITY: [HeaderName; 8] = [
    FORWARDED_FOR,
    FORWARDED_HOST,
    FORWARDED_PORT,
    FORWARDED_PROTO,
    FORWARDED_SERVER,
    FORWARDED_PREFIX,
    REAL_IP,
    FORWARDED,
];

/// What `Connection` may not take away: it would change what the message is, or where it goes.
const NOT_TO_BE_STRIPPED: [HeaderName; 4] = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, COOKIE];

/// Who forwards, for the headers that say so.
pub(super) struct Forwarder {
    /// Clients that are believed.
    pub(super) trusted: Vec<IpNet>,
    /// Our own name, for `X-Forwarded-Server`.
    pub(super) server_name: HeaderValue,
}

/// One request, for the headers that tell of it.
pub(super) struct Hop<'a> {
    pub(super) client: SocketAddr,
    /// The host as the client sent it.
    pub(super) host: &'a str,
    pub(super) stripped_prefix: Option<&'a str>,
    /// The protocol to change to, for an upgrade.
    pub(super) upgrade: Option<&'a HeaderValue>,
}

impl Forwarder {
    /// Turns a client's header lines into those for the server.
    pub(super) fn to_server(&self, headers: &mut HeaderMap, hop: &Hop<'_>) {
        let wants_trailers = headers.get_all(TE).iter().any(|value| {
            value.to_str().is_ok_and(|te| te.split(',').any(|c| c.trim() == "trailers"))
        });
        remove_hop_by_hop(headers);
        let client = plain_ip(hop.client.ip());
        if !self.trusted.iter().any(|network| network.contains(&client)) {
            for name in &IDENTITY {
                headers.remove(name);
            }
        }
        append_client(headers, client);
        let host = HeaderValue::from_str(hop.host).ok();
        let port = HeaderValue::from_str(port_of(hop.host)).ok();
        set_missing(headers, FORWARDED_HOST, host);
        set_missing(headers, FORWARDED_PORT, port);
        set_missing(headers, FORWARDED_PROTO, Some(HeaderValue::from_static("http")));
        set_missing(headers, FORWARDED_SERVER, Some(self.server_name.clone()));
        set_missing(headers, REAL_IP, HeaderValue::from_str(&client.to_string()).ok());
        if let Some(prefix) = hop.stripped_prefix.and_then(|p| HeaderValue::from_str(p).ok()) {
            headers.insert(FORWARDED_PREFIX, prefix);
        }
        if let Some(protocol) = hop.upgrade {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, protocol.clone());
        } else if wants_trailers {
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
    }
}

/// Removes what belongs to one connection only (RFC 9110, section 7.6.1), and what `Connection` names.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| !NOT_TO_BE_STRIPPED.contains(name))
        .collect();
    for name in &named {
        headers.remove(name);
    }
    let ours = [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
    ];
    for name in &ours {
        headers.remove(name);
    }
    // `Trailer` stays: it tells the next hop which trailers may come.
    debug_assert!(!ours.contains(&TRAILER));
}

/// The protocol a request or answer changes to, where it does.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let names_upgrade = headers.get_all(CONNECTION).iter().any(|value| {
        let names = value.to_str().unwrap_or_default().split(',');
        names.map(str::trim).any(|name| name.eq_ignore_ascii_case("upgrade"))
    });
    // A server that changes to HTTP/2 would take requests that no route was looked up for.
    let is_http2 =
        |value: &HeaderValue| value.to_str().is_ok_and(|v| v.to_ascii_lowercase().contains("h2c"));
    let mut protocols = headers.get_all(UPGRADE).iter();
    let protocol = protocols.next().filter(|_| names_upgrade && protocols.next().is_none());
    protocol.filter(|value| !is_http2(value)).cloned()
}

fn append_client(headers: &mut HeaderMap, client: IpAddr) {
    let before = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let mut list: Vec<&str> = before.collect();
    let client = client.to_string();
    list.push(&client);
    if let Ok(value) = HeaderValue::from_str(&list.join(", ")) {
        headers.insert(FORWARDED_FOR, value);
    }
}

fn set_missing(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.entry(name).or_insert(value);
    }
}

/// The port a client means by its host, as Traefik 1.7 tells it: what is written, else that of http.
fn port_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((_, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => port,
        _ => "80",
    }
}

/// An IPv4 client of an IPv6 socket, as IPv4.
pub(super) fn plain_ip(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarder(trusted: &[&str]) -> Forwarder {
        let trusted = trusted.iter().map(|network| network.parse().expect("a network")).collect();
        Forwarder { trusted, server_name: HeaderValue::from_static("herder-1") }
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
        };
        let mut map = HeaderMap::new();
        for (name, value) in lines.iter().map(line) {
            map.append(name, value);
        }
        map
    }

    #[track_caller]
    fn check(forwarder: &Forwarder, lines: &[(&'static str, &str)], expected: &[(&str, &str)]) {
        let mut map = headers(lines);
        let client = "[::ffff:10.1.2.3]:5000".parse().expect("an address");
        let hop = Hop { client, host: "web.local:81", stripped_prefix: None, upgrade: None };
        forwarder.to_server(&mut map, &hop);
        for (name, value) in expected {
            let found = map.get(*name).map(|value| value.to_str().expect("text"));
            let wanted = Some(*value).filter(|value| !value.is_empty());
            assert_eq!(found, wanted, "{name} of {lines:?}");
        }
    }

    #[test]
    fn tells_the_server_about_the_client() {
        let expected = [
            ("x-forwarded-for", "10.1.2.3"),
            ("x-forwarded-host", "web.local:81"),
            ("x-forwarded-port", "81"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-server", "herder-1"),
            ("x-real-ip", "10.1.2.3"),
        ];
        check(&forwarder(&[]), &[], &expected);
    }

    #[test]
    fn a_stranger_cannot_say_who_it_is() {
        let lines = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "1.1.1.1"),
            ("forwarded", "for=1.1.1.1"),
            ("x-forwarded-prefix", "/admin"),
        ];
        let expected = [
            ("x-forwarded-for", "10.1.2.3"),
            ("x-forwarded-proto", "http"),
            ("x-real-ip", "10.1.2.3"),
            ("forwarded", ""),
            ("x-forwarded-prefix", ""),
        ];
        check(&forwarder(&["192.168.0.0/16"]), &lines, &expected);
        let believed = [
            ("x-forwarded-for", "1.1.1.1, 10.1.2.3"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "1.1.1.1"),
        ];
        check(&forwarder(&["10.0.0.0/8"]), &lines, &believed);
    }

    #[test]
    fn what_belongs_to_one_connection_goes() {
        let lines = [
            ("connection", "close, x-secret, x-forwarded-for, content-length"),
            ("x-secret", "1"),
            ("content-length", "5"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip, trailers"),
            ("proxy-authorization", "Basic eDp5"),
            ("upgrade", "h2c"),
        ];
        let expected = [
            ("connection", "te"),
            ("te", "trailers"),
            ("x-secret", ""),
            ("content-length", "5"),
            ("x-forwarded-for", "10.1.2.3"),
            ("keep-alive", ""),
            ("proxy-authorization", ""),
            ("upgrade", ""),
        ];
        check(&forwarder(&[]), &lines, &expected);
    }

    #[test]
    fn sees_an_upgrade() {
        let asked = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        assert_eq!(upgrade(&asked).expect("an upgrade"), "websocket");
        assert_eq!(upgrade(&headers(&[("upgrade", "websocket")])), None);
        let http2 = headers(&[("connection", "upgrade, http2-settings"), ("upgrade", "h2c")]);
        assert_eq!(upgrade(&http2), None);
    }
}
