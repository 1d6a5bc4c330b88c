//! Circuit breakers, rate limits, bounds on what is under way and the maintenance switch: from the labels or the file that
//! ask for them to the bytes that a client gets.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use herder::config::Config;
use herder::document::Language;
use herder::model::{
    Address, Document, Instance, Kind, Problem, ProviderName, Service, Snapshot, State,
};
use herder::plan::{Input, plan};
use herder::settings::{Defaults, HostTemplate};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::harness::proxy::{Serving, settings};
use crate::harness::raw::{OK, Origin, exchange, head};
use crate::harness::{PATIENCE, eventually};

const BROKEN: &[u8] = b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno";

/// How often a state must survive that the configuration changes.
const CHANGES: usize = 1_000;

/// Labels and their values.
type Pairs<'a> = &'a [(&'a str, &'a str)];

fn defaults() -> Defaults {
    Defaults {
        domain: Some("t".to_owned()),
        exposed_by_default: true,
        serve_unchecked: true,
        run_health_checks: false,
        constraints: Vec::new(),
        host_template: HostTemplate::default(),
        network: None,
    }
}

fn planned(provider: ProviderName, snapshot: &Snapshot) -> (Config, Vec<Problem>) {
    plan(&[Input { provider, snapshot, defaults: &defaults() }], &Config::default())
}

/// A container called `web` at this address, with these labels.
fn service(labels: Pairs<'_>, server: SocketAddr) -> Service {
    let mut labels: Vec<(String, String)> =
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    if !labels.iter().any(|(key, _)| key.ends_with("port")) {
        labels.push(("traefik.port".to_owned(), server.port().to_string()));
    }
    let address = Address { network: None, ip: server.ip(), shared: None, published: None };
    let instance = Instance {
        id: "c1".into(),
        name: "web".into(),
        addresses: [address].into(),
        exposed_ports: [server.port()].into(),
        detail: None,
        state: State::Running,
        health: None,
    };
    Service {
        id: "c1".into(),
        name: "web".into(),
        stack: None,
        labels: labels.into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
        instances: vec![instance],
        kind: Kind::Containers,
        state: None,
        health_checked: false,
        health_block: None,
        age_order: Some(1),
    }
}

/// What these labels of a container called `web` ask for; its host is `web.t` where they name none.
fn labelled(labels: Pairs<'_>, server: SocketAddr) -> (Config, Vec<Problem>) {
    let services = vec![Arc::new(service(labels, server))];
    planned(ProviderName::Docker, &Snapshot { services, ..Snapshot::default() })
}

/// A proxy that serves nothing yet.
fn proxy() -> Serving {
    Serving::start(settings(), &[])
}

/// A proxy that serves what these labels ask for, without a problem.
fn serve(labels: Pairs<'_>, server: SocketAddr) -> Serving {
    let serving = proxy();
    change(&serving, labels, server);
    serving
}

#[track_caller]
fn change(serving: &Serving, labels: Pairs<'_>, server: SocketAddr) {
    let (config, problems) = labelled(labels, server);
    assert_eq!(problems, []);
    serving.publish(config);
}

/// Changes the configuration again and again: the weight of the server, which has nothing to do with it.
fn change_often(serving: &Serving, labels: Pairs<'_>, server: SocketAddr) {
    for n in 0..CHANGES {
        let weight = (1 + n % 2).to_string();
        change(serving, &[labels, &[("traefik.weight", &weight)]].concat(), server);
    }
}

/// The answer to a request on a connection of its own, with these lines besides.
async fn get(serving: &Serving, lines: &str) -> String {
    let host = if lines.contains("Host: ") { "" } else { "Host: web.t\r\n" };
    let request = format!("GET / HTTP/1.1\r\n{host}{lines}Connection: close\r\n\r\n");
    timeout(PATIENCE, exchange(serving.addr, request.as_bytes())).await.expect("an answer")
}

/// The statuses of so many requests, one after another.
async fn statuses(serving: &Serving, lines: &str, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(status(&get(serving, lines).await));
    }
    statuses
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect(answer)
}

