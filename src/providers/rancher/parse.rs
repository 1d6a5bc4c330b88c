//! Metadata → snapshot. Each entry is read by itself: one that cannot be read costs only itself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::remembered::{Remembered, Words};
use super::split::{Entry, Services};
use crate::model::{
    Address, Health, HealthBlock, Instance, Kind, Labels, Origin, Problem, ProviderName, Service,
    Snapshot, State, full_name,
};

/// Services in one answer, and containers of one service; more is not Rancher but nonsense, and costs memory.
const SERVICES_MAX: usize = 20_000;
const CONTAINERS_MAX: usize = 5_000;

/// Problems that one answer can make; a list of ten million zeros is told of a thousand times.
const PROBLEMS_MAX: usize = 1_000;

/// What we read of a service. Any value may be null, and older servers leave fields out.
#[derive(Deserialize)]
struct RawService<'b> {
    name: Option<String>,
    stack_name: Option<String>,
    uuid: Option<String>,
    kind: Option<String>,
    state: Option<String>,
    labels: Option<Value>,
    #[serde(borrow)]
    containers: Option<Vec<&'b RawValue>>,
    external_ips: Option<Vec<String>>,
    health_check: Option<Value>,
    create_index: Option<Value>,
}

/// What we read of a container.
#[derive(Deserialize)]
struct RawContainer {
    name: Option<String>,
    uuid: Option<String>,
    external_id: Option<String>,
    state: Option<String>,
    health_state: Option<String>,
    primary_ip: Option<String>,
    ips: Option<Vec<String>>,
    ports: Option<Vec<String>>,
    service_name: Option<String>,
    stack_name: Option<String>,
}

/// Why a list of services was not read.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Unread {
    /// Containers are told by name only, and must be asked for by themselves.
    #[error("it tells of containers by name only")]
    ContainersByName,
    /// It cannot be used; why, in words.
    #[error("{0}")]
    Unusable(String),
}

/// Reads the list of services, and remembers them for the next one, except where `containers` were asked for: then a
/// service's text is not all that is told of it.
///
/// # Errors
/// When it, or what was asked for besides, is not a list, or when containers are told by name and were not asked for.
pub(super) fn snapshot(
    services: Services<'_>,
    containers: Option<&Value>,
    remembered: &mut Remembered,
) -> Result<Snapshot, Unread> {
    let unusable = |why: String| Err(Unread::Unusable(why));
    let services = match services {
        Services::List(services) => services,
        Services::Other(other) => match serde_json::from_str(other.get()) {
            Ok(Value::Null) => Vec::new(),
            Ok(other) => {
                return unusable(format!("its services are no list but {}", kind_of(&other)));
            }
            // JSON that is nested too deep, or holds a number that is none: whatever it says, it is not that there are none.
            Err(error) => {
                return unusable(format!("its services are no list that can be read: {error}"));
            }
        },
    };
    if services.len() > SERVICES_MAX {
        let count = services.len();
        return unusable(format!("it tells of {count} services; {SERVICES_MAX} are the limit"));
    }
    if let Some(other) = containers.filter(|told| !told.is_array() && !told.is_null()) {
        return unusable(format!("its containers are no list but {}", kind_of(other)));
    }
    let by_name = containers.map(by_name);
    let mut snapshot = Snapshot::default();
    snapshot.services.reserve_exact(services.len());
    let is_all_told = containers.is_none();
    let mut fresh = remembered.successor(if is_all_told { services.len() } else { 0 });
    for (place, entry) in services.into_iter().enumerate() {
        let value = match entry {
            Entry::Text(value) => value,
            Entry::Known(known) => {
                snapshot.services.push(Arc::clone(&known.service));
                fresh.keep(known);
                continue;
            }
        };
        snapshot.problems.truncate(PROBLEMS_MAX);
        let problems = snapshot.problems.len();
        match service(value, by_name.as_ref(), &mut fresh.words, &mut snapshot.problems) {
            Ok(service) => {
                let service = Arc::new(service);
                if is_all_told && snapshot.problems.len() == problems {
                    fresh.insert(value.get(), &service);
                }
                snapshot.services.push(service);
            }
            Err(Odd::ContainersByName) => {
                remembered.words = fresh.words;
                return Err(Unread::ContainersByName);
            }
            Err(Odd::Unreadable(name, why)) => {
                let name = name.unwrap_or_else(|| format!("service {place}"));
                let origin = Origin::new(ProviderName::Rancher, name);
                let what = format!("Its metadata cannot be read: {why}; it is left out.");
                snapshot.problems.push(Problem::error(&origin, what));
            }
        }
    }
    snapshot.problems.truncate(PROBLEMS_MAX);
    *remembered = fresh;
    Ok(snapshot)
}

