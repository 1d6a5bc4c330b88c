//! What a template sees: everything that was discovered, and what is made of it.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use crate::config::{Backend, Frontend, FrontendWishes};
use crate::control::View;
use crate::middleware::Middleware;
use crate::model::{BackendId, FrontendId, Health, Instance, Kind, ProviderName, Service, State};
use crate::rules::{Matcher, Rule};
use crate::settings::EntryPoint;
use crate::table::Route;

/// The whole of it. `entrypoints` are all there are: some ask who comes in, for whatever they lead to.
pub(super) fn of(view: &View, entrypoints: &[EntryPoint]) -> Value {
    let services: Vec<(ProviderName, &Service)> = view
        .sources
        .iter()
        .filter_map(|(&provider, source)| Some((provider, source.snapshot.as_deref()?)))
        .flat_map(|(provider, snapshot)| snapshot.services.iter().map(move |s| (provider, &**s)))
        .collect();
    let mut stacks: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (provider, service) in &services {
        let stack = stacks.entry(service.stack.as_deref().unwrap_or_default()).or_default();
        stack.push(self::service(*provider, service));
    }
    let config = &view.table.config;
    let serving = config.frontends.iter().filter(|(_, frontend)| frontend.shadowed_by.is_none());
    let mut serving: Vec<_> = serving.collect();
    let routes = view.table.routes().iter().enumerate();
    let routes: HashMap<&FrontendId, (usize, &Route)> =
        routes.map(|(place, route)| (&route.id, (place, &**route))).collect();
    // In the order in which they are asked.
    serving.sort_by_key(|(id, _)| routes.get(id).map(|(place, _)| *place));
    let has_server =
        |f: &Frontend| config.backends.get(&f.backend).is_some_and(|b| !b.servers.is_empty());
    let frontends = serving.iter().map(|(id, f)| {
        let route = routes.get(id).map(|(_, route)| *route);
        let is_protected = is_protected(f) || is_behind_guard(f, route, entrypoints);
        frontend(id, f, route, is_protected, has_server(f))
    });
    let frontends: Vec<Value> = frontends.collect();
    let mut hosts: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for ((_, frontend), value) in serving.iter().zip(&frontends) {
        for host in frontend.rule.hosts().unwrap_or_default() {
            hosts.entry(host).or_default().push(value);
        }
    }
    json!({
        "self": {"version": env!("CARGO_PKG_VERSION"), "pid": std::process::id()},
        "stacks": stacks.iter().map(|(name, services)| json!({"name": name, "services": services})).collect::<Vec<_>>(),
        "services": services.iter().map(|(provider, s)| service(*provider, s)).collect::<Vec<_>>(),
        "containers": services
            .iter()
            .flat_map(|(_, s)| s.instances.iter().map(move |i| container(s, i)))
            .collect::<Vec<_>>(),
        "hosts": hosts
            .iter()
            .map(|(name, frontends)| json!({"name": name, "frontends": frontends}))
            .collect::<Vec<_>>(),
        "frontends": frontends,
        "backends": config.backends.iter().map(|(id, b)| backend(id, b)).collect::<Vec<_>>(),
    })
}

fn service(provider: ProviderName, service: &Service) -> Value {
    let kind = match &service.kind {
        Kind::Containers => "containers",
        Kind::External => "external",
        Kind::Other(kind) => kind,
    };
    let labels: BTreeMap<&str, &str> = service.labels.iter().map(|(k, v)| (&**k, &**v)).collect();
    json!({
        "provider": provider.as_str(),
        "id": &*service.id,
        "name": service.name,
        "stack": service.stack,
        "kind": kind,
        "state": service.state,
        "labels": labels,
        "containers": service.instances.iter().map(|i| container(service, i)).collect::<Vec<_>>(),
    })
}

fn container(service: &Service, instance: &Instance) -> Value {
    let (state, running) = match &instance.state {
        State::Running => ("running", true),
        State::Stopping => ("stopping", false),
        State::Down(word) => (&**word, false),
    };
    let (health, well) = match &instance.health {
        None => ("unchecked", true),
        Some(Health::Healthy) => ("healthy", true),
        Some(Health::Failing(word)) => (&**word, false),
    };
    let addresses = instance.addresses.iter();
    json!({
        "id": &*instance.id,
        "name": instance.name,
        "service": service.name,
        "stack": service.stack,
        "ip": instance.addresses.first().map(|address| address.ip.to_string()),
        "addresses": addresses
            .map(|a| json!({"network": a.network, "ip": a.ip.to_string()}))
            .collect::<Vec<_>>(),
        "ports": instance.exposed_ports,
        "state": state,
        "health": health,
        "serves": running && well,
    })
}

/// Whether not everybody may pass: somebody else would have to see to that in Herder's place.
fn is_protected(frontend: &Frontend) -> bool {
    let is_closed = frontend.chain.iter().any(|step| matches!(step, Middleware::Closed(_)));
    let wishes = frontend.wishes.as_ref();
    let asks_who =
        |w: &FrontendWishes| w.auth.is_some() || w.white_list.is_some() || w.maintenance.is_some();
    is_closed || wishes.is_some_and(|wishes| asks_who(wishes))
}