/// The value of a header line.
fn line<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// What the steps of the only frontend do just now.
fn acts(serving: &Serving) -> Vec<String> {
    let view = serving.state.view();
    let route = view.table.routes().first().expect("a frontend");
    route.chain.iter().filter_map(|step| step.acts(serving.state.now_ms())).collect()
}

/// What the steps of the only frontend are.
fn steps(serving: &Serving) -> Vec<String> {
    let view = serving.state.view();
    let route = view.table.routes().first().expect("a frontend");
    route.chain.iter().map(|step| step.describe()).collect()
}

const RATE: Pairs<'_> = &[
    ("traefik.frontend.rateLimit.extractorFunc", "client.ip"),
    ("traefik.frontend.rateLimit.rateSet.slow.period", "1h"),
    ("traefik.frontend.rateLimit.rateSet.slow.average", "1"),
    ("traefik.frontend.rateLimit.rateSet.slow.burst", "4"),
    ("traefik.frontend.rateLimit.rateSet.fast.period", "1s"),
    ("traefik.frontend.rateLimit.rateSet.fast.average", "100"),
    ("traefik.frontend.rateLimit.rateSet.fast.burst", "100"),
];

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told_when_to_come_again() {
    let origin = Origin::start(OK, false).await;
    let serving = serve(RATE, origin.addr);
    assert_eq!(statuses(&serving, "", 4).await, [200; 4]);
    let answer = get(&serving, "").await;
    assert!(answer.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{answer}");
    let seconds: u64 = line(&answer, "Retry-After").expect("a line").parse().expect("a number");
    assert!((3_500..=3_600).contains(&seconds), "{answer}");
    assert!(line(&answer, "X-Retry-In").is_some_and(|time| time.starts_with("59m5")), "{answer}");
    assert!(answer.contains("max rate reached: retry-in 59m5"), "{answer}");
    assert_eq!(origin.text().matches("GET / ").count(), 4);
    assert_eq!(acts(&serving), ["refused 1 in the last 10 s"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_half_empty_stays_so_across_changes() {
    let origin = Origin::start(OK, false).await;
    let serving = serve(RATE, origin.addr);
    assert_eq!(statuses(&serving, "", 2).await, [200; 2]);
    change_often(&serving, RATE, origin.addr);
    assert_eq!(statuses(&serving, "", 3).await, [200, 200, 429]);
    // Larger ones apply to the buckets there are: what was used is used.
    let mut larger = RATE.to_vec();
    larger[2].1 = "3600";
    change(&serving, &larger, origin.addr);
    eventually("a token comes back within a second", || async {
        status(&get(&serving, "").await) == 200
    })
    .await;
    // Without a limit everything passes, and a new limit begins anew.
    change(&serving, &[], origin.addr);
    assert_eq!(statuses(&serving, "", 9).await, [200; 9]);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_by_what_the_label_says() {
    let origin = Origin::start(OK, false).await;
    for (by, one, other) in [
        ("request.header.X-User", "x-user: me\r\n", "X-User: you\r\n"),
        ("request.host", "Host: a.t\r\n", "Host: b.t\r\n"),
    ] {
        let mut labels = RATE.to_vec();
        labels[0].1 = by;
        labels.push(("traefik.frontend.rule", "Host:web.t,a.t,b.t"));
        let serving = serve(&labels, origin.addr);
        assert_eq!(statuses(&serving, one, 5).await, [200, 200, 200, 200, 429], "{by}");
        assert_eq!(statuses(&serving, other, 5).await, [200, 200, 200, 200, 429], "{by}");
    }
    // Whoever is not trusted cannot say that he is somebody else.
    let serving = serve(RATE, origin.addr);
    for n in 0..4 {
        assert_eq!(status(&get(&serving, &format!("X-Forwarded-For: 10.0.0.{n}\r\n")).await), 200);
    }
    assert_eq!(status(&get(&serving, "X-Forwarded-For: 10.0.0.9\r\n").await), 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_labels_of_rancher_tools_limit_too() {
    let origin = Origin::start(OK, false).await;
    let labels = [
        ("traefik.enable", "true"),
        ("traefik.alias.fqdn", "web.t"),
        ("traefik.ratelimit.enable", "true"),
        ("traefik.ratelimit.period", "1h"),
        ("traefik.ratelimit.average", "1"),
        ("traefik.ratelimit.burst", "2"),
    ];
    let serving = serve(&labels, origin.addr);
    assert_eq!(statuses(&serving, "", 3).await, [200, 200, 429]);
    let (config, _) = labelled(&labels[..3], origin.addr);
    serving.publish(config);
    assert_eq!(steps(&serving), ["rate limit by client.ip: 100 in 10s (at once 200)"]);
}

const BREAKER: (&str, &str) = (
    "traefik.backend.circuitbreaker.expression",
    "NetworkErrorRatio() > 0.5 || ResponseCodeRatio(500, 600, 0, 600) > 0.5",
);

#[tokio::test(flavor = "multi_thread")]
async fn an_open_breaker_stays_open_across_changes() {
    let origin = Origin::start(BROKEN, false).await;
    let serving = serve(&[BREAKER], origin.addr);
    assert_eq!(status(&get(&serving, "").await), 500);
    let refused = get(&serving, "").await;
    assert!(refused.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{refused}");
    let seconds: u64 = line(&refused, "Retry-After").expect("a line").parse().expect("a number");
    assert!((9..=10).contains(&seconds), "{refused}");
    change_often(&serving, &[BREAKER], origin.addr);
    assert_eq!(status(&get(&serving, "").await), 503);
    assert_eq!(origin.text().matches("GET / ").count(), 1);
    let acting = acts(&serving);
    assert!(matches!(&*acting, [what] if what.starts_with("open for ")), "{acting:?}");
    // It belongs to the backend: without the label nothing is refused.
    change(&serving, &[], origin.addr);
    assert_eq!(status(&get(&serving, "").await), 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_reached_opens_it_for_all_frontends_of_its_backend() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("bound").local_addr().expect("one");
    let port = nobody.port().to_string();
    let labels = [
        ("traefik.backend.circuitbreaker.expression", "NetworkErrorRatio() > 0.5"),
        ("traefik.backend", "shared"),
        ("traefik.frontend.rule", "Host:web.t"),
        ("traefik.port", &port),
    ];
    let mut other = labels;
    other[2].1 = "Host:other.t";
    let mut second = service(&other, nobody);
    (second.id, second.name) = ("c2".into(), "other".into());
    let services = vec![Arc::new(service(&labels, nobody)), Arc::new(second)];
    let (config, _) = planned(ProviderName::Docker, &Snapshot { services, ..Snapshot::default() });
    assert_eq!((config.frontends.len(), config.backends.len()), (2, 1));
    let serving = proxy();
    serving.publish(config);
    assert_eq!(status(&get(&serving, "").await), 502);
    assert_eq!(status(&get(&serving, "").await), 503);
    assert_eq!(status(&get(&serving, "Host: other.t\r\n").await), 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_opens_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = head(&mut stream).await;
            // What is measured is time.
            tokio::time::sleep(Duration::from_millis(80)).await;
            let _ = stream.write_all(OK).await;
        }
    });
    let expression = "LatencyAtQuantileMS(50.0) > 50";
    let serving = serve(&[("traefik.backend.circuitbreaker.expression", expression)], addr);
    assert_eq!(statuses(&serving, "", 2).await, [200, 503]);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_closes_again_bit_by_bit() {
    let is_well = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("an address");
    let server_is_well = Arc::clone(&is_well);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = head(&mut stream).await;
            let is_well = server_is_well.load(Ordering::SeqCst) > 0;
            let _ = stream.write_all(if is_well { OK } else { BROKEN }).await;
        }
    });
    let serving = serve(&[BREAKER], addr);
    assert_eq!(statuses(&serving, "", 2).await, [500, 503]);
    is_well.store(1, Ordering::SeqCst);
    let start = Instant::now();
    let (mut passed, mut refused_after) = (0, 0);
    while passed < 20 {
        assert!(start.elapsed() < PATIENCE, "only {passed} passed");
        match status(&get(&serving, "").await) {
            200 => passed += 1,
            503 if passed > 0 => refused_after += 1,
            503 => {}
            other => panic!("{other}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(start.elapsed() > Duration::from_secs(9), "it was open for {:?}", start.elapsed());
    assert!(refused_after > 20, "the first ones that pass are few: {refused_after} were refused");
}

/// A server that answers when it is told to, once for each request that has come: how many came, and the word to answer.
struct Held {
    addr: SocketAddr,
    came: Arc<AtomicUsize>,
    go: Arc<tokio::sync::Semaphore>,
}

impl Held {
    async fn start(answer: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let addr = listener.local_addr().expect("an address");
        let (came, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Semaphore::new(0)));
        let held = Self { addr, came: Arc::clone(&came), go: Arc::clone(&go) };
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (came, go) = (Arc::clone(&came), Arc::clone(&go));
                tokio::spawn(async move {
                    while head(&mut stream).await.ends_with("\r\n\r\n") {
                        came.fetch_add(1, Ordering::SeqCst);
                        go.acquire().await.expect("open").forget();
                        if stream.write_all(answer).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        held
    }

    /// Sends a request, and waits until it is here; or until it is answered by somebody else.
    async fn asked(&self, serving: &Serving, request: &str) -> Option<TcpStream> {
        let before = self.came.load(Ordering::SeqCst);
        let mut stream = TcpStream::connect(serving.addr).await.expect("connected");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let here =
            eventually("the request comes", || async { self.came.load(Ordering::SeqCst) > before });
        let is_here = tokio::select! {
            () = here => true,
            _ = stream.readable() => false,
        };
        is_here.then_some(stream)
    }

    /// Waits until there is room for one more, and takes it.
    async fn takes_one_more(&self, serving: &Serving) -> TcpStream {
        let taken = Mutex::new(None);
        eventually("there is room for one more", || async {
            let stream = self.asked(serving, GET).await;
            let is_taken = stream.is_some();
            *taken.lock().expect("not poisoned") = stream;
            is_taken
        })
        .await;
        taken.into_inner().expect("not poisoned").expect("taken")
    }
}

const TWO_AT_ONCE: Pairs<'_> = &[("traefik.backend.maxconn.amount", "2")];
const GET: &str = "GET / HTTP/1.1\r\nHost: web.t\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_is_counted_across_changes() {
    let held = Held::start(OK).await;
    let serving = serve(TWO_AT_ONCE, held.addr);
    let first = held.asked(&serving, GET).await.expect("room");
    let second = held.asked(&serving, GET).await.expect("room");
    let refused = get(&serving, "").await;
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert!(refused.ends_with("max connections reached: 2\n"), "{refused}");
    change_often(&serving, TWO_AT_ONCE, held.addr);
    assert_eq!(statuses(&serving, "", 3).await, [429; 3]);
    assert_eq!(acts(&serving), ["refused 4 in the last 10 s"]);
    // One of them ends: there is room for one.
    held.go.add_permits(1);
    tokio::select! {
        ready = first.readable() => ready.expect("an answer"),
        ready = second.readable() => ready.expect("an answer"),
    }
    let _third = held.takes_one_more(&serving).await;
    assert_eq!(statuses(&serving, "", 3).await, [429; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_by_one_limit_takes_nothing_of_the_next() {
    // Four requests an hour, one at a time: those that find the place taken are not counted.
    let held = Held::start(OK).await;
    let one_at_once = [RATE, &[("traefik.backend.maxconn.amount", "1")]].concat();
    let serving = serve(&one_at_once, held.addr);
    let first = held.asked(&serving, GET).await.expect("room");
    for _ in 0..9 {
        let refused = get(&serving, "").await;
        assert!(refused.ends_with("max connections reached: 1\n"), "{refused}");
    }
    held.go.add_permits(9);
    first.readable().await.expect("an answer");
    let mut came = 1;
    let refused = loop {
        let answer = get(&serving, "").await;
        match status(&answer) {
            200 => came += 1,
            _ if answer.contains("max connections reached") => {}
            _ => break answer,
        }
    };
    assert!(refused.contains("max rate reached"), "{refused}");
    assert_eq!(came, 4);
    // Nor are those that an open breaker refuses.
    let origin = Origin::start(BROKEN, false).await;
    let serving = serve(&[RATE, &[BREAKER]].concat(), origin.addr);
    assert_eq!(status(&get(&serving, "").await), 500);
    assert_eq!(statuses(&serving, "", 9).await, [503; 9]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_makes_room() {
    let held = Held::start(OK).await;
    let serving = serve(&[("traefik.backend.maxconn.amount", "1")], held.addr);
    let gone = held.asked(&serving, GET).await;
    assert_eq!(status(&get(&serving, "").await), 429);
    drop(gone);
    let _next = held.takes_one_more(&serving).await;
    assert_eq!(status(&get(&serving, "").await), 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_counts_as_long_as_it_is_open() {
    let switched =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let held = Held::start(switched).await;
    let serving = serve(&[("traefik.backend.maxconn.amount", "1")], held.addr);
    held.go.add_permits(1);
    let request =
        "GET / HTTP/1.1\r\nHost: web.t\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut socket = TcpStream::connect(serving.addr).await.expect("connected");
    socket.write_all(request.as_bytes()).await.expect("sent");
    assert_eq!(status(&timeout(PATIENCE, head(&mut socket)).await.expect("an answer")), 101);
    assert_eq!(statuses(&serving, "", 3).await, [429; 3]);
    drop(socket);
    let _next = held.takes_one_more(&serving).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_maintenance_nobody_comes_in_but_those_who_work() {
    let origin = Origin::start(OK, false).await;
    let on = [("traefik.frontend.maintenance", "10m")];
    let serving = serve(&on, origin.addr);
    let answer = get(&serving, "").await;
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    assert_eq!(line(&answer, "Retry-After"), Some("600"));
    assert_eq!(line(&answer, "Content-Type"), Some("text/html; charset=utf-8"));
    assert!(answer.contains("<h1>Maintenance</h1>"), "{answer}");
    assert_eq!(origin.text(), "");
    assert_eq!(acts(&serving), ["in maintenance: answers 503"]);
    let failures = serving.state.live.failures.last(10);
    let why: Vec<&str> = failures.iter().map(|failure| &*failure.why).collect();
    assert_eq!(why, ["answered by its frontend with 503: it is in maintenance"]);
    for (except, expected) in
        [("127.0.0.1", 200), ("10.0.0.0/8,127.0.0.0/8", 200), ("10.0.0.0/8", 503)]
    {
        let labels = [on[0], ("traefik.frontend.maintenanceExcept", except)];
        change(&serving, &labels, origin.addr);
        assert_eq!(status(&get(&serving, "").await), expected, "{except}");
    }
    change(&serving, &[("traefik.frontend.maintenance", "true")], origin.addr);
    assert_eq!(line(&get(&serving, "").await, "Retry-After"), Some("60"));
    change(&serving, &[("traefik.frontend.maintenance", "false")], origin.addr);
    assert_eq!(status(&get(&serving, "").await), 200);
}

/// What a rule file asks for.
fn filed(text: &str) -> (Config, Vec<Problem>) {
    let document = Document {
        name: "rules.toml".into(),
        is_main: false,
        tree: Language::Toml.parse(text).expect("TOML"),
        addresses: std::collections::BTreeMap::new(),
    };
    let documents = vec![Arc::new(document)];
    planned(ProviderName::File, &Snapshot { documents, ..Snapshot::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_asks_for_the_same() {
    let origin = Origin::start(BROKEN, false).await;
    let text = |maintenance: &str| {
        format!(
            "[frontends.web]\nbackend = \"web\"\nmaintenance = {maintenance}\nmaintenanceExcept = [\"10.0.0.0/8\"]\n\
             [frontends.web.routes.any]\nrule = \"Host:web.t\"\n\
             [frontends.web.rateLimit]\nextractorFunc = \"client.ip\"\n\
             [frontends.web.rateLimit.rateSet.a]\nperiod = \"1h\"\naverage = 1\nburst = 5\n\
             [backends.web.servers.one]\nurl = \"http://{}\"\n\
             [backends.web.maxConn]\namount = 10\nextractorFunc = \"client.ip\"\n\
             [backends.web.circuitBreaker]\nexpression = \"ResponseCodeRatio(500, 600, 0, 600) > 0.5\"\n",
            origin.addr
        )
    };
    let serving = proxy();
    let (config, problems) = filed(&text("\"1m\""));
    assert_eq!(problems, []);
    serving.publish(config);
    assert_eq!(line(&get(&serving, "").await, "Retry-After"), Some("60"));
    serving.publish(filed(&text("false")).0);
    assert_eq!(statuses(&serving, "", 2).await, [500, 503]);
    let expected = [
        "circuit breaker ResponseCodeRatio(500, 600, 0, 600) > 0.5",
        "at most 10 requests under way by client.ip",
        "rate limit by client.ip: 1 in 1h0m0s (at once 5)",
    ];
    assert_eq!(steps(&serving), expected);
}

#[track_caller]
fn is_reported(problems: &[Problem], texts: &[&str], of: &str) {
    let found = |text: &&&str| problems.iter().any(|problem| problem.message.contains(**text));
    let missing: Vec<_> = texts.iter().filter(|text| !found(text)).collect();
    assert!(missing.is_empty(), "{of}: {missing:?} in {problems:#?}");
    assert_eq!(problems.len(), texts.len(), "{of}: {problems:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_a_problem_and_left_out() {
    let origin = Origin::start(OK, false).await;
    let by = ("traefik.frontend.rateLimit.extractorFunc", "client.ip");
    let [period, average, burst] = ["period", "average", "burst"]
        .map(|key| format!("traefik.frontend.rateLimit.rateSet.a.{key}"));
    let cases: &[(Pairs<'_>, &[&str])] = &[
        (
            &[("traefik.backend.circuitbreaker.expression", "NetworkErrorRatio() > many")],
            &[
                "circuitbreaker.expression: \"NetworkErrorRatio() > many\" cannot be read: \"many\" stands where a number",
            ],
        ),
        (
            &[("traefik.backend.maxconn.amount", "-1")],
            &["maxconn.amount: -1 is not at least 1; it is left out."],
        ),
        (&[("traefik.backend.maxconn.amount", "0")], &[]),
        (
            &[("traefik.backend.maxconn.amount", "1x")],
            &["maxconn.amount: \"1x\" is not a whole number; it is left out."],
        ),
        (
            &[
                ("traefik.backend.maxconn.extractorfunc", "client"),
                ("traefik.backend.maxconn.amount", "0"),
            ],
            &[
                "maxconn.extractorfunc: \"client\" is nothing that requests are counted by; it is left out.",
            ],
        ),
        (
            &[
                ("traefik.backend.maxconn.extractorfunc", "client"),
                ("traefik.backend.maxconn.amount", "10"),
            ],
            &[
                "maxconn.extractorfunc: \"client\" is nothing that requests are counted by; it is left out.",
                "maxconn.amount: what it counts by cannot be read; it is left out.",
            ],
        ),
        (&[by], &["rateLimit.extractorFunc: there is no rate; it is left out."]),
        (
            &[(&period, "1s"), (&average, "1"), (&burst, "1")],
            &["rateLimit.rateSet: nothing says what requests are counted by; it is left out."],
        ),
        (
            &[by, (&period, "0s"), (&average, "1"), (&burst, "1")],
            &[
                "traefik.frontend.rateLimit.rateSet.a: its period is missing, or not above 0; it is left out.",
            ],
        ),
        (
            &[by, (&period, "1s"), (&average, "0"), (&burst, "1")],
            &["rateSet.a: its average is missing"],
        ),
        (&[by, (&period, "1s"), (&average, "1")], &["rateSet.a: its burst is missing"]),
        (
            &[by, (&period, "1s"), (&average, "1"), (&burst, "x")],
            &["rateSet.a.burst: \"x\" is not a whole number", "rateSet.a: its burst is missing"],
        ),
        (
            &[("traefik.frontend.maintenance", "soon")],
            &["maintenance: \"soon\" is neither true nor false nor a time; it is left out."],
        ),
        (
            &[("traefik.frontend.maintenanceExcept", "10.0.0.0/99")],
            &[
                "maintenanceExcept: \"10.0.0.0/99\" is neither an address nor a network; it is left out.",
            ],
        ),
        (
            &[
                ("traefik.seg.frontend.rule", "Host:web.t"),
                ("traefik.seg.frontend.rateLimit.extractorFunc", "client.ip"),
            ],
            &["traefik.seg.frontend.rateLimit.extractorFunc: there is no rate; it is left out."],
        ),
    ];
    let serving = proxy();
    for (labels, expected) in cases {
        let (config, problems) = labelled(labels, origin.addr);
        is_reported(&problems, expected, &format!("{labels:?}"));
        serving.publish(config);
        assert_eq!(statuses(&serving, "", 3).await, [200; 3], "{labels:?}");
    }
    // A good one beside it is kept.
    let good = ("traefik.frontend.rateLimit.rateSet.b.period", "1h");
    let good = [
        good,
        ("traefik.frontend.rateLimit.rateSet.b.average", "1"),
        ("traefik.frontend.rateLimit.rateSet.b.burst", "1"),
    ];
    let (config, problems) = labelled(&[&[by, (&period, "1s")][..], &good].concat(), origin.addr);
    is_reported(&problems, &["rateSet.a: its average is missing"], "beside a good one");
    serving.publish(config);
    assert_eq!(statuses(&serving, "", 2).await, [200, 429]);
    // Of too many, as many are kept as there may be.
    let key = |n: u8, key: &str| format!("traefik.frontend.rateLimit.rateSet.r{n}.{key}");
    let rate = |n| [(key(n, "period"), "2h"), (key(n, "average"), "1"), (key(n, "burst"), "1")];
    let nine: Vec<(String, &str)> = (1..10).flat_map(rate).collect();
    let nine = nine.iter().map(|(key, value)| (key.as_str(), *value));
    let (config, problems) = labelled(&nine.chain([by]).collect::<Vec<_>>(), origin.addr);
    is_reported(&problems, &["rateSet.r9: one limit has up to 8 rates; it is left out."], "nine");
    serving.publish(config);
    assert_eq!(statuses(&serving, "", 2).await, [200, 429]);
}

#[test]
fn what_a_file_says_wrong_is_reported_at_its_line() {
    let text = "[frontends.web]\nbackend = \"web\"\nmaintenance = \"soon\"\n\
                [frontends.web.routes.any]\nrule = \"Host:web.t\"\n\
                [frontends.web.rateLimit]\nextractorFunc = \"client.ip\"\n\
                [frontends.web.rateLimit.rateSet.a]\nperiod = \"1h\"\naverage = 1\n\
                [backends.web.servers.one]\nurl = \"http://127.0.0.1:1\"\n\
                [backends.web.maxConn]\namount = -3\n\
                [backends.web.circuitBreaker]\nexpression = \"NetworkErrorRatio()\"\n";
    let (_, problems) = filed(text);
    let found: Vec<(String, String)> = problems
        .iter()
        .map(|problem| (problem.origin.to_string(), problem.message.clone()))
        .collect();
    let expected = [
        (
            "rules.toml:3:",
            "frontends.web.maintenance: \"soon\" is neither true nor false nor a time",
        ),
        (
            "rules.toml:8:",
            "frontends.web.rateLimit.rateSet.a: its burst is missing, or not above 0",
        ),
        ("rules.toml:14:", "backends.web.maxConn.amount: -3 is not at least 1"),
        ("rules.toml:16:", "compared with nothing"),
    ];
    for (place, text) in expected {
        let is_there = |(at, what): &&(String, String)| at.contains(place) && what.contains(text);
        assert!(found.iter().find(is_there).is_some(), "{place} {text}: {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}
