//! Every key of Traefik 1.7's settings, and what becomes of it. Source: Traefik 1.7, docs/configuration and cmd/traefik/configuration.go.

/// What becomes of a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// It is the flag of this name.
    Flag(&'static str),
    /// It is a time for this flag; 0, which is no limit there, leaves the default.
    Time(&'static str),
    /// It is a table of names, for the flag of this name: `a=b c=d`.
    Names(&'static str),
    /// It is the level of the log.
    Level,
    /// `debug = true`.
    DebugMode,
    /// It is not acted on: why.
    Later(&'static str),
    /// The same where it is on: off it says nothing.
    OnceOn(&'static str),
    /// It is so in any case.
    Always,
    /// Nothing has to be done about it.
    Nothing,
}

use Fate::{Always, DebugMode, Flag, Later, Level, Names, Nothing, OnceOn, Time};

/// Why it is left out that something shall have no limit.
pub const NO_LIMIT: &str = "everything has a limit here, and the default stands";

/// Whether a flag limits something, and says nothing where it says 0.
pub fn is_limit(flag: &str) -> bool {
    KEYS.iter().any(|(_, fate)| matches!(fate, Time(time) if *time == flag))
}

const NEXT: &str = "it is not acted on yet";
const TRACES: &str = "traces are told as OTLP over HTTP, which Jaeger, Zipkin's and Datadog's collectors take: set tracing.otlp.endpoint";
const METRICS_PLACE: &str = "metrics are at /metrics of the admin side";
const METRICS_PUSH: &str =
    "metrics are not pushed: let Prometheus, or an agent, read /metrics of the admin side";
const TLS: &str = "HTTPS is not served yet";
const PROVIDER: &str = "that provider is not there; there are docker, rancher and file";
const TEMPLATE: &str = "templates of providers are not used here; the rules are built in";

/// Every key of Traefik 1.7's settings besides entry points, frontends and backends. One that ends in `.*` stands for all
/// below.
pub(super) const KEYS: &[(&str, Fate)] = &[
    ("debug", DebugMode),
    ("logLevel", Level),
    ("checkNewVersion", Nothing),
    ("sendAnonymousUsage", Nothing),
    ("providersThrottleDuration", Later("changes are gathered for 2 ms, and then served at once")),
    ("maxIdleConnsPerHost", Later("each worker keeps up to 256 for each server")),
    ("insecureSkipVerify", Flag("insecureSkipVerify")),
    ("rootCAs", Later(NEXT)),
    ("keepTrailingSlash", OnceOn(NEXT)),
    ("allowMinWeightZero", Later("a weight of 0 gets nothing here")),
    ("idleTimeout", Time("respondingTimeouts.idleTimeout")),
    ("graceTimeOut", Flag("lifeCycle.graceTimeOut")),
    ("defaultEntryPoints", Flag("defaultEntryPoints")),
    ("constraints", Flag("constraints")),
    ("hostResolver.*", Later(NEXT)),
    ("traefikLogsFile", Later("logs go to standard error")),
    ("accessLogsFile", Flag("accessLog.filePath")),
    ("traefikLog.filePath", Later("logs go to standard error")),
    ("traefikLog.format", Flag("log.format")),
    ("accessLog.fields.names.*", Names("accessLog.fields.names")),
    ("accessLog.fields.headers.names.*", Names("accessLog.fields.headers.names")),
    ("web.address", Flag("admin")),
    ("web.readOnly", Always),
    ("web.statistics.recentErrors", Flag("api.statistics.recentErrors")),
    ("web.metrics.prometheus.buckets", Flag("metrics.prometheus.buckets")),
    ("web.metrics.prometheus.entryPoint", Later(METRICS_PLACE)),
    ("web.metrics.datadog.*", Later(METRICS_PUSH)),
    ("web.metrics.statsd.*", Later(METRICS_PUSH)),
    ("web.metrics.influxdb.*", Later(METRICS_PUSH)),
    ("web.path", Later("the page is at / of the admin side")),
    ("web.certFile", Later(TLS)),
    ("web.keyFile", Later(TLS)),
    ("api.entryPoint", Nothing),
    ("api.dashboard", Always),
    ("api.debug", OnceOn(NEXT)),
    ("api.statistics.recentErrors", Flag("api.statistics.recentErrors")),
    ("ping.entryPoint", Later("/ping is at the admin side")),
    ("metrics.prometheus.buckets", Flag("metrics.prometheus.buckets")),
    ("metrics.prometheus.entryPoint", Later(METRICS_PLACE)),
    ("metrics.datadog.*", Later(METRICS_PUSH)),
    ("metrics.statsd.*", Later(METRICS_PUSH)),
    ("metrics.influxdb.*", Later(METRICS_PUSH)),
    ("respondingTimeouts.idleTimeout", Time("respondingTimeouts.idleTimeout")),
    ("respondingTimeouts.readTimeout", Later("a pause in a body may last 60 s, a head 10 s")),
    ("respondingTimeouts.writeTimeout", Later("a pause in a body may last 60 s")),
    ("forwardingTimeouts.dialTimeout", Time("forwardingTimeouts.dialTimeout")),
    ("forwardingTimeouts.responseHeaderTimeout", Time("forwardingTimeouts.responseHeaderTimeout")),
    ("lifeCycle.graceTimeOut", Flag("lifeCycle.graceTimeOut")),
    ("lifeCycle.requestAcceptGraceTimeout", Later(NEXT)),
    ("retry.attempts", Flag("retry.attempts")),
    ("healthcheck.interval", Time("healthcheck.interval")),
    ("docker.endpoint", Flag("docker.endpoint")),
    ("docker.domain", Flag("docker.domain")),
    ("docker.network", Flag("docker.network")),
    ("docker.exposedByDefault", Flag("docker.exposedByDefault")),
    ("docker.constraints", Flag("docker.constraints")),
    ("docker.tls.ca", Flag("docker.tls.ca")),
    ("docker.tls.cert", Flag("docker.tls.cert")),
    ("docker.tls.key", Flag("docker.tls.key")),
    ("docker.tls.caOptional", OnceOn(NEXT)),
    ("docker.tls.insecureSkipVerify", OnceOn("the daemon's certificate is always checked")),
    ("docker.watch", Always),
    ("docker.useBindPortIP", OnceOn(NEXT)),
    ("docker.swarmMode", OnceOn("Swarm's tasks are read from the containers of each node")),
    ("docker.swarmModeRefreshSeconds", Later(NEXT)),
    ("docker.filename", Later(TEMPLATE)),
    ("docker.templateVersion", Later(TEMPLATE)),
    ("docker.debugLogGeneratedTemplate", OnceOn(TEMPLATE)),
    ("docker.trace", OnceOn("raise log.level instead")),
    ("rancher.domain", Flag("rancher.domain")),
    ("rancher.exposedByDefault", Flag("rancher.exposedByDefault")),
    ("rancher.refreshSeconds", Flag("refresh")),
    ("rancher.constraints", Flag("rancher.constraints")),
    ("rancher.enableServiceHealthFilter", Later("only healthy servers get requests in any case")),
    ("rancher.watch", Always),
    ("rancher.metadata.intervalPoll", Flag("rancher.metadata.intervalPoll")),
    ("rancher.metadata.prefix", Flag("rancher.metadata.version")),
    ("rancher.api.endpoint", Flag("rancher.api.endpoint")),
    ("rancher.api.accessKey", Flag("rancher.api.accessKey")),
    ("rancher.api.secretKey", Flag("rancher.api.secretKey")),
    ("rancher.endpoint", Flag("rancher.api.endpoint")),
    ("rancher.accessKey", Flag("rancher.api.accessKey")),
    ("rancher.secretKey", Flag("rancher.api.secretKey")),
    ("rancher.filename", Later(TEMPLATE)),
    ("rancher.templateVersion", Later(TEMPLATE)),
    ("rancher.debugLogGeneratedTemplate", OnceOn(TEMPLATE)),
    ("rancher.trace", OnceOn("raise log.level instead")),
    ("file.filename", Flag("file.filename")),
    ("file.directory", Flag("file.directory")),
    ("file.watch", Flag("file.watch")),
    ("file.templateVersion", Later(TEMPLATE)),
    ("file.debugLogGeneratedTemplate", OnceOn(TEMPLATE)),
    ("file.trace", OnceOn("raise log.level instead")),
    ("acme.*", Later("certificates are not asked for yet")),
    ("tls.*", Later(TLS)),
    ("tracing.backend", Later(TRACES)),
    ("tracing.spanNameLimit", Later("spans are named after the method, which is short")),
    ("tracing.jaeger.*", Later(TRACES)),
    ("tracing.zipkin.*", Later(TRACES)),
    ("tracing.datadog.*", Later(TRACES)),
    ("cluster.*", Later("there is no cluster mode")),
    ("storeConfig.*", Later("there is no cluster mode")),
    ("boltdb.*", Later(PROVIDER)),
    ("consul.*", Later(PROVIDER)),
    ("consulCatalog.*", Later(PROVIDER)),
    ("dynamodb.*", Later(PROVIDER)),
    ("ecs.*", Later(PROVIDER)),
    ("etcd.*", Later(PROVIDER)),
    ("etcdv3.*", Later(PROVIDER)),
    ("eureka.*", Later(PROVIDER)),
    ("kubernetes.*", Later(PROVIDER)),
    ("marathon.*", Later(PROVIDER)),
    ("mesos.*", Later(PROVIDER)),
    ("rest.*", Later(PROVIDER)),
    ("serviceFabric.*", Later(PROVIDER)),
    ("zookeeper.*", Later(PROVIDER)),
];

/// Keys under which whoever may see the page is asked for a name: as long as nobody asks, nobody sees it.
pub(super) const ADMIN_AUTH: &[&str] = &["web.auth", "api.auth"];

/// Whether a flag of this name, in any case, is one of Traefik's that is not one of ours.
pub fn is_key(name: &str) -> bool {
    let tables = [
        "web",
        "api",
        "web.statistics",
        "web.metrics",
        "web.metrics.prometheus",
        "api.statistics",
        "metrics",
        "metrics.prometheus",
        "ping",
        "file",
        "docker.tls",
        "rancher.metadata",
        "rancher.api",
        "retry",
        "tracing",
    ];
    let is_guard =
        |key: &&str| name.get(..key.len()).is_some_and(|start| start.eq_ignore_ascii_case(key));
    tables.iter().any(|table| table.eq_ignore_ascii_case(name))
        || ADMIN_AUTH.iter().any(is_guard)
        || fate(name).is_some()
}

/// Whether a key at the top of a file is one of settings, Traefik's or ours.
pub fn is_of_settings(key: &str, own_flags: &[String]) -> bool {
    let is_own = || own_flags.iter().any(|flag| flag.eq_ignore_ascii_case(key));
    is_key(key) || is_own() || key.eq_ignore_ascii_case("entryPoints") || is_table(key, own_flags)
}

/// The flag of ours whose value a flag of Traefik's takes.
pub fn flag_of(name: &str) -> Option<&'static str> {
    match fate(name)? {
        Flag(flag) | Names(flag) | Time(flag) => Some(flag),
        Level => Some("log.level"),
        Always | DebugMode | Later(_) | Nothing | OnceOn(_) => None,
    }
}

pub(super) fn fate(path: &str) -> Option<Fate> {
    let fits = |key: &str| match key.strip_suffix(".*") {
        Some(family) => path.get(..family.len()).is_some_and(|start| {
            start.eq_ignore_ascii_case(family)
                && matches!(path.as_bytes().get(family.len()), None | Some(b'.'))
        }),
        None => key.eq_ignore_ascii_case(path),
    };
    KEYS.iter().find(|(key, _)| fits(key)).map(|(_, fate)| *fate)
}

/// Whether a key stands for a table: one of Traefik's, an entry point, or what begins the names of flags and is none itself.
pub(super) fn is_table(path: &str, own_flags: &[String]) -> bool {
    let is_own = own_flags.iter().any(|flag| flag.eq_ignore_ascii_case(path));
    let is_entrypoint = path
        .split_once('.')
        .is_some_and(|(top, name)| top.eq_ignore_ascii_case("entryPoints") && !name.contains('.'));
    is_entrypoint
        || KEYS.iter().any(|(key, _)| is_below(path, key))
        || !is_own && own_flags.iter().any(|flag| is_below(path, flag))
}

/// Whether a key stands in the table of this path.
pub(super) fn is_below(path: &str, key: &str) -> bool {
    key.get(..path.len()).is_some_and(|start| start.eq_ignore_ascii_case(path))
        && key.as_bytes().get(path.len()) == Some(&b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever moves looks there for what cannot move yet.
    #[test]
    fn what_is_not_there_yet_is_on_the_page_of_differences() {
        let page = include_str!("../../../docs/differences.md");
        let (_, list) = page.split_once("## What is not there yet").expect("its heading");
        for (key, fate) in KEYS {
            let (Later(why) | OnceOn(why)) = *fate else { continue };
            let key = key.trim_end_matches(".*");
            if [NEXT, TLS, PROVIDER].contains(&why) {
                assert!(list.contains(&format!("`{key}`")), "{key} is not in docs/differences.md");
            }
        }
    }
}