/// Why a service was not read.
enum Odd {
    ContainersByName,
    /// What it is called, where that can be read, and why it cannot be.
    Unreadable(Option<String>, String),
}

/// Reads one. `by_name` has the containers that were asked for.
fn service(
    value: &RawValue,
    by_name: Option<&ByName<'_>>,
    words: &mut Words,
    problems: &mut Vec<Problem>,
) -> Result<Service, Odd> {
    let raw: RawService<'_> = serde_json::from_str(value.get()).map_err(|error| {
        let value: Value = serde_json::from_str(value.get()).unwrap_or_default();
        let name = value.get("name").and_then(Value::as_str).map(str::to_owned);
        Odd::Unreadable(name, error.to_string())
    })?;
    let containers = raw.containers.unwrap_or_default();
    if by_name.is_none() && containers.iter().any(|container| container.get().starts_with('"')) {
        return Err(Odd::ContainersByName);
    }
    let name =
        filled(raw.name).ok_or_else(|| Odd::Unreadable(None, "it has no name".to_owned()))?;
    let stack = filled(raw.stack_name);
    let full_name = full_name(&name, stack.as_deref());
    let origin = Origin::new(ProviderName::Rancher, full_name.as_str());
    let kind = match raw.kind.as_deref() {
        None | Some("" | "service") => Kind::Containers,
        Some("externalService") => Kind::External,
        Some(other) => Kind::Other(other.into()),
    };
    let instances = match kind {
        Kind::External => external(&raw.external_ips.unwrap_or_default(), &origin, problems),
        _ => {
            let read = containers.iter().take(CONTAINERS_MAX).map(|value| {
                let name: Option<String> = serde_json::from_str(value.get()).ok();
                let named = by_name.zip(name).and_then(|(by_name, name)| {
                    // Names are unique within a stack only.
                    let own = by_name.get(&(stack.as_deref(), name.as_str()));
                    own.or_else(|| by_name.get(&(None, name.as_str()))).copied()
                });
                match named {
                    Some(value) => RawContainer::deserialize(value),
                    None => serde_json::from_str(value.get()),
                }
            });
            let own = (name.as_str(), stack.as_deref());
            exact(read.filter_map(|read| container(read, own, &origin, problems)).collect())
        }
    };
    let health_block = raw.health_check.as_ref().and_then(health_block).map(Box::new);
    let health_checked = raw.health_check.is_some_and(|check| !check.is_null())
        || instances.iter().any(|instance| instance.health.is_some());
    Ok(Service {
        id: filled(raw.uuid).unwrap_or_else(|| full_name.clone()).into(),
        labels: labels(raw.labels, &origin, words, problems),
        name: name.into(),
        stack: stack.map(|stack| words.of(stack)),
        instances,
        kind,
        state: filled(raw.state).map(|state| words.of(state)),
        health_checked,
        health_block,
        age_order: raw.create_index.as_ref().and_then(number),
    })
}

/// A container of this service; those of its sidekicks belong to services of their own.
fn container(
    read: serde_json::Result<RawContainer>,
    (service, stack): (&str, Option<&str>),
    origin: &Origin,
    problems: &mut Vec<Problem>,
) -> Option<Instance> {
    let raw = match read {
        Ok(raw) => raw,
        Err(error) => {
            let what = format!("A container's metadata cannot be read: {error}; it is left out.");
            problems.push(Problem::error(origin, what));
            return None;
        }
    };
    let is_others =
        raw.service_name.as_deref().is_some_and(|name| !name.is_empty() && name != service)
            || (stack.is_some()
                && raw.stack_name.as_deref().is_some_and(|s| !s.is_empty() && Some(s) != stack));
    if is_others {
        return None;
    }
    let Some(name) = filled(raw.name) else {
        let what = "A container has no name; it is left out.";
        problems.push(Problem::error(origin, what));
        return None;
    };
    let ip = filled(raw.primary_ip).or_else(|| raw.ips?.into_iter().find(|ip| !ip.is_empty()));
    let address = match ip.as_deref().map(str::parse::<IpAddr>) {
        Some(Ok(ip)) => Some(Address { network: None, ip, shared: None, published: None }),
        Some(Err(_)) => {
            let what = format!(
                "Container {name} has the address \"{}\", which is none; it is left out.",
                ip.unwrap_or_default()
            );
            problems.push(Problem::error(origin, what));
            None
        }
        None => None,
    };
    let mut exposed_ports: Vec<u16> =
        raw.ports.iter().flatten().filter_map(|port| inner_port(port)).collect();
    exposed_ports.sort_unstable();
    exposed_ports.dedup();
    Some(Instance {
        id: filled(raw.external_id).or(filled(raw.uuid)).unwrap_or_else(|| name.clone()).into(),
        name: name.into(),
        addresses: address.into_iter().collect(),
        exposed_ports: exposed_ports.into(),
        detail: None,
        state: state(raw.state.as_deref()),
        health: health(raw.health_state.as_deref()),
    })
}

