//! Health: servers whose checks fail, hang, break and recover, over real sockets.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use herder::config::{BackendWishes, Config, HealthCheck};
use herder::control::probe;
use herder::demo::metadata::{Answers, Server};
use herder::demo::web_test::WebTest;
use herder::live::{Condition, HealthEvent};
use herder::settings::Settings;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::harness::docker::Certificates;
use crate::harness::eventually;
use crate::harness::herder::Herder;
use crate::harness::proxy::{Serving, config, https, settings};
use crate::harness::raw::exchange;

/// What a server does with a request for `/health`, or with each one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mood {
    Status(u16),
    /// It reads and says nothing.
    Hang,
    /// It reads and closes.
    Close,
    /// It speaks something else.
    Nonsense,
    /// Requests are closed, too.
    CloseAll,
    /// Their answers break off in the middle.
    BreakOff,
}

/// A server whose health is ours to choose.
struct Site {
    addr: SocketAddr,
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

struct Inner {
    mood: Mutex<Mood>,
    checks: AtomicUsize,
    requests: AtomicUsize,
    heads: Mutex<Vec<String>>,
}

impl Site {
    async fn start(mood: Mood) -> Self {
        Self::over(mood, None).await
    }

    async fn over(mood: Mood, tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let addr = listener.local_addr().expect("an address");
        let inner = Arc::new(Inner {
            mood: Mutex::new(mood),
            checks: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            heads: Mutex::default(),
        });
        let shared = Arc::clone(&inner);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (inner, tls) = (Arc::clone(&shared), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => inner.serve(stream).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                inner.serve(stream).await;
                            }
                        }
                    }
                });
            }
        });
        Self { addr, inner, task }
    }

    fn set(&self, mood: Mood) {
        *self.inner.mood.lock().expect("not poisoned") = mood;
    }

    fn checks(&self) -> usize {
        self.inner.checks.load(Relaxed)
    }

    fn requests(&self) -> usize {
        self.inner.requests.load(Relaxed)
    }

    fn heads(&self) -> Vec<String> {
        self.inner.heads.lock().expect("not poisoned").clone()
    }

    /// Nobody listens there any more.
    fn kill(&self) {
        self.task.abort();
    }
}

