//! The Rancher metadata service, well and ill.

#![allow(clippy::needless_pass_by_value)] // what `json!` makes is handed on

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use herder::config::Config;
use herder::demo::metadata::{Answers, Handle, Server};
use herder::model::{ProviderName, Snapshot};
use herder::plan::{Input, plan};
use herder::providers::rancher::{Rancher, answers};
use herder::providers::{Depth, Provider};
use herder::settings::{RancherSettings, Typed};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::herder::Herder;
use crate::harness::{PATIENCE, eventually};

fn settings(addr: SocketAddr) -> RancherSettings {
    let typed = Typed {
        docker: Some(false),
        rancher_metadata_url: Some(format!("http://{addr}")),
        rancher_domain: Some("local".to_owned()),
        ..Typed::default()
    };
    typed.meant().expect("they fit together").rancher.expect("it is described")
}

fn serve(services: Value) -> (SocketAddr, Handle) {
    let server =
        Server::bind("127.0.0.1:0".parse().expect("an address"), tree(services)).expect("bound");
    let (addr, handle) = (server.local_addr(), server.handle());
    tokio::spawn(server.run(std::future::pending()));
    (addr, handle)
}

fn tree(services: Value) -> Answers {
    Answers { default: json!({"services": services, "stacks": []}), ..Answers::default() }
}

fn container(name: &str, ip: &str, state: &str, health: Value) -> Value {
    json!({"name": name, "primary_ip": ip, "state": state, "health_state": health})
}

fn service(name: &str, stack: &str, labels: Value, containers: Value) -> Value {
    json!({"name": name, "stack_name": stack, "uuid": format!("{name}-{stack}"), "kind": "service",
           "state": "active", "labels": labels, "containers": containers})
}

fn enabled(port: &str) -> Value {
    json!({"traefik.enable": "true", "traefik.port": port})
}

/// `rule -> urls`, as the snapshot is planned.
fn routes(settings: &RancherSettings, snapshot: &Snapshot) -> Vec<String> {
    let provider = ProviderName::Rancher;
    let input = Input { provider, snapshot, defaults: &settings.defaults };
    let (config, _) = plan(&[input], &Config::default());
    let line = |frontend: &herder::config::Frontend| {
        let servers = config.backends[&frontend.backend].servers.values();
        let urls: Vec<String> = servers.map(|server| server.url()).collect();
        format!("{} -> {}", frontend.rule.text(), urls.join(" "))
    };
    config.frontends.values().map(|frontend| line(frontend)).collect()
}

