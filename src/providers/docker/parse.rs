//! Reads what the daemon says about containers, of API 1.24 to the newest.
//!
//! Every field may be missing or null (Go writes an empty map as null), and every word may be new: what cannot
//! be read costs its own container only.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::model::{Health, Labels, Published, State};

/// What we know of one container, before it is asked where it can be reached from here.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Facts {
    /// The whole id.
    pub(super) id: Arc<str>,
    /// Without the leading slash.
    pub(super) name: String,
    /// As written.
    pub(super) labels: Labels,
    /// Running, or down with the daemon's word.
    pub(super) state: Status,
    /// How it ended, where it has: with code 137.
    pub(super) ending: Option<Ending>,
    /// What its HEALTHCHECK says, where it has one.
    pub(super) health: Option<Health>,
    /// Since 1970, in nanoseconds, by the daemon's clock.
    pub(super) created_ns: Option<i64>,
    /// The last start, in nanoseconds since 1970, by the daemon's clock.
    pub(super) started_ns: Option<i64>,
    /// Whose network it uses.
    pub(super) mode: NetworkMode,
    /// The networks it is in, by name.
    pub(super) networks: BTreeMap<String, Network>,
    /// TCP ports, ascending, each once.
    pub(super) exposed: Vec<u16>,
    /// TCP ports that are published, ascending.
    pub(super) published: Vec<Published>,
    /// The signal that asks it to stop.
    pub(super) stop_signal: u8,
    /// How long it may take to stop, where its owner said so.
    pub(super) stop_timeout: Option<Duration>,
}

/// Whether it runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Status(pub(super) State);

impl Default for Status {
    fn default() -> Self {
        Self(State::Down("unknown".into()))
    }
}

/// How a container ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Ending {
    /// Its exit code.
    code: i64,
    /// Whether the kernel killed it for want of memory.
    is_out_of_memory: bool,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = if self.is_out_of_memory { ", killed: it was out of memory" } else { "" };
        write!(f, "exit code {}{why}", self.code)
    }
}

/// Whose network a container uses.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) enum NetworkMode {
    /// The networks it is connected to.
    #[default]
    Own,
    /// None at all.
    None,
    /// The host's.
    Host,
    /// Another container's, by id (or name, from an old client).
    Container(String),
}

/// A container's place in one network.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Network {
    /// Its address: IPv4 where it has one, else IPv6.
    pub(super) ip: Option<IpAddr>,
    /// The network's way out, which is the host.
    pub(super) gateway: Option<IpAddr>,
}

/// A list read as far as it can be: each entry, or its id (where it has one) and why it cannot be read.
pub(super) type Listed = Vec<Result<Facts, (Option<String>, String)>>;

/// Reads the answer to `/containers/json`. What a list leaves out (health, ports …) stays unknown.
///
/// # Errors
/// When it is not a list.
pub(super) fn list(bytes: &[u8]) -> Result<Listed, String> {
    let entries: Option<Vec<Lenient<ListEntry>>> =
        serde_json::from_slice(bytes).map_err(|error| format!("no list of containers: {error}"))?;
    Ok(entries.unwrap_or_default().into_iter().map(listed).collect())
}

/// Reads the answer to `/containers/ID/json`.
///
/// # Errors
/// When it is not what a container looks like; the reason is for its owner.
pub(super) fn inspect(bytes: &[u8]) -> Result<Facts, String> {
    let raw: Inspect = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let id = raw.id.filter(|id| !id.is_empty()).ok_or("it has no Id")?;
    let state = raw.state.unwrap_or_default();
    let config = raw.config.unwrap_or_default();
    let network = raw.network_settings.unwrap_or_default();
    let status = Status(state.read());
    let ports = network.ports.unwrap_or_default();
    Ok(Facts {
        id: id.into(),
        name: bare_name(&raw.name.unwrap_or_default()),
        health: health(&state, &config, &status),
        ending: state.ending(&status),
        state: status,
        created_ns: raw.created.as_deref().and_then(nanoseconds),
        started_ns: state.started_at.as_deref().and_then(nanoseconds),
        mode: raw.host_config.unwrap_or_default().mode(),
        networks: networks(network.networks),
        exposed: exposed(config.exposed_ports.unwrap_or_default().keys().chain(ports.keys())),
        published: published(&ports),
        stop_signal: config.stop_signal.as_deref().and_then(signal).unwrap_or(SIGTERM),
        stop_timeout: config
            .stop_timeout
            .and_then(|s| u64::try_from(s).ok())
            .map(Duration::from_secs),
        labels: labels(config.labels),
    })
}

