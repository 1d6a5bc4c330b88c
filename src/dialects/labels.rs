//! What we know of a label by its key.

use std::collections::HashMap;
use std::sync::LazyLock;

use foldhash::fast::RandomState;

pub use super::label_table::LABELS;
use crate::model::{nearest, slips};

/// What becomes of a label.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Support {
    /// It is acted on.
    Served,
    /// It is known, checked and shown, and not acted on yet.
    Later,
}

/// How a label's value is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A word, or something that its reader takes apart.
    Text,
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Number,
    /// `10s`, `500ms`; a bare number is seconds.
    Duration,
    /// Words with commas between them.
    List,
    /// Addresses and networks with commas between them.
    Networks,
    /// Header lines: `Name: value||Name: value`.
    Headers,
    /// A regular expression.
    Expression,
    /// When a circuit breaker opens: `NetworkErrorRatio() > 0.5`.
    Breaker,
    /// When a request is sent again: `IsNetworkError() && Attempts() <= 2`.
    Retry,
    /// Statuses of answers with commas between them: `404`, `500-599`.
    Statuses,
    /// What requests are counted by: `client.ip`, `request.host`, `request.header.NAME`.
    Extractor,
    /// `true`, `false`, or how long: `10m`.
    Switch,
}

/// One label, or a family of them.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// The key; a part that is `*` stands for any one part.
    pub key: &'static str,
    /// How its value is written.
    pub kind: Kind,
    /// What becomes of it.
    pub support: Support,
    /// The value it has when it is missing, as the docs print it.
    pub default: &'static str,
    /// What it means, in a few words.
    pub meaning: &'static str,
}

/// Labels that only the rancher-tools dialect has: a service that carries one is read in it.
pub const RANCHER_TOOLS_OWN: &[&str] = &[
    "traefik.alias",
    "traefik.alias.fqdn",
    "traefik.domain.regexp",
    "traefik.path",
    "traefik.path.strip",
    "traefik.path.prefix",
    "traefik.path.prefix.strip",
    "traefik.acme",
    "traefik.ratelimit.enable",
    "traefik.ratelimit.period",
    "traefik.ratelimit.average",
    "traefik.ratelimit.burst",
];

/// What Traefik 2 and 3 say below these first parts, which 1.7 takes for segments. Whatever else stands there is said of a
/// segment of that name: `traefik.http.port`.
const LATER: &[(&str, &[&str])] = &[
    ("http", &["routers", "services", "middlewares", "serversTransports"]),
    ("tcp", &["routers", "services", "middlewares", "serversTransports"]),
    ("udp", &["routers", "services"]),
    ("tls", &["stores", "options", "certificates"]),
    ("docker", &["lbswarm", "allowNonRunning"]),
];

/// What we know of a key.
#[derive(Clone, Copy, Debug)]
pub enum Known<'k> {
    /// A label of the table.
    Label(&'static Label),
    /// A label of Traefik 2 or 3: `traefik.http.routers.…`.
    V2,
    /// A label of a segment, `traefik.SEGMENT.port`: the segment and what the label says of it.
    Segment(&'k str, &'static Label),
    /// A label of a segment, `traefik.SEGMENT.frontend.rul`, whose ending nobody knows: the segment and the ending.
    UnknownInSegment(&'k str, &'k str),
    /// Nothing.
    Unknown,
}

/// What we know of this key, which begins with `traefik.`.
pub fn known(key: &str) -> Known<'_> {
    if let Some(label) = find(key) {
        return Known::Label(label);
    }
    if key.strip_prefix(OURS).is_some_and(is_later) {
        return Known::V2;
    }
    let first = key.split('.').nth(1).unwrap_or_default();
    match segment(key) {
        Some(_) if is_slip(first) && near(key).is_some_and(|own| slips(own, key) <= Some(1)) => {
            Known::Unknown
        }
        Some((segment, rest)) => match find(&format!("traefik.{rest}")) {
            Some(label) => Known::Segment(segment, label),
            None => Known::UnknownInSegment(segment, rest),
        },
        None => Known::Unknown,
    }
}

/// What the keys of our labels begin with.
pub const OURS: &str = "traefik.";

/// Whether a key was meant for us. No label is written in capitals, but who wrote `Traefik.Enable` should be told so.
pub fn is_ours(key: &str) -> bool {
    key.get(..OURS.len()).is_some_and(|start| start.eq_ignore_ascii_case(OURS))
}

