//! One change after another leads to the same routes as a start from scratch, and leaves alone what it does not touch.

use std::sync::Arc;

use herder::config::Config;
use herder::live::{FrontendLive, Live, ServerLive};
use herder::model::{
    Address, Exchange, Health, Instance, Kind, Problem, ProviderName, Service, Snapshot, State,
};
use herder::plan::{Input, Planner, plan};
use herder::settings::{Defaults, HTTP_ENTRYPOINT, HostTemplate};
use herder::table::{EntryPoints, RunningBackend, Table, compile, compile_after};
use proptest::prelude::*;

/// What one service may ask for: few hosts and names, so that services meet, take from one another and give way.
const RULES: &[&str] = &[
    "Host:a.t",
    "Host:b.t",
    "Host:a.t,c.t",
    "Host:b.t;PathPrefix:/p",
    "Host:b.t;PathPrefixStrip:/p",
    "PathPrefix:/p",
    "HostRegexp:{x:[abc]}.t",
    "Hosst:broken",
];

/// One of four services as it may be at one moment; none: it is not there.
type Told = Option<(usize, u8, bool, Option<i64>)>;

/// The last part of the address of one that is not healthy.
const SICK: u8 = 4;

fn told() -> impl Strategy<Value = Told> {
    let priority = prop::option::of(1_i64..3);
    prop::option::weighted(0.8, (0..RULES.len(), 1_u8..5, any::<bool>(), priority))
}

fn service(
    number: usize,
    (rule, ip, is_shared, priority): (usize, u8, bool, Option<i64>),
) -> Service {
    let name = if is_shared { "both".to_owned() } else { format!("web{number}") };
    let instance = Instance {
        id: format!("id-{number}").into(),
        name: format!("{name}_{number}").into(),
        addresses: [Address {
            network: None,
            ip: [10, 0, 0, ip].into(),
            shared: None,
            published: None,
        }]
        .into(),
        exposed_ports: [80].into(),
        detail: None,
        state: State::Running,
        health: (ip == SICK).then(|| Health::Failing("starting".into())),
    };
    let rule = ("traefik.frontend.rule".into(), RULES[rule].into());
    let priority = priority.map(|p| ("traefik.frontend.priority".into(), p.to_string().into()));
    Service {
        id: instance.id.clone(),
        name: name.into(),
        stack: Some("s".into()),
        labels: [rule].into_iter().chain(priority).collect(),
        instances: vec![instance],
        kind: Kind::Containers,
        state: None,
        health_checked: false,
        health_block: None,
        age_order: i64::try_from(number).ok(),
    }
}

fn defaults() -> Defaults {
    Defaults {
        constraints: Vec::new(),
        domain: Some("local".to_owned()),
        exposed_by_default: true,
        serve_unchecked: true,
        run_health_checks: false,
        host_template: HostTemplate::default(),
        network: None,
    }
}

/// What is there to be seen of a table.
fn drawn(table: &Table) -> Vec<String> {
    let routes = table.routes().iter().map(|route| {
        let servers = route.backend.servers().iter();
        let servers: Vec<String> =
            servers.map(|s| format!("{} {} {}", s.name, s.addr, s.weight)).collect();
        format!(
            "{} {:?} {} {} {:?} -> {} {servers:?}",
            route.id,
            route.entrypoints,
            route.priority(),
            route.frontend.rule.text(),
            route.frontend.chain,
            route.backend.id()
        )
    });
    routes.collect()
}

/// Which route takes each of some requests.
fn taken(table: &Table) -> Vec<Option<String>> {
    let hosts = ["a.t", "b.t", "c.t", "x.t"];
    let requests = hosts.iter().flat_map(|host| ["/", "/p/q"].map(|path| (*host, path)));
    let found = requests.map(|(host, path)| {
        let exchange = Exchange::new(HTTP_ENTRYPOINT, "GET", host, path, &());
        table.lookup(&exchange).map(|route| route.id.to_string())
    });
    found.collect()
}