/// The signal `docker stop` sends unless the container names another.
pub(super) const SIGTERM: u8 = 15;
/// The signal no process survives.
pub(super) const SIGKILL: u8 = 9;

/// `15`, `TERM`, `SIGTERM`, `RTMIN+3`: a signal's number on Linux (x86 and ARM; signal(7)).
pub(super) fn signal(text: &str) -> Option<u8> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let beyond: u8 = rest.strip_prefix('+').map_or(Some(0), |n| n.parse().ok())?;
        return beyond.checked_add(34);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return 64u8.checked_sub(rest.strip_prefix('-').map_or(Some(0), |n| n.parse().ok())?);
    }
    let known = SIGNALS.iter().find(|(known, _)| *known == name);
    known.map(|(_, number)| *number)
}

const SIGNALS: [(&str, u8); 16] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ABRT", 6),
    ("KILL", SIGKILL),
    ("USR1", 10),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", SIGTERM),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("WINCH", 28),
    ("PWR", 30),
];

/// What is read, or what stood there instead.
#[derive(Deserialize)]
#[serde(untagged)]
enum Lenient<T> {
    Read(T),
    Odd(Value),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListEntry {
    id: String,
    names: Option<Vec<String>>,
    labels: Option<BTreeMap<String, Option<String>>>,
    state: Option<String>,
    created: Option<i64>,
    host_config: Option<HostConfig>,
    network_settings: Option<NetworkSettings>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspect {
    id: Option<String>,
    name: Option<String>,
    created: Option<String>,
    state: Option<RawState>,
    config: Option<Config>,
    host_config: Option<HostConfig>,
    network_settings: Option<NetworkSettings>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawState {
    status: Option<String>,
    running: Option<bool>,
    paused: Option<bool>,
    restarting: Option<bool>,
    started_at: Option<String>,
    exit_code: Option<i64>,
    #[serde(rename = "OOMKilled")]
    oom_killed: Option<bool>,
    #[serde(alias = "Healthcheck")] // Podman's name for it
    health: Option<RawHealth>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawHealth {
    status: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    labels: Option<BTreeMap<String, Option<String>>>,
    exposed_ports: Option<BTreeMap<String, Value>>,
    stop_signal: Option<String>,
    stop_timeout: Option<i64>,
    healthcheck: Option<Healthcheck>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Healthcheck {
    test: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    network_mode: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    networks: Option<BTreeMap<String, Option<Endpoint>>>,
    ports: Option<BTreeMap<String, Option<Vec<PortBinding>>>>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(rename = "IPAddress")]
    ip_address: Option<String>,
    #[serde(rename = "GlobalIPv6Address")]
    ipv6_address: Option<String>,
    #[serde(rename = "Gateway")]
    gateway: Option<String>,
    #[serde(rename = "IPv6Gateway")]
    ipv6_gateway: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PortBinding {
    host_ip: Option<String>,
    host_port: Option<String>,
}

fn listed(entry: Lenient<ListEntry>) -> Result<Facts, (Option<String>, String)> {
    let raw = match entry {
        Lenient::Read(raw) if !raw.id.is_empty() => raw,
        Lenient::Read(_) => return Err((None, "it has no Id".to_owned())),
        Lenient::Odd(value) => {
            let id = value.get("Id").and_then(Value::as_str).map(str::to_owned);
            return Err((
                id,
                "its entry in the list is not what a container looks like".to_owned(),
            ));
        }
    };
    let word = raw.state.as_deref().unwrap_or("unknown");
    let names = raw.names.unwrap_or_default();
    Ok(Facts {
        id: raw.id.into(),
        // A legacy link adds names like `/other/alias`; the container's own has one slash.
        name: names
            .iter()
            .find(|name| !name.trim_start_matches('/').contains('/'))
            .map(|name| bare_name(name))
            .unwrap_or_default(),
        labels: labels(raw.labels),
        state: Status(state_of(word)),
        created_ns: raw.created.and_then(|s| s.checked_mul(1_000_000_000)),
        mode: raw.host_config.unwrap_or_default().mode(),
        networks: networks(raw.network_settings.unwrap_or_default().networks),
        stop_signal: SIGTERM,
        ..Facts::default()
    })
}

impl RawState {
    fn read(&self) -> State {
        match self.status.as_deref() {
            Some(word) if !word.is_empty() => state_of(word),
            _ if self.paused == Some(true) => State::Down("paused".into()),
            _ if self.restarting == Some(true) => State::Down("restarting".into()),
            _ if self.running == Some(true) => State::Running,
            _ => State::Down("exited".into()),
        }
    }

    fn ending(&self, status: &Status) -> Option<Ending> {
        let State::Down(word) = &status.0 else { return None };
        let has_ended = matches!(&**word, "exited" | "dead" | "restarting");
        let code = self.exit_code.filter(|_| has_ended)?;
        Some(Ending { code, is_out_of_memory: self.oom_killed == Some(true) })
    }
}

fn state_of(word: &str) -> State {
    match word {
        "running" => State::Running,
        // Podman's, while it waits for the end.
        "stopping" => State::Stopping,
        other => State::Down(other.into()),
    }
}

/// No check: none. A check without a word yet is one that starts.
fn health(state: &RawState, config: &Config, status: &Status) -> Option<Health> {
    let word = state.health.as_ref().and_then(|health| health.status.as_deref()).unwrap_or("");
    match word {
        "healthy" => Some(Health::Healthy),
        "none" => None,
        "" if config.is_checked() && status.0 == State::Running => {
            Some(Health::Failing("starting".into()))
        }
        "" => None,
        other => Some(Health::Failing(other.into())),
    }
}

impl Config {
    /// `["NONE"]` is how a container switches the check of its image off.
    fn is_checked(&self) -> bool {
        let test = self.healthcheck.as_ref().and_then(|check| check.test.as_ref());
        test.and_then(|test| test.first()).is_some_and(|first| first != "NONE")
    }
}

impl HostConfig {
    fn mode(&self) -> NetworkMode {
        match self.network_mode.as_deref().unwrap_or("") {
            "host" => NetworkMode::Host,
            "none" => NetworkMode::None,
            mode => match mode.strip_prefix("container:") {
                Some(other) => NetworkMode::Container(other.to_owned()),
                None => NetworkMode::Own,
            },
        }
    }
}

fn networks(raw: Option<BTreeMap<String, Option<Endpoint>>>) -> BTreeMap<String, Network> {
    let present = raw.unwrap_or_default().into_iter();
    present.filter_map(|(name, endpoint)| Some((name, endpoint?.read()))).collect()
}

impl Endpoint {
    fn read(&self) -> Network {
        let first = |one: &Option<String>, other: &Option<String>| {
            let mut texts = [one, other].into_iter().flatten();
            texts.find_map(|text| text.parse().ok().filter(|ip: &IpAddr| !ip.is_unspecified()))
        };
        Network {
            ip: first(&self.ip_address, &self.ipv6_address),
            gateway: first(&self.gateway, &self.ipv6_gateway),
        }
    }
}

/// `80/tcp`, and the `80` of very old images; 53/udp is not for us.
fn tcp_port(text: &str) -> Option<u16> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    if protocol != "tcp" {
        return None;
    }
    port.parse().ok().filter(|&port| port != 0)
}

fn exposed<'p>(ports: impl Iterator<Item = &'p String>) -> Vec<u16> {
    let mut ports: Vec<u16> = ports.filter_map(|port| tcp_port(port)).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn published(ports: &BTreeMap<String, Option<Vec<PortBinding>>>) -> Vec<Published> {
    let read = |(port, bindings): (&String, &Option<Vec<PortBinding>>)| {
        let inside = tcp_port(port)?;
        let mut bound = bindings.iter().flatten().filter_map(|b| Some((b.port()?, b.is_local())));
        let first = bound.next()?;
        // A port may be bound several times; one that is open to others counts.
        let mut open = std::iter::once(first).chain(bound).filter(|(_, is_local)| !is_local);
        Some(Published { inside, outside: open.next().map(|(port, _)| port) })
    };
    let mut published: Vec<Published> = ports.iter().filter_map(read).collect();
    published.sort_unstable();
    published
}

impl PortBinding {
    fn port(&self) -> Option<u16> {
        self.host_port.as_ref()?.parse().ok().filter(|&port| port != 0)
    }

    /// Whether nobody but the host itself reaches it. No address means every one.
    fn is_local(&self) -> bool {
        let ip = self.host_ip.as_ref().and_then(|ip| ip.parse().ok());
        ip.is_some_and(|ip: IpAddr| ip.to_canonical().is_loopback())
    }
}

fn labels(raw: Option<BTreeMap<String, Option<String>>>) -> Labels {
    let present = raw.unwrap_or_default().into_iter();
    present.map(|(key, value)| (key.into(), value.unwrap_or_default().into())).collect()
}

fn bare_name(name: &str) -> String {
    name.trim_start_matches('/').to_owned()
}

/// Docker writes `0001-01-01T00:00:00Z` for never, which no count of nanoseconds reaches.
fn nanoseconds(text: &str) -> Option<i64> {
    chrono::DateTime::parse_from_rfc3339(text).ok()?.timestamp_nanos_opt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(name: &str) -> Vec<u8> {
        let path = format!("{}/tests/fixtures/docker/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn inspected(name: &str) -> Facts {
        inspect(&recorded(name)).expect(name)
    }

    #[test]
    fn reads_a_container_of_two_networks() {
        let facts = inspected("inspect-two-networks.json");
        assert_eq!(facts.name, "shop_web_1");
        let project = facts.labels.get("com.docker.compose.project");
        assert_eq!(project.map(|name| &**name), Some("shop"));
        assert_eq!(facts.state.0, State::Running);
        let ips: Vec<_> =
            facts.networks.iter().map(|(n, at)| format!("{n} {}", at.ip.unwrap())).collect();
        assert_eq!(ips, ["alpha 172.18.0.2", "beta 172.19.0.2"]);
        assert_eq!(facts.networks["alpha"].gateway, Some([172, 18, 0, 1].into()));
        assert_eq!(facts.exposed, [80, 8080]);
        assert_eq!(facts.published, [Published { inside: 8080, outside: Some(32768) }]);
        assert!(facts.created_ns < facts.started_ns);
        assert_eq!((facts.stop_signal, facts.stop_timeout), (3, Some(Duration::from_secs(20))));
    }

    #[test]
    fn reads_health_in_each_of_its_words() {
        assert_eq!(inspected("inspect-healthy.json").health, Some(Health::Healthy));
        for word in ["starting", "unhealthy"] {
            let facts = inspected(&format!("inspect-{word}.json"));
            assert_eq!(facts.health, Some(Health::Failing(word.into())));
        }
        assert_eq!(inspected("inspect-two-networks.json").health, None);
    }

    #[test]
    fn an_end_is_told_with_its_code() {
        let ending = |state: &str| {
            let facts = inspect(format!(r#"{{"Id":"a","State":{{{state}}}}}"#).as_bytes());
            facts.expect("a container").ending.map(|ending| ending.to_string())
        };
        let killed = r#""Status":"exited","ExitCode":137,"OOMKilled":true"#;
        assert_eq!(ending(killed).as_deref(), Some("exit code 137, killed: it was out of memory"));
        let exited = r#""Status":"exited","ExitCode":0,"OOMKilled":false"#;
        assert_eq!(ending(exited).as_deref(), Some("exit code 0"));
        for none in [r#""Status":"running","ExitCode":0"#, r#""Status":"created","ExitCode":0"#] {
            assert_eq!(ending(none), None);
        }
        assert_eq!(ending(r#""Status":"exited""#), None);
    }

    #[test]
    fn a_check_without_a_word_yet_starts_and_one_switched_off_is_none() {
        let with = |test: &str, health: &str| {
            let json = format!(
                r#"{{"Id":"a","State":{{"Status":"running","Health":{health}}},
                    "Config":{{"Healthcheck":{{"Test":{test}}}}}}}"#
            );
            inspect(json.as_bytes()).expect("readable").health
        };
        let starting = Some(Health::Failing("starting".into()));
        assert_eq!(with(r#"["CMD","true"]"#, "null"), starting);
        assert_eq!(with(r#"["NONE"]"#, "null"), None);
        assert_eq!(with("null", "null"), None);
        assert_eq!(with(r#"["NONE"]"#, r#"{"Status":"none"}"#), None);
    }

    #[test]
    fn reads_whose_network_it_is() {
        assert_eq!(inspected("inspect-host.json").mode, NetworkMode::Host);
        assert_eq!(inspected("inspect-none.json").mode, NetworkMode::None);
        let facts = inspected("inspect-container-network.json");
        assert!(matches!(facts.mode, NetworkMode::Container(id) if id.len() == 64));
        assert!(facts.networks.is_empty());
    }

    #[test]
    fn an_old_daemon_has_no_status_word() {
        let state = |fields: &str| {
            let json = format!(r#"{{"Id":"a","State":{{{fields}}}}}"#);
            inspect(json.as_bytes()).expect("readable").state.0
        };
        assert_eq!(state(r#""Running":true,"Paused":false"#), State::Running);
        assert_eq!(state(r#""Running":true,"Paused":true"#), State::Down("paused".into()));
        assert_eq!(state(r#""Running":false"#), State::Down("exited".into()));
        assert_eq!(state(""), State::Down("exited".into()));
    }

    #[test]
    fn a_list_with_odd_entries_keeps_the_good_ones() {
        let listed = list(&recorded("list-odd.json")).expect("a list");
        let good: Vec<_> = listed.iter().flatten().collect();
        let names: Vec<&str> = good.iter().map(|facts| facts.name.as_str()).collect();
        assert_eq!(names, ["good", "newfangled", "bare"]);
        // A word nobody knows is not a reason to lose the container.
        assert_eq!(good[1].state.0, State::Down("hibernating".into()));
        let odd: Vec<_> = listed.iter().filter_map(|entry| entry.as_ref().err()).collect();
        assert_eq!(odd.len(), 3);
        assert_eq!(odd[0].0.as_deref(), Some("odd1"));
    }

    #[test]
    fn what_is_no_list_is_an_error() {
        for text in ["", "{}", "[", "\"list\"", "<html>"] {
            list(text.as_bytes()).expect_err(text);
        }
        assert_eq!(list(b"null").map(|listed| listed.len()), Ok(0));
        inspect(b"{}").expect_err("no id");
        inspect(br#"{"Id":"a","Config":[]}"#).expect_err("a list is no config");
    }

    #[test]
    fn ports_are_tcp_ascending_and_each_once() {
        let json = br#"{"Id":"a","Config":{"ExposedPorts":{"8080/tcp":{},"53/udp":{},"81":{},"0/tcp":{},
            "70000/tcp":{},"x/tcp":{}}},"NetworkSettings":{"Ports":{"8080/tcp":null,"443/tcp":[{"HostPort":""},
            {"HostIp":"::","HostPort":"8443"}],"9000/sctp":[{"HostPort":"9"}]}}}"#;
        let facts = inspect(json).expect("readable");
        assert_eq!(facts.exposed, [81, 443, 8080]);
        assert_eq!(facts.published, [Published { inside: 443, outside: Some(8443) }]);
    }

    #[test]
    fn a_port_on_loopback_is_published_for_the_host_alone() {
        let outside = |bindings: &str| {
            let json =
                format!(r#"{{"Id":"a","NetworkSettings":{{"Ports":{{"80/tcp":[{bindings}]}}}}}}"#);
            let facts = inspect(json.as_bytes()).expect("readable");
            facts.published.first().map(|published| published.outside)
        };
        let (four, six) =
            (r#"{"HostIp":"127.0.0.1","HostPort":"1"}"#, r#"{"HostIp":"::1","HostPort":"2"}"#);
        assert_eq!(outside(four), Some(None));
        assert_eq!(outside(&format!("{four},{six}")), Some(None));
        for open in ["0.0.0.0", "::", "", "192.0.2.9"] {
            let open = format!(r#"{{"HostIp":"{open}","HostPort":"3"}}"#);
            assert_eq!(outside(&format!("{four},{open},{six}")), Some(Some(3)));
        }
        assert_eq!(outside(""), None);
    }

    #[test]
    fn signals_are_known_by_number_and_name() {
        let cases = [("15", 15), ("SIGTERM", 15), ("quit", 3), ("SIGRTMIN+3", 37), ("RTMAX-1", 63)];
        for (text, number) in cases {
            assert_eq!(signal(text), Some(number), "{text}");
        }
        for text in ["", "SIGNOPE", "-1", "RTMIN+x", "RTMAX-99"] {
            assert_eq!(signal(text), None, "{text}");
        }
    }

    #[test]
    fn an_ipv6_address_is_taken_where_there_is_no_other() {
        let json = br#"{"Id":"a","NetworkSettings":{"Networks":{"six":{"IPAddress":"",
            "GlobalIPv6Address":"fd00::7"},"gone":null,"empty":{}}}}"#;
        let networks = inspect(json).expect("readable").networks;
        assert_eq!(networks["six"].ip, Some("fd00::7".parse().unwrap()));
        assert_eq!(networks["empty"].ip, None);
        assert!(!networks.contains_key("gone"));
    }
}
