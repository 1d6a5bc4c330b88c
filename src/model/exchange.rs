//! One request on its way, in words of our own: whichever engine carries it, the rooms below `proxy` see this.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use percent_encoding::percent_decode_str;

use super::path::{sent_len, spellings};
use super::{Changes, Follower};

/// The header lines of a request, whoever holds them.
pub trait Head: Sync {
    /// The value of the first line of this name (lower case), if there is one.
    fn header(&self, name: &str) -> Option<&[u8]>;

    /// Whether a line of this name (lower case) has a value that passes the test.
    fn has_line(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool;

    /// Shows every line, name and value, in the order in which they were sent.
    fn each_line(&self, see: &mut dyn FnMut(&str, &[u8]));
}

/// Who sent a request, and when.
#[derive(Clone, Copy, Debug)]
pub struct Sender {
    /// The address of the connection.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
    /// Whether its own `X-Forwarded-*` lines are believed.
    pub is_trusted: bool,
    /// Whether the connection is encrypted.
    pub is_tls: bool,
    /// The worker's monotonic clock, in milliseconds.
    pub now_ms: u64,
    /// Where random numbers come from, spread over the whole range of u64.
    pub random: fn() -> u64,
}

impl Default for Sender {
    /// Nobody in particular: for tests and for the route test of `explain`.
    fn default() -> Self {
        let ip = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self { ip, port: 0, is_trusted: false, is_tls: false, now_ms: 0, random: || 0 }
    }
}

/// A request head with its host and path made comparable once, and what the chain made of it.
pub struct Exchange<'h> {
    /// The entry point it came in by: `http`.
    pub entrypoint: &'h str,
    /// As sent: methods have a case (RFC 9110, section 9.1).
    pub method: &'h str,
    /// Lower case, without port and trailing dot; empty where an HTTP/1.0 client named none.
    pub host: Cow<'h, str>,
    /// The path as the server gets it, without the query: as the client sent it, with `.` and `..` resolved, or what a
    /// middleware made of it.
    pub path: Cow<'h, str>,
    /// The path as the client sent it, whatever a middleware made of it.
    pub sent_path: &'h str,
    /// What follows the path's `?`, as sent.
    pub query: &'h str,
    /// The host as the client sent it, with its port.
    pub authority: &'h str,
    /// Who sent it.
    pub sender: Sender,
    /// The proxies before us that are believed, for [`told_ip`](Self::told_ip).
    pub trusted: &'h [IpNet],
    /// The header lines as sent.
    pub head: &'h dyn Head,
    /// What the chain made of it, its path aside. Most requests need none, and no memory.
    changes: Option<Box<Changes>>,
    /// The path as rules compare it, where that is spelled in another way.
    plain: Option<String>,
}

