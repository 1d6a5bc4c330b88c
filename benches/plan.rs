//! From a snapshot to a published table, and a lookup in it: `cargo bench --bench plan`.
//!
//! `bench/RESULTS.md` has the figures of one run.

use std::sync::Arc;

use divan::Bencher;
use herder::balance::Moment;
use herder::config::Config;
use herder::live::Live;
use herder::model::{
    Address, Exchange, Health, Instance, Kind, Problem, ProviderName, Service, Snapshot, State,
};
use herder::plan::{Input, Planner, plan};
use herder::settings::{Defaults, HTTP_ENTRYPOINT, HostTemplate};
use herder::table::{EntryPoints, Published, Table, Tried, compile, compile_after};

const SIZES: &[u32] = &[1, 100, 1_000, 10_000];

fn main() {
    memory();
    divan::main();
}

fn snapshot(services: u32) -> Snapshot {
    let service = |n: u32| {
        let [_, a, b, c] = n.to_be_bytes();
        let instance = Instance {
            id: format!("id-{n}").into(),
            name: format!("shop_web{n}_1").into(),
            addresses: [Address {
                network: None,
                ip: [10, a, b, c].into(),
                shared: None,
                published: None,
            }]
            .into(),
            exposed_ports: [8080].into(),
            detail: None,
            state: State::Running,
            health: Some(Health::Healthy),
        };
        let label = |key: &str, value: &str| (key.into(), value.into());
        Arc::new(Service {
            id: instance.id.clone(),
            name: format!("web{n}").into(),
            stack: Some("shop".into()),
            labels: [
                label("traefik.enable", "true"),
                label("traefik.domain", "local"),
                label("traefik.port", "8080"),
            ]
            .into_iter()
            .collect(),
            instances: vec![instance],
            kind: Kind::Containers,
            state: None,
            health_checked: true,
            health_block: None,
            age_order: Some(i64::from(n)),
        })
    };
    Snapshot { services: (0..services).map(service).collect(), ..Snapshot::default() }
}

fn defaults() -> Defaults {
    Defaults {
        constraints: Vec::new(),
        domain: None,
        exposed_by_default: false,
        serve_unchecked: false,
        run_health_checks: false,
        host_template: HostTemplate::default(),
        network: None,
    }
}

fn planned(snapshot: &Snapshot, previous: &Config) -> (Config, Vec<Problem>) {
    let defaults = defaults();
    plan(&[Input { provider: ProviderName::Docker, snapshot, defaults: &defaults }], previous)
}

fn table(snapshot: &Snapshot, previous: &Config, live: &Live) -> Table {
    let (config, problems) = planned(snapshot, previous);
    let entrypoints = EntryPoints { all: &[], default: &[HTTP_ENTRYPOINT.to_owned()] };
    compile(1, Arc::new(config), problems.into(), live, entrypoints)
}

/// A whole change: every label read anew, planned against the config in force, compiled, published.
#[divan::bench(args = SIZES)]
fn snapshot_to_published(bencher: Bencher<'_, '_>, services: u32) {
    let (snapshot, live, published) = (snapshot(services), Live::default(), Published::default());
    let before = table(&snapshot, &Config::default(), &live);
    bencher.bench_local(|| {
        published.publish(Arc::new(table(&snapshot, &before.config, &live)));
    });
}

/// The same where one service of many has changed since the last time.
#[divan::bench(args = SIZES)]
fn one_change_to_published(bencher: Bencher<'_, '_>, services: u32) {
    let (live, published) = (Live::default(), Published::default());
    let first = snapshot(services);
    let mut second = first.clone();
    let mut changed = Service::clone(&second.services[0]);
    changed.instances[0].addresses[0].ip = [10, 255, 0, 1].into();
    second.services[0] = Arc::new(changed);
    let mut planner = Planner::default();
    let defaults = defaults();
    let mut before = Arc::new(Table::default());
    let mut rounds = [&first, &second].into_iter().cycle();
    bencher.bench_local(|| {
        let snapshot = rounds.next().expect("it goes round");
        let input = Input { provider: ProviderName::Docker, snapshot, defaults: &defaults };
        let (config, problems) = planner.plan(&[input], &before.config);
        let (config, problems) = (Arc::new(config), problems.into());
        let entrypoints = EntryPoints { all: &[], default: &[HTTP_ENTRYPOINT.to_owned()] };
        before = Arc::new(compile_after(&before, 1, config, problems, &live, entrypoints));
        published.publish(Arc::clone(&before));
    });
}

