//! Turns what is known of a container into a [`Service`], as seen from where Herder is.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::{Address, Instance, Kind, Labels, Service, State};
use crate::providers::docker::parse::{Facts, NetworkMode};
use crate::providers::docker::place::{Place, network_owner};

/// The name Docker gives the host's network.
pub(super) const HOST_NETWORK: &str = "host";

/// One container as a service of one instance. `state` is its state as events have it, which is newer, and `detail` what there is
/// to say of it.
pub(super) fn service(
    facts: &Facts,
    (state, detail): (State, Option<String>),
    place: &Place,
    containers: &BTreeMap<Arc<str>, Facts>,
) -> Service {
    let (name, stack) = name_and_stack(&facts.labels, &facts.name);
    let state = if is_one_off(&facts.labels) { State::Down(State::ONE_OFF.into()) } else { state };
    let instance = Instance {
        id: Arc::clone(&facts.id),
        name: facts.name.as_str().into(),
        addresses: addresses(facts, place, containers).into(),
        exposed_ports: facts.exposed.as_slice().into(),
        state,
        detail: detail.map(Into::into),
        health: facts.health.clone(),
    };
    Service {
        id: Arc::clone(&facts.id),
        name: name.into(),
        stack: stack.map(Arc::from),
        labels: facts.labels.clone(),
        health_checked: facts.health.is_some(),
        health_block: None,
        instances: vec![instance],
        kind: Kind::Containers,
        state: None,
        age_order: facts.created_ns,
    }
}

