//! The variables of the catalog entries: what a drop-in on Rancher is handed.

use super::traefik::{Found, Given};

/// What a variable's value is as the value of our flag; none where nothing follows from it.
type Translate = fn(&str) -> Option<String>;

/// The variables that are acted on, and their flags. An empty value is as good as none.
const SERVED: &[(&str, &str, Translate)] = &[
    ("TRAEFIK_HTTP_PORT", "http", as_it_is),
    ("TRAEFIK_HTTP_COMPRESSION", "http.compress", |value| {
        (value == "true").then(|| "true".to_owned())
    }),
    ("TRAEFIK_ADMIN_ENABLE", "admin", |value| (value == "false").then(|| "off".to_owned())),
    ("TRAEFIK_ADMIN_PORT", "admin", as_it_is),
    ("TRAEFIK_ADMIN_AUTH_USERS", "admin.users", |value| {
        // A question of several lines.
        let lines = value.lines().map(str::trim).filter(|line| !line.is_empty());
        Some(lines.collect::<Vec<_>>().join(","))
    }),
    ("TRAEFIK_ADMIN_AUTH_METHOD", "admin.auth", as_it_is),
    ("CONF_INTERVAL", "refresh", as_it_is),
    ("TRAEFIK_RANCHER_ENABLE", "rancher", as_it_is),
    ("TRAEFIK_RANCHER_DOMAIN", "rancher.domain", as_it_is),
    ("TRAEFIK_RANCHER_EXPOSED", "rancher.exposedByDefault", as_it_is),
    ("TRAEFIK_RANCHER_MODE", "rancher.api", |value| (value == "api").then(|| "true".to_owned())),
    ("TRAEFIK_TRUSTEDIPS", "forwardedHeaders.trustedIPs", |value| {
        Some(value.replace(['"', ' '], ""))
    }),
    ("TRAEFIK_INSECURE_SKIP", "insecureSkipVerify", as_it_is),
    ("TRAEFIK_TIMEOUT_DIAL", "forwardingTimeouts.dialTimeout", as_it_is),
    ("TRAEFIK_TIMEOUT_HEADER", "forwardingTimeouts.responseHeaderTimeout", unless_zero),
    ("TRAEFIK_TIMEOUT_IDLE", "respondingTimeouts.idleTimeout", unless_zero),
    ("TRAEFIK_CONSTRAINTS", "constraints", |value| Some(value.replace('"', ""))),
    ("TRAEFIK_ADMIN_STATISTICS", "api.statistics.recentErrors", as_it_is),
    ("TRAEFIK_METRICS_PROMETHEUS_BUCKETS", "metrics.prometheus.buckets", as_it_is),
];

fn as_it_is(value: &str) -> Option<String> {
    Some(value.to_owned())
}

/// 0 means no limit there; here everything has one, and the default stands.
fn unless_zero(value: &str) -> Option<String> {
    Some(value.to_owned()).filter(|value| value.trim_end_matches(char::is_alphabetic) != "0")
}

/// Variables that are known, and why nothing follows from them yet. Those whose value here is the entry's default
/// are passed over in silence.
const LATER: &[(&str, &str, &str)] = &[
    ("TRAEFIK_HTTPS_ENABLE", "false", "HTTPS is not served yet"),
    ("TRAEFIK_ADMIN_SSL", "false", "HTTPS is not served yet"),
    ("TRAEFIK_ACME_ENABLE", "false", "certificates are not asked for yet"),
    ("TRAEFIK_HTTPS_COMPRESSION", "true", "HTTPS is not served yet"),
    ("TRAEFIK_HTTPS_MIN_TLS", "VersionTLS12", "HTTPS is not served yet"),
    ("TRAEFIK_SSL_KEY", "", "HTTPS is not served yet"),
    ("TRAEFIK_SSL_CRT", "", "HTTPS is not served yet"),
    ("TRAEFIK_USAGE_ENABLE", "false", "nothing is told to anybody"),
    ("TRAEFIK_TIMEOUT_READ", "0", "a head may take 10 s, a pause in a body 60 s"),
    ("TRAEFIK_TIMEOUT_WRITE", "0", "a pause in a body may last 60 s"),
    ("TRAEFIK_RANCHER_HEALTHCHECK", "false", "only healthy servers get requests in any case"),
    ("TRAEFIK_FILE_ENABLE", "false", "name the file: HERDER_FILE_FILENAME"),
    ("TRAEFIK_METRICS_ENABLE", "false", "metrics are always at /metrics, for Prometheus"),
    ("TRAEFIK_METRICS_EXPORTER", "", "metrics are always at /metrics, for Prometheus"),
];

/// Variables that say more about what one of the others switches on: what is said of that one goes for them.
#[cfg(test)]
const BESIDE: &[&str] = &[
    "TRAEFIK_HTTPS_PORT",
    "TRAEFIK_ACME_EMAIL",
    "TRAEFIK_ACME_CHALLENGE",
    "TRAEFIK_ACME_CHALLENGE_HTTP_ENTRYPOINT",
    "TRAEFIK_ACME_ONHOSTRULE",
    "TRAEFIK_ACME_CASERVER",
    "TRAEFIK_ACME_KEYTYPE",
    "TRAEFIK_METRICS_PUSH",
    "TRAEFIK_METRICS_ADDRESS",
];