/// Which route takes a request.
#[divan::bench(args = SIZES)]
fn lookup(bencher: Bencher<'_, '_>, services: u32) {
    let table = table(&snapshot(services), &Config::default(), &Live::default());
    let host = format!("web{}.shop.local", services / 2);
    bencher.bench_local(|| {
        let exchange = Exchange::new(HTTP_ENTRYPOINT, "GET", &host, "/", &());
        table.lookup(&exchange).map(|route| route.priority())
    });
}

/// The same where each service has a rule of another sort: paths of one host, patterns of hosts, paths alone.
#[divan::bench(args = SIZES, consts = [PATHS, PATTERNS, ALONE])]
fn lookup_by_rule<const SORT: usize>(bencher: Bencher<'_, '_>, services: u32) {
    let rule = |n: u32| match SORT {
        PATHS => format!("Host:shop.local;PathPrefix:/app{n}/"),
        PATTERNS => format!("HostRegexp:{{sub:[a-z]+}}.shop{n}.local"),
        _ => format!("PathPrefix:/app{n}/"),
    };
    let mut snapshot = snapshot(services);
    for (n, service) in (0..).zip(&mut snapshot.services) {
        let mut with_rule = Service::clone(service);
        with_rule.labels.insert("traefik.frontend.rule".into(), rule(n).into());
        *service = Arc::new(with_rule);
    }
    let table = table(&snapshot, &Config::default(), &Live::default());
    let middle = services / 2;
    let (host, path) = match SORT {
        PATTERNS => (format!("www.shop{middle}.local"), "/".to_owned()),
        _ => ("shop.local".to_owned(), format!("/app{middle}/x")),
    };
    bencher.bench_local(|| {
        let exchange = Exchange::new(HTTP_ENTRYPOINT, "GET", &host, &path, &());
        table.lookup(&exchange).expect("one takes it").priority()
    });
}

/// Which of ten servers takes a request, by each method.
#[divan::bench(args = ["wrr", "drr", "leastconn", "p2c", "ewma", "hash"])]
fn pick_of_ten(bencher: Bencher<'_, '_>, method: &str) {
    let mut snapshot = snapshot(1);
    let mut service = Service::clone(&snapshot.services[0]);
    let first = service.instances[0].clone();
    service.instances = (1..=10)
        .map(|n| {
            let mut instance = Instance { id: format!("id-{n}").into(), ..first.clone() };
            instance.addresses[0].ip = [10, 0, 0, n].into();
            instance
        })
        .collect();
    let label = "traefik.backend.loadbalancer.method";
    service.labels.insert(label.into(), method.into());
    snapshot.services[0] = Arc::new(service);
    let table = table(&snapshot, &Config::default(), &Live::default());
    let backend = &table.routes()[0].backend;
    assert_eq!(backend.servers().len(), 10);
    let exchange = Exchange::new(HTTP_ENTRYPOINT, "GET", "web0.shop.local", "/", &());
    let moment = Moment { now_ms: 1, random: || fastrand::u64(..) };
    bencher.bench_local(|| {
        backend.pick(&exchange, moment, &mut Tried::default()).map(|server| server.addr)
    });
}

const PATHS: usize = 0;
const PATTERNS: usize = 1;
const ALONE: usize = 2;

/// What 10,000 services take in memory, in this process, by the kernel's count.
fn memory() {
    let resident_kib = || -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
    };
    let before = resident_kib();
    let (snapshot, live) = (snapshot(10_000), Live::default());
    let told = resident_kib();
    let table = table(&snapshot, &Config::default(), &live);
    let all = resident_kib();
    eprintln!(
        "10,000 services: snapshot {} KiB, table {} KiB ({} routes)",
        told.saturating_sub(before),
        all.saturating_sub(told),
        table.routes().len()
    );
}