impl<'h> Exchange<'h> {
    /// A request as it arrived. `host` is made comparable here: see [`comparable_host`]; `target` is a path, and a
    /// query where there is a `?`.
    pub fn new(
        entrypoint: &'h str,
        method: &'h str,
        host: &'h str,
        target: &'h str,
        head: &'h dyn Head,
    ) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let exchange =
            Self::of_host(entrypoint, method, comparable_host(host), (path, query), head);
        Self { authority: host, ..exchange }
    }

    /// A request whose host was made comparable already, and whose target was split into path and query.
    pub fn of_host(
        entrypoint: &'h str,
        method: &'h str,
        host: Cow<'h, str>,
        (path, query): (&'h str, &'h str),
        head: &'h dyn Head,
    ) -> Self {
        let sent_path = path;
        let (path, plain) = spellings(Cow::Borrowed(path));
        Self {
            entrypoint,
            method,
            host,
            path,
            sent_path,
            query,
            authority: "",
            sender: Sender::default(),
            trusted: &[],
            head,
            changes: None,
            plain,
        }
    }

    /// Goes on with the request as the steps before left it.
    pub fn take_up(&mut self, changes: Option<Box<Changes>>) {
        let Some(mut changes) = changes else { return };
        let path = changes.path.take();
        self.changes = Some(changes);
        if let Some(path) = path {
            self.replace_path(path);
        }
    }

    /// What the steps made of it, its path included. It is not there any more then.
    pub fn take_changes(&mut self) -> Option<Box<Changes>> {
        if let Cow::Owned(path) = &mut self.path {
            let path = std::mem::take(path);
            self.changes.get_or_insert_default().path = Some(path);
        }
        self.changes.take()
    }

    /// What the steps made of it so far, its path aside.
    pub fn changes(&self) -> Option<&Changes> {
        self.changes.as_deref()
    }

    /// The same, to change more.
    pub fn change(&mut self) -> &mut Changes {
        self.changes.get_or_insert_default()
    }

    /// Has somebody see what becomes of the request.
    pub fn follow(&mut self, follower: impl Follower) {
        self.change().followers.push(Box::new(follower));
    }

    /// The value of the first line of this name (lower case) as text, where it is text.
    pub fn line(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.head.header(name)?).ok()
    }

    /// The query as the server gets it.
    pub fn query(&self) -> &str {
        self.changes().and_then(|changes| changes.query.as_deref()).unwrap_or(self.query)
    }

    /// The address of the client: see [`told_ip`](Self::told_ip); that of the connection where a proxy told what cannot be
    /// read.
    pub fn client_ip(&self) -> IpAddr {
        self.told_ip().unwrap_or(self.sender.ip)
    }

    /// The address of the client: that of the connection, and where that is a trusted proxy's the one it tells, which is the
    /// last of all `X-Forwarded-For` lines that is not itself a trusted proxy's. What stands before that one is the client's
    /// own word. None where it cannot be read.
    pub fn told_ip(&self) -> Option<IpAddr> {
        if !self.sender.is_trusted {
            return Some(self.sender.ip);
        }
        let mut lines = Vec::new();
        self.head.has_line("x-forwarded-for", &mut |line| {
            lines.push(String::from_utf8_lossy(line).into_owned());
            false
        });
        let mut told = self.sender.ip;
        for entry in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
            told = ip_of(entry.trim())?;
            if !self.trusted.iter().any(|network| network.contains(&told)) {
                break;
            }
        }
        Some(told)
    }

    /// Whether the client speaks https: with us, or with a trusted proxy before us that says so.
    pub fn is_https(&self) -> bool {
        let told = || self.line("x-forwarded-proto").and_then(|line| line.split(',').next());
        let is_told = || told().is_some_and(|proto| proto.trim().eq_ignore_ascii_case("https"));
        self.sender.is_tls || (self.sender.is_trusted && is_told())
    }

    /// The path that rules are held against: with its `%61` read as `a` (Go's `URL.Path`), its `//` as `/`, and without `.`
    /// and `..`. Two spellings of one path take one way, so that none of them leads around a guarded frontend.
    pub fn plain_path(&self) -> &str {
        self.plain.as_deref().unwrap_or(&self.path)
    }

    /// The same with its slashes as they were sent, for whoever makes another path of it.
    pub fn decoded_path(&self) -> Cow<'_, str> {
        percent_decode_str(&self.path).decode_utf8_lossy()
    }

    /// The first value of this parameter in the query, decoded.
    pub fn query_value(&self, key: &str) -> Option<Cow<'h, str>> {
        let mut pairs = form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Puts another path, as it is sent, in the place of this one.
    pub fn replace_path(&mut self, path: String) {
        let (path, plain) = spellings(Cow::Owned(path));
        self.path = Cow::Owned(path.into_owned());
        self.plain = plain;
    }

    /// Takes the first bytes of the plain path off. What is left is as it was sent, and begins with a slash.
    pub fn strip(&mut self, plain_len: usize) {
        let sent_len = match &self.plain {
            None => plain_len,
            Some(_) => sent_len(&self.path, plain_len),
        };
        let rest = self.path.get(sent_len..).unwrap_or_default();
        let path = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
        self.replace_path(path);
    }
}

/// An entry of `X-Forwarded-For`: an address, with a port behind it where a proxy adds one.
fn ip_of(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry);
    let with_port = || entry.parse::<std::net::SocketAddr>().map(|addr| addr.ip());
    bare.parse().or_else(|_| with_port()).ok().map(|ip: IpAddr| ip.to_canonical())
}

/// The address by which clients are counted: of IPv6 the network of 64 bits, for that is what one subscriber gets
/// (RFC 6177). `::ffff:10.0.0.1` is 10.0.0.1.
pub fn subscriber(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) >> 64 << 64).into(),
        ip => ip,
    }
}

/// An address, or a network: `10.0.0.1`, `10.0.0.0/8`. What is written as mapped IPv4 (`::ffff:10.0.0.0/104`) is IPv4, as the
/// addresses of clients are.
pub fn network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    let network = match text.parse() {
        Ok(network) => network,
        Err(_) => IpNet::from(text.parse::<IpAddr>().ok()?),
    };
    match (network.addr().to_canonical(), network.prefix_len().checked_sub(MAPPED_BITS)) {
        (ip @ IpAddr::V4(_), Some(bits)) if network.addr().is_ipv6() => IpNet::new(ip, bits).ok(),
        _ => Some(network),
    }
}