/// Whether an entry point that it is served at asks who comes in, or none of them is opened. One that asks is enough: what another
/// program listens on may be what that one guards. One that is shut beside one that everybody gets in by guards nothing.
fn is_behind_guard(frontend: &Frontend, route: Option<&Route>, all: &[EntryPoint]) -> bool {
    let served_at = route.map_or(&*frontend.entrypoints, |route| &*route.entrypoints);
    let is_there = |e: &&EntryPoint| served_at.contains(&e.name);
    let mut open = all.iter().filter(is_there).filter(|e| e.shut.is_none()).peekable();
    open.peek().is_none() || open.any(EntryPoint::is_guarded)
}

fn frontend(
    id: &FrontendId,
    frontend: &Frontend,
    route: Option<&Route>,
    is_protected: bool,
    has_server: bool,
) -> Value {
    let chain = route.map(|route| &*route.chain).unwrap_or_default();
    let paths = frontend.rule.paths().unwrap_or_default();
    let is_plain = paths.iter().all(|path| path.text().bytes().all(is_plain_in_path));
    let is_said = is_plain && is_said_by_host_and_path(&frontend.rule) && !asks_for_hosts(frontend);
    json!({
        "id": id_of(id.provider, &id.name),
        "provider": id.provider.as_str(),
        "name": &*id.name,
        "rule": frontend.rule.text(),
        "hosts": frontend.rule.hosts().unwrap_or_default(),
        "paths": paths.iter().map(|path| encoded(path.text())).collect::<Vec<_>>(),
        "entrypoints": frontend.entrypoints,
        "protected": is_protected,
        "whole": is_whole(&frontend.rule),
        "serves": has_server && !is_protected && is_said,
        "chain": chain.iter().map(|step| step.describe()).collect::<Vec<_>>(),
        "priority": frontend.effective_priority(),
        "backend": id_of(frontend.backend.provider, &frontend.backend.name),
    })
}

/// Whether its hosts and its paths are all that a rule asks for. What a template cannot say beside them keeps requests out.
fn is_said_by_host_and_path(rule: &Rule) -> bool {
    use Matcher::{Host, Path, PathPrefix};
    matches!(
        rule.matchers(),
        [Host(_) | Path(_) | PathPrefix(_)]
            | [Host(_), Path(_) | PathPrefix(_)]
            | [Path(_) | PathPrefix(_), Host(_)]
    )
}

/// Whether its paths are whole ones: what begins with them is somebody else's, or nobody's.
fn is_whole(rule: &Rule) -> bool {
    rule.matchers().iter().any(|matcher| matches!(matcher, Matcher::Path(_)))
}

/// Whether it lets only some hosts pass, whatever its rule says.
fn asks_for_hosts(frontend: &Frontend) -> bool {
    let headers = frontend.wishes.as_ref().and_then(|wishes| wishes.headers.as_ref());
    headers.is_some_and(|headers| !headers.allowed_hosts.is_empty())
}

/// What stands for itself in a path, and has no meaning where other programs are told of it.
fn is_plain_in_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~:@+,=".contains(&byte)
}

/// A path that every program takes for one: a label wrote it, and must not write what stands around it.
fn encoded(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match is_plain_in_path(byte) || byte == b'%' {
            true => encoded.push(char::from(byte)),
            false => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn backend(id: &BackendId, backend: &Backend) -> Value {
    let servers = backend.servers.iter().map(|(name, server)| {
        json!({
            "name": &**name,
            "container": &*server.origin.service,
            "url": server.url(),
            "address": server.addr.to_string(),
            "ip": server.addr.ip().to_string(),
            "port": server.addr.port(),
            "scheme": server.scheme.as_str(),
            "weight": server.weight,
        })
    });
    json!({
        "id": id_of(id.provider, &id.name),
        "provider": id.provider.as_str(),
        "name": &*id.name,
        "method": backend.method.as_str(),
        "cookie": backend.sticky.as_ref().map(|sticky| &sticky.cookie),
        "servers": servers.collect::<Vec<_>>(),
    })
}

/// A name that every program takes: letters, digits and `-`. What else was in it stands as its number, so that two names
/// stay two.
fn id_of(provider: ProviderName, name: &str) -> String {
    let mut id = format!("{provider}-");
    for c in name.chars() {
        match c.is_ascii_alphanumeric() || c == '-' {
            true => id.push(c),
            false => id.push_str(&format!("_{:x}", u32::from(c))),
        }
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_can_stand_anywhere() {
        assert_eq!(id_of(ProviderName::Docker, "backend-a"), "docker-backend-a");
        assert_eq!(id_of(ProviderName::File, "a;b{"), "file-a_3bb_7b");
        assert_ne!(id_of(ProviderName::File, "a.b"), id_of(ProviderName::File, "a;b"));
    }
}