/// Plans and compiles, on top of what was before.
#[derive(Default)]
struct Running {
    planner: Planner,
    live: Live,
    table: Table,
    revision: u64,
}

impl Running {
    fn take(&mut self, services: Vec<Arc<Service>>) {
        let (defaults, before) = (defaults(), Arc::clone(&self.table.config));
        let mut snapshot = Snapshot { services, ..Snapshot::default() };
        snapshot.services.sort_by(|a, b| a.id.cmp(&b.id));
        let input =
            Input { provider: ProviderName::Docker, snapshot: &snapshot, defaults: &defaults };
        let scratch = plan(&[input], &before);
        let (config, problems) = self.planner.plan(&[input], &before);
        assert_eq!((&config, &problems), (&scratch.0, &scratch.1));
        let entrypoints = EntryPoints { all: &[], default: &[HTTP_ENTRYPOINT.to_owned()] };
        let compiled = |config: Config, problems: Vec<Problem>| {
            compile(1, Arc::new(config), problems.into(), &Live::default(), entrypoints)
        };
        let scratch = compiled(scratch.0, scratch.1);
        let (config, problems) = (Arc::new(config), problems.into());
        self.revision += 1;
        let (revision, live) = (self.revision, &self.live);
        self.table = compile_after(&self.table, revision, config, problems, live, entrypoints);
        assert_eq!(drawn(&self.table), drawn(&scratch));
        assert_eq!(taken(&self.table), taken(&scratch));
    }
}

proptest! {
    #[test]
    fn one_change_after_another_ends_where_a_start_from_scratch_does(
        moments in prop::collection::vec(prop::collection::vec(told(), 4), 1..8)
    ) {
        let mut running = Running::default();
        for moment in moments {
            let there = moment.into_iter().enumerate();
            let services = there.filter_map(|(number, told)| Some(service(number, told?)));
            running.take(services.map(Arc::new).collect());
        }
    }
}

#[test]
fn what_is_not_touched_runs_on_as_it_is() {
    let with = |rule, ip| (rule, ip, false, None);
    let services = |second_ip| {
        let all = [with(0, 1), with(1, second_ip), with(5, 3)].into_iter().enumerate();
        all.map(|(number, told)| Arc::new(service(number, told))).collect::<Vec<_>>()
    };
    let mut running = Running::default();
    running.take(services(2));
    let before = running.table.routes().to_vec();
    running.take(services(9));
    let changed: Vec<&str> = before
        .iter()
        .filter(|old| !running.table.routes().iter().any(|new| Arc::ptr_eq(old, new)))
        .map(|old| old.frontend.rule.text())
        .collect();
    assert_eq!((before.len(), changed), (3, vec!["Host:b.t"]));
}

#[test]
fn what_nobody_serves_leaves_its_requests_to_whoever_takes_them_too() {
    let mut running = Running::default();
    let mut api_goes_to = |ip_of_api| {
        let all = [(1, 1, false, None), (3, ip_of_api, false, None)].into_iter().enumerate();
        running.take(all.map(|(number, told)| Arc::new(service(number, told))).collect());
        let exchange = Exchange::new(HTTP_ENTRYPOINT, "GET", "b.t", "/p/q", &());
        running.table.lookup(&exchange).map(|route| route.frontend.rule.text().to_owned())
    };
    let (api, whole) = (Some(RULES[3].to_owned()), Some(RULES[1].to_owned()));
    assert_eq!([2, SICK, 2].map(&mut api_goes_to), [api.clone(), whole, api]);
    // Where nobody else takes them they are its own.
    running.take(vec![Arc::new(service(1, (3, SICK, false, None)))]);
    let exchange = Exchange::new(HTTP_ENTRYPOINT, "GET", "b.t", "/p/q", &());
    assert!(running.table.lookup(&exchange).is_some());
}