/// Whether what follows `traefik.` is a slip rather than a segment: that of `traefik.bakend.healthcheck.port`.
fn is_slip(first: &str) -> bool {
    ["frontend", "backend"].iter().any(|family| slips(family, first) == Some(1))
}

/// Whether what follows `traefik.` is of Traefik 2 or 3, slips of the fingers included: `http.routers.x.rule`.
fn is_later(inside: &str) -> bool {
    let mut words = inside.split('.');
    let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let is_near = |part: &&str| slips(part, second).is_some_and(|slips| slips <= 1);
    LATER.iter().any(|(of, parts)| *of == first && parts.iter().any(is_near))
}

/// The nearest whole key, if it is near enough to be a slip of the fingers. It is looked for among all of them: ask where it
/// is told.
pub fn near(key: &str) -> Option<&'static str> {
    nearest(key, LABELS.iter().map(|label| label.key).filter(|key| !key.contains('*')))
}

/// The label of this key.
pub fn find(key: &str) -> Option<&'static Label> {
    static BY_KEY: LazyLock<HashMap<&'static str, &'static Label, RandomState>> =
        LazyLock::new(|| LABELS.iter().map(|label| (label.key, label)).collect());
    static FAMILIES: LazyLock<Vec<&'static Label>> =
        LazyLock::new(|| LABELS.iter().filter(|label| label.key.contains('*')).collect());
    let family = || FAMILIES.iter().copied().find(|label| label.is(key));
    BY_KEY.get(key).copied().filter(|label| !label.key.contains('*')).or_else(family)
}

/// The segment of a key and what the key says of it: `web` and `port` of `traefik.web.port`
/// (Traefik 1.7, provider/label/segment.go).
pub fn segment(key: &str) -> Option<(&str, &str)> {
    let inside = key.strip_prefix("traefik.")?;
    if inside.starts_with("frontend.") || inside.starts_with("backend.") || is_later(inside) {
        return None;
    }
    let of_segment = |rest: &str| {
        SEGMENT_ENDINGS.contains(&rest)
            || rest.strip_prefix("frontend.").is_some_and(|r| !r.is_empty())
    };
    let splits = inside.match_indices('.').map(|(at, _)| inside.split_at(at));
    let mut splits = splits.map(|(segment, rest)| (segment, rest.trim_start_matches('.')));
    let found = splits.find(|(segment, rest)| !segment.is_empty() && of_segment(rest));
    found.filter(|(segment, _)| !says_of_backend(segment))
}

/// Whether this is no name, but what somebody says of a segment's backend: `web.backend.healthcheck` of
/// `traefik.web.backend.healthcheck.port`, which 1.7 serves at that port.
fn says_of_backend(segment: &str) -> bool {
    let is_part = |word: &str| {
        BACKEND_PARTS.iter().any(|part| slips(part, word).is_some_and(|slips| slips <= 2))
    };
    let words = || segment.split('.');
    let is_backend = |word| slips("backend", word).is_some_and(|slips| slips <= 1);
    words().zip(words().skip(1)).any(|(word, next)| is_backend(word) && is_part(next))
}

/// The parts of a backend that have labels of their own.
const BACKEND_PARTS: &[&str] = &[
    "loadbalancer",
    "circuitbreaker",
    "healthcheck",
    "maxconn",
    "buffering",
    "timeout",
    "responseForwarding",
];

/// What can follow a segment's name besides `frontend.…`.
const SEGMENT_ENDINGS: &[&str] =
    &["port", "portIndex", "portName", "weight", "protocol", "backend"];

/// What a frontend or backend is made of, besides what it asks for with further labels.
const PARTS: &[&str] = &[
    "traefik.frontend.rule",
    "traefik.frontend.priority",
    "traefik.frontend.entryPoints",
    "traefik.frontend.passHostHeader",
    "traefik.frontend.value",
    "traefik.backend.id",
];

impl Label {
    /// Whether it asks for something besides a rule, a port and a method: those are read, and their values checked, all
    /// in one way.
    pub fn is_wish(&self) -> bool {
        let is_below = ["traefik.frontend.", "traefik.backend."];
        is_below.iter().any(|family| self.key.starts_with(family))
            && !self.key.starts_with("traefik.backend.loadbalancer.")
            && self.key != super::health::RANCHER
            && !PARTS.contains(&self.key)
    }

    /// Whether it keeps strangers out.
    pub fn is_guard(&self) -> bool {
        let word = self.key.strip_prefix("traefik.frontend.").and_then(|of| of.split('.').next());
        matches!(word, Some("auth" | "whiteList" | "whitelistSourceRange"))
    }