/// Addresses outside: each one is an instance that nobody checks.
fn external(ips: &[String], origin: &Origin, problems: &mut Vec<Problem>) -> Vec<Instance> {
    let read = ips.iter().filter_map(|text| match text.parse::<IpAddr>() {
        Ok(ip) => Some(Instance {
            id: text.as_str().into(),
            name: text.as_str().into(),
            addresses: [Address { network: None, ip, shared: None, published: None }].into(),
            exposed_ports: Box::default(),
            detail: None,
            state: State::Running,
            health: None,
        }),
        Err(_) => {
            let what = format!("Its external address \"{text}\" is none; it is left out.");
            problems.push(Problem::error(origin, what));
            None
        }
    });
    exact(read.collect())
}

/// Without room for more: there are thousands of them, and none of them grows.
fn exact<T>(mut list: Vec<T>) -> Vec<T> {
    list.shrink_to_fit();
    list
}

/// A missing state is that of an older server, which tells of running containers only. Those of the others that are served are
/// Traefik 1.7's (provider/rancher/rancher.go, `containerFilter`).
fn state(word: Option<&str>) -> State {
    match word {
        None | Some("" | "running" | "updating-running" | "upgraded") => State::Running,
        Some("stopping") => State::Stopping,
        Some(other) => State::Down(other.into()),
    }
}

/// The service's check; numbers that make no sense count as left out.
fn health_block(value: &Value) -> Option<HealthBlock> {
    let map = value.as_object()?;
    let number = |key: &str| map.get(key).and_then(number).unwrap_or(0);
    let count = |key: &str| u32::try_from(number(key)).unwrap_or(0);
    let time_ms = |key: &str| u64::try_from(number(key)).unwrap_or(0);
    Some(HealthBlock {
        port: u16::try_from(number("port")).unwrap_or(0),
        interval_ms: time_ms("interval"),
        timeout_ms: time_ms("response_timeout"),
        rise: count("healthy_threshold"),
        fall: count("unhealthy_threshold"),
        request_line: map
            .get("request_line")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
    })
}

fn health(word: Option<&str>) -> Option<Health> {
    match word {
        None | Some("") => None,
        Some("healthy" | "updating-healthy") => Some(Health::Healthy),
        Some(other) => Some(Health::Failing(other.into())),
    }
}

fn labels(
    value: Option<Value>,
    origin: &Origin,
    words: &mut Words,
    problems: &mut Vec<Problem>,
) -> Labels {
    let map = match value {
        Some(Value::Object(map)) => map,
        None | Some(Value::Null) => return Labels::new(),
        Some(other) => {
            let what = format!("Its labels are {}, not a map; all are left out.", kind_of(&other));
            problems.push(Problem::error(origin, what));
            return Labels::new();
        }
    };
    let read = map.into_iter().filter_map(|(key, value)| match value {
        Value::String(value) => Some((key, value)),
        Value::Bool(value) => Some((key, value.to_string())),
        Value::Number(value) => Some((key, value.to_string())),
        Value::Null => Some((key, String::new())),
        other => {
            let what = format!("Label {key} is {}, not text; it is left out.", kind_of(&other));
            problems.push(Problem::warning(&origin.label(key), what));
            None
        }
    });
    let read = read.map(|(key, value)| (words.of(key), words.of(value))).collect::<Labels>();
    Labels::from_sorted_store_unchecked(exact(read.into_tuple_vec()))
}

/// Containers by stack and name.
type ByName<'v> = HashMap<(Option<&'v str>, &'v str), &'v Value>;

