//! Fragments → `Config`: names settled among all services, and who keeps a rule that two of them claim.
//!
//! The order in which services are merged decides every conflict: the provider's order first, then age, then id.
//! What was in force before comes before all of it: the older *route* stays, even while its containers are
//! replaced by younger ones.

mod claims;
mod references;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::config::{Backend, Config, Fragment, Frontend};
use crate::dialects::{self, Reading};
use crate::model::{
    BackendId, Document, FrontendId, Origin, Problem, ProviderName, Service, Snapshot, Trace,
};
use crate::settings::Defaults;
use references::{References, is_homeless};

/// One provider's last word, and how its labels are read.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Who said it.
    pub provider: ProviderName,
    /// What was said.
    pub snapshot: &'a Snapshot,
    /// How labels are read where they leave something open.
    pub defaults: &'a Defaults,
}

/// Plans again and again, and remembers what was read: labels that did not change are not read anew.
///
/// One planner serves one set of providers, whose defaults stay what they are.
#[derive(Debug, Default)]
pub struct Planner {
    /// The names that frontends may use; empty: they are not looked at.
    entrypoints: Vec<String>,
    services: Readings<Service>,
    documents: Readings<Document>,
}

/// What was read of each service or file, by provider and its id or name.
type Readings<T> = HashMap<(ProviderName, Arc<str>), (Arc<T>, Reading), RandomState>;

/// The reading that is remembered of the very same thing, else a new one. What is left in the old readings afterwards
/// is gone.
fn remembered<T: PartialEq>(
    old: &mut Readings<T>,
    key: &(ProviderName, Arc<str>),
    thing: &Arc<T>,
    read: impl FnOnce() -> Reading,
) -> (Arc<T>, Reading) {
    let known = old.remove(key).filter(|(old, _)| old == thing);
    known.unwrap_or_else(|| (Arc::clone(thing), read()))
}