/// What stands before an IPv4 address that is mapped (RFC 4291, section 2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// A host as the table knows it: lower case, without port and without the trailing dot.
///
/// `WEB.local.:8080` is `web.local`; an address in brackets keeps them: `[::1]:80` is `[::1]`.
pub fn comparable_host(host: &str) -> Cow<'_, str> {
    // Hosts are short: looking at each byte is faster than a search that begins by getting ready.
    let name = match host.bytes().rposition(|byte| byte == b':' || byte == b']') {
        // A colon inside brackets belongs to an IPv6 address.
        Some(at) if host.as_bytes()[at] == b':' => host.split_at(at).0,
        _ => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    // All bytes at once, without an early end: that is what a processor does best.
    let has_upper = name.bytes().fold(false, |has, byte| has | byte.is_ascii_uppercase());
    if has_upper { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) }
}

/// No header lines at all: for tests and for the route test of `explain`.
impl Head for () {
    fn header(&self, _: &str) -> Option<&[u8]> {
        None
    }

    fn has_line(&self, _: &str, _: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        false
    }

    fn each_line(&self, _: &mut dyn FnMut(&str, &[u8])) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &str, expected: &str) {
        assert_eq!(comparable_host(host), expected);
    }

    #[test]
    fn a_host_is_compared_without_case_port_and_trailing_dot() {
        check("web.local", "web.local");
        check("WEB.Local:8080", "web.local");
        check("web.local.", "web.local");
        check("web.local.:80", "web.local");
        check("[::1]:80", "[::1]");
        check("[2001:DB8::1]", "[2001:db8::1]");
        check("", "");
        check(":80", "");
    }

    #[test]
    fn a_mapped_network_is_one_of_ipv4() {
        for (text, expected) in [
            (" 10.0.0.1 ", "10.0.0.1/32"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("::ffff:10.0.0.1", "10.0.0.1/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(network(text).map(|is| is.to_string()).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(network("10.0.0.0/33"), None);
    }

    #[test]
    fn two_spellings_of_a_path_are_one() {
        let exchange = Exchange::new("http", "GET", "a.t", "/%61dmin/%C3%A9?x=1", &());
        assert_eq!((exchange.plain_path(), exchange.query), ("/admin/é", "x=1"));
        assert_eq!(exchange.path, "/%61dmin/%C3%A9");
        let exchange = Exchange::new("http", "GET", "a.t", "//a/.././admin", &());
        assert_eq!((exchange.plain_path(), &*exchange.path), ("/admin", "/admin"));
        assert_eq!((exchange.sent_path, &*exchange.decoded_path()), ("//a/.././admin", "/admin"));
        for target in ["//x//admin", "/\\x//admin", "/.//x//admin"] {
            let exchange = Exchange::new("http", "GET", "a.t", target, &());
            assert_eq!((exchange.plain_path(), &*exchange.path), ("/x/admin", "/x//admin"));
        }
    }

    #[test]
    fn no_step_makes_a_way_up() {
        let mut exchange = Exchange::new("http", "GET", "a.t", "/foo../admin", &());
        exchange.strip(4);
        assert_eq!(exchange.path, "/admin");
    }

    #[test]
    fn what_is_taken_off_is_counted_in_plain_bytes() {
        for (target, plain_len, left) in [
            ("/api/x", 4, "/x"),
            ("/%61pi/x%20y", 4, "/x%20y"),
            ("/ap%69", 4, "/"),
            ("/ap%69x", 4, "/x"),
            ("/%C3%A9/x", 3, "/x"),
            ("/a%zz/x", 5, "/x"),
            ("/%ff/x", 4, "/x"),
            ("/%41%ff%42/x", 6, "/x"),
            ("//api//x", 4, "/x"),
            ("/api%2f/x", 5, "/x"),
        ] {
            let mut exchange = Exchange::new("http", "GET", "a.t", target, &());
            exchange.strip(plain_len);
            assert_eq!(exchange.path, left, "{target}");
        }
    }

    #[test]
    fn the_first_of_two_parameters_counts() {
        let exchange = Exchange::new("http", "GET", "a.t", "/?a=1%202&b&a=3", &());
        assert_eq!(exchange.query_value("a").as_deref(), Some("1 2"));
        assert_eq!(exchange.query_value("b").as_deref(), Some(""));
        assert_eq!(exchange.query_value("c"), None);
    }
}