fn by_name<'v>(containers: &'v Value) -> ByName<'v> {
    let containers = containers.as_array().into_iter().flatten();
    let entry = |value: &'v Value| {
        let text = |key: &str| value.get(key)?.as_str().filter(|text| !text.is_empty());
        Some(((text("stack_name"), text("name")?), value))
    };
    containers.filter_map(entry).collect()
}

/// `0.0.0.0:8080:80/tcp` exposes 80. What is not TCP, or no port, exposes nothing.
fn inner_port(text: &str) -> Option<u16> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let inner = ports.rsplit(':').next()?;
    inner.parse().ok().filter(|port| *port > 0 && protocol == "tcp")
}

/// Numbers come as numbers or as text.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

#[cfg(test)]
mod tests {
    use super::super::split;
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(services: &Value) -> Snapshot {
        told(services, &Value::Null).expect("a list")
    }

    fn told(services: &Value, containers: &Value) -> Result<Snapshot, Unread> {
        let body = services.to_string();
        let mut nobody = Remembered::default();
        let services = split::services(body.as_bytes(), &nobody).expect("JSON");
        snapshot(services, Some(containers), &mut nobody)
    }

    #[test]
    fn reads_a_service_with_its_containers() {
        let snapshot = read(&json!([{
            "name": "web-test", "stack_name": "proxy-test", "uuid": "u1", "kind": "service",
            "state": "active", "labels": {"traefik.enable": "true", "n": 5}, "create_index": "7",
            "health_check": {"port": 8080, "interval": "2000", "healthy_threshold": 2, "request_line": null},
            "containers": [
                {"name": "a", "state": "running", "health_state": "healthy", "primary_ip": "10.42.0.1",
                 "ports": ["0.0.0.0:8080:80/tcp", "53:53/udp"]},
                {"name": "b", "state": "stopping", "health_state": null, "primary_ip": null},
                {"name": "side", "service_name": "other"},
            ],
        }]));
        let service = &snapshot.services[0];
        assert_eq!(snapshot.problems, []);
        assert_eq!((service.health_checked, service.age_order), (true, Some(7)));
        let block =
            HealthBlock { port: 8080, interval_ms: 2_000, rise: 2, ..HealthBlock::default() };
        assert_eq!(service.health_block.as_deref(), Some(&block));
        assert_eq!(service.labels.get("n").map(|value| &**value), Some("5"));
        let [a, b] = service.instances.as_slice() else { panic!("{:?}", service.instances) };
        assert_eq!((&a.state, &a.health), (&State::Running, &Some(Health::Healthy)));
        assert_eq!(*a.exposed_ports, [80]);
        assert_eq!((&b.state, &b.health, b.addresses.len()), (&State::Stopping, &None, 0));
    }

    #[test]
    fn what_cannot_be_read_costs_only_itself() {
        let snapshot = read(&json!([
            {"name": "good", "labels": null, "containers": null, "kind": null, "stack_name": null},
            {"name": 5},
            {"name": "half", "containers": [{"name": "x", "ips": 5}, {"name": "y", "primary_ip": "no"}]},
            {"name": "labels", "labels": {"a": {}, "b": "c"}, "containers": [{"name": ""}, {"name": "z"}]},
            "nonsense",
            null,
        ]));
        assert_eq!(snapshot.services.len(), 3);
        assert_eq!(snapshot.problems.len(), 7, "{:#?}", snapshot.problems);
        let nameless =
            snapshot.problems.iter().find(|problem| problem.message.contains("no name;"));
        assert!(nameless.is_some_and(|problem| &*problem.origin.service == "labels"));
        assert_eq!(snapshot.services[2].instances.len(), 1);
    }

    #[test]
    fn addresses_outside_are_instances() {
        let snapshot = read(&json!([
            {"name": "ext", "kind": "externalService", "external_ips": ["192.0.2.1", "x"]}
        ]));
        assert_eq!(snapshot.services[0].kind, Kind::External);
        assert_eq!(snapshot.services[0].instances.len(), 1);
        assert_eq!(snapshot.problems.len(), 1);
    }

    #[test]
    fn containers_told_by_name_are_looked_up() {
        let services = json!([{"name": "web", "containers": ["web-1"]}]);
        let body = services.to_string();
        let mut nobody = Remembered::default();
        let list = split::services(body.as_bytes(), &nobody).expect("JSON");
        assert_eq!(snapshot(list, None, &mut nobody), Err(Unread::ContainersByName));
        let containers = json!([{"name": "web-1", "primary_ip": "10.0.0.1"}]);
        let snapshot = told(&services, &containers).expect("a list");
        assert_eq!(snapshot.services[0].instances[0].addresses.len(), 1);
    }