#[test]
fn what_is_merged_anew_to_the_same_end_runs_on_too() {
    let services = |third_ip| {
        let replicas = [(0, 1, true, None), (0, 2, true, None), (1, third_ip, false, None)];
        let all = replicas.into_iter().enumerate();
        all.map(|(number, told)| Arc::new(service(number, told))).collect::<Vec<_>>()
    };
    let mut running = Running::default();
    running.take(services(3));
    let route = |table: &Table| {
        let of_two = table.routes().iter().find(|route| route.backend.servers().len() == 2);
        Arc::clone(of_two.expect("two replicas, one backend"))
    };
    let before = route(&running.table);
    running.take(services(9));
    assert!(Arc::ptr_eq(&before, &route(&running.table)));
}

/// What was measured of the route of `a.t`, of its backend, and of its first server.
fn states(table: &Table) -> (Arc<FrontendLive>, Arc<RunningBackend>, Arc<ServerLive>) {
    let route = table.routes().iter().find(|route| route.frontend.rule.text() == "Host:a.t");
    let route = route.expect("its route");
    let server = Arc::clone(&route.backend.servers()[0].live);
    (Arc::clone(&route.live), Arc::clone(&route.backend), server)
}

#[test]
fn what_changes_keeps_what_was_counted_and_what_comes_back_too_while_a_request_holds_it() {
    let services = |first: Option<(u8, i64)>| {
        let first =
            first.map(|(ip, priority)| Arc::new(service(0, (0, ip, false, Some(priority)))));
        let second = Arc::new(service(1, (1, 9, false, None)));
        first.into_iter().chain([second]).collect::<Vec<_>>()
    };
    let is_same = |(a, b): (&RunningBackend, &RunningBackend)| std::ptr::eq(a.live(), b.live());
    let mut running = Running::default();
    running.take(services(Some((1, 1))));
    let first = states(&running.table);
    assert_eq!(first.2.start_share(1, 1_000), 0.1);
    assert_eq!(first.2.start_share(5_000, 1_000), 1.0);
    // Another priority: the frontend is another one, its server is the same.
    running.take(services(Some((1, 2))));
    let second = states(&running.table);
    assert!(Arc::ptr_eq(&second.0, &first.0) && is_same((&second.1, &first.1)));
    assert!(Arc::ptr_eq(&second.2, &first.2));
    // Another server of the same backend.
    running.take(services(Some((2, 2))));
    let third = states(&running.table);
    assert!(Arc::ptr_eq(&third.0, &first.0) && is_same((&third.1, &first.1)));
    assert!(!Arc::ptr_eq(&third.2, &first.2));
    drop(third);
    // Requests hold them still, and they come back after a while without the service.
    running.take(services(None));
    running.live.sweep();
    running.take(services(Some((1, 2))));
    let fourth = states(&running.table);
    assert!(Arc::ptr_eq(&fourth.0, &first.0) && is_same((&fourth.1, &first.1)));
    assert!(Arc::ptr_eq(&fourth.2, &first.2));
    assert_eq!(fourth.2.start_share(5_000, 1_000), 0.1, "who was gone starts slowly");
    drop((first, second, fourth));
    // Nobody holds them.
    states(&running.table).2.begin();
    running.take(services(None));
    running.live.sweep();
    running.take(services(Some((1, 2))));
    assert_eq!(states(&running.table).2.active(), 0);
}

#[test]
fn two_names_for_one_place_are_one_server() {
    let services = |ips: [u8; 2]| {
        let replicas = ips.into_iter().enumerate();
        let replica = |(number, ip)| Arc::new(service(number, (0, ip, true, None)));
        replicas.map(replica).collect::<Vec<_>>()
    };
    let mut running = Running::default();
    let mut held = Vec::new();
    for ips in [Some([1, 1]), Some([1, 2]), Some([1, 1]), None, Some([1, 1])] {
        running.take(ips.map(services).unwrap_or_default());
        running.live.sweep();
        let Some([first, second]) = ips else { continue };
        let backend = states(&running.table).1;
        let [a, b] = backend.servers() else { panic!("two names") };
        assert_eq!(Arc::ptr_eq(&a.live, &b.live), first == second);
        held.extend([Arc::clone(&a.live), Arc::clone(&b.live)]);
        assert!(Arc::ptr_eq(&a.live, &held[0]), "it is the one that it always was");
    }
}
