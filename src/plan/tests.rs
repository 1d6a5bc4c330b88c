use std::collections::BTreeSet;

use super::*;

use proptest::prelude::*;

use crate::config::{Backend, Fragment, Server};
use crate::middleware::Middleware;
use crate::model::{Address, BackendId, Health, Instance, Kind, Severity, State};

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
        name: format!("{stack}_{name}_{age}").into(),
        addresses: [Address { network: None, ip, shared: None, published: None }].into(),
        exposed_ports: [80].into(),
        detail: None,
        state: State::Running,
        health: None,
    };
    Arc::new(Service {
        id: instance.id.clone(),
        name: name.into(),
        stack: Some(stack.into()),
        labels: labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        instances: vec![instance],
        kind: Kind::Containers,
        state: None,
        health_checked: false,
        health_block: None,
        age_order: Some(age),
    })
}

/// The same, once it has ended.
fn down(service: Arc<Service>) -> Arc<Service> {
    let mut service = Arc::unwrap_or_clone(service);
    service.instances[0].state = State::Down("exited".into());
    Arc::new(service)
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

/// Whether nothing keeps strangers out.
fn is_open(frontend: &Frontend) -> bool {
    let wishes = frontend.wishes.as_ref();
    let is_guarded =
        wishes.is_some_and(|wishes| wishes.auth.is_some() || wishes.white_list.is_some());
    let is_closed = |step: &Middleware| matches!(step, Middleware::Closed(_));
    !is_guarded && !frontend.chain.iter().any(is_closed)
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
        assert_eq!(planner.services.iter().count(), count, "what is gone is forgotten");
        previous = is.0;
    }
}

type Labels = Vec<(&'static str, &'static str)>;

/// What a container may ask for: things of its own, and things that others ask for too.
fn asked() -> impl Strategy<Value = Labels> {
    let rules = [
        "Host:x.local",
        "Host:x.local,y.local",
        "Host:x.local;PathPrefix:/",
        "Host:y.local,z.local;Host:x.local,y.local",
        "Host:x.local;PathPrefix:/p",
        "PathPrefix:/p",
        "Oops:x",
    ];
    let entrypoints = ["http,https", "https", "none"];
    let guards = [
        ("traefik.frontend.whiteList.sourceRange", "10.0.0.0/8"),
        ("traefik.frontend.whiteList.sourceRange", "nonsense"),
        ("traefik.frontend.auth.basic.users", "ann:{SHA}x"),
        ("traefik.one.frontend.auth.basic.users", "ann:{SHA}x"),
    ];
    let others = [
        ("traefik.enable", "false"),
        ("traefik.port", "80a"),
        ("traefik.backend.loadbalancer.method", "drr"),
        ("traefik.frontend.priority", "0"),
        ("traefik.frontend.priority", "7"),
        ("traefik.frontend.errors.e.backend", "shop"),
        ("traefik.two.port", "82"),
        ("traefik.two.frontend.rule", "Host:x.local"),
        ("traefik.alias", "x"),
    ];
    fn some<T: Clone + std::fmt::Debug + 'static>(
        all: &[T],
    ) -> impl Strategy<Value = Option<T>> + use<T> {
        prop::option::of(prop::sample::select(all.to_vec()))
    }
    let backend = prop::option::weighted(0.3, Just("shop"));
    let all = (some(&rules), some(&entrypoints), backend, some(&guards), some(&others));
    all.prop_map(|(rule, entrypoints, backend, guard, other)| {
        let rule = rule.map(|rule| ("traefik.frontend.rule", rule));
        let entrypoints = entrypoints.map(|names| ("traefik.frontend.entryPoints", names));
        let backend = backend.map(|name| ("traefik.backend", name));
        [rule, entrypoints, backend, guard, other].into_iter().flatten().collect()
    })
}