/// `docker-compose run` starts a copy of a service for one command: it is not a replica, whatever its labels say.
fn is_one_off(labels: &Labels) -> bool {
    labels.get("com.docker.compose.oneoff").is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// What whoever started the container calls it: Compose, else Swarm, else Rancher, else its own name.
pub(super) fn name_and_stack(labels: &Labels, container: &str) -> (String, Option<String>) {
    let label = |key: &str| labels.get(key).map(|value| &**value).filter(|value| !value.is_empty());
    if let Some(service) = label("com.docker.compose.service") {
        return (service.to_owned(), label("com.docker.compose.project").map(str::to_owned));
    }
    if let Some(service) = label("com.docker.swarm.service.name") {
        let Some(stack) = label("com.docker.stack.namespace") else {
            return (service.to_owned(), None);
        };
        let short = service.strip_prefix(stack).and_then(|rest| rest.strip_prefix('_'));
        return (short.unwrap_or(service).to_owned(), Some(stack.to_owned()));
    }
    if let Some((stack, service)) =
        label("io.rancher.stack_service.name").and_then(|both| both.split_once('/'))
    {
        // A sidekick is `stack/service/sidekick`.
        let service = service.rsplit('/').next().unwrap_or(service);
        let stack = label("io.rancher.stack.name").unwrap_or(stack);
        return (service.to_owned(), Some(stack.to_owned()));
    }
    (container.to_owned(), None)
}

/// Where the container may be reached, in the order of the networks' names.
fn addresses(facts: &Facts, place: &Place, containers: &BTreeMap<Arc<str>, Facts>) -> Vec<Address> {
    let Some(owner) = network_owner(facts, containers) else { return Vec::new() };
    let on_host = |published| {
        // The host is reached from any network, through its gateway.
        let shared = place.shares(HOST_NETWORK).filter(|&is_in| is_in);
        let network = Some(HOST_NETWORK.into());
        place.host().map(|ip| Address { network, ip, shared, published })
    };
    match (&owner.mode, place) {
        (NetworkMode::Host, _) => on_host(None).into_iter().collect(),
        (_, Place::Elsewhere { .. }) if owner.published.is_empty() => Vec::new(),
        (_, Place::Elsewhere { .. }) => {
            on_host(Some(owner.published.as_slice().into())).into_iter().collect()
        }
        _ => in_networks(owner, place).collect(),
    }
}

fn in_networks<'a>(owner: &'a Facts, place: &'a Place) -> impl Iterator<Item = Address> + 'a {
    let reached = owner.networks.iter().filter_map(|(name, at)| Some((name, at.ip?)));
    reached.map(|(name, ip): (&String, IpAddr)| Address {
        network: Some(name.as_str().into()),
        ip,
        shared: place.shares(name),
        published: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Published;
    use crate::providers::docker::parse::Network;

    #[track_caller]
    fn check_name(labels: &[(&str, &str)], expected: (&str, Option<&str>)) {
        let labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect::<Labels>();
        let (name, stack) = name_and_stack(&labels, "box");
        assert_eq!((name.as_str(), stack.as_deref()), expected, "{labels:?}");
    }

    const PROJECT: &str = "com.docker.compose.project";
    const SERVICE: &str = "com.docker.compose.service";
    const NAMESPACE: &str = "com.docker.stack.namespace";
    const SWARM: &str = "com.docker.swarm.service.name";
    const RANCHER: &str = "io.rancher.stack_service.name";

    #[test]
    fn a_service_has_the_name_its_orchestrator_gave_it() {
        check_name(&[], ("box", None));
        check_name(&[(PROJECT, "my_App"), (SERVICE, "Web_One")], ("Web_One", Some("my_App")));
        check_name(&[(SERVICE, "web")], ("web", None));
        check_name(&[(PROJECT, "shop")], ("box", None));
        check_name(&[(NAMESPACE, "shop"), (SWARM, "shop_web")], ("web", Some("shop")));
        check_name(&[(NAMESPACE, "shop"), (SWARM, "web")], ("web", Some("shop")));
        check_name(&[(SWARM, "web")], ("web", None));
        check_name(&[(RANCHER, "shop/web")], ("web", Some("shop")));
        check_name(&[(RANCHER, "shop/web/side")], ("side", Some("shop")));
        check_name(&[(RANCHER, "nonsense")], ("box", None));
        check_name(&[(PROJECT, ""), (SERVICE, ""), (RANCHER, "shop/web")], ("web", Some("shop")));
    }

    fn container(mode: NetworkMode, networks: &[(&str, [u8; 4])]) -> Facts {
        let at = |ip: [u8; 4]| Network { ip: Some(ip.into()), gateway: None };
        Facts {
            id: "id".into(),
            mode,
            networks: networks.iter().map(|(n, ip)| ((*n).to_owned(), at(*ip))).collect(),
            published: vec![Published { inside: 8080, outside: Some(32768) }],
            ..Facts::default()
        }
    }

    #[track_caller]
    fn check_addresses(facts: &Facts, place: &Place, expected: &[&str]) {
        let found = addresses(facts, place, &BTreeMap::new());
        let text = |a: &Address| {
            let network = a.network.as_deref().unwrap_or("-");
            let shared = match a.shared {
                Some(true) => " shared",
                Some(false) => " apart",
                None => "",
            };
            let published = a.published.iter().flatten();
            let published: String =
                published.map(|p| format!(" {}={:?}", p.inside, p.outside)).collect();
            format!("{network} {}{shared}{published}", a.ip)
        };
        assert_eq!(found.iter().map(text).collect::<Vec<_>>(), expected);
    }

    fn inside(networks: &[&str], host: [u8; 4]) -> Place {
        let networks = networks.iter().map(|name| (*name).to_owned()).collect();
        Place::Inside { networks, host: Some(host.into()) }
    }

    #[test]
    fn an_address_for_each_network_and_which_is_shared() {
        let two = container(NetworkMode::Own, &[("b", [10, 0, 1, 2]), ("a", [10, 0, 0, 2])]);
        check_addresses(&two, &Place::OnHost, &["a 10.0.0.2", "b 10.0.1.2"]);
        let here = inside(&["b"], [10, 0, 1, 1]);
        check_addresses(&two, &here, &["a 10.0.0.2 apart", "b 10.0.1.2 shared"]);
        let on_host = inside(&["host"], [127, 0, 0, 1]);
        check_addresses(&two, &on_host, &["a 10.0.0.2", "b 10.0.1.2"]);
    }

    #[test]
    fn the_hosts_network_is_the_host_as_seen_from_here() {
        let host = container(NetworkMode::Host, &[]);
        check_addresses(&host, &Place::OnHost, &["host 127.0.0.1"]);
        check_addresses(&host, &inside(&["b"], [10, 0, 1, 1]), &["host 10.0.1.1"]);
        check_addresses(&host, &inside(&["host"], [127, 0, 0, 1]), &["host 127.0.0.1 shared"]);
        let remote = Place::Elsewhere { host: [192, 0, 2, 9].into() };
        check_addresses(&host, &remote, &["host 192.0.2.9"]);
    }

    #[test]
    fn from_another_machine_only_published_ports_are_reached() {
        let remote = Place::Elsewhere { host: [192, 0, 2, 9].into() };
        let mut facts = container(NetworkMode::Own, &[("a", [10, 0, 0, 2])]);
        check_addresses(&facts, &remote, &["host 192.0.2.9 8080=Some(32768)"]);
        facts.published.clear();
        check_addresses(&facts, &remote, &[]);
    }

    #[test]
    fn without_a_network_there_is_no_address() {
        check_addresses(&container(NetworkMode::None, &[]), &Place::OnHost, &[]);
        let joined = container(NetworkMode::Container("gone".to_owned()), &[]);
        check_addresses(&joined, &Place::OnHost, &[]);
    }

    #[test]
    fn a_one_off_run_is_no_replica() {
        let mut facts = container(NetworkMode::Own, &[]);
        let state = |facts: &Facts| {
            let service = service(facts, (State::Running, None), &Place::OnHost, &BTreeMap::new());
            service.instances[0].state.clone()
        };
        assert_eq!(state(&facts), State::Running);
        facts.labels.insert("com.docker.compose.oneoff".into(), "True".into());
        assert_eq!(state(&facts), State::Down(State::ONE_OFF.into()));
    }
}
