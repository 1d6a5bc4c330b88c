//! Which instances of a service become servers, and by which address and port.

use std::net::SocketAddr;
use std::sync::Arc;

use md5::{Digest as _, Md5};

use super::reader::{Reader, normalized, quoted};
use crate::config::{Scheme, Server, Servers};
use crate::model::{
    Address, Health, Instance, Kind, Origin, Outcome, Problem, ProviderName, Scope, ServerName,
    State,
};

/// How a dialect fills in what its labels leave open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// Whether we check its servers ourselves.
    pub(super) is_checked: bool,
    pub(super) scheme: Scheme,
    pub(super) weight: u32,
    pub(super) port: Port,
    pub(super) names: ServerNames,
}

/// How servers are called.
#[derive(Clone, Copy, Debug)]
pub(super) enum ServerNames {
    /// As their container: Rancher, whichever labels. Traefik 1.7 calls them by their place among the served ones
    /// (`getServers`): when the first one leaves, every other takes over the name, and so the counters, of its neighbour.
    Container,
    /// By their container and a digest of their URL: Traefik 1.7's Docker provider (`getServerName`).
    Hashed,
}

/// Where the port comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Port {
    /// The label, or this dialect's own default.
    Given(u16),
    /// Of each container, the lowest port it exposes.
    Exposed,
    /// The label cannot be read: nobody is served by guessing.
    Unreadable,
}

/// The states of a Rancher service that is being taken down, or is. In every other one its containers' own
/// state and health decide: Traefik 1.7 lets all go during a rollback or the end of an upgrade, when they serve.
const STATES_OUT: &[&str] = &[
    "deactivating",
    "erroring",
    "error",
    "inactive",
    "purged",
    "purging",
    "removed",
    "removing",
    "updating-inactive",
];