/// What all providers say at one moment: what a file has, if there is one; and containers by age, with whether they may serve.
type Moment = (Option<&'static str>, std::collections::BTreeMap<i64, (Labels, bool)>);

fn moment() -> impl Strategy<Value = Moment> {
    let files = vec!["Host:x.local", "Host:y.local;PathPrefix:/p", "Host:f.local"];
    let containers = (asked(), prop::bool::weighted(0.8));
    let containers = prop::collection::btree_map(1_i64..9, containers, 0..7);
    (prop::option::weighted(0.2, prop::sample::select(files)), containers)
}

/// The snapshots of a moment. Some containers are called alike: replicas, or what becomes of a container that is made anew, where
/// one has ended; some services are, by chance.
fn told((file, containers): &Moment) -> Vec<(ProviderName, Snapshot)> {
    let services = containers.iter().map(|(&age, (labels, is_well))| {
        let (name, stack) = match age {
            1 | 4 | 5 => ("b", "s"),
            2 | 7 => ("b", "a-s"),
            3 | 8 => ("b-a", "s"),
            _ => ("c", "s"),
        };
        let mut service = Arc::unwrap_or_clone(container(name, stack, age, labels));
        let instance = &mut service.instances[0];
        match age {
            1 => instance.state = State::Down("exited".into()),
            _ if !is_well => instance.health = Some(Health::Failing("unhealthy".into())),
            _ => {}
        }
        if age == 8 {
            let second = container(name, stack, 9, &[]).instances[0].clone();
            service.instances.push(second);
        }
        Arc::new(service)
    });
    // Rancher's are the youngest two.
    let (docker, rancher) = services.partition(|service| service.age_order < Some(7));
    let of = |services| Snapshot { services, ..Snapshot::default() };
    let documents = file.iter().map(|rule| Arc::new(document(rule))).collect();
    vec![
        (ProviderName::File, Snapshot { documents, ..Snapshot::default() }),
        (ProviderName::Docker, of(docker)),
        (ProviderName::Rancher, of(rancher)),
    ]
}

fn document(rule: &str) -> Document {
    let text = format!(
        "[backends.b.servers.s]\nurl = \"http://10.0.0.9\"\n\
         [frontends.f]\nbackend = \"b\"\n[frontends.f.routes.r]\nrule = \"{rule}\""
    );
    Document {
        name: "rules.toml".into(),
        is_main: false,
        tree: crate::document::Language::Toml.parse(&text).expect("TOML"),
        addresses: std::collections::BTreeMap::new(),
    }
}

/// What each service asks for, read alone.
type Asking = (ProviderName, Arc<Service>, Fragment);

fn asking(inputs: &[Input<'_>]) -> Vec<Asking> {
    let of = |input: &Input<'_>| {
        let (provider, defaults) = (input.provider, input.defaults);
        let services = input.snapshot.services.iter().filter(|service| !service.is_down());
        let read = services.map(|service| {
            let reading = dialects::read(provider, service, defaults, &mut Trace::off());
            (provider, Arc::clone(service), reading.fragment)
        });
        read.collect::<Vec<_>>()
    };
    inputs.iter().flat_map(of).collect()
}

/// Each claim belongs to one backend, and each server is guarded by what its own labels say, whoever else leads there.
fn check_config(config: &Config, asking: &[Asking]) -> Result<(), TestCaseError> {
    let default = [HTTP_ENTRYPOINT.to_owned()];
    let mut owners = std::collections::BTreeMap::new();
    let serving = || config.frontends.values().filter(|f| f.shadowed_by.is_none());
    for frontend in serving() {
        for claim in claims::claims(frontend, &default) {
            let owner = owners.entry(claim.clone()).or_insert(&frontend.backend);
            prop_assert_eq!(*owner, &frontend.backend, "{:?}", claim);
        }
    }
    for (_, service, fragment) in asking {
        let Fragment { frontends, backends, .. } = fragment;
        let server_of = |frontend: &Frontend, server: &Server| {
            let found = backends.iter().find(|(id, _)| *id == frontend.backend);
            found.is_some_and(|(_, backend)| backend.servers.values().any(|own| own == server))
        };
        for server in backends.iter().flat_map(|(_, backend)| backend.servers.values()) {
            let mut own = frontends.iter().filter(|(_, frontend)| server_of(frontend, server));
            if own.any(|(_, frontend)| is_open(frontend)) {
                continue;
            }
            let leads_there = |frontend: &&Arc<Frontend>| {
                let mut servers = config.backends[&frontend.backend].servers.values();
                *frontend.origin.service == service.full_name() && servers.any(|s| s == server)
            };
            for frontend in serving().filter(leads_there) {
                prop_assert!(!is_open(frontend), "{:?} leads to {:?}", frontend, server);
            }
        }
    }
    Ok(())
}

/// Who had a claim keeps it for as long as it asks for it and may serve, but for whoever had it before that, and files.
fn check_owners(
    previous: &Config,
    config: &Config,
    asking: &[Asking],
) -> Result<(), TestCaseError> {
    let default = [HTTP_ENTRYPOINT.to_owned()];
    let owners = |config: &Config| {
        let serving = config.frontends.iter().filter(|(_, f)| f.shadowed_by.is_none());
        let of = |(id, f): (&FrontendId, &Arc<Frontend>)| {
            let owner = (id.provider, Arc::clone(&f.origin.service), f.backend.clone());
            let claims = claims::claims(f, &default).into_iter();
            claims.map(|claim| (claim, owner.clone())).collect::<Vec<_>>()
        };
        serving.flat_map(of).collect::<std::collections::BTreeMap<_, _>>()
    };
    let now = owners(config);
    for (claim, (provider, service, backend)) in owners(previous) {
        // Several containers of one service may want different things.
        let is_its = |(of, s, _): &&Asking| *of == provider && s.full_name() == *service;
        let all: Vec<_> = asking.iter().filter(is_its).collect();
        let [(_, _, fragment)] = *all else { continue };
        let asks = |(_, f): &(FrontendId, Arc<Frontend>)| {
            let own = fragment.backends.iter().find(|(id, _)| *id == f.backend);
            let may_serve = |(id, own): &(BackendId, Arc<Backend>)| {
                let is_it = |mark| backend == *id || backend == id.of_mark(mark);
                own.mark.is_some_and(is_it) && !own.servers.is_empty()
            };
            own.is_some_and(may_serve) && claims::claims(f, &default).contains(&claim)
        };
        if fragment.frontends.iter().any(asks) && !previous.given_way.contains_key(&claim) {
            let (other, new, its) = &now[&claim];
            let is_same = *its == backend || (*other, &**new) == (provider, &*service);
            prop_assert!(is_same || *other == ProviderName::File, "{:?} went to {}", claim, new);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn whatever_changes_it_is_planned_as_if_it_were_new(
        moments in prop::collection::vec(moment(), 1..5),
    ) {
        let mut planner = Planner::default();
        let mut previous = Config::default();
        for moment in moments {
            let (told, defaults) = (told(&moment), defaults());
            let inputs = told.iter().map(|(provider, snapshot)| {
                Input { provider: *provider, snapshot, defaults: &defaults }
            });
            let inputs: Vec<_> = inputs.collect();
            let expected = Planner::default().plan(&inputs, &previous);
            let (config, problems) = planner.plan(&inputs, &previous);
            prop_assert_eq!(&config, &expected.0);
            prop_assert_eq!(problems, expected.1);
            let again = Planner::default().plan(&inputs, &config);
            prop_assert_eq!(&again.0, &config, "nothing changes where nothing has changed");
            let asking = asking(&inputs);
            check_config(&config, &asking)?;
            check_owners(&previous, &config, &asking)?;
            previous = config;
        }
    }
}

#[test]
fn of_two_services_of_one_id_both_leave() {
    // Rancher tells a service and its sidekicks with one uuid.
    let named = |name: &str, age, id: &str| {
        let service = Arc::unwrap_or_clone(container(name, "s", age, &[]));
        Arc::new(Service { id: id.into(), ..service })
    };
    let all = [named("x", 1, "x"), named("web", 2, "w"), named("side", 2, "w"), named("d", 3, "d")];
    let (mut planner, mut previous) = (Planner::default(), Config::default());
    for (places, count) in [(&[0, 1, 2, 3][..], 4), (&[0, 3], 2), (&[3, 2], 2), (&[1, 2, 0], 3)] {
        let services = places.iter().map(|&place: &usize| Arc::clone(&all[place])).collect();
        let snapshot = Snapshot { services, ..Snapshot::default() };
        let (provider, defaults) = (ProviderName::Rancher, defaults());
        let input = Input { provider, snapshot: &snapshot, defaults: &defaults };
        previous = planner.plan(&[input], &previous).0;
        assert_eq!((previous.frontends.len(), previous.backends.len()), (count, count));
    }
}

#[test]
fn what_stays_stays_in_its_place() {
    let services = |port| {
        let port = [("traefik.port", port)];
        let others = [container("a", "s", 1, &[]), container("c", "s", 3, &[])];
        Vec::from_iter([container("b", "s", 2, &port)].into_iter().chain(others))
    };
    let mut planner = Planner::default();
    let mut previous = Config::default();
    for (port, kept) in [("81", 0), ("81", 3), ("82", 2), ("83", 2)] {
        let snapshot = Snapshot { services: services(port), ..Snapshot::default() };
        let (provider, defaults) = (ProviderName::Docker, defaults());
        let input = Input { provider, snapshot: &snapshot, defaults: &defaults };
        let (config, _) = planner.plan(&[input], &previous);
        let is_kept = |(id, backend): &(&_, &Arc<_>)| {
            previous.backends.get(*id).is_some_and(|old| Arc::ptr_eq(old, backend))
        };
        assert_eq!(config.backends.iter().filter(is_kept).count(), kept, "port {port}");
        assert_eq!(config.backends.len(), 3);
        previous = config;
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

/// What `docker-compose run` leaves, and containers that were replaced and not removed, have the labels of another day.
#[test]
fn what_does_not_run_decides_nothing_beside_what_does() {
    let guard = ("traefik.frontend.whiteList.sourceRange", "10.0.0.0/8");
    let enabled = ("traefik.enable", "true");
    let old_rule = ("traefik.frontend.rule", "Host:old.local");
    for old in [vec![enabled], vec![old_rule]] {
        let ended = down(container("web", "shop", 1, &old));
        let runs = container("web", "shop", 2, &[guard]);
        let (config, problems) = planned(vec![Arc::clone(&ended), runs], &Config::default());
        assert_eq!(drawn(&config), ["frontend-Host-web-shop-local Host:web.shop.local 1"]);
        assert_eq!(problems, []);
        let frontend = config.frontends.values().next().expect("one");
        assert!(frontend.wishes.as_ref().is_some_and(|wishes| wishes.white_list.is_some()));
        assert_eq!(frontend.age_order, Some(2));
        // Alone it is known, and has no server.
        let (config, _) = planned(vec![ended], &Config::default());
        assert_eq!((config.frontends.len(), config.backends.len()), (1, 1));
        assert!(config.backends.values().all(|backend| backend.servers.is_empty()));
    }
}

#[test]
fn what_has_ended_at_one_provider_is_not_what_runs_at_the_next() {
    let of = |label: &'static str| {
        let ended = down(container("web", "shop", 1, &[("traefik.frontend.rule", label)]));
        let services = vec![ended, container("web", "shop", 2, &[])];
        Snapshot { services, ..Snapshot::default() }
    };
    let (docker, rancher, defaults) = (of("Host:a.local"), of("Host:b.local"), defaults());
    let inputs = [(ProviderName::Docker, &docker), (ProviderName::Rancher, &rancher)]
        .map(|(provider, snapshot)| Input { provider, snapshot, defaults: &defaults });
    let (config, _) = plan(&inputs, &Config::default());
    let rules: Vec<&str> = config.frontends.values().map(|f| f.rule.text()).collect();
    assert_eq!(rules, ["Host:web.shop.local"; 2]);
}

#[test]
fn one_claim_is_one_however_it_is_spelled() {
    let rule = ("traefik.frontend.rule", "Host:x.local");
    let label = |key, value| vec![rule, (key, value)];
    for spelled in [
        label("traefik.frontend.entryPoints", "http"),
        label("traefik.frontend.entryPoints", "http,http"),
        label("traefik.frontend.priority", "0"),
    ] {
        let services = vec![container("b", "s", 2, &[rule]), container("a", "s", 1, &spelled)];
        let snapshot = Snapshot { services, ..Snapshot::default() };
        let (provider, defaults) = (ProviderName::Docker, defaults());
        let input = Input { provider, snapshot: &snapshot, defaults: &defaults };
        let mut planner = Planner { default: vec!["http".to_owned()], ..Planner::default() };
        let (config, problems) = planner.plan(&[input], &Config::default());
        let lost = config.frontends.values().filter(|f| f.shadowed_by.is_some());
        let lost: Vec<&str> = lost.map(|frontend| &*frontend.backend.name).collect();
        assert_eq!(lost, ["backend-b-s"], "{spelled:?}");
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
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
    let told = "x.local belongs to docker/frontend-Host-x-local of a.s already";
    assert!(problems[0].message.contains(told), "{}", problems[0]);
}

/// While its containers are replaced one after the other, a service says one host in two ways: nobody loses anything.
#[test]
fn one_service_that_says_a_host_in_two_ways_has_no_conflict() {
    let old = ("traefik.frontend.rule", "Host:old.t");
    let both = ("traefik.frontend.rule", "Host:old.t,new.t");
    let services = vec![container("a", "s", 2, &[old]), container("a", "s", 1, &[both])];
    let (config, problems) = planned(services.clone(), &Config::default());
    assert!(drawn(&config).contains(&"frontend-Host-old-t-new-t Host:old.t,new.t 2".to_owned()));
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].severity, Severity::Note, "{problems:?}");
    assert!(problems[0].message.contains("leads to the same servers"), "{problems:?}");
    // One without a password is no other way to say one with it, whether that can be read or closes its frontend.
    let (of, guarded) =
        (("traefik.backend", "shared"), ("traefik.frontend.rule", "Host:old.t,i.t"));
    for users in ["me:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=", "nonsense"] {
        let auth = ("traefik.frontend.auth.basic", users);
        let sharing =
            vec![container("a", "s", 1, &[of, old]), container("b", "s", 2, &[of, guarded, auth])];
        let (_, problems) = planned(sharing, &Config::default());
        let is_told =
            |p: &Problem| p.severity == Severity::Error && p.message.starts_with("old.t belongs");
        assert!(problems.iter().any(is_told), "{users}: {problems:?}");
    }
    // Somebody else's host is one as before.
    let other = container("b", "s", 3, &[("traefik.frontend.rule", "Host:new.t,b.t")]);
    let (_, problems) = planned([services, vec![other]].concat(), &Config::default());
    let errors: Vec<_> = problems.iter().filter(|p| p.severity == Severity::Error).collect();
    assert_eq!(errors.len(), 1, "{problems:?}");
    assert!(errors[0].message.starts_with("new.t belongs to"), "{errors:?}");
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
fn who_does_not_run_gives_way_and_gets_its_rule_back() {
    let x = ("traefik.frontend.rule", "Host:x.local,y.local");
    let same = ("traefik.frontend.rule", "Host:x.local");
    let owner = || container("a", "s", 5, &[x]);
    // The other one is older: it is not its age that decides.
    let other = || container("b", "s", 2, &[same]);
    let serving = |config: &Config| {
        let has_x = |f: &&Arc<Frontend>| {
            f.shadowed_by.is_none()
                && f.rule.hosts().is_some_and(|h| h.iter().any(|h| h == "x.local"))
        };
        let serving = config.frontends.values().filter(has_x);
        serving.map(|frontend| frontend.backend.name.to_string()).collect::<Vec<_>>()
    };
    let (alone, _) = planned(vec![owner()], &Config::default());
    let (both, _) = planned(vec![owner(), other()], &alone);
    assert_eq!(serving(&both), ["backend-a-s"]);
    for before in [both, alone] {
        let (gone, _) = planned(vec![down(owner()), other()], &before);
        assert_eq!(serving(&gone), ["backend-b-s"]);
        let (still, _) = planned(vec![down(owner()), other()], &gone);
        assert_eq!(still, gone);
        let (back, _) = planned(vec![owner(), other()], &still);
        assert_eq!(serving(&back), ["backend-a-s"]);
        assert_eq!(back.given_way, [].into());
        // Who is removed has no claim any more.
        let (removed, _) = planned(vec![other()], &still);
        let (late, _) = planned(vec![owner(), other()], &removed);
        assert_eq!(serving(&late), ["backend-b-s"]);
    }
}

#[test]
fn who_has_a_host_keeps_it_while_another_service_is_called_alike() {
    let x = ("traefik.frontend.rule", "Host:x.local");
    let (older, owner) = (container("c", "s", 1, &[x]), container("web-shop", "a", 2, &[x]));
    let namesake = container("web", "shop-a", 3, &[]);
    let owner_of = |config: &Config| {
        let has = |f: &&Arc<Frontend>| f.shadowed_by.is_none() && f.rule.text() == "Host:x.local";
        config.frontends.values().find(has).map(|f| f.origin.service.to_string())
    };
    let (mut config, _) = planned(vec![Arc::clone(&owner)], &Config::default());
    let both = vec![older, Arc::clone(&owner)];
    for services in [both.clone(), [both.clone(), vec![namesake]].concat(), both] {
        config = planned(services, &config).0;
        assert_eq!(owner_of(&config).as_deref(), Some("web-shop.a"));
    }
}

#[test]
fn who_comes_back_gets_what_it_had_and_no_more() {
    let hosts = |hosts: &'static str| [("traefik.frontend.rule", hosts)];
    let a = || container("a", "s", 1, &hosts("Host:x.local,y.local"));
    let (b, c) = (
        container("b", "s", 2, &hosts("Host:y.local")),
        container("c", "s", 3, &hosts("Host:x.local")),
    );
    let of = |config: &Config, host: &str| {
        let has = |f: &&Arc<Frontend>| {
            f.shadowed_by.is_none()
                && f.rule.hosts().is_some_and(|all| all.iter().any(|h| h == host))
        };
        config.frontends.values().find(has).map(|f| f.backend.name.to_string())
    };
    let mut config = Config::default();
    let mut plan = |services: &[Arc<Service>]| {
        config = planned(services.to_vec(), &config).0;
        ["x.local", "y.local"].map(|host| of(&config, host).unwrap_or_default())
    };
    plan(std::slice::from_ref(&b));
    assert_eq!(plan(&[a(), b.clone(), c.clone()]), ["backend-a-s", "backend-b-s"]);
    assert_eq!(plan(&[down(a()), b.clone(), c.clone()]), ["backend-c-s", "backend-b-s"]);
    // Who has taken over stops too, and a third one would not have it for good either.
    let none = [down(a()), b.clone(), down(c.clone())];
    assert_eq!(plan(&none)[1], "backend-b-s");
    assert_eq!(plan(&[down(a()), b.clone(), c.clone()]), ["backend-c-s", "backend-b-s"]);
    assert_eq!(plan(&[a(), b.clone(), c.clone()]), ["backend-a-s", "backend-b-s"]);
    // Both stop; the one that had it is first to come back, and keeps it.
    plan(&none);
    assert_eq!(plan(&[a(), b.clone(), down(c.clone())])[0], "backend-a-s");
    assert_eq!(plan(&[a(), b, c]), ["backend-a-s", "backend-b-s"]);
}

#[test]
fn what_a_file_says_goes_before_who_was_there_first() {
    let rule = ("traefik.frontend.rule", "Host:x.local");
    let of_file =
        Snapshot { documents: vec![Arc::new(document("Host:x.local"))], ..Snapshot::default() };
    let services = vec![container("a", "s", 1, &[rule])];
    let of_docker = Snapshot { services, ..Snapshot::default() };
    let defaults = defaults();
    let input = |provider, snapshot| Input { provider, snapshot, defaults: &defaults };
    let docker = input(ProviderName::Docker, &of_docker);
    // It answered before the files were read.
    let (before, _) = plan(&[docker], &Config::default());
    let (config, problems) = plan(&[input(ProviderName::File, &of_file), docker], &before);
    let serving = config.frontends.iter().filter(|(_, f)| f.shadowed_by.is_none());
    assert_eq!(serving.map(|(id, _)| id.to_string()).collect::<Vec<_>>(), ["file/f"]);
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[test]
fn services_that_are_spelled_alike_are_two() {
    let open = container("web-shop", "a", 1, &[]);
    let guarded = container("web", "shop-a", 2, &[("traefik.frontend.auth.basic.users", "a:b")]);
    let replica = container("web", "shop-a", 3, &[("traefik.frontend.auth.basic.users", "a:b")]);
    let lines = |services: Vec<Arc<Service>>| {
        let (config, problems) = planned(services, &Config::default());
        let line = |f: &Arc<Frontend>| {
            let servers = config.backends[&f.backend].servers.iter();
            let servers: Vec<_> = servers.map(|(_, server)| server.addr.ip().to_string()).collect();
            format!("{} {}", f.rule.text(), servers.join(" "))
        };
        (config.frontends.values().map(line).collect::<Vec<_>>(), problems.len())
    };
    let both = ["Host:web-shop.a.local 10.0.0.1", "Host:web.shop-a.local 10.0.0.2 10.0.0.3"];
    let all = vec![Arc::clone(&open), Arc::clone(&guarded), Arc::clone(&replica)];
    assert_eq!(lines(all).0, both);
    // Nor is what does not run one with what does; and what ran before says nothing of what runs.
    let stopped = ["Host:web-shop.a.local 10.0.0.1", "Host:web.shop-a.local "];
    assert_eq!(lines(vec![Arc::clone(&open), down(Arc::clone(&guarded))]).0, stopped);
    let old = down(container("web", "shop-a", 4, &[("traefik.frontend.rule", "Host:old.local")]));
    let running = ["Host:web-shop.a.local 10.0.0.1", "Host:web.shop-a.local 10.0.0.2"];
    assert_eq!(lines(vec![open, guarded, old]).0, running);
}

#[test]
fn what_is_not_healthy_keeps_no_host_from_what_is() {
    let rule = ("traefik.frontend.rule", "Host:x.local");
    let sick = |service: Arc<Service>| {
        let mut service = Arc::unwrap_or_clone(service);
        service.instances[0].health = Some(Health::Failing("unhealthy".into()));
        Arc::new(service)
    };
    let (a, b) = (container("a", "s", 1, &[rule]), container("b", "s", 2, &[rule]));
    let wins = |config: &Config| {
        let winner = config.frontends.values().find(|f| f.shadowed_by.is_none());
        winner.expect("one wins").backend.name.to_string()
    };
    let (well, _) = planned(vec![Arc::clone(&a), Arc::clone(&b)], &Config::default());
    let (ill, _) = planned(vec![sick(Arc::clone(&a)), Arc::clone(&b)], &well);
    let (back, _) = planned(vec![a, b], &ill);
    let winners = [&well, &ill, &back].map(wins);
    assert_eq!(winners, ["backend-a-s", "backend-b-s", "backend-a-s"]);
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
fn who_loses_a_host_goes_no_further_back_with_the_others() {
    let rule = |text: &'static str| ("traefik.frontend.rule", text);
    let services = vec![
        container("a", "s", 1, &[rule("Host:x.local")]),
        container("b", "s", 2, &[rule("Host:x.local,y.local")]),
        container("c", "s", 3, &[rule("HostRegexp:{n}.local")]),
    ];
    let (config, _) = planned(services, &Config::default());
    let of = |service: &str| config.frontends.values().find(|f| &*f.origin.service == service);
    let [b, c] = ["b.s", "c.s"].map(|service| of(service).expect("it is there"));
    assert_eq!((b.rule.text(), b.effective_priority()), ("Host:y.local", 20));
    assert!(b.effective_priority() >= c.effective_priority());
}

/// What a service gives away at one entry point, it keeps at the others.
#[test]
fn a_host_belongs_to_one_at_each_entry_point() {
    let rule = |host: &'static str| ("traefik.frontend.rule", host);
    let at = |names: &'static str| ("traefik.frontend.entryPoints", names);
    for (older, younger, expected, message) in [
        // The longer rule would go first at http.
        (
            [rule("Host:x.local"), at("http,https")],
            [rule("Host:x.local,longer.local"), at("http")],
            ["Host:x.local at http, https", "Host:longer.local at http"],
            "x.local belongs to",
        ),
        (
            [rule("Host:x.local"), at("http")],
            [rule("Host:x.local"), at("http,https")],
            ["Host:x.local at http", "Host:x.local at https"],
            "x.local at http belongs to",
        ),
        (
            [rule("Host:x.local"), at("https,http")],
            [rule("Host:x.local,y.local"), at("http,https")],
            ["Host:x.local at https, http", "Host:y.local at http, https"],
            "This one keeps its other hosts.",
        ),
        (
            [rule("PathPrefix:/x"), at("http")],
            [rule("PathPrefix:/x"), at("https,http")],
            ["PathPrefix:/x at http", "PathPrefix:/x at https"],
            "PathPrefix:/x at http belongs to",
        ),
    ] {
        let services = vec![container("a", "s", 1, &older), container("b", "s", 2, &younger)];
        let (config, problems) = planned(services, &Config::default());
        let mut frontends: Vec<_> = config.frontends.values().collect();
        frontends.sort_by_key(|frontend| frontend.age_order);
        let is: Vec<String> = frontends
            .iter()
            .map(|f| format!("{} at {}", f.rule.text(), f.entrypoints.join(", ")))
            .collect();
        assert_eq!(is, expected);
        assert!(frontends.iter().all(|frontend| frontend.shadowed_by.is_none()));
        let said = problems.iter().any(|problem| problem.message.contains(message));
        assert!(said, "{message} is not in {problems:?}");
    }
}

/// What a rule asks for decides, not how it is spelled: a longer one would go first.
#[test]
fn a_host_belongs_to_one_however_rules_are_spelled() {
    for (older, younger) in [
        ("Host:x.local", "Host:x.local;PathPrefix:/"),
        ("Host:x.local", "Host:x.local,X.local;PathPrefixStrip:/,/a"),
        ("Host:x.local;PathPrefix:/a,/b", "Host:x.local;PathPrefix:/b,/a,/b"),
        ("Host:x.local;Path:/a", "Host:x.local;Path:/a/;Path:/a"),
        ("Host:x.local;Method:GET,POST", "Method:POST,get,GET;Host:x.local"),
        ("Host:x.local;Headers:X-A,1,X-B,2", "Host:x.local;Headers:X-B,2,X-A,1,x-a,1"),
        ("PathPrefix:/a", "PathPrefix:/;PathPrefix:/a"),
    ] {
        let rule = |text: &'static str| ("traefik.frontend.rule", text);
        let services =
            vec![container("a", "s", 1, &[rule(older)]), container("b", "s", 2, &[rule(younger)])];
        let (config, problems) = planned(services, &Config::default());
        let is = config.frontends.values().map(|f| (&*f.origin.service, f.shadowed_by.is_some()));
        let is: BTreeSet<_> = is.collect();
        assert_eq!(is, [("a.s", false), ("b.s", true)].into(), "{younger}");
        assert!(problems[0].message.contains("belongs to"), "{problems:?}");
    }
}

#[test]
fn a_rule_that_fits_no_request_keeps_no_host_from_others() {
    for (older, younger, is_lost) in [
        ("Host:x.local;Host:y.local", "Host:x.local", false),
        ("Host:x.local,y.local;Host:y.local,z.local", "Host:x.local", false),
        ("Host:x.local,y.local;Host:y.local,z.local", "Host:y.local", true),
    ] {
        let rule = |text: &'static str| ("traefik.frontend.rule", text);
        let services =
            vec![container("a", "s", 1, &[rule(older)]), container("b", "s", 2, &[rule(younger)])];
        let (config, _) = planned(services, &Config::default());
        let younger = config.frontends.values().find(|f| &*f.origin.service == "b.s");
        assert_eq!(younger.expect("it is there").shadowed_by.is_some(), is_lost, "{older}");
    }
}

#[test]
fn who_keeps_other_hosts_at_each_entry_point_becomes_several() {
    let rule = |host: &'static str| ("traefik.frontend.rule", host);
    let at = |names: &'static str| ("traefik.frontend.entryPoints", names);
    let services = vec![
        container("a", "s", 1, &[rule("Host:x.local"), at("http")]),
        container("b", "s", 2, &[rule("Host:x.local,y.local"), at("http,https,other")]),
    ];
    let (config, problems) = planned(services, &Config::default());
    let is: BTreeSet<String> = config
        .frontends
        .values()
        .map(|f| format!("{} {} at {}", f.origin.service, f.rule.text(), f.entrypoints.join(",")))
        .collect();
    let expected = [
        "a.s Host:x.local at http",
        "b.s Host:x.local,y.local at https,other",
        "b.s Host:y.local at http",
    ];
    assert_eq!(is, expected.map(str::to_owned).into());
    assert!(problems[0].message.contains("x.local at http belongs to"), "{problems:?}");
}

/// Requests go to all servers of a backend: what keeps strangers out of one keeps them out of all.
#[test]
fn what_guards_one_replica_guards_all() {
    for guard in [
        ("traefik.frontend.whiteList.sourceRange", "10.0.0.0/8"),
        ("traefik.frontend.whiteList.sourceRange", "nonsense"),
        ("traefik.frontend.auth.basic.users", "ann:{SHA}x"),
        ("traefik.frontend.auth.basic.usersFile", "/nowhere"),
    ] {
        for guarded in [1, 2] {
            let labels = |age: i64| if age == guarded { vec![guard] } else { vec![] };
            let services = [1, 2].map(|age| container("web", "shop", age, &labels(age)));
            let (config, problems) = planned(services.to_vec(), &Config::default());
            let frontend = config.frontends.values().next().expect("one");
            assert!(!is_open(frontend), "{guard:?} of {guarded}: {frontend:?}");
            let tells = |problem: &Problem| problem.message.contains("in frontend");
            assert!(problems.iter().any(tells), "{problems:?}");
        }
    }
}

/// Whichever rule they come by, requests go to the servers of all.
#[test]
fn what_guards_one_replica_guards_the_rules_of_all() {
    let rules = ["Host:x.local", "Host:x.local,y.local"];
    for guard in [
        ("traefik.frontend.whiteList.sourceRange", "10.0.0.0/8"),
        ("traefik.frontend.whiteList.sourceRange", "nonsense"),
        ("traefik.frontend.auth.basic.users", "ann:{SHA}x"),
    ] {
        for guarded in [1, 2] {
            let replica = |(rule, age): (&'static str, i64)| {
                let guard = if age == guarded { vec![guard] } else { vec![] };
                container(
                    "web",
                    "shop",
                    age,
                    &[&[("traefik.frontend.rule", rule)], &*guard].concat(),
                )
            };
            let services = rules.into_iter().zip(1..).map(replica).collect();
            let (config, problems) = planned(services, &Config::default());
            let hosts = config.frontends.values().map(|f| (f.rule.text(), is_open(f)));
            let hosts: BTreeSet<_> = hosts.collect();
            assert_eq!(hosts, [("Host:x.local", false), ("Host:y.local", false)].into());
            let tells = |problem: &Problem| problem.message.contains("holds for frontend");
            assert!(problems.iter().any(tells), "{problems:?}");
        }
    }
    // Another service that names its backend has its own say.
    let shop = ("traefik.backend", "shop");
    let list = ("traefik.frontend.whiteList.sourceRange", "10.0.0.0/8");
    let services = vec![container("a", "s", 1, &[shop]), container("b", "s", 2, &[shop, list])];
    let (config, problems) = planned(services, &Config::default());
    let open: Vec<bool> = config.frontends.values().map(|f| is_open(f)).collect();
    assert_eq!((open, problems), (vec![true, false], vec![]));
}

/// However many are called alike by chance, each has its hosts.
#[test]
fn three_that_are_spelled_alike_are_three() {
    let rule = |host: &'static str| ("traefik.frontend.rule", host);
    let services = vec![
        container("a", "s", 1, &[rule("Host:shop.a.x")]),
        container("b", "s", 2, &[rule("Host:shop-a.x")]),
        container("b", "s", 3, &[rule("Host:shop.a-x")]),
    ];
    let (config, _) = planned(services, &Config::default());
    let rules: BTreeSet<&str> = config.frontends.values().map(|f| f.rule.text()).collect();
    assert_eq!(rules, BTreeSet::from(["Host:shop.a.x", "Host:shop-a.x", "Host:shop.a-x"]));
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