async fn routes_of(services: Value) -> Vec<String> {
    let (addr, _) = serve(services);
    let settings = settings(addr);
    let mut rancher = Rancher::new(&settings).expect("a provider");
    let snapshot = rancher.fetch(Depth::Everything).await.expect("an answer");
    routes(&settings, &snapshot)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_healthy_and_running_containers_are_served() {
    let containers = json!([
        container("a", "10.0.0.1", "running", json!("healthy")),
        container("b", "10.0.0.2", "running", json!("unhealthy")),
        container("c", "10.0.0.3", "running", json!("initializing")),
        container("d", "10.0.0.4", "stopped", json!("healthy")),
        container("e", "10.0.0.5", "stopping", json!("healthy")),
        container("f", "10.0.0.6", "running", json!("updating-healthy")),
        {"name": "g", "primary_ip": null, "state": "running", "health_state": "healthy"},
        container("h", "10.0.0.8", "updating-running", json!("healthy")),
        container("i", "10.0.0.9", "upgraded", json!("healthy")),
    ]);
    let found =
        routes_of(json!([service("web-test", "proxy-test", enabled("8080"), containers)])).await;
    assert_eq!(
        found,
        ["Host:web-test.proxy-test.local -> http://10.0.0.1:8080 http://10.0.0.6:8080 \
          http://10.0.0.8:8080 http://10.0.0.9:8080"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_health_check_the_frontend_is_there_and_its_backend_is_empty() {
    let containers = json!([container("a", "10.0.0.1", "running", Value::Null)]);
    let found = routes_of(json!([service("web", "shop", enabled("80"), containers)])).await;
    assert_eq!(found, ["Host:web.shop.local -> "]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rancher_tools_dialect_is_read() {
    let healthy = || json!([container("a", "10.0.0.1", "running", json!("healthy"))]);
    let found = routes_of(json!([
        service(
            "one",
            "s",
            json!({"traefik.enable": "stack", "traefik.domain": "a.b, c.d"}),
            healthy()
        ),
        service(
            "two",
            "s",
            json!({"traefik.enable": "true", "traefik.domain": "a.b", "traefik.alias": "x,y",
                   "traefik.alias.fqdn": "Whole.Name", "traefik.path.prefix.strip": "/API"}),
            healthy()
        ),
        service("three", "s", json!({"traefik.domain": "a.b", "traefik.alias": "z"}), healthy()),
    ]))
    .await;
    assert_eq!(
        found,
        [
            "Host:s.a.b,s.c.d -> http://10.0.0.1:80",
            "Host:two.s.a.b,x.a.b,y.a.b,whole.name;PathPrefix:/api -> http://10.0.0.1:80",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_name_in_two_stacks_and_addresses_outside() {
    let healthy = |ip: &str| json!([container("a", ip, "running", json!("healthy"))]);
    let found = routes_of(json!([
        service("web", "one", enabled("80"), healthy("10.0.0.1")),
        service("web", "two", enabled("80"), healthy("10.0.0.2")),
        {"name": "out", "stack_name": "one", "kind": "externalService", "external_ips": ["192.0.2.1"],
         "labels": {"traefik.enable": "true", "traefik.port": "81"}, "state": null, "hostname": null},
        {"name": "lb", "stack_name": "one", "kind": "loadBalancerService", "state": "active",
         "labels": {"traefik.enable": "true", "traefik.port": "82", "traefik.frontend.rule": "Host:lb.local"},
         "containers": healthy("10.0.0.3")},
        {"name": null}, null, 5,
    ]))
    .await;
    assert_eq!(
        found,
        [
            "Host:lb.local -> http://10.0.0.3:82",
            "Host:out.one.local -> http://192.0.2.1:81",
            "Host:web.one.local -> http://10.0.0.1:80",
            "Host:web.two.local -> http://10.0.0.2:80",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_services_and_news_by_long_poll() {
    let many = |count: usize| -> Value {
        let one = |n: usize| {
            let ip = format!("10.1.{}.{}", n / 250, n % 250 + 1);
            let healthy = json!([container("a", &ip, "running", json!("healthy"))]);
            service(&format!("s{n}"), "many", enabled("80"), healthy)
        };
        (0..count).map(one).collect()
    };
    let (addr, handle) = serve(many(1_000));
    let settings = settings(addr);
    assert_eq!(answers(&settings).await.expect("it answers"), "1");
    let mut rancher = Rancher::new(&settings).expect("a provider");
    let snapshot = rancher.fetch(Depth::Everything).await.expect("an answer");
    assert_eq!(routes(&settings, &snapshot).len(), 1_000);
    assert_eq!(rancher.fetch(Depth::News).await.expect("from memory"), snapshot);
    let (news, ()) = tokio::join!(tokio::time::timeout(PATIENCE, rancher.changed()), async {
        handle.set(tree(many(1_001)));
    });
    news.expect("in time").expect("news");
    let snapshot = rancher.fetch(Depth::News).await.expect("an answer");
    assert_eq!(routes(&settings, &snapshot).len(), 1_001);
}

/// A server that answers everything so, whatever it is asked.
async fn bad(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(answer).await;
        }
    });
    let mut rancher = Rancher::new(&settings(addr)).expect("a provider");
    let fetched = tokio::time::timeout(PATIENCE, rancher.fetch(Depth::Everything)).await;
    fetched.expect("it ends in time").expect_err("it cannot be used").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_answer_has_its_words() {
    let redirect =
        bad(b"HTTP/1.1 302 Found\r\nLocation: http://evil.test/\r\nContent-Length: 0\r\n\r\n")
            .await;
    assert!(redirect.contains("http://evil.test/"), "{redirect}");
    let garbage = bad(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n<html>\r\n").await;
    assert!(garbage.contains("not JSON"), "{garbage}");
    bad(b"HTTP/1.1 200 OK\r\nContent-Length: 80\r\n\r\n\"1").await;
    bad(b"not http at all\r\n\r\n").await;
    bad(b"").await;
    let ill = bad(b"HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\noh\n").await;
    assert!(ill.contains("500"), "{ill}");
    let (addr, _) = serve(json!([]));
    let wrong = RancherSettings { version: "1999".to_owned(), ..settings(addr) };
    let wrong = Rancher::new(&wrong).expect("a provider").fetch(Depth::News).await;
    let wrong = wrong.expect_err("no such version").to_string();
    assert!(wrong.contains("1999") && wrong.contains("latest"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_stay_while_the_service_is_gone_and_follow_when_it_is_back() {
    let web = herder::demo::web_test::WebTest::bind("127.0.0.1:0".parse().expect("a port"), "one");
    let web = web.expect("bound");
    let port = web.local_addr().port().to_string();
    tokio::spawn(web.run(std::future::pending()));
    let services = |health: &str| {
        let containers = json!([container("a", "127.0.0.1", "running", json!(health))]);
        tree(json!([service("web", "shop", enabled(&port), containers)]))
    };
    let start = |addr: SocketAddr, answers: Answers| {
        let server = Server::bind(addr, answers).expect("bound");
        let (addr, (stop, stopped)) = (server.local_addr(), tokio::sync::oneshot::channel::<()>());
        let running = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        (addr, stop, running)
    };
    let (addr, stop, running) =
        start("127.0.0.1:0".parse().expect("an address"), services("healthy"));
    let url = format!("--rancher.metadata.url=http://{addr}");
    let herder = Herder::start(&["run", "--rancher", &url, "--rancher.domain=local"]);
    let status = |wanted: u16| {
        let herder = &herder;
        eventually("the status changes", move || async move {
            herder.get("web.shop.local", "/").await.status == wanted
        })
    };
    status(200).await;
    assert_eq!(herder.admin("/ping").await.status, 200);

    drop(stop);
    running.await.expect("it ended");
    eventually("the loss is shown", || async {
        herder.admin("/").await.body.contains("stale") && herder.log().contains("its routes stay")
    })
    .await;
    status(200).await;

    // Connections of the old server may hold the port for a moment.
    let mut back = None;
    for _ in 0..100 {
        if let Ok(server) = Server::bind(addr, services("unhealthy")) {
            back = Some(server);
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::spawn(back.expect("the port is free again").run(std::future::pending()));
    status(503).await;
}

/// It listens from the first moment, and answers once it is told to: rules from a file are in force long before.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_file_knows_may_be_known_to_a_provider_that_has_not_answered_yet() {
    let containers = json!([container("a", "127.0.0.1", "running", json!("unhealthy"))]);
    let tree = tree(json!([service("web", "shop", enabled("80"), containers)]));
    let server = Server::bind("127.0.0.1:0".parse().expect("an address"), tree).expect("bound");
    let rules = tempfile::Builder::new().suffix(".toml").tempfile().expect("a file");
    let text = "[backends.b.servers.s]\nurl = \"http://127.0.0.1:1\"\n\n[frontends.f]\nbackend = \"b\"\n\
                [frontends.f.routes.r]\nrule = \"Host:file.local\"\n";
    std::fs::write(rules.path(), text).expect("written");
    let url = format!("--rancher.metadata.url=http://{}", server.local_addr());
    let file = format!("--file.filename={}", rules.path().display());
    let herder = Herder::start(&["run", &file, "--rancher", &url, "--rancher.domain=local"]);
    let status_of = |host: &'static str| herder.get(host, "/");
    eventually("the file's rules are in force", || async {
        status_of("file.local").await.status == 502
    })
    .await;
    assert_eq!(herder.admin("/ping").await.status, 200);
    let answer = status_of("unknown.local").await;
    assert_eq!((answer.status, answer.headers.contains_key("retry-after")), (503, true));
    let test = herder.admin("/api/explain?url=http://unknown.local/").await.body;
    assert!(test.contains("a provider has not answered yet: the client gets 503"), "{test}");

    tokio::spawn(server.run(std::future::pending()));
    eventually("all have answered", || async { status_of("unknown.local").await.status == 404 })
        .await;
    assert_eq!(status_of("web.shop.local").await.status, 503, "known, with nobody healthy");
    let test = herder.admin("/api/explain?url=http://unknown.local/").await.body;
    assert!(test.contains("No frontend takes it: the client gets 404."), "{test}");
}

/// Who does not answer in time is not asked again. That is news for whoever said how to ask, and for nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_left_out_since_he_did_not_answer_is_told() {
    let (addr, _) = serve(json!([]));
    let url = format!("--rancher.metadata.url=http://{addr}");
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("docker.sock");
    // It is there, and says nothing.
    let _socket = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
    let endpoint = format!("--docker.endpoint=unix://{}", socket.display());
    let herder = Herder::start(&["run", &endpoint, "--docker.domain=local", &url]);
    let log = herder.log();
    let line = log.lines().find(|line| line.contains("Docker is not used until the next start: "));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    for word in ["WARN", "docker.sock", "reads docker.endpoint, docker.domain;", "say --docker to"]
    {
        assert!(line.contains(word), "{word}: {line}");
    }
    // With nothing said of it, whether there is one or not depends on the machine.
    let herder = Herder::start(&["run", "--docker=false", &url]);
    let log = herder.log();
    let line = log.lines().find(|line| line.contains("Docker is not used: switched off"));
    assert!(line.is_some_and(|line| line.contains("INFO")), "{log}");
    assert!(!log.contains("WARN"), "{log}");
}

/// The requests of each server of the backend, by its name.
async fn requests_by_server(herder: &Herder) -> BTreeMap<String, u64> {
    let metrics = herder.admin("/metrics").await.body;
    let of_backend = "herder_server_requests_total{backend=\"rancher/backend-web-shop\",server=\"";
    let samples = metrics.lines().filter_map(|line| line.strip_prefix(of_backend));
    let sample = |line: &str| {
        let (name, count) = line.split_once("\"} ").expect("one label more");
        (name.to_owned(), count.parse().expect("a count"))
    };
    samples.map(sample).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_a_container_stays_with_it_when_another_one_leaves() {
    let containers: Vec<Value> = ["shop-web-1", "shop-web-2", "shop-web-3"].map(web).into();
    let labels = json!({
        "traefik.enable": "true", "traefik.backend.loadbalancer.stickiness": "true",
        "traefik.backend.loadbalancer.stickiness.cookieName": "who",
        "traefik.backend.healthcheck.path": "/health", "traefik.backend.healthcheck.interval": "1s",
    });
    let services =
        |containers: &[Value]| json!([service("web", "shop", labels.clone(), json!(containers))]);
    let (addr, handle) = serve(services(&containers));
    let url = format!("--rancher.metadata.url=http://{addr}");
    let herder = Herder::start(&["run", "--rancher", &url, "--rancher.domain=local"]);
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let ask = async |cookie: &str| {
        let request = client.get(format!("http://{}/", herder.http)).header("cookie", cookie);
        let answer = request.header("host", "web.shop.local").send().await.expect("an answer");
        let cookie = answer.headers().get("set-cookie").map(|value| value.as_bytes().to_vec());
        let cookie = String::from_utf8(cookie.unwrap_or_default()).expect("text");
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        (answer.text().await.expect("a body"), cookie)
    };
    eventually("all three serve", || async {
        _ = ask("").await;
        requests_by_server(&herder).await.len() == 3
    })
    .await;
    // The last one has a client of its own, and so more requests than the others.
    let mut own = String::new();
    while own.is_empty() {
        let (body, cookie) = ask("").await;
        own = if body.contains("Real-Server: shop-web-3") { cookie } else { own };
    }
    for _ in 0..200 {
        assert!(ask(&own).await.0.contains("Real-Server: shop-web-3"));
    }

    let load = async {
        loop {
            _ = ask("").await;
        }
    };
    let health = async || {
        let servers = herder.admin("/api/health").await.json()["servers"].take();
        let servers = servers.as_array().expect("a list").clone();
        let row = |server: &Value| (server["server"].to_string(), server["since"].to_string());
        servers.iter().map(row).collect::<BTreeMap<String, String>>()
    };
    let leaving = async {
        let (health_before, counts) =
            (health().await, Mutex::new(requests_by_server(&herder).await));
        let at_leaving = counts.lock().expect("not poisoned").clone();
        handle.set(tree(services(&containers[1..])));
        let goes_on = |name: &str, counts: &BTreeMap<String, u64>| {
            counts.get(name).is_some_and(|count| *count > at_leaving[name] + 50)
        };
        eventually("the first is gone, and the others go on", || async {
            let now = requests_by_server(&herder).await;
            let mut last = counts.lock().expect("not poisoned");
            for (name, count) in &now {
                assert!(*count >= last[name], "{name} began anew: {last:?}, {now:?}");
            }
            let is_gone = now.keys().eq(["shop-web-2", "shop-web-3"]);
            last.extend(now);
            is_gone && goes_on("shop-web-2", &last) && goes_on("shop-web-3", &last)
        })
        .await;
        let mut expected = health_before;
        expected.remove("\"shop-web-1\"").expect("it was there");
        assert_eq!(health().await, expected, "who stays is well since it was");
    };
    tokio::select! {
        () = load => unreachable!("it goes on for ever"),
        () = leaving => {}
    }
    assert!(ask(&own).await.0.contains("Real-Server: shop-web-3"), "the cookie holds");
}

/// A container that runs here and says who it is, as Rancher tells of it.
fn web(name: &str) -> Value {
    let web = herder::demo::web_test::WebTest::bind("127.0.0.1:0".parse().expect("a port"), name);
    let web = web.expect("bound");
    let port = web.local_addr().port();
    tokio::spawn(web.run(std::future::pending()));
    json!({"name": name, "primary_ip": "127.0.0.1", "state": "running", "health_state": "healthy",
           "ports": [format!("0.0.0.0:{port}:{port}/tcp")]})
}

/// A metadata service that answers by path, with these pieces, each after this pause. Counts what it is asked.
async fn scripted(
    answer: impl Fn(&str, usize) -> (Vec<String>, Duration) + Send + Sync + 'static,
) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("an address");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (all, answer) = (Arc::clone(&asked), Arc::new(answer));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (all, answer) = (Arc::clone(&all), Arc::clone(&answer));
            tokio::spawn(async move {
                loop {
                    let request = crate::harness::raw::head(&mut stream).await;
                    let Some(path) = request.split(' ').nth(1).map(str::to_owned) else { return };
                    let count = {
                        let mut all = all.lock().expect("not poisoned");
                        all.push(path.clone());
                        all.len()
                    };
                    let (pieces, pause) = answer(&path, count);
                    for piece in pieces {
                        if stream.write_all(piece.as_bytes()).await.is_err() {
                            return;
                        }
                        tokio::time::sleep(pause).await;
                    }
                }
            });
        }
    });
    (addr, asked)
}

/// A whole answer in one piece.
fn ok(body: &str) -> (Vec<String>, Duration) {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    (vec![answer], Duration::ZERO)
}

const ONE: &str = r#"[{"name": "web", "stack_name": "shop", "kind": "service", "containers": []}]"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_may_neither_be_huge_nor_drip() {
    let (addr, _) = scripted(|_, _| ok(&format!("\"{}\"", "x".repeat(10_000)))).await;
    let mut settings = settings(addr);
    settings.answers.bytes_max = 5_000;
    let huge = Rancher::new(&settings).expect("a provider").fetch(Depth::Everything).await;
    let huge = huge.expect_err("it is too large").to_string();
    assert!(huge.contains("more than 5000 bytes"), "{huge}");

    let drops = || std::iter::repeat_n(" ".to_owned(), 5_000);
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n".to_owned();
    let drip = move || [head.clone()].into_iter().chain(drops()).collect();
    let (addr, _) = scripted(move |_, _| (drip(), Duration::from_millis(20))).await;
    let mut settings = self::settings(addr);
    settings.answers.timeout = Duration::from_millis(300);
    let mut rancher = Rancher::new(&settings).expect("a provider");
    let slow = tokio::time::timeout(PATIENCE, rancher.fetch(Depth::Everything)).await;
    let slow = slow.expect("it ends in time");
    let slow = slow.expect_err("it drips").to_string();
    assert!(slow.contains("no whole answer to /version within 300ms"), "{slow}");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_answer_is_a_bad_one_and_not_an_unreachable_service() {
    let half = bad(b"HTTP/1.1 200 OK\r\nContent-Length: 80\r\n\r\n\"1").await;
    assert!(half.contains("it ended early"), "{half}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_version_is_all_that_is_asked() {
    let (addr, asked) = scripted(|path, _| match path.ends_with("/version") {
        true => ok("\"7\""),
        false => ok(ONE),
    })
    .await;
    let mut rancher = Rancher::new(&settings(addr)).expect("a provider");
    let first = rancher.fetch(Depth::Everything).await.expect("an answer");
    let before = asked.lock().expect("not poisoned").len();
    for _ in 0..3 {
        assert_eq!(rancher.fetch(Depth::News).await.expect("an answer"), first);
    }
    let asked = asked.lock().expect("not poisoned").clone();
    assert_eq!(asked[before..], ["/2016-07-29/version"; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_never_rests_ends_in_an_answer_all_the_same() {
    let (addr, asked) = scripted(|path, count| match path.contains("/version") {
        true => ok(&format!("\"{count}\"")),
        false => ok(ONE),
    })
    .await;
    let mut rancher = Rancher::new(&settings(addr)).expect("a provider");
    let snapshot = rancher.fetch(Depth::Everything).await.expect("an answer");
    let Snapshot { services, .. } = &snapshot;
    assert_eq!(services.len(), 1);
    let count = asked.lock().expect("not poisoned").len();
    assert!(count <= 8, "{count} questions for one look");
    // Two servers behind one name that disagree: news each time, and yet no storm of questions.
    for _ in 0..3 {
        tokio::time::timeout(PATIENCE, rancher.changed()).await.expect("in time").expect("news");
    }
    assert!(asked.lock().expect("not poisoned").len() <= count + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_disagree_for_ever_are_read_ever_less_often() {
    let turn = AtomicUsize::new(0);
    let (addr, asked) = scripted(move |path, _| {
        if !path.contains("/version") {
            return ok(ONE);
        }
        // Whoever waits for news is answered by the other one of two.
        let turn = match path.contains("wait=true") {
            true => turn.fetch_add(1, Relaxed) + 1,
            false => turn.load(Relaxed),
        };
        ok(&format!("\"{}\"", turn % 2))
    })
    .await;
    let mut rancher = Rancher::new(&settings(addr)).expect("a provider");
    let follows = async {
        loop {
            rancher.fetch(Depth::News).await.expect("an answer");
            rancher.changed().await.expect("news");
        }
    };
    let two_seconds = tokio::time::timeout(Duration::from_secs(2), follows).await;
    assert!(two_seconds.is_err(), "there is always news");
    let asked = asked.lock().expect("not poisoned");
    let reads = asked.iter().filter(|path| path.ends_with("/services")).count();
    assert!((3..=10).contains(&reads), "{reads} times in two seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_the_url_is_shown_to_nobody() {
    let (addr, _) = serve(json!([]));
    for url in [
        format!("http://me:geheim@{addr}"),
        "http://me:geheim@127.0.0.1:1".to_owned(),
        "http://me:geheim@not a host".to_owned(),
        "gopher://me:geheim@127.0.0.1".to_owned(),
    ] {
        let url = format!("--rancher.metadata.url={url}");
        let check = std::process::Command::new(env!("CARGO_BIN_EXE_herder"))
            .args(["check", "--rancher", &url, "--log.level=debug"])
            .output()
            .expect("herder runs");
        let said = [check.stdout, check.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(!said.contains("geheim"), "{url}: {said}");
    }
    let url = format!("--rancher.metadata.url=http://me:geheim@{addr}");
    let herder = Herder::start(&["run", "--rancher", &url, "--log.level=debug"]);
    eventually("it answers", || async { herder.admin("/ping").await.status == 200 }).await;
    for path in ["/", "/api", "/api/explain", "/health", "/metrics"] {
        assert!(!herder.admin(path).await.body.contains("geheim"), "{path}");
    }
    assert!(!herder.log().contains("geheim"), "{}", herder.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_service_walks_its_tree_as_the_real_one_does() {
    let tree = json!({"services": [
        {"name": "a b", "ports": ["80:80/tcp"], "labels": {"x": "1"}}], "hosts": []});
    let server = Server::bind(
        "127.0.0.1:0".parse().expect("an address"),
        Answers {
            default: tree,
            by_client: [(
                "127.0.0.1".parse().expect("an address"),
                json!({"self": {"host": {"name": "h"}}}),
            )]
            .into(),
        },
    )
    .expect("bound");
    let base = format!("http://{}", server.local_addr());
    tokio::spawn(server.run(std::future::pending()));
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let text = async |path: &str| {
        let answer = client.get(format!("{base}{path}")).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    };
    assert_eq!(text("/").await.1, "2015-07-25\n2015-12-19\n2016-07-29\nlatest\n");
    assert_eq!(text("/latest/version").await, (200, "1".to_owned()));
    assert_eq!(text("/latest/services").await.1, "0=a b\n");
    assert_eq!(text("/latest/services/a%20b/labels/x").await.1, "1");
    assert_eq!(text("/latest/services/0/ports").await.1, "80:80/tcp\n");
    assert_eq!(text("/latest/services/a b").await.1, "labels/\nname\nports/\n");
    assert_eq!(text("/latest/self/host/name").await.1, "h");
    assert_eq!(text("/latest/services/none").await.0, 404);
    assert_eq!(text("/1999/services").await, (404, "Invalid version".to_owned()));
    let json = client.get(format!("{base}/latest/services/0/name"));
    let json = json.header("accept", "application/json").send().await.expect("an answer");
    assert_eq!(json.json::<Value>().await.expect("JSON"), json!("a b"));
    // Where nothing changes, a wait ends at the time it names.
    let wait = text("/latest/version?wait=true&value=1&maxWait=1");
    assert_eq!(tokio::time::timeout(PATIENCE, wait).await.expect("in time").1, "1");
}