    #[test]
    fn a_container_of_another_stack_is_another_container() {
        let services = json!([
            {"name": "web", "stack_name": "one", "containers": ["web-1"]},
            {"name": "web", "stack_name": "two", "containers": ["web-1"]},
        ]);
        let containers = json!([
            {"name": "web-1", "stack_name": "two", "primary_ip": "10.0.0.2"},
            {"name": "web-1", "stack_name": "one", "primary_ip": "10.0.0.1"},
        ]);
        let snapshot = told(&services, &containers).expect("a list");
        let address = |service: &Service| format!("{:?}", service.instances[0].addresses);
        assert!(address(&snapshot.services[0]).contains("10.0.0.1"));
        assert!(address(&snapshot.services[1]).contains("10.0.0.2"));
    }

    /// Services as a metadata service may tell them: some odd, some by the names of their containers.
    fn any_service() -> impl Strategy<Value = Value> {
        let container = prop::sample::select(vec![
            json!({"name": "web-1", "primary_ip": "10.0.0.1"}),
            json!({"name": "web-1", "primary_ip": "10.0.0.2", "health_state": "unhealthy"}),
            json!({"name": "web-1", "primary_ip": "nowhere"}),
            json!({"name": "web-2", "ips": ["10.0.0.3"], "state": "stopping", "ports": ["80/tcp", 5]}),
            json!({"name": "side", "service_name": "other", "labels": null}),
            json!("web-1"),
            json!("web-2"),
            json!(5),
            json!(null),
        ]);
        let name = prop::sample::select(vec![json!("web"), json!("shop"), json!(5)]);
        let label = prop::sample::select(vec![json!("1"), json!("2"), json!({}), json!(null)]);
        let other = prop::sample::select(vec![
            ("stack_name", json!("one")),
            ("stack_name", json!("two")),
            ("uuid", json!("u")),
            ("uuid", json!(7)),
            ("kind", json!("externalService")),
            ("external_ips", json!(["192.0.2.1"])),
            ("state", json!("removing")),
            ("health_check", json!({"port": 80, "interval": 2_000})),
            ("create_index", json!(3)),
        ]);
        let others = prop::collection::vec(other, 0..3);
        (name, label, prop::collection::vec(container, 0..4), others).prop_map(
            |(name, label, containers, others)| {
                let mut service =
                    json!({"name": name, "labels": {"a": label}, "containers": containers});
                others.into_iter().for_each(|(key, value)| service[key] = value);
                service
            },
        )
    }

    proptest! {
        /// Reading with a memory is reading: whatever was told before.
        #[test]
        fn what_is_remembered_is_what_would_be_read(
            answers in prop::collection::vec(
                (prop::collection::vec(any_service(), 0..4), any::<bool>()), 1..6
            )
        ) {
            let mut remembered = Remembered::default();
            for (services, is_other) in answers {
                let services = Value::from(services);
                let body = match is_other {
                    true => services.to_string(),
                    false => format!("{services:#}"),
                };
                let list =
                    |known: &Remembered| split::services(body.as_bytes(), known).expect("JSON");
                let mut nobody = Remembered::default();
                let told = match is_other {
                    true => json!([
                        {"name": "web-1", "primary_ip": "10.0.0.9"},
                        {"name": "web-1", "stack_name": "two", "primary_ip": "10.0.0.8"},
                    ]),
                    false => Value::Null,
                };
                let expected = snapshot(list(&nobody), None, &mut nobody);
                let read = snapshot(list(&remembered), None, &mut remembered);
                prop_assert_eq!(&read, &expected);
                if read == Err(Unread::ContainersByName) {
                    let expected = snapshot(list(&nobody), Some(&told), &mut nobody);
                    let read = snapshot(list(&remembered), Some(&told), &mut remembered);
                    prop_assert_eq!(read, expected);
                }
            }
        }

        /// A list with something wrong in it is as wrong for whoever knows its entries.
        #[test]
        fn a_memory_makes_no_json_of_what_is_none(
            services in prop::collection::vec(any_service(), 1..4),
            at in any::<prop::sample::Index>(),
            with in prop::sample::select(vec!["", ",", "]", "[", "}", "5", "\"", " "]),
        ) {
            let mut remembered = Remembered::default();
            let mut body = Value::from(services).to_string();
            let list = split::services(body.as_bytes(), &remembered).expect("JSON");
            let _ = snapshot(list, None, &mut remembered);
            let at = at.index(body.len());
            body.replace_range(at..=at, with);
            let read = |mut remembered: Remembered| {
                let list = split::services(body.as_bytes(), &remembered).ok()?;
                snapshot(list, None, &mut remembered).ok()
            };
            prop_assert_eq!(read(remembered), read(Remembered::default()));
        }
    }

