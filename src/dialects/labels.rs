//! Every label we know, in one table: the reader's list, the docs' table, and "did you mean".

/// What becomes of a label.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Support {
    /// It is acted on.
    Served,
    /// It is known and not acted on yet.
    Later,
    /// It is known, not acted on yet, and keeps strangers out: what carries it is not served at all.
    Protects,
}

/// One label, or a family of them.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// The key; one that ends in `*` stands for all that begin so.
    pub key: &'static str,
    /// What becomes of it.
    pub support: Support,
    /// The value it has when it is missing, as the docs print it.
    pub default: &'static str,
    /// What it means, in a few words.
    pub meaning: &'static str,
}

const fn served(key: &'static str, default: &'static str, meaning: &'static str) -> Label {
    Label { key, support: Support::Served, default, meaning }
}

const fn later(key: &'static str, meaning: &'static str) -> Label {
    Label { key, support: Support::Later, default: "", meaning }
}

const fn protects(key: &'static str, meaning: &'static str) -> Label {
    Label { key, support: Support::Protects, default: "", meaning }
}

/// Every label we know. Names and meanings are those of Traefik 1.7, and of rancher-tools where it says so.
pub const LABELS: &[Label] = &[
    served(
        "traefik.enable",
        "as exposedByDefault",
        "whether it is routed; `stack` (rancher-tools): at `stack.domain`",
    ),
    served(
        "traefik.domain",
        "the provider's domain",
        "domain of its host; a comma-separated list gives several hosts",
    ),
    served("traefik.port", "the only exposed port", "port its servers listen on"),
    served("traefik.protocol", "`http`", "how its servers are spoken to: `http` or `https`"),
    served(
        "traefik.weight",
        "`1` (rancher-tools `5`)",
        "share of each of its servers; 0 gets nothing",
    ),
    served(
        "traefik.backend",
        "service and stack",
        "name of its backend; services that name one backend share it",
    ),
    served("traefik.docker.network", "see the docs", "network by which its containers are reached"),
    served(
        "traefik.frontend.rule",
        "`Host:service.stack.domain`",
        "which requests it takes, in Traefik 1.x's rule language",
    ),
    served("traefik.frontend.priority", "length of the rule", "larger goes first"),
    served(
        "traefik.frontend.passHostHeader",
        "`true`",
        "whether its servers see the client's `Host`",
    ),
    served(
        "traefik.backend.loadbalancer.method",
        "`wrr` (rancher-tools `drr`)",
        "how the next server is chosen: `wrr` or `drr`",
    ),
    served(
        "traefik.backend.loadbalancer.sticky",
        "`false`",
        "whether a client comes back to its server, by a cookie",
    ),
    served(
        "traefik.backend.loadbalancer.stickiness",
        "`false`",
        "whether a client comes back to its server, by a cookie",
    ),
    served(
        "traefik.backend.loadbalancer.stickiness.cookieName",
        "made from the backend's name",
        "name of that cookie",
    ),
    served("traefik.priority", "`5` in rancher-tools", "rancher-tools: larger goes first"),
    served("traefik.sticky", "`false`", "rancher-tools: whether a client comes back to its server"),
    served(
        "traefik.alias",
        "",
        "rancher-tools: further names beside the service's, a comma-separated list",
    ),
    served(
        "traefik.alias.fqdn",
        "",
        "rancher-tools: further whole host names, a comma-separated list",
    ),
    served("traefik.domain.regexp", "", "rancher-tools: host patterns, a comma-separated list"),
    served("traefik.path", "", "rancher-tools: only these paths, a comma-separated list"),
    served("traefik.path.strip", "", "rancher-tools: only these paths, taken off"),
    served("traefik.path.prefix", "", "rancher-tools: only below these paths"),
    served(
        "traefik.path.prefix.strip",
        "",
        "rancher-tools: only below these paths, which are taken off",
    ),
    later("traefik.acme", "rancher-tools: ask for a certificate"),
    later("traefik.ratelimit.*", "rancher-tools: limits by client address"),
    later("traefik.tags", "tags for constraints"),
    later("traefik.backend.buffering.*", "buffering"),
    later("traefik.backend.circuitbreaker.expression", "circuit breaker"),
    later("traefik.backend.healthcheck.*", "active health checks"),
    later("traefik.backend.loadbalancer.swarm", "Swarm's own load balancer"),
    later("traefik.backend.maxconn.*", "connection limits"),
    later("traefik.backend.responseForwarding.*", "flush interval"),
    later("traefik.frontend.entryPoints", "entry points; there is one so far"),
    later("traefik.frontend.errors.*", "error pages"),
    later("traefik.frontend.headers.*", "custom and security headers"),
    later("traefik.frontend.passTLSCert", "client certificates"),
    later("traefik.frontend.passTLSClientCert.*", "client certificates"),
    later("traefik.frontend.rateLimit.*", "rate limits"),
    later("traefik.frontend.redirect.*", "redirects"),
    later("traefik.frontend.value", "rule value of Traefik 1.0"),
    protects("traefik.frontend.auth.*", "basic, digest and forward authentication"),
    protects("traefik.frontend.whiteList.*", "address allow list"),
    protects("traefik.frontend.whitelistSourceRange", "address allow list"),
    protects("traefik.frontend.whiteListSourceRange", "address allow list"),
];

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