/// Reads the variables. Of two for one flag, the first of the table counts.
pub fn read(variable: impl Fn(&str) -> Option<String>) -> Found {
    let value_of =
        |name: &str| variable(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
    let mut found = Found::default();
    for (name, flag, translate) in SERVED {
        let Some(value) = value_of(name).and_then(|value| translate(&value)) else { continue };
        if found.given.iter().all(|given| given.flag != *flag) {
            let (flag, origin) = ((*flag).to_owned(), (*name).to_owned());
            found.given.push(Given { flag, value, origin, guard: None });
        }
    }
    for (name, default, why) in LATER {
        if value_of(name).is_some_and(|value| value != *default) {
            found.notes.push(format!("{name} is left out: {why}."));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Found {
        super::read(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
        })
    }

    fn flags(found: &Found) -> Vec<String> {
        found.given.iter().map(|given| format!("--{}={}", given.flag, given.value)).collect()
    }

    #[test]
    fn the_article_s_entry_is_understood() {
        let found = read(&[
            ("TRAEFIK_HTTP_PORT", "9080"),
            ("TRAEFIK_HTTPS_PORT", "8443"),
            ("TRAEFIK_HTTP_COMPRESSION", "true"),
            ("TRAEFIK_ADMIN_PORT", "9000"),
            ("CONF_INTERVAL", "30"),
            ("TRAEFIK_RANCHER_ENABLE", "true"),
        ]);
        assert_eq!(
            flags(&found),
            [
                "--http=9080",
                "--http.compress=true",
                "--admin=9000",
                "--refresh=30",
                "--rancher=true"
            ]
        );
        assert_eq!(found.notes, Vec::<String>::new());
    }

    /// The variables that the community catalog's entries 0 and 33 hand to their container, but for those of its image.
    const HANDED: &str = "TRAEFIK_HTTP_PORT TRAEFIK_HTTPS_PORT TRAEFIK_ADMIN_PORT CONF_INTERVAL TRAEFIK_HTTP_COMPRESSION \
        TRAEFIK_HTTPS_ENABLE TRAEFIK_HTTPS_COMPRESSION TRAEFIK_USAGE_ENABLE TRAEFIK_TIMEOUT_READ TRAEFIK_TIMEOUT_WRITE \
        TRAEFIK_TIMEOUT_IDLE TRAEFIK_TIMEOUT_DIAL TRAEFIK_TIMEOUT_HEADER TRAEFIK_HTTPS_MIN_TLS TRAEFIK_TRUSTEDIPS \
        TRAEFIK_SSL_KEY TRAEFIK_SSL_CRT TRAEFIK_INSECURE_SKIP TRAEFIK_ADMIN_ENABLE TRAEFIK_ADMIN_SSL \
        TRAEFIK_ADMIN_STATISTICS TRAEFIK_ADMIN_AUTH_METHOD TRAEFIK_ADMIN_AUTH_USERS TRAEFIK_ACME_ENABLE TRAEFIK_ACME_EMAIL \
        TRAEFIK_ACME_CHALLENGE TRAEFIK_ACME_CHALLENGE_HTTP_ENTRYPOINT TRAEFIK_ACME_ONHOSTRULE TRAEFIK_ACME_CASERVER \
        TRAEFIK_ACME_KEYTYPE TRAEFIK_RANCHER_ENABLE TRAEFIK_FILE_ENABLE TRAEFIK_CONSTRAINTS TRAEFIK_RANCHER_HEALTHCHECK \
        TRAEFIK_RANCHER_MODE TRAEFIK_METRICS_ENABLE TRAEFIK_METRICS_EXPORTER TRAEFIK_METRICS_PUSH TRAEFIK_METRICS_ADDRESS \
        TRAEFIK_METRICS_PROMETHEUS_BUCKETS";

    #[test]
    fn each_variable_of_the_entries_is_acted_on_or_refused_with_a_reason() {
        for name in HANDED.split_whitespace() {
            let is_known = SERVED.iter().any(|(served, ..)| *served == name)
                || LATER.iter().any(|(later, ..)| *later == name)
                || BESIDE.contains(&name);
            assert!(is_known, "{name}");
        }
    }

    #[test]
    fn the_page_can_be_switched_off() {
        let found = read(&[("TRAEFIK_ADMIN_PORT", "9000"), ("TRAEFIK_ADMIN_ENABLE", "false")]);
        assert_eq!(flags(&found), ["--admin=off"]);
        let found = read(&[("TRAEFIK_TIMEOUT_IDLE", "0"), ("TRAEFIK_TIMEOUT_DIAL", "30")]);
        assert_eq!(flags(&found), ["--forwardingTimeouts.dialTimeout=30"]);
    }

    #[test]
    fn the_page_s_users_are_lines() {
        let found = read(&[("TRAEFIK_ADMIN_AUTH_USERS", "a:{SHA}x\n b:{SHA}y\n\n")]);
        assert_eq!(flags(&found), ["--admin.users=a:{SHA}x,b:{SHA}y"]);
        assert_eq!(flags(&read(&[("TRAEFIK_ADMIN_AUTH_USERS", "")])), Vec::<String>::new());
    }

    #[test]
    fn what_is_not_there_yet_is_said() {
        assert_eq!(read(&[("TRAEFIK_ACME_ENABLE", "true")]).notes.len(), 1);
        assert_eq!(read(&[("TRAEFIK_ACME_ENABLE", "false")]).notes.len(), 0);
    }
}