    #[test]
    fn what_many_services_say_is_kept_once_and_for_as_long_as_they_say_it() {
        let mut remembered = Remembered::default();
        let mut read = |labels: &[(&str, Value)]| {
            let services =
                labels.iter().map(|(name, labels)| json!({"name": name, "labels": labels}));
            let body = services.collect::<Value>().to_string();
            let list = split::services(body.as_bytes(), &remembered).expect("JSON");
            let services = snapshot(list, None, &mut remembered).expect("a list").services;
            (services, remembered.words.len())
        };
        let (first, _) = read(&[("a", json!({"k": "v"})), ("b", json!({"k": "v", "l": "w"}))]);
        // One of them changes: what it says is still what the other one says.
        let (second, _) = read(&[("a", json!({"k": "v"})), ("b", json!({"k": "v", "l": "x"}))]);
        assert!(Arc::ptr_eq(&first[0], &second[0]) && !Arc::ptr_eq(&first[1], &second[1]));
        let [(key, value), (other_key, other)] =
            [0, 1].map(|at| second[at].labels.iter().next().expect("a label"));
        assert!(Arc::ptr_eq(key, other_key) && Arc::ptr_eq(value, other));
        // Of ten thousand words that come and go, few stay.
        for turn in 0..10_000 {
            read(&[("a", json!({"k": turn.to_string()}))]);
        }
        let (_, words) = read(&[("a", json!({"k": "v"}))]);
        assert!(words < 3_000, "{words}");
    }

    #[test]
    fn only_what_changed_is_read() {
        let mut remembered = Remembered::default();
        let mut read = |services: Value| {
            let body = services.to_string();
            let list = split::services(body.as_bytes(), &remembered).expect("JSON");
            let Services::List(entries) = &list else { panic!("{list:?}") };
            let texts = entries.iter().filter(|entry| matches!(entry, Entry::Text(_))).count();
            snapshot(list, None, &mut remembered).expect("a list");
            texts
        };
        let named = |names: &[&str]| names.iter().map(|n| json!({"name": n})).collect::<Value>();
        assert_eq!(read(named(&["a", "b", "c"])), 3);
        assert_eq!(
            read(json!([{"name": "a"}, {"name": "b", "labels": {"c": "d"}}, {"name": "c"}])),
            1
        );
        assert_eq!(read(named(&["c", "a"])), 0);
        assert_eq!(read(named(&["n", "c", "m", "a"])), 2);
        assert_eq!(read(Value::Array(Vec::new())), 0);
    }

    #[test]
    fn nonsense_has_bounds() {
        assert!(told(&json!(vec![0; SERVICES_MAX + 1]), &Value::Null).is_err());
        let zeros = read(&json!(vec![0; 5_000]));
        assert_eq!(zeros.problems.len(), PROBLEMS_MAX);
        let zeros = read(&json!([{"name": "web", "containers": vec![0; 50_000]}]));
        assert!(zeros.problems.len() <= PROBLEMS_MAX);
    }

    #[test]
    fn something_else_than_a_list_is_no_answer() {
        assert!(told(&json!({"a": 1}), &Value::Null).is_err());
        assert!(told(&json!("text"), &Value::Null).is_err());
        assert!(told(&json!([{"name": "web", "containers": ["a"]}]), &json!({"a": 1})).is_err());
        assert_eq!(read(&Value::Null), Snapshot::default());
        // Deeper than what reads it goes.
        let mut nobody = Remembered::default();
        let body = format!("{{\"data\":{}{}}}", "[".repeat(200), "]".repeat(200));
        let deep = split::services(body.as_bytes(), &nobody).expect("JSON");
        let why = snapshot(deep, None, &mut nobody).expect_err("it is no list");
        assert!(why.to_string().contains("recursion limit"), "{why}");
    }
}