impl Inner {
    async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        loop {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { return };
                head.push(byte);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let is_check = head.contains("/health");
            self.heads.lock().expect("not poisoned").push(head);
            let count = if is_check { &self.checks } else { &self.requests };
            count.fetch_add(1, Relaxed);
            let mood = *self.mood.lock().expect("not poisoned");
            let status = match mood {
                Mood::CloseAll => return,
                Mood::BreakOff => {
                    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
                    let _ = stream.write_all(half).await;
                    return;
                }
                _ if !is_check => 200,
                Mood::Status(status) => status,
                Mood::Hang => return std::future::pending().await,
                Mood::Close => return,
                Mood::Nonsense => {
                    let _ = stream.write_all(b"220 mail.example.com ESMTP\r\n").await;
                    return;
                }
            };
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok");
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// `/health` ten times a second.
fn often() -> HealthCheck {
    let (path, interval) = ("/health".to_owned(), "100ms".to_owned());
    HealthCheck { path, interval, ..HealthCheck::default() }
}

/// The same, without patience.
fn impatient() -> HealthCheck {
    HealthCheck { timeout: "400ms".to_owned(), ..often() }
}

fn with_check(mut config: Config, check: Option<&HealthCheck>) -> Config {
    for backend in config.backends.values_mut() {
        let wishes = BackendWishes { health_check: check.cloned(), ..BackendWishes::default() };
        Arc::make_mut(backend).wishes = Some(Box::new(wishes));
    }
    config
}

/// The data plane and its checks.
struct Checked {
    serving: Serving,
    probe: JoinHandle<()>,
}

impl Checked {
    fn start(settings: Settings) -> Self {
        let serving = Serving::start(settings, &[]);
        let probe = tokio::spawn(probe::run(Arc::clone(&serving.state)));
        Self { serving, probe }
    }

    fn publish(&self, servers: &[SocketAddr], check: Option<&HealthCheck>) {
        self.serving.publish(with_check(config(&[("Host:a.test", servers)]), check));
    }

    async fn status(&self) -> String {
        let ask = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
        exchange(self.serving.addr, ask).await.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    fn condition(&self, addr: SocketAddr) -> Condition {
        self.with_server(addr, |live| {
            live.condition(
                self.serving.state.started.elapsed().expect("no clock goes back").as_millis()
                    as u64,
            )
        })
    }

    fn reason(&self, addr: SocketAddr) -> String {
        self.with_server(addr, |live| live.health.reason().map(|r| r.to_string()))
            .unwrap_or_default()
    }

    fn with_server<T>(
        &self,
        addr: SocketAddr,
        look: impl FnOnce(&herder::live::ServerLive) -> T,
    ) -> T {
        let table = self.serving.state.published.table();
        let servers = table.routes()[0].backend.servers();
        look(&servers.iter().find(|server| server.addr == addr).expect("a server").live)
    }

    async fn becomes(&self, addr: SocketAddr, condition: Condition) {
        eventually(&format!("{addr} is {}", condition.as_str()), || async {
            self.condition(addr) == condition
        })
        .await;
    }

    /// The events of one server, the oldest first.
    fn events(&self, addr: SocketAddr) -> Vec<HealthEvent> {
        let mut events = self.serving.state.live.journal.latest(usize::MAX);
        events.reverse();
        events.retain(|event| event.url == format!("http://{addr}"));
        events
    }
}

impl Drop for Checked {
    fn drop(&mut self) {
        self.probe.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fails_gets_nothing_until_it_has_passed_often_enough() {
    let (ill, well) = (Site::start(Mood::Status(200)).await, Site::start(Mood::Status(200)).await);
    let checked = Checked::start(settings());
    let check = HealthCheck { rise: 3, fall: 2, ..often() };
    checked.publish(&[ill.addr, well.addr], Some(&check));
    checked.becomes(ill.addr, Condition::Up).await;
    checked.becomes(well.addr, Condition::Up).await;
    ill.set(Mood::Status(500));
    checked.becomes(ill.addr, Condition::Down).await;
    let before = (ill.requests(), well.requests());
    for _ in 0..20 {
        assert_eq!(checked.status().await, "200");
    }
    assert_eq!((ill.requests(), well.requests()), (before.0, before.1 + 20));
    ill.set(Mood::Status(204));
    checked.becomes(ill.addr, Condition::Up).await;
    eventually("it gets requests again", || async {
        checked.status().await;
        ill.requests() > before.0
    })
    .await;
    let told: Vec<_> = checked
        .events(ill.addr)
        .into_iter()
        .map(|event| (event.from.as_str(), event.to.as_str(), event.reason.to_string()))
        .collect();
    assert_eq!(
        told,
        [
            ("unknown", "up", "GET /health: 200 (1 of 3)".to_owned()),
            ("up", "down", "GET /health: 500, wanted 200-399 (2 of 2)".to_owned()),
            ("down", "up", "GET /health: 204 (3 of 3)".to_owned()),
        ]
    );
}

/// A failure that came to nothing is not shown for ever.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_wrong_is_forgotten_once_it_passes_again() {
    let site = Site::start(Mood::Status(200)).await;
    let checked = Checked::start(settings());
    // Never down.
    checked.publish(&[site.addr], Some(&HealthCheck { rise: 3, fall: 100, ..often() }));
    checked.becomes(site.addr, Condition::Up).await;
    let says = async |what: &str| {
        let what = what.to_owned();
        eventually(&what, || async { checked.reason(site.addr).contains(&what) }).await;
    };
    site.set(Mood::Status(500));
    says("500, wanted 200-399 (1 of 100)").await;
    site.set(Mood::Status(204));
    says("GET /health: 204").await;
    assert_eq!(checked.reason(site.addr), "GET /health: 204");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_server_gets_its_first_request_after_its_first_pass() {
    let site = Site::start(Mood::Hang).await;
    let checked = Checked::start(settings());
    checked.publish(&[site.addr], Some(&impatient()));
    eventually("it is asked", || async { site.checks() > 0 }).await;
    assert_eq!((checked.status().await.as_str(), site.requests()), ("503", 0));
    site.set(Mood::Status(200));
    eventually("it serves", || async { checked.status().await == "200" }).await;
    // One that is served already goes on while a check of it begins.
    let other = Site::start(Mood::Hang).await;
    checked.publish(&[other.addr], None);
    assert_eq!(checked.status().await, "200");
    checked.publish(&[other.addr], Some(&impatient()));
    assert_eq!(checked.status().await, "200");
    checked.becomes(other.addr, Condition::Down).await;
    assert_eq!(checked.status().await, "503");
    // Without a check it counts as well again, and the journal says why.
    checked.publish(&[other.addr], None);
    assert_eq!(checked.status().await, "200");
    eventually("it is told", || async {
        let last = checked.events(other.addr).pop();
        last.is_some_and(|event| event.reason.contains("taken away"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_fail_is_told_apart() {
    let moods = [
        (Mood::Status(404), "GET /health: 404, wanted 200-399"),
        (Mood::Hang, "GET /health: no answer within 400 ms"),
        (Mood::Close, "GET /health: it closed the connection without a whole answer"),
        (Mood::Nonsense, "GET /health: what it answered is not HTTP/1"),
        (Mood::CloseAll, "connection refused"),
    ];
    let checked = Checked::start(settings());
    let mut sites = Vec::new();
    for (mood, _) in moods {
        sites.push(Site::start(mood).await);
    }
    sites[4].kill();
    let addrs: Vec<SocketAddr> = sites.iter().map(|site| site.addr).collect();
    checked.publish(&addrs, Some(&impatient()));
    for (site, (mood, reason)) in sites.iter().zip(moods) {
        checked.becomes(site.addr, Condition::Down).await;
        eventually(&format!("{mood:?} is told"), || async { checked.reason(site.addr) == reason })
            .await;
    }
    assert_eq!(checked.status().await, "503");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_tables_forget_nothing_and_ask_nobody_anew() {
    let (ill, well) = (Site::start(Mood::Status(500)).await, Site::start(Mood::Status(200)).await);
    let checked = Checked::start(settings());
    let check = HealthCheck { interval: "2s".to_owned(), fall: 1, ..often() };
    checked.publish(&[ill.addr, well.addr], Some(&check));
    checked.becomes(ill.addr, Condition::Down).await;
    checked.becomes(well.addr, Condition::Up).await;
    let (start, before) = (Instant::now(), well.checks());
    for turn in 0..1_000 {
        checked.publish(&[ill.addr, well.addr], Some(&check));
        assert_eq!(checked.condition(ill.addr), Condition::Down, "{turn}");
        assert_eq!(checked.condition(well.addr), Condition::Up, "{turn}");
        if turn % 100 == 0 {
            assert_eq!(checked.status().await, "200");
        }
    }
    // Half an interval is the shortest pause there is.
    let asked_max = 1 + start.elapsed().as_millis() as usize / 1_000;
    assert!(
        well.checks() - before <= asked_max,
        "{} in {:?}",
        well.checks() - before,
        start.elapsed()
    );
    assert_eq!(ill.requests(), 0);
    // Another check keeps the state, and asks its own question.
    let other = HealthCheck { path: "/health/other".to_owned(), rise: 9, ..check };
    checked.publish(&[ill.addr, well.addr], Some(&other));
    assert_eq!(checked.condition(ill.addr), Condition::Down);
    eventually("it is asked the new one", || async {
        well.heads().iter().any(|head| head.starts_with("GET /health/other "))
    })
    .await;
    assert_eq!(checked.condition(well.addr), Condition::Up);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_check_says_arrives_where_it_says() {
    let (server, sick_bay) = (Site::start(Mood::Close).await, Site::start(Mood::Status(418)).await);
    let checked = Checked::start(settings());
    let check = HealthCheck {
        port: i64::from(sick_bay.addr.port()),
        hostname: "well.example.com".to_owned(),
        headers: [("X-Check".to_owned(), "yes".to_owned())].into(),
        status: vec!["200-299".to_owned(), "418".to_owned()],
        ..often()
    };
    checked.publish(&[server.addr], Some(&check));
    checked.becomes(server.addr, Condition::Up).await;
    assert_eq!(
        sick_bay.heads()[0],
        "GET /health HTTP/1.1\r\nHost: well.example.com\r\nUser-Agent: Herder\r\nConnection: close\r\nX-Check: yes\r\n\r\n"
    );
    assert_eq!((server.checks(), checked.status().await.as_str()), (0, "200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_asked_over_tls_and_their_certificates_checked() {
    let certificates = Certificates::make();
    let site = Site::over(Mood::Status(200), Some(certificates.server())).await;
    for (is_unchecked, expected) in [(true, Condition::Up), (false, Condition::Down)] {
        let mut settings = settings();
        settings.insecure_skip_verify = is_unchecked;
        let checked = Checked::start(settings);
        let config = https(config(&[("Host:a.test", &[site.addr])]));
        checked.serving.publish(with_check(config, Some(&often())));
        checked.becomes(site.addr, expected).await;
        if !is_unchecked {
            assert!(
                checked.reason(site.addr).starts_with("TLS: "),
                "{}",
                checked.reason(site.addr)
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_in_a_row_eject_and_an_answer_brings_back() {
    let bad = Site::start(Mood::CloseAll).await;
    let (one, two) = (Site::start(Mood::Status(200)).await, Site::start(Mood::Status(200)).await);
    let checked = Checked::start(settings());
    checked.publish(&[bad.addr, one.addr, two.addr], None);
    eventually("it is ejected", || async {
        assert_eq!(checked.status().await, "200", "others are there");
        !checked.events(bad.addr).is_empty()
    })
    .await;
    let event = &checked.events(bad.addr)[0];
    assert_eq!((event.from, event.to), (Condition::Unchecked, Condition::Ejected));
    assert!(event.reason.starts_with("5 requests in a row failed"), "{}", event.reason);
    assert!(event.reason.ends_with("it is left alone for 1 s"), "{}", event.reason);
    bad.set(Mood::Status(200));
    eventually("it is back", || async {
        checked.status().await;
        checked.events(bad.addr).last().is_some_and(|event| event.to == Condition::Unchecked)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_no_good_sign() {
    let (bad, one) = (Site::start(Mood::BreakOff).await, Site::start(Mood::Status(200)).await);
    let checked = Checked::start(settings());
    checked.publish(&[bad.addr, one.addr], None);
    eventually("it is ejected", || async {
        checked.status().await;
        !checked.events(bad.addr).is_empty()
    })
    .await;
    let event = &checked.events(bad.addr)[0];
    assert_eq!(event.to, Condition::Ejected);
    assert!(event.reason.contains("its body ended early"), "{}", event.reason);
    assert_eq!(bad.requests(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_never_loses_everyone() {
    let mut sites = Vec::new();
    for _ in 0..4 {
        sites.push(Site::start(Mood::CloseAll).await);
    }
    let addrs: Vec<SocketAddr> = sites.iter().map(|site| site.addr).collect();
    let checked = Checked::start(settings());
    checked.publish(&addrs, None);
    eventually("some are ejected", || async {
        // It is tried, again and again: nobody is told that there is no server.
        assert_eq!(checked.status().await, "502");
        checked.serving.state.live.journal.count() >= 3
    })
    .await;
    for _ in 0..20 {
        assert_eq!(checked.status().await, "502");
        let ejected = addrs.iter().filter(|addr| checked.condition(**addr) == Condition::Ejected);
        assert!(ejected.count() <= 3, "one of them is left");
    }
}

async fn health(herder: &Herder, port: u16) -> Value {
    let all = herder.admin("/api/health").await.json();
    let url = format!(":{port}");
    let servers = all["servers"].as_array().cloned().unwrap_or_default();
    servers
        .into_iter()
        .find(|s| s["url"].as_str().is_some_and(|u| u.ends_with(&url)))
        .unwrap_or_default()
}

/// Rancher's own checks, run by us: with a request line and without one.
#[tokio::test(flavor = "multi_thread")]
async fn ranchers_checks_are_run_where_that_is_asked_for() {
    let web = WebTest::bind("127.0.0.1:0".parse().expect("an address"), "web").expect("bound");
    let (web_port, switch) = (web.local_addr().port(), web.health_switch());
    tokio::spawn(web.run(std::future::pending()));
    let plain = Site::start(Mood::Status(500)).await;
    let plain_port = plain.addr.port();
    let service = |name: &str, port: u16, request_line: Value| {
        json!({"name": name, "stack_name": "shop", "kind": "service", "state": "active",
            "labels": {"traefik.enable": "true", "traefik.port": port.to_string()},
            "health_check": {"port": port, "interval": 200, "response_timeout": 1000,
                "healthy_threshold": 2, "unhealthy_threshold": 2, "request_line": request_line},
            "containers": [{"name": format!("{name}-1"), "primary_ip": "127.0.0.1",
                "state": "running", "health_state": "healthy"}]})
    };
    let services = json!([
        service("web", web_port, json!("GET \"/health\" \"HTTP/1.0\"")),
        service("plain", plain_port, Value::Null),
    ]);
    let answers =
        Answers { default: json!({"services": services, "stacks": []}), ..Answers::default() };
    let metadata = Server::bind("127.0.0.1:0".parse().expect("an address"), answers);
    let metadata = metadata.expect("bound");
    let url = format!("--rancher.metadata.url=http://{}", metadata.local_addr());
    tokio::spawn(metadata.run(std::future::pending()));
    let herder = Herder::start(&["run", "--rancher", &url, "--rancher.runHealthChecks"]);
    let becomes = async |port: u16, condition: &str| {
        eventually(&format!("{port} is {condition}"), || async {
            health(&herder, port).await["condition"] == condition
        })
        .await;
    };
    becomes(web_port, "up").await;
    becomes(plain_port, "up").await;
    assert_eq!(health(&herder, web_port).await["check"], "GET /health");
    assert_eq!(health(&herder, plain_port).await["check"], "connection");
    assert_eq!(plain.requests() + plain.checks(), 0, "a connection is enough");
    switch.set_failing(true);
    plain.kill();
    becomes(web_port, "down").await;
    becomes(plain_port, "down").await;
    assert_eq!(herder.get("web.shop", "/").await.status, 503);
    let reason = health(&herder, web_port).await["reason"].clone();
    assert_eq!(reason, "GET /health: 503, wanted 200-399 (2 of 2)");
    let explained = herder.admin("/api/explain?name=web-1").await.json();
    let verdict = explained[0]["verdict"].as_str().expect("a verdict");
    assert!(verdict.contains("left alone now") && verdict.contains("503"), "{verdict}");
    let route = herder.admin("/api/explain?url=http://web.shop/").await.json();
    assert!(
        route["verdict"].as_str().is_some_and(|v| v.contains("the client gets 503")),
        "{route}"
    );
    switch.set_failing(false);
    becomes(web_port, "up").await;
    let events = herder.admin("/api/health").await.json()["events"].clone();
    assert!(events.as_array().is_some_and(|events| events.len() >= 5), "{events}");
    let page = herder.admin("/").await.body;
    assert!(page.contains("Changes of health") && page.contains("connection refused"), "{page}");
}

/// What stays after a thousand servers came and went: nothing.
#[tokio::test(flavor = "multi_thread")]
async fn many_servers_are_asked_together_and_let_go() {
    let site = Site::start(Mood::Status(200)).await;
    let port = site.addr.port();
    let addrs: Vec<SocketAddr> = (0..1_000)
        .map(|n| SocketAddr::from(([127, 1, (n / 250) as u8, (n % 250) as u8 + 1], port)))
        .collect();
    // The site listens at 127.0.0.1 alone: these are refused, which is as good a check as any.
    let checked = Checked::start(settings());
    let now_and_then = HealthCheck { interval: "2s".to_owned(), ..often() };
    checked.publish(&addrs, Some(&now_and_then));
    eventually("all are down", || async {
        let table = checked.serving.state.published.table();
        let servers = table.routes()[0].backend.servers();
        servers.iter().all(|server| server.live.health.condition() == Condition::Down)
    })
    .await;
    assert!(checked.serving.state.live.journal.count() >= 1_000);
    checked.publish(&[site.addr], Some(&often()));
    checked.becomes(site.addr, Condition::Up).await;
    assert_eq!(checked.status().await, "200");
}