/// First parts that Traefik 2 and 3 use; never names of 1.x segments.
const V2_FAMILIES: &[&str] = &["http", "tcp", "udp", "tls"];

/// What we know of a key.
#[derive(Clone, Copy, Debug)]
pub enum Known {
    /// A label of the table.
    Label(&'static Label),
    /// A label of Traefik 2 or 3: `traefik.http.routers.…`.
    V2,
    /// A segment of Traefik 1.x: `traefik.<segment>.port`, with what its ending stands for.
    Segment(&'static Label),
    /// Nothing; with the nearest key we know.
    Unknown(Option<&'static str>),
}

/// What we know of this key, which begins with `traefik.`.
pub fn known(key: &str) -> Known {
    if let Some(label) = LABELS.iter().find(|label| label.is(key)) {
        return Known::Label(label);
    }
    let mut parts = key.splitn(3, '.').skip(1);
    let (first, rest) = (parts.next().unwrap_or_default(), parts.next());
    if V2_FAMILIES.contains(&first) {
        return Known::V2;
    }
    match rest.and_then(as_segment) {
        Some(label) if nearest(key).is_none_or(|(_, distance)| distance > 1) => {
            Known::Segment(label)
        }
        _ => Known::Unknown(nearest(key).map(|(key, _)| key)),
    }
}

impl Label {
    fn is(&self, key: &str) -> bool {
        match self.key.strip_suffix(".*") {
            Some(family) => key
                .strip_prefix(family)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.')),
            None => key == self.key,
        }
    }
}

/// `port` and `frontend.rule` can follow a segment's name; `enable` and `domain` cannot.
fn as_segment(rest: &str) -> Option<&'static Label> {
    let starts = ["frontend.", "auth."];
    let is_segment = ["port", "protocol", "weight"].contains(&rest)
        || starts.iter().any(|start| rest.starts_with(start));
    is_segment
        .then(|| format!("traefik.{rest}"))
        .and_then(|whole| LABELS.iter().find(|label| label.is(&whole)))
}

/// The nearest whole key, if it is near enough to be a slip of the fingers, and how many slips away it is.
fn nearest(key: &str) -> Option<(&'static str, usize)> {
    let keys = LABELS.iter().map(|label| label.key).filter(|key| !key.ends_with('*'));
    let key = key.to_ascii_lowercase();
    let distance = |known: &str| strsim::damerau_levenshtein(&known.to_ascii_lowercase(), &key);
    let (known, distance) = keys.map(|k| (k, distance(k))).min_by_key(|&(_, distance)| distance)?;
    (distance <= SLIPS_MAX).then_some((known, distance))
}

/// More wrong letters than this are another word.
const SLIPS_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_labels() {
        assert!(matches!(known("traefik.port"), Known::Label(l) if l.support == Support::Served));
        assert!(
            matches!(known("traefik.frontend.auth.basic"), Known::Label(l) if l.support == Support::Protects)
        );
        assert!(
            matches!(known("traefik.frontend.auth.basic.users"), Known::Label(l) if l.support == Support::Protects)
        );
        assert!(
            matches!(known("traefik.frontend.headers.STSSeconds"), Known::Label(l) if l.support == Support::Later)
        );
        assert!(matches!(known("traefik.http.routers.x.rule"), Known::V2));
    }

    #[test]
    fn knows_segments() {
        assert!(matches!(known("traefik.web.port"), Known::Segment(l) if l.key == "traefik.port"));
        assert!(
            matches!(known("traefik.web.frontend.auth.basic.users"), Known::Segment(l) if l.support == Support::Protects)
        );
    }

    #[test]
    fn knows_the_nearest() {
        for (slip, meant) in [
            ("traefik.enabled", "traefik.enable"),
            ("traefik.prot", "traefik.port"),
            ("traefik.Enable", "traefik.enable"),
            ("traefik.domian", "traefik.domain"),
            ("traefik.frontend.rul", "traefik.frontend.rule"),
        ] {
            assert!(matches!(known(slip), Known::Unknown(Some(near)) if near == meant), "{slip}");
        }
        assert!(matches!(known("traefik.something.else.entirely"), Known::Unknown(None)));
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