/// Plans once for everything that is known: a [`Planner`] that remembers nothing.
pub fn plan(inputs: &[Input<'_>], previous: &Config) -> (Config, Vec<Problem>) {
    Planner::default().plan(inputs, previous)
}

impl Planner {
    /// One for these entry points: a frontend that names another one is told so.
    pub fn new(entrypoints: Vec<String>) -> Self {
        Self { entrypoints, ..Self::default() }
    }

    /// The frontends that were not served in the last plan, for their rule cannot be read.
    pub fn refused(&self) -> impl Iterator<Item = (&FrontendId, &Arc<Frontend>)> {
        let readings = self.services.values().map(|(_, reading)| reading);
        let readings = readings.chain(self.documents.values().map(|(_, reading)| reading));
        readings.flat_map(|reading| &reading.fragment.refused).map(|(id, f)| (id, f))
    }

    /// Plans for everything that is known. `previous` is the config in force: it says who had a rule before.
    ///
    /// Problems come back sorted, the worst first, each once.
    pub fn plan(&mut self, inputs: &[Input<'_>], previous: &Config) -> (Config, Vec<Problem>) {
        let mut config = Config::default();
        let mut problems = Vec::new();
        // In one piece from the start: growing takes the room twice.
        let count = inputs.iter().map(|input| input.snapshot.services.len()).sum();
        let mut services = Readings::with_capacity_and_hasher(count, RandomState::default());
        let mut documents = Readings::default();
        for input in inputs {
            problems.extend(input.snapshot.problems.iter().cloned());
            for document in &input.snapshot.documents {
                let key = (input.provider, Arc::clone(&document.name));
                let read = || dialects::read_document(document);
                let reading = remembered(&mut self.documents, &key, document, read);
                problems.extend(reading.1.problems.iter().cloned());
                merge_file(&mut config, &reading.1.fragment, &mut problems);
                documents.insert(key, reading);
            }
            for service in by_age(&input.snapshot.services) {
                let key = (input.provider, Arc::clone(&service.id));
                let off = &mut Trace::off();
                let read = || dialects::read(input.provider, service, input.defaults, off);
                let reading = remembered(&mut self.services, &key, service, read);
                problems.extend(reading.1.problems.iter().cloned());
                merge(&mut config, &reading.1.fragment, &mut problems);
                services.insert(key, reading);
            }
        }
        (self.services, self.documents) = (services, documents);
        let frontends = config.frontends.iter().chain(self.refused());
        for (id, frontend) in frontends {
            let references = References { planner: self, config: &config, id, frontend };
            references.check(&mut problems);
        }
        config.frontends.retain(|_, frontend| !is_homeless(frontend, &config.backends));
        claims::settle(&mut config, previous, &mut problems);
        problems.sort();
        problems.dedup();
        share(&mut config.frontends, &previous.frontends);
        share(&mut config.backends, &previous.backends);
        (config, problems)
    }
}

/// Takes what is as before from the config in force: whoever compiles the two need not look inside, and what was merged
/// anew to the same end runs on.
fn share<K: Ord, V: Eq>(fresh: &mut BTreeMap<K, Arc<V>>, earlier: &BTreeMap<K, Arc<V>>) {
    let mut earlier = earlier.iter().peekable();
    for (id, value) in fresh {
        while earlier.next_if(|(old, _)| *old < id).is_some() {}
        if let Some((_, same)) = earlier.next_if(|(old, same)| *old == id && *same == value) {
            *value = Arc::clone(same);
        }
    }
}

fn by_age(services: &[Arc<Service>]) -> Vec<&Arc<Service>> {
    let mut services: Vec<&Arc<Service>> = services.iter().collect();
    // Unknown age counts as the youngest.
    services.sort_by(|a, b| {
        let age = |service: &Service| service.age_order.unwrap_or(i64::MAX);
        age(a).cmp(&age(b)).then_with(|| a.id.cmp(&b.id))
    });
    services
}

/// Adds what one service asks for. Replicas ask for the same frontends and backends, and end up in one.
fn merge(config: &mut Config, fragment: &Fragment, problems: &mut Vec<Problem>) {
    for (id, backend) in &fragment.backends {
        merge_backend(&mut config.backends, id, backend, problems);
    }
    for (id, frontend) in &fragment.frontends {
        merge_frontend(&mut config.frontends, id, frontend, problems);
    }
}

/// Adds what one file asks for. A name that an earlier file has is not taken twice (Traefik 1.7, provider/file).
fn merge_file(config: &mut Config, fragment: &Fragment, problems: &mut Vec<Problem>) {
    let mut twice = |what: &str, name: &str, first: &Origin, second: &Origin| {
        let what = format!(
            "There is a {what} \"{name}\" in {} already; this one is left out.",
            first.service
        );
        problems.push(Problem::error(second, what).hint("Give it another name."));
    };
    for (id, backend) in &fragment.backends {
        match config.backends.get(id) {
            None => _ = config.backends.insert(id.clone(), Arc::clone(backend)),
            Some(first) => twice("backend", &id.name, &first.origin, &backend.origin),
        }
    }
    for (id, frontend) in &fragment.frontends {
        match config.frontends.get(id) {
            None => _ = config.frontends.insert(id.clone(), Arc::clone(frontend)),
            Some(first) => twice("frontend", &id.name, &first.origin, &frontend.origin),
        }
    }
}

fn merge_backend(
    backends: &mut BTreeMap<BackendId, Arc<Backend>>,
    id: &BackendId,
    backend: &Arc<Backend>,
    problems: &mut Vec<Problem>,
) {
    let Some(older) = backends.get_mut(id) else {
        backends.insert(id.clone(), Arc::clone(backend));
        return;
    };
    let wishes = |b: &Backend| (b.method.clone(), b.sticky.clone(), b.slow_start, b.wishes.clone());
    if wishes(older) != wishes(backend) {
        let what = format!(
            "It asks for other settings in backend {} than the older {}, whose wish stands.",
            id.name, older.origin
        );
        let problem = Problem::warning(&backend.origin, what);
        problems.push(problem.hint("Give all containers of a backend the same labels."));
    }
    let older = Arc::make_mut(older);
    for (name, server) in &backend.servers {
        let mut free = Arc::clone(name);
        let mut number = 2;
        while older.servers.contains_key(&free) {
            free = format!("{name}-{number}").into();
            number += 1;
        }
        older.servers.insert(free, server.clone());
    }
}

fn merge_frontend(
    frontends: &mut BTreeMap<FrontendId, Arc<Frontend>>,
    id: &FrontendId,
    frontend: &Arc<Frontend>,
    problems: &mut Vec<Problem>,
) {
    let Some(older) = frontends.get(id) else {
        frontends.insert(id.clone(), Arc::clone(frontend));
        return;
    };
    if older.backend != frontend.backend {
        // Another service: both are shown, and the claims say who keeps the rule.
        let beside = frontends.entry(id.beside(&frontend.backend));
        beside.or_insert_with(|| Arc::clone(frontend));
        return;
    }
    if older.rule != frontend.rule {
        // Two rules whose names are spelled alike: `shop.a.com` and `shop-a.com`.
        let beside = frontends.entry(id.of_rule(frontend.rule.text()));
        beside.or_insert_with(|| Arc::clone(frontend));
        return;
    }
    let wishes = |f: &Frontend| {
        (f.priority, f.chain.clone(), f.pass_host_header, f.wishes.clone(), f.entrypoints.clone())
    };
    if wishes(older) != wishes(frontend) {
        let what = format!(
            "It asks for other settings in frontend {} than the older {}, whose wish stands.",
            id.name, older.origin
        );
        let problem = Problem::warning(&frontend.origin, what);
        problems.push(problem.hint("Give all containers of a service the same labels."));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::model::{Address, Instance, Kind, Severity, State};

    fn defaults() -> Defaults {
        Defaults {
            domain: Some("local".to_owned()),
            exposed_by_default: true,
            serve_unchecked: true,
            run_health_checks: false,
            constraints: Vec::new(),
            host_template: crate::settings::HostTemplate::default(),
            network: None,
        }
    }

    fn container(name: &str, stack: &str, age: i64, labels: &[(&str, &str)]) -> Arc<Service> {
        let ip = format!("10.0.0.{age}").parse().expect("an address");
        let instance = Instance {
            id: format!("{stack}-{name}-{age}").into(),
            name: format!("{stack}_{name}_{age}"),
            addresses: vec![Address { network: None, ip, shared: false, published: None }],
            exposed_ports: vec![80],
            state: State::Running,
            health: None,
        };
        Arc::new(Service {
            id: instance.id.clone(),
            name: name.to_owned(),
            stack: Some(stack.to_owned()),
            labels: labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            instances: vec![instance],
            kind: Kind::Containers,
            state: None,
            health_checked: false,
            health_block: None,
            age_order: Some(age),
        })
    }

    fn planned(services: Vec<Arc<Service>>, previous: &Config) -> (Config, Vec<Problem>) {
        let snapshot = Snapshot { services, ..Snapshot::default() };
        let defaults = defaults();
        let provider = ProviderName::Docker;
        plan(&[Input { provider, snapshot: &snapshot, defaults: &defaults }], previous)
    }

    /// `frontend -> backend(servers)`, with `by` where it lost its rule.
    fn drawn(config: &Config) -> Vec<String> {
        let line = |(id, frontend): (&FrontendId, &Arc<Frontend>)| {
            let servers = config.backends[&frontend.backend].servers.len();
            let lost = match &frontend.shadowed_by {
                Some(winner) => format!(" by {}", winner.name),
                None => String::new(),
            };
            format!("{} {} {servers}{lost}", id.name, frontend.rule.text())
        };
        config.frontends.iter().map(line).collect()
    }

    #[test]
    fn a_planner_that_remembers_plans_as_one_that_does_not() {
        let rule = ("traefik.frontend.rule", "Host:x.local");
        let odd = ("traefik.port", "80a");
        let rounds = [
            vec![container("a", "s", 1, &[rule]), container("b", "s", 2, &[rule])],
            vec![container("a", "s", 1, &[rule, odd]), container("b", "s", 2, &[rule])],
            vec![container("b", "s", 2, &[rule]), container("c", "s", 3, &[])],
            vec![container("a", "s", 1, &[]), container("b", "s", 2, &[rule, odd])],
            vec![],
        ];
        let mut planner = Planner::default();
        let mut previous = Config::default();
        for services in rounds {
            let count = services.len();
            let expected = planned(services.clone(), &previous);
            let snapshot = Snapshot { services, ..Snapshot::default() };
            let (provider, defaults) = (ProviderName::Docker, defaults());
            let input = Input { provider, snapshot: &snapshot, defaults: &defaults };
            let is = planner.plan(&[input], &previous);
            assert_eq!(is, expected);
            assert_eq!(planner.services.len(), count, "what is gone is forgotten");
            previous = is.0;
        }
    }

    #[test]
    fn replicas_become_one_backend() {
        let services = vec![container("web", "shop", 2, &[]), container("web", "shop", 1, &[])];
        let (config, problems) = planned(services, &Config::default());
        assert_eq!(drawn(&config), ["frontend-Host-web-shop-local Host:web.shop.local 2"]);
        assert_eq!(problems, []);
    }

    #[test]
    fn replicas_that_differ_are_a_problem() {
        let wrr = ("traefik.backend.loadbalancer.method", "drr");
        let services = vec![container("web", "shop", 2, &[wrr]), container("web", "shop", 1, &[])];
        let (config, problems) = planned(services, &Config::default());
        assert_eq!(drawn(&config), ["frontend-Host-web-shop-local Host:web.shop.local 2"]);
        assert_eq!(problems.len(), 1, "{problems:?}");
    }

    #[test]
    fn of_two_that_claim_a_rule_the_older_keeps_it() {
        let rule = ("traefik.frontend.rule", "Host:x.local");
        let services = vec![container("b", "s", 2, &[rule]), container("a", "s", 1, &[rule])];
        let (config, problems) = planned(services, &Config::default());
        assert_eq!(
            drawn(&config),
            [
                "frontend-Host-x-local Host:x.local 1",
                "frontend-Host-x-local-backend-b-s Host:x.local 1 by frontend-Host-x-local"
            ]
        );
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].severity, Severity::Error);
        assert!(problems[0].message.contains("x.local"), "{}", problems[0]);
    }

    #[test]
    fn the_older_route_stays_while_its_containers_are_replaced() {
        let rule = ("traefik.frontend.rule", "Host:x.local");
        let first = vec![container("a", "s", 1, &[rule]), container("b", "s", 2, &[rule])];
        let (before, _) = planned(first, &Config::default());
        let renewed = vec![container("a", "s", 3, &[rule]), container("b", "s", 2, &[rule])];
        let (after, _) = planned(renewed, &before);
        let winner = after.frontends.values().find(|f| f.shadowed_by.is_none()).expect("one wins");
        assert_eq!(&*winner.backend.name, "backend-a-s");
    }

    #[test]
    fn two_rules_that_are_spelled_alike_are_two() {
        let backend = ("traefik.backend", "shop");
        let rule = |host: &'static str| ("traefik.frontend.rule", host);
        let services = vec![
            container("a", "s", 1, &[backend, rule("Host:shop.a.com")]),
            container("b", "s", 2, &[backend, rule("Host:shop-a.com")]),
        ];
        let (config, problems) = planned(services, &Config::default());
        let rules: Vec<&str> = config.frontends.values().map(|f| f.rule.text()).collect();
        assert_eq!(rules, ["Host:shop.a.com", "Host:shop-a.com"]);
        assert_eq!(problems, []);
    }

    #[test]
    fn a_host_of_several_goes_alone() {
        let a = ("traefik.frontend.rule", "Host:x.local");
        let b = ("traefik.frontend.rule", "Host:x.local,y.local");
        let services = vec![container("a", "s", 1, &[a]), container("b", "s", 2, &[b])];
        let (config, problems) = planned(services, &Config::default());
        let rules: Vec<&str> = config.frontends.values().map(|f| f.rule.text()).collect();
        assert_eq!(rules, ["Host:x.local", "Host:y.local"]);
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn other_priorities_are_no_conflict() {
        let rule = ("traefik.frontend.rule", "Host:x.local");
        let high = ("traefik.frontend.priority", "100");
        let services = vec![container("a", "s", 1, &[rule]), container("b", "s", 2, &[rule, high])];
        let (config, problems) = planned(services, &Config::default());
        assert!(config.frontends.values().all(|f| f.shadowed_by.is_none()));
        assert_eq!(problems, []);
    }
}
