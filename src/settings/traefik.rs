//! The settings of Traefik 1.7, from its file or its flags, in terms of our own: a flag and a value for each.
//!
//! Every setting has one name, that of its flag; a file's `[docker] domain` is `--docker.domain`. So a value is checked in
//! one place, wherever it comes from. Source: Traefik 1.7, docs/configuration and cmd/traefik/configuration.go.

use super::{EntryPoint, HTTP_ENTRYPOINT};
use crate::document::{Entry, Language, Node, Place, Table, Value};
use crate::model::nearest;

/// A setting that was said somewhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Given {
    /// The name of our flag, without dashes.
    pub flag: String,
    /// Its value.
    pub value: String,
    /// Where it was said, for people: `traefik.toml:3:10`, `TRAEFIK_HTTP_PORT`.
    pub origin: String,
    /// Where it keeps strangers out, and so goes before what other sources say of this flag: what is told where it does.
    pub guard: Option<String>,
}

/// What was found in a file or among flags.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Found {
    /// What is acted on.
    pub given: Vec<Given>,
    /// What is not, a sentence for each.
    pub notes: Vec<String>,
}

/// What becomes of a key.
#[derive(Clone, Copy, Debug)]
enum Fate {
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
const KEYS: &[(&str, Fate)] = &[
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
const ADMIN_AUTH: &[&str] = &["web.auth", "api.auth"];

/// The name of Traefik's own entry point for its API and dashboard, where none is named.
const ADMIN_ENTRYPOINT: &str = "traefik";

/// Traefik's own entry point for its API and dashboard, where none is named.
const ADMIN_ADDRESS: &str = ":8080";

/// Whether a flag of this name, in any case, is one of Traefik's that is not one of ours.
pub fn is_key(name: &str) -> bool {
    let tables = [
        "web",
        "api",
        "web.statistics",
        "web.metrics",
        "web.metrics.prometheus",
        "api",
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

fn fate(path: &str) -> Option<Fate> {
    let fits = |key: &str| match key.strip_suffix(".*") {
        Some(family) => path.get(..family.len()).is_some_and(|start| {
            start.eq_ignore_ascii_case(family)
                && matches!(path.as_bytes().get(family.len()), None | Some(b'.'))
        }),
        None => key.eq_ignore_ascii_case(path),
    };
    KEYS.iter().find(|(key, _)| fits(key)).map(|(_, fate)| *fate)
}

/// Reads the settings of a tree.
///
/// `own_flags` are the names of our flags, which may stand in a file as well; `file` is the file's name, none for flags.
pub fn read(tree: &Table, own_flags: &[String], file: Option<&str>) -> Found {
    let is_yaml = file.and_then(Language::of) == Some(Language::Yaml);
    let filled = is_yaml.then(|| with_empty_tables(tree, "", own_flags));
    let tree = filled.as_ref().unwrap_or(tree);
    let mut reader = Reader { tree, own_flags, file, found: Found::default() };
    reader.entrypoints();
    for entry in tree.entries() {
        let is_else = ["entrypoints", "frontends", "backends"];
        if !is_else.contains(&entry.key.to_ascii_lowercase().as_str()) {
            reader.entry(&entry.key.clone(), entry);
        }
    }
    reader.admin();
    reader.providers();
    reader.found.each_once();
    reader.found
}

/// The same tree with a table for each key that stands for one and has nothing: YAML's `docker:` is TOML's `[docker]`.
fn with_empty_tables(table: &Table, path: &str, own_flags: &[String]) -> Table {
    let mut filled = Table::default();
    for entry in table.entries() {
        let path =
            if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
        let mut node = entry.node.clone();
        match &node.value {
            Value::Table(inner) => {
                node.value = Value::Table(with_empty_tables(inner, &path, own_flags));
            }
            Value::Scalar(text) if text.is_empty() && is_table(&path, own_flags) => {
                node.value = Value::Table(Table::default());
            }
            Value::Scalar(_) | Value::List(_) => {}
        }
        filled.insert(&entry.key, node);
    }
    filled
}

/// Whether a key stands for a table: one of Traefik's, an entry point, or what begins the names of flags and is none itself.
fn is_table(path: &str, own_flags: &[String]) -> bool {
    let is_own = own_flags.iter().any(|flag| flag.eq_ignore_ascii_case(path));
    let is_entrypoint = path
        .split_once('.')
        .is_some_and(|(top, name)| top.eq_ignore_ascii_case("entryPoints") && !name.contains('.'));
    is_entrypoint
        || KEYS.iter().any(|(key, _)| is_below(path, key))
        || !is_own && own_flags.iter().any(|flag| is_below(path, flag))
}

/// Whether a key stands in the table of this path.
fn is_below(path: &str, key: &str) -> bool {
    key.get(..path.len()).is_some_and(|start| start.eq_ignore_ascii_case(path))
        && key.as_bytes().get(path.len()) == Some(&b'.')
}

impl Found {
    /// Switches the page off where Traefik's own entry point is guarded: the page has users of its own.
    pub fn shut_admin_beside<'e>(&mut self, mut entrypoints: impl Iterator<Item = &'e EntryPoint>) {
        let is_guarded =
            |e: &&EntryPoint| e.name.eq_ignore_ascii_case(ADMIN_ENTRYPOINT) && e.is_guarded();
        if let Some(guarded) = entrypoints.find(is_guarded) {
            self.given.retain(|given| given.flag != "admin");
            let (flag, value, origin) =
                ("admin".to_owned(), "off".to_owned(), "--entryPoints".to_owned());
            let guard = Some(format!(
                "The page is switched off: its entry point {guarded} has guards that a page's flags do not take; write --admin and --admin.users."
            ));
            self.given.push(Given { flag, value, origin, guard });
        }
    }

    /// Puts together what several keys say of one flag: all constraints must fit, a page that is switched off stays so,
    /// and of the others the first counts.
    fn each_once(&mut self) {
        let mut kept: Vec<Given> = Vec::new();
        for given in std::mem::take(&mut self.given) {
            let first = kept.iter_mut().find(|first| first.flag == given.flag);
            match (first, given.flag.as_str()) {
                (None, _) | (Some(_), "entryPoints") => kept.push(given),
                (Some(first), "constraints" | "docker.constraints" | "rancher.constraints") => {
                    first.value = format!("{},{}", first.value, given.value)
                }
                (Some(first), "admin") if given.guard.is_some() => *first = given,
                (Some(first), _) if first.value == given.value => {}
                (Some(first), flag) => {
                    let Given { origin, .. } = &given;
                    self.notes.push(format!(
                        "{origin} is left out: {flag} was said at {} already.",
                        first.origin
                    ));
                }
            }
        }
        self.given = kept;
    }
}

struct Reader<'t> {
    tree: &'t Table,
    own_flags: &'t [String],
    file: Option<&'t str>,
    found: Found,
}

impl Reader<'_> {
    fn origin(&self, path: &str, place: Place) -> String {
        match self.file {
            Some(file) => format!("{file}:{place}"),
            None => format!("--{path}"),
        }
    }

    fn give(&mut self, flag: &str, value: impl Into<String>, origin: String) {
        let (flag, value) = (flag.to_owned(), value.into());
        self.found.given.push(Given { flag, value, origin, guard: None });
    }

    /// Switches the page off: it asks for what is not there, and would be open without.
    fn shut_admin(&mut self, path: &str, place: Place) {
        let (flag, value) = ("admin".to_owned(), "off".to_owned());
        let why = "the admin side has no such guard, and is switched off";
        let (guard, origin) = (Some(self.noted(path, place, why)), self.origin(path, place));
        self.found.given.push(Given { flag, value, origin, guard });
    }

    /// Gives the page the users of an entry point. Tells whether these are all its guards.
    fn guard_admin(&mut self, entrypoint: &EntryPoint, path: &str, place: Place) -> bool {
        let Some(auth) = entrypoint.auth.as_deref() else { return false };
        let (method, users) = match (&auth.basic, &auth.digest, &auth.forward) {
            (Some(users), None, None) => ("basic", users),
            (None, Some(users), None) => ("digest", users),
            _ => return false,
        };
        if entrypoint.shut.is_some() || entrypoint.sources.is_some() {
            return false;
        }
        let origin = self.origin(path, place);
        self.give("admin.auth", method, origin.clone());
        // Even where there are none: then nobody gets in.
        self.give("admin.users", users.users.join(","), origin.clone());
        if !users.users_file.is_empty() {
            self.give("admin.usersFile", users.users_file.clone(), origin);
        }
        true
    }

    fn note(&mut self, path: &str, place: Place, why: &str) {
        let note = self.noted(path, place, why);
        self.found.notes.push(note);
    }

    fn noted(&self, path: &str, place: Place, why: &str) -> String {
        let origin = self.origin(path, place);
        let shown = if self.file.is_some() { format!("{origin}: {path}") } else { origin };
        format!("{shown} is left out: {why}.")
    }

    fn entry(&mut self, path: &str, entry: &Entry) {
        let (node, place) = (&entry.node, entry.node.place);
        if ADMIN_AUTH.iter().any(|key| key.eq_ignore_ascii_case(path)) {
            let mut parts = vec!["Name:x Address::1".to_owned()];
            parts_of("auth", node, &mut parts);
            match parts.join(" ").parse::<EntryPoint>() {
                Ok(entrypoint) if self.guard_admin(&entrypoint, path, place) => {}
                _ => self.shut_admin(path, place),
            }
            return;
        }
        match (fate(path), &node.value) {
            (Some(OnceOn(_)), Value::Scalar(text)) if text == "false" => {}
            (Some(Later(why) | OnceOn(why)), _) => self.note(path, place, why),
            (Some(Names(flag)), Value::Table(table)) => {
                let names = table.entries();
                let names =
                    names.map(|entry| Some(format!("{}={}", entry.key, entry.node.as_text()?)));
                match names.collect::<Option<Vec<_>>>() {
                    Some(names) => {
                        let origin = self.origin(path, place);
                        self.give(flag, names.join(" "), origin);
                    }
                    None => self.note(path, place, "it holds more than plain values"),
                }
            }
            (Some(fate), Value::Scalar(_) | Value::List(_)) => self.leaf(path, fate, node),
            (None, Value::Table(table)) if self.has_below(path) => {
                for entry in table.entries() {
                    self.entry(&format!("{path}.{}", entry.key), entry);
                }
            }
            (Some(_), Value::Table(_)) => {
                self.note(path, place, "it is a table, and should be a value")
            }
            // Flags and files may switch a table on without saying more.
            (None, Value::Scalar(text)) if self.has_below(path) && text == "true" => {}
            (None, Value::Scalar(_) | Value::List(_)) => match self.own_flag(path) {
                Some(flag) => match text(&node.value) {
                    Some(text) => {
                        let origin = self.origin(path, place);
                        self.give(&flag, text, origin);
                    }
                    None => self.note(path, place, "it holds more than plain values"),
                },
                None => self.unknown(path, place),
            },
            (None, Value::Table(_)) => self.unknown(path, place),
        }
    }

    fn own_flag(&self, path: &str) -> Option<String> {
        self.own_flags.iter().find(|flag| flag.eq_ignore_ascii_case(path)).cloned()
    }

    fn has_below(&self, path: &str) -> bool {
        KEYS.iter().any(|(key, _)| is_below(path, key))
            || self.own_flags.iter().any(|flag| is_below(path, flag))
    }

    fn unknown(&mut self, path: &str, place: Place) {
        let keys = KEYS.iter().map(|(key, _)| key.trim_end_matches(".*"));
        let keys = keys
            .chain(["entryPoints", "frontends", "backends"])
            .chain(self.own_flags.iter().map(String::as_str));
        let hint =
            nearest(path, keys).map(|key| format!(" Did you mean {key}?")).unwrap_or_default();
        let origin = self.origin(path, place);
        let shown = if self.file.is_some() { format!("{origin}: {path}") } else { origin };
        self.found.notes.push(format!("{shown} is not a key we know, and is left out.{hint}"));
    }

    fn leaf(&mut self, path: &str, fate: Fate, node: &Node) {
        let place = node.place;
        let Some(text) = text(&node.value) else {
            self.note(path, place, "it holds more than plain values");
            return;
        };
        let origin = self.origin(path, place);
        match fate {
            Flag(flag) | Names(flag) => self.give(flag, text, origin),
            Time(flag) if text.trim_end_matches(|c: char| c.is_ascii_alphabetic()) != "0" => {
                self.give(flag, text, origin);
            }
            Time(_) => self.note(path, place, NO_LIMIT),
            Level => {
                let level = match text.to_ascii_lowercase().as_str() {
                    "fatal" | "panic" => "error".to_owned(),
                    "warning" => "warn".to_owned(),
                    level => level.to_owned(),
                };
                self.give("log.level", level, origin);
            }
            DebugMode if text == "true" && self.tree.get("logLevel").is_none() => {
                self.give("log.level", "debug", origin)
            }
            Always if text != "true" => self.note(path, place, "it is always true here"),
            Always | DebugMode | Nothing | Later(_) | OnceOn(_) => {}
        }
    }

    /// `[entryPoints.http] address = ":80"` becomes `Name:http Address::80`.
    fn entrypoints(&mut self) {
        let Some(node) = self.tree.get("entryPoints") else {
            // Traefik 1.7 listens on port 80 where nothing is said.
            if let Some(file) = self.file {
                self.give(
                    "entryPoints",
                    "Name:http Address::80",
                    format!("{file} (Traefik's default)"),
                );
            }
            return;
        };
        if let Value::List(list) = &node.value {
            for node in list {
                if let Some(text) = node.as_text() {
                    let origin = self.origin("entryPoints", node.place);
                    self.give("entryPoints", text, origin);
                }
            }
            return;
        }
        for entry in node.as_table().into_iter().flat_map(Table::entries) {
            let mut parts = vec![format!("Name:{}", entry.key)];
            parts_of("", &entry.node, &mut parts);
            let origin = self.origin("entryPoints", entry.node.place);
            self.give("entryPoints", parts.join(" "), origin);
        }
    }

    /// `[web]`, or the entry point of `[api]`: where the page is.
    fn admin(&mut self) {
        let is_on = |node: &&Node| node.as_text().is_none_or(|text| text == "true");
        let web = self.tree.get("web").filter(is_on);
        let Some((path, node)) = self
            .tree
            .get("api")
            .filter(is_on)
            .map(|api| ("api", api))
            .or(web.map(|web| ("web", web)))
        else {
            return;
        };
        let named = node.as_table().and_then(|table| table.get("entryPoint")?.as_text());
        let named = named.unwrap_or(ADMIN_ENTRYPOINT);
        let place = node.place;
        let is_named = |entrypoint: &EntryPoint| entrypoint.name.eq_ignore_ascii_case(named);
        let given = self.found.given.iter().enumerate().filter(|(_, g)| g.flag == "entryPoints");
        let found = given.filter_map(|(at, g)| Some((at, g.value.parse::<EntryPoint>().ok()?)));
        let found = found.into_iter().find(|(_, entrypoint)| is_named(entrypoint));
        let default = self.tree.get("defaultEntryPoints").and_then(|node| text(&node.value));
        let default = default.unwrap_or_else(|| HTTP_ENTRYPOINT.to_owned());
        let is_default = default.split(',').any(|name| name.trim().eq_ignore_ascii_case(named));
        let address = match &found {
            Some((_, entrypoint))
                if entrypoint.is_guarded() && !self.guard_admin(entrypoint, path, place) =>
            {
                return self.shut_admin(path, place);
            }
            Some(_) if is_default => {
                let why = "requests come in at that entry point; the page has one of its own";
                return self.note(&format!("{path}.entryPoint"), place, why);
            }
            Some((_, entrypoint)) => entrypoint.listen.to_string(),
            None => ADMIN_ADDRESS.to_owned(),
        };
        // It is the admin side's; requests do not come in there.
        if let Some((at, entrypoint)) = found {
            self.found.given.remove(at);
            if !entrypoint.name.eq_ignore_ascii_case(ADMIN_ENTRYPOINT) {
                let why = format!(
                    "the entry point {entrypoint} is the page's, and no requests come in there"
                );
                self.note(&format!("{path}.entryPoint"), place, &why);
            }
        }
        let origin = self.origin(path, place);
        if self.found.given.iter().all(|given| given.flag != "admin") {
            self.give("admin", address, origin);
        }
    }

    /// A table switches its provider on.
    fn providers(&mut self) {
        for name in ["docker", "rancher", "accessLog"] {
            if let Some(node) = self.tree.get(name).filter(|node| node.as_table().is_some()) {
                let origin = self.origin(name, node.place);
                self.give(name, "true", origin);
            }
        }
        let api = self.tree.get("rancher").and_then(|node| node.as_table()?.get("api"));
        if let Some(node) = api {
            let origin = self.origin("rancher.api", node.place);
            self.give("rancher.api", "true", origin);
        }
        let node = self.tree.get("file");
        let has_source = node
            .and_then(Node::as_table)
            .is_some_and(|t| t.get("filename").is_some() || t.get("directory").is_some());
        match (node, self.file) {
            (Some(node), Some(file)) if !has_source => {
                let origin = self.origin("file", node.place);
                self.give("file.main", file, origin);
            }
            (Some(_), _) => self.rules_left_out("rules are read from what [file] names"),
            (None, _) => {
                self.rules_left_out("rules beside settings are read where a line says [file]")
            }
        }
    }

    /// As in Traefik 1.7, which says nothing of it.
    fn rules_left_out(&mut self, why: &str) {
        let tree = self.tree;
        for key in ["frontends", "backends"] {
            if let Some(node) = tree.get(key) {
                self.note(key, node.place, why);
            }
        }
    }
}

/// The keys of an entry point's table as parts of its notation.
fn parts_of(prefix: &str, node: &Node, parts: &mut Vec<String>) {
    match &node.value {
        Value::Table(table) if table.is_empty() && !prefix.is_empty() => {
            parts.push(prefix.to_owned())
        }
        Value::Table(table) => {
            for entry in table.entries() {
                let key = if prefix.is_empty() {
                    entry.key.clone()
                } else {
                    format!("{prefix}.{}", entry.key)
                };
                parts_of(&key, &entry.node, parts);
            }
        }
        value => {
            // A blank would end it. An expression has other words for one, and so has a URL.
            let blank = match prefix.to_ascii_lowercase().as_str() {
                "redirect.regex" => r"\x20",
                "redirect.replacement" => "%20",
                _ => "",
            };
            let text = text(value).unwrap_or_default().replace(char::is_whitespace, blank);
            parts.push(format!("{prefix}:{text}"));
        }
    }
}

/// A value as a flag takes it: a list with commas.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Scalar(text) => Some(text.clone()),
        Value::List(list) => {
            let texts: Option<Vec<&str>> = list.iter().map(Node::as_text).collect();
            texts.map(|texts| texts.join(","))
        }
        Value::Table(_) => None,
    }
}