impl Reader<'_> {
    /// The port label, or how to find the port without it.
    pub(super) fn port(&mut self, fallback: Option<u16>) -> Port {
        let key = "traefik.port";
        let Some(value) = self.label(key) else {
            return fallback.map_or(Port::Exposed, Port::Given);
        };
        match value.parse::<u16>() {
            Ok(port) if port > 0 => {
                self.step(Outcome::Pass, key, || format!("Its servers listen on {port}."));
                Port::Given(port)
            }
            _ => {
                let key = self.written(key);
                let shown = quoted(value);
                let what = format!("{key} {shown} is not a port; its servers are left out.");
                let digits: String = value.chars().filter(char::is_ascii_digit).collect();
                let hint = match digits.parse::<u16>() {
                    Ok(port) if port > 0 => format!("Did you mean {port}?"),
                    _ => "Write a number from 1 to 65535.".to_owned(),
                };
                self.step(Outcome::Stop, &key, || format!("{what} {hint}"));
                self.problem(Problem::error(&self.origin.label(key), what).hint(hint));
                Port::Unreadable
            }
        }
    }

    /// The servers: every instance that runs, is healthy, and can be reached.
    pub(super) fn servers(&mut self, wish: Wish) -> Servers {
        let mut servers = Servers::new();
        if !self.service_state_serves() {
            return servers;
        }
        for (place, instance) in self.service.instances.iter().enumerate() {
            let scope = Scope::Instance(place);
            if !self.may_serve(scope, instance, wish.is_checked) {
                continue;
            }
            let origin = Origin::new(self.provider, Arc::clone(&instance.name));
            let Some(address) = self.address(scope, instance, &origin) else {
                continue;
            };
            let Some(port) = self.server_port(scope, instance, &origin, wish.port) else {
                continue;
            };
            let Some(port) = self.reachable_port(scope, address, port, &origin) else {
                continue;
            };
            let server = Server {
                scheme: wish.scheme,
                addr: SocketAddr::new(address.ip, port),
                host: None,
                weight: wish.weight,
                is_weight_said: true,
                origin,
            };
            self.trace.step(scope, Outcome::Pass, "server", || {
                format!("It is served at {} with weight {}.", server.url(), server.weight)
            });
            let name = match wish.names {
                ServerNames::Container => Arc::clone(&instance.name),
                ServerNames::Hashed => {
                    let digest = u128::from_be_bytes(Md5::digest(server.url()).into());
                    normalized(&format!("server-{}-{digest:032x}", instance.name)).into()
                }
            };
            servers.insert(free_name(&servers, name), server);
        }
        // Most have one, and a map's first server makes room for four.
        let mut exact = servers.into_tuple_vec();
        exact.shrink_to_fit();
        Servers::from_sorted_store_unchecked(exact)
    }

    fn service_state_serves(&mut self) -> bool {
        let state = self.service.state.as_deref().unwrap_or_default();
        let serves = !STATES_OUT.contains(&state);
        if !serves {
            self.step(Outcome::Stop, "state", || format!("The service is {state}, not active."));
        }
        serves
    }

    fn may_serve(&mut self, scope: Scope, instance: &Instance, is_checked: bool) -> bool {
        let stop = |trace: &mut crate::model::Trace, what: &str, why: String| {
            trace.step(scope, Outcome::Stop, what, || why);
            false
        };
        let detail = instance.detail.as_ref().map(|detail| format!(" ({detail})"));
        let detail = detail.unwrap_or_default();
        match &instance.state {
            State::Running => {
                self.trace.step(scope, Outcome::Pass, "state", || "It runs.".to_owned());
            }
            State::Stopping => {
                let why = format!(
                    "It was told to stop{detail}: what is under way finishes, nothing new goes there."
                );
                return stop(self.trace, "state", why);
            }
            State::Down(word) if **word == *State::ONE_OFF => {
                let why = "It was started for one command (docker-compose run): it is no replica of its service.";
                return stop(self.trace, "state", why.to_owned());
            }
            State::Down(word) => {
                let why = format!("It does not run: the orchestrator says \"{word}\"{detail}.");
                return stop(self.trace, "state", why);
            }
        }
        match &instance.health {
            Some(Health::Healthy) => {
                self.trace.step(scope, Outcome::Pass, "health", || "It is healthy.".to_owned());
                true
            }
            Some(Health::Failing(word)) => {
                let why =
                    format!("Its health check says \"{word}\"; only healthy ones are served.");
                stop(self.trace, "health", why)
            }
            None if is_checked => {
                self.trace.step(scope, Outcome::Pass, "health", || {
                    "The orchestrator does not check it; Herder does.".to_owned()
                });
                true
            }
            None if self.service.kind == Kind::External && !self.service.health_checked => {
                self.trace.step(scope, Outcome::Pass, "health", || {
                    "It is an address outside, whose health nobody checks.".to_owned()
                });
                true
            }
            None if self.defaults.serve_unchecked => {
                self.trace.step(scope, Outcome::Pass, "health", || {
                    "It has no health check, and is served while it runs.".to_owned()
                });
                true
            }
            None => {
                let why = "It has no health check, so nobody knows that it is healthy. Give it one, \
                           or serve such services all the same (serveUnchecked).";
                stop(self.trace, "health", why.to_owned())
            }
        }
    }

    /// The port of one server.
    fn server_port(
        &mut self,
        scope: Scope,
        instance: &Instance,
        origin: &Origin,
        port: Port,
    ) -> Option<u16> {
        match (port, &*instance.exposed_ports) {
            (Port::Given(port), exposed) => {
                // Docker tells what an image exposes, Rancher what is published only.
                let is_odd = self.provider == ProviderName::Docker
                    && !exposed.is_empty()
                    && !exposed.contains(&port);
                if is_odd {
                    self.trace.step(scope, Outcome::Note, "traefik.port", || {
                        let exposed: Vec<String> = exposed.iter().map(u16::to_string).collect();
                        let exposed = exposed.join(", ");
                        format!("It exposes {exposed}, and not {port}: where nobody listens at {port}, the answer is 502.")
                    });
                }
                Some(port)
            }
            (Port::Unreadable, _) => None,
            (Port::Exposed, []) => {
                let what = "It exposes no TCP port and has no traefik.port; it is left out.";
                self.trace.step(scope, Outcome::Stop, "traefik.port", || what.to_owned());
                let problem = self.left_out(&origin.label("traefik.port"), what);
                self.problem(
                    problem.hint("Add the label traefik.port with the port it listens on."),
                );
                None
            }
            (Port::Exposed, [port]) => {
                self.trace.step(scope, Outcome::Pass, "traefik.port", || {
                    format!("There is no label; the only port it exposes is {port}.")
                });
                Some(*port)
            }
            (Port::Exposed, [port, others @ ..]) => {
                let list: Vec<String> = others.iter().map(ToString::to_string).collect();
                let list = list.join(", ");
                let what = format!("It exposes {port} and {list}; the lowest, {port}, is taken.");
                self.trace.step(scope, Outcome::Note, "traefik.port", || what.clone());
                let problem = Problem::note(&origin.label("traefik.port"), what);
                self.problem(problem.hint("Add the label traefik.port to choose."));
                Some(*port)
            }
        }
    }

    /// The port as seen from here: on another machine only what is published there can be reached.
    fn reachable_port(
        &mut self,
        scope: Scope,
        address: &Address,
        port: u16,
        origin: &Origin,
    ) -> Option<u16> {
        let Some(published) = &address.published else { return Some(port) };
        let found = published.iter().find(|published| published.inside == port);
        let (how, hint) = match found.map(|published| published.outside) {
            Some(Some(outside)) => {
                self.trace.step(scope, Outcome::Pass, "published port", || {
                    format!("Its port {port} is published as {outside}.")
                });
                return Some(outside);
            }
            Some(None) => {
                ("published on 127.0.0.1 only", "Publish it on an address that Herder reaches.")
            }
            None => ("not published", "Publish the port."),
        };
        let what =
            format!("It runs on another machine, where its port {port} is {how}; it is left out.");
        self.trace.step(scope, Outcome::Stop, "published port", || what.clone());
        self.problem(Problem::error(origin, what).hint(hint));
        None
    }

    /// The address of one server: by the network that is named, else one we share, else the only one, else the
    /// first by name.
    fn address<'i>(
        &mut self,
        scope: Scope,
        instance: &'i Instance,
        origin: &Origin,
    ) -> Option<&'i Address> {
        let key = "traefik.docker.network";
        let wanted = self.label(key).or(self.defaults.network.as_deref());
        let addresses = &*instance.addresses;
        let named = |name: &str| addresses.iter().find(|a| a.network.as_deref() == Some(name));
        // `front` is the network of that very name; where there is none, `shop_front` of the container's own project.
        let by_name = |name: &str| {
            let prefixed = || named(&format!("{}_{name}", self.service.stack.as_deref()?));
            named(name).or_else(prefixed)
        };
        if let Some(found) = wanted.and_then(by_name) {
            self.explain_address(scope, origin, found, None, Reason::Named);
            return Some(found);
        }
        let shared: Vec<&Address> = addresses.iter().filter(|a| a.shared == Some(true)).collect();
        let (chosen, reason) = match (shared.as_slice(), addresses) {
            (_, []) => {
                let why = "It has no address: it is in no network that we can reach.";
                self.trace.step(scope, Outcome::Stop, "network", || why.to_owned());
                let problem = self.left_out(origin, format!("{why} It is left out."));
                self.problem(problem.hint("Put it into a network."));
                return None;
            }
            ([only], _) => (*only, Reason::Shared),
            ([first, ..], _) => (*first, Reason::FirstShared),
            ([], [only]) => (only, Reason::Only),
            ([], [first, ..]) => (first, Reason::First),
        };
        self.explain_address(scope, origin, chosen, wanted, reason);
        Some(chosen)
    }

    fn explain_address(
        &mut self,
        scope: Scope,
        origin: &Origin,
        chosen: &Address,
        wanted: Option<&str>,
        reason: Reason,
    ) {
        let (ip, network) = (chosen.ip, network_name(chosen));
        let why = || match reason {
            Reason::Shared => format!("{ip} in network {network}, which Herder shares with it."),
            Reason::FirstShared => {
                format!("{ip} in network {network}, the first by name that Herder shares with it.")
            }
            Reason::Named => format!("{ip} in network {network}, the one that is named."),
            Reason::Only => format!("{ip} in network {network}, its only one."),
            Reason::First => format!("{ip} in network {network}, the first by name of several."),
        };
        let label = || origin.label("traefik.docker.network");
        let hint = "Name the network with traefik.docker.network.";
        let problem = match (wanted, reason) {
            (Some(wanted), _) => {
                let what = format!("It is not in the network \"{wanted}\"; {}", why());
                let hint = format!(
                    "Write traefik.docker.network={network}, or --docker.network={network} for all."
                );
                Some(Problem::warning(&label(), what).hint(hint))
            }
            (None, Reason::First) => {
                let what = format!("It is in several networks; {}", why());
                Some(Problem::note(&label(), what).hint(hint))
            }
            (None, _) if chosen.shared == Some(false) => {
                let what = format!(
                    "It is in network {network}, which Herder is not in: requests will most likely time out."
                );
                let hint =
                    format!("Put both into one network: docker network connect {network} HERDER.");
                Some(Problem::warning(&label(), what).hint(hint))
            }
            (None, _) => None,
        };
        let outcome = if problem.is_some() { Outcome::Note } else { Outcome::Pass };
        self.trace.step(scope, outcome, "network", || match &problem {
            Some(problem) => problem.message.clone(),
            None => why(),
        });
        if let Some(problem) = problem {
            self.problem(problem);
        }
    }
}

/// Why an address was chosen.
#[derive(Clone, Copy)]
enum Reason {
    Shared,
    FirstShared,
    Named,
    Only,
    First,
}

fn network_name(address: &Address) -> &str {
    address.network.as_deref().unwrap_or("managed")
}

/// The name, with a number after it where it is taken.
fn free_name(taken: &Servers, name: ServerName) -> ServerName {
    if !taken.contains_key(&name) {
        return name;
    }
    let numbered = (2..).map(|n| Arc::from(format!("{name}-{n}")));
    let mut free = numbered.filter(|name| !taken.contains_key(name));
    free.next().expect("there are more numbers than servers")
}