    /// Whether its frontend stays closed where it cannot be read: it keeps strangers out, or sends clients elsewhere, to
    /// https for example.
    pub fn closes(&self) -> bool {
        let leads = self.key.starts_with("traefik.frontend.redirect.") && self.kind != Kind::Flag;
        self.is_guard() || leads
    }

    /// Whether it is the label of this key.
    pub fn is(&self, key: &str) -> bool {
        let (mut own, mut other) = (self.key.split('.'), key.split('.'));
        loop {
            match (own.next(), other.next()) {
                (None, None) => return true,
                (Some(own), Some(other)) if own == other || (own == "*" && !other.is_empty()) => {}
                _ => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_labels() {
        for (key, support) in [
            ("traefik.port", Support::Served),
            ("traefik.frontend.errors.any.status", Support::Served),
            ("traefik.frontend.headers.STSSeconds", Support::Served),
            ("traefik.frontend.auth.basic", Support::Served),
            ("traefik.frontend.auth.basic.users", Support::Served),
        ] {
            assert!(matches!(known(key), Known::Label(l) if l.support == support), "{key}");
        }
        for key in [
            "traefik.http.routers.x.rule",
            "traefik.http.routers.frontend.rule",
            "traefik.http.services.w.loadbalancer.server.port",
            "traefik.http.Service.w.loadbalancer.server.port",
            "traefik.tls.stores.default.defaultcertificate.certfile",
            "traefik.docker.lbswarm",
        ] {
            assert!(matches!(known(key), Known::V2), "{key}");
        }
    }

    #[test]
    fn knows_segments() {
        for (key, segment, label) in [
            ("traefik.web.port", "web", "traefik.port"),
            ("traefik.my.web.frontend.rule", "my.web", "traefik.frontend.rule"),
            ("traefik.a.frontend.auth.basic.users", "a", "traefik.frontend.auth.basic.users"),
            ("traefik.a.backend", "a", "traefik.backend"),
            ("traefik.http.port", "http", "traefik.port"),
            ("traefik.http.frontend.rule", "http", "traefik.frontend.rule"),
            ("traefik.tls.frontend.auth.basic.users", "tls", "traefik.frontend.auth.basic.users"),
            ("traefik.docker.port", "docker", "traefik.port"),
        ] {
            let is = known(key);
            assert!(matches!(is, Known::Segment(s, l) if s == segment && l.key == label), "{is:?}");
        }
        let slip = known("traefik.web.frontend.rul");
        assert!(matches!(slip, Known::UnknownInSegment("web", "frontend.rul")));
        assert!(matches!(known("traefik.web.enable"), Known::Unknown));
        for key in [
            "traefik.web.backend.healthcheck.port",
            "traefik.web.backend.helthcheck.port",
            "traefik.web.bakend.healthcheck.port",
            "traefik.web.Backend.healthcheck.port",
        ] {
            assert!(matches!(known(key), Known::Unknown), "{key}");
        }
        assert!(matches!(known("traefik.my.backend.port"), Known::Segment("my.backend", _)));
        assert!(matches!(known("traefik.bakend.healthcheck.port"), Known::Unknown));
        assert_eq!(
            near("traefik.bakend.healthcheck.port"),
            Some("traefik.backend.healthcheck.port")
        );
    }

    #[test]
    fn knows_the_nearest() {
        for (slip, meant) in [
            ("traefik.enabled", "traefik.enable"),
            ("traefik.docker.netwrok", "traefik.docker.network"),
            ("traefik.prot", "traefik.port"),
            ("traefik.Enable", "traefik.enable"),
            ("traefik.domian", "traefik.domain"),
            ("traefik.frontend.rul", "traefik.frontend.rule"),
            ("traefik.frontent.rule", "traefik.frontend.rule"),
            ("traefik.frontend.passhostheader", "traefik.frontend.passHostHeader"),
        ] {
            assert!(matches!(known(slip), Known::Unknown) && near(slip) == Some(meant), "{slip}");
        }
        assert!(matches!(known("traefik.something.else.entirely"), Known::Unknown));
        assert_eq!(near("traefik.something.else.entirely"), None);
    }

    #[test]
    fn every_row_is_there_once() {
        for (place, label) in LABELS.iter().enumerate() {
            assert!(
                LABELS[place + 1..].iter().all(|other| other.key != label.key),
                "{}",
                label.key
            );
            assert!(label.key.starts_with("traefik."), "{}", label.key);
        }
        for own in RANCHER_TOOLS_OWN {
            assert!(LABELS.iter().any(|label| label.is(own)), "{own}");
        }
    }
}
