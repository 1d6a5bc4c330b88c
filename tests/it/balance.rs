//! How load is shared, over real sockets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use herder::config::{Backend, Config, CookieScope, HashKey, Method, SameSite};
use herder::document::Language;
use herder::live::{ServerLive, Thresholds};
use herder::model::Document;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::harness::eventually;
use crate::harness::proxy::{Serving, config, settings, sticky};
use crate::harness::raw::head;

/// How a test's server answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    /// 200 at once.
    Well,
    /// 200 after this time.
    Slow(Duration),
    /// 500 at once.
    Failing,
    /// Not before it is in another mood.
    Held,
    /// It closes the connection without a word.
    Closing,
    /// It takes every offer to speak another protocol.
    Switching,
}

/// A server that answers with its name, as its mood is.
struct Named {
    addr: SocketAddr,
    mood: watch::Sender<Mood>,
    /// Connections so far.
    accepted: Arc<AtomicU64>,
}

impl Named {
    async fn start(name: char) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let addr = listener.local_addr().expect("an address");
        let (mood, moods) = watch::channel(Mood::Well);
        let accepted = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&accepted);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Relaxed);
                let mut moods = moods.clone();
                tokio::spawn(async move {
                    while !head(&mut stream).await.is_empty() {
                        let mood = moods.wait_for(|mood| *mood != Mood::Held).await;
                        let Ok(mood) = mood.map(|mood| *mood) else { return };
                        match mood {
                            Mood::Slow(time) => tokio::time::sleep(time).await,
                            Mood::Closing => return,
                            _ => {}
                        }
                        if mood == Mood::Switching {
                            let taken = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
                            let _ = stream.write_all(taken).await;
                            let _ = stream.read_to_end(&mut Vec::new()).await;
                            return;
                        }
                        let status = if mood == Mood::Failing { "500 Bad" } else { "200 OK" };
                        let answer =
                            format!("HTTP/1.1 {status}\r\nContent-Length: 1\r\n\r\n{name}");
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { addr, mood, accepted }
    }

    fn is(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }
}

/// `a`, `b` and `c`.
async fn three() -> [Named; 3] {
    [Named::start('a').await, Named::start('b').await, Named::start('c').await]
}

/// A client that keeps its connection.
struct Client(TcpStream);

/// The name of the server that answered, and the head of its answer.
type Answer = (char, String);

impl Client {
    async fn connect(proxy: SocketAddr) -> Self {
        Self(TcpStream::connect(proxy).await.expect("connected"))
    }

    async fn get(&mut self, lines: &str) -> Answer {
        self.send(lines).await;
        self.answer().await
    }

    async fn send(&mut self, lines: &str) {
        let request = format!("GET / HTTP/1.1\r\nHost: web.local\r\n{lines}\r\n");
        self.0.write_all(request.as_bytes()).await.expect("the connection is open");
    }

    async fn answer(&mut self) -> Answer {
        let head = head(&mut self.0).await;
        (char::from(self.0.read_u8().await.expect("a body")), head)
    }
}

/// How many of so many requests, one after another, each server answered.
async fn shares(proxy: SocketAddr, requests: usize) -> BTreeMap<char, usize> {
    let mut client = Client::connect(proxy).await;
    let mut shares = BTreeMap::new();
    for _ in 0..requests {
        *shares.entry(client.get("").await.0).or_default() += 1;
    }
    shares
}

/// The pair of name and value of the cookie that an answer sets.
fn cookie_of(head: &str) -> Option<String> {
    let line = head.lines().find_map(|line| line.strip_prefix("Set-Cookie: "))?;
    Some(line.split(';').next().expect("a pair").to_owned())
}

/// One backend with these servers and their weights.
fn web(servers: &[(&Named, u32)], change: impl FnOnce(&mut Backend)) -> Config {
    let addrs: Vec<SocketAddr> = servers.iter().map(|(named, _)| named.addr).collect();
    let mut config = config(&[("Host:web.local", &addrs)]);
    let backend = config.backends.values_mut().next().expect("one");
    let backend = Arc::make_mut(backend);
    for (_, server) in backend.servers.iter_mut() {
        let of = servers.iter().find(|(named, _)| named.addr == server.addr);
        server.weight = of.expect("each has a weight").1;
    }
    change(backend);
    config
}

fn serving(config: Config) -> Serving {
    let serving = Serving::start(settings(), &[]);
    serving.publish(config);
    serving
}

/// How the server at this address is doing.
fn live_of(serving: &Serving, named: &Named) -> Arc<ServerLive> {
    let view = serving.state.view();
    let servers = view.table.routes()[0].backend.servers();
    let server = servers.iter().find(|server| server.addr == named.addr);
    Arc::clone(&server.expect("it is in the table").live)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_shares_by_weight_where_all_are_well() {
    let [a, b, c] = three().await;
    for method in [Method::Wrr, Method::Drr, Method::LeastConn, Method::P2c] {
        let name = method.to_string();
        let serving = serving(web(&[(&a, 1), (&b, 2), (&c, 0)], |backend| backend.method = method));
        let shares = shares(serving.addr, 300).await;
        let of_a = shares[&'a'];
        assert!((60..=140).contains(&of_a), "{name}: {shares:?}");
        assert_eq!((shares[&'b'], shares.get(&'c')), (300 - of_a, None), "{name}: {shares:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_held_up_gets_no_more() {
    let [a, b, _] = three().await;
    for method in [Method::LeastConn, Method::P2c, Method::Ewma] {
        let name = method.to_string();
        a.is(Mood::Held);
        let serving = serving(web(&[(&a, 1), (&b, 1)], |backend| backend.method = method));
        let live = live_of(&serving, &a);
        // Until somebody waits at `a`, it looks as good as `b`.
        let mut waiting = Vec::new();
        while live.active() == 0 {
            let mut client = Client::connect(serving.addr).await;
            client.send("").await;
            eventually("it arrives somewhere", || async {
                let (at_a, at_b) = (live.active(), live_of(&serving, &b).requests());
                at_a + at_b > waiting.len() as u64
            })
            .await;
            waiting.push(client);
        }
        assert_eq!(shares(serving.addr, 30).await, [('b', 30)].into(), "{name}");
        a.is(Mood::Well);
        for mut client in waiting {
            client.answer().await;
        }
        eventually("nothing is under way", || async { live.active() == 0 }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn least_time_prefers_the_fast_and_looks_at_the_new() {
    let [a, b, c] = three().await;
    a.is(Mood::Slow(Duration::from_millis(150)));
    let ewma = |backend: &mut Backend| backend.method = Method::Ewma;
    let serving = serving(web(&[(&a, 1), (&b, 1)], ewma));
    let first = shares(serving.addr, 60).await;
    assert!(first[&'b'] >= 55 && first.contains_key(&'a'), "{first:?}");
    // Nobody knows the new one: it is asked, and then known.
    serving.publish(web(&[(&a, 1), (&b, 1), (&c, 1)], ewma));
    let then = shares(serving.addr, 60).await;
    assert!(then.contains_key(&'c') && then.get(&'a').copied().unwrap_or(0) <= 3, "{then:?}");
    assert!(live_of(&serving, &a).mean_us().expect("it was measured") > 100_000.0);
    // Those that fail fast are not taken for fast ones.
    b.is(Mood::Failing);
    c.is(Mood::Failing);
    let failing = shares(serving.addr, 20).await;
    assert!(failing[&'a'] >= 12, "{failing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn how_long_a_websocket_lives_is_no_waiting_for_its_server() {
    let [a, ..] = three().await;
    a.is(Mood::Switching);
    let ewma = |backend: &mut Backend| backend.method = Method::Ewma;
    let serving = serving(web(&[(&a, 1)], ewma));
    let mut client = TcpStream::connect(serving.addr).await.expect("connected");
    let ask =
        "GET / HTTP/1.1\r\nHost: web.local\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.write_all(ask.as_bytes()).await.expect("sent");
    let answer = crate::harness::raw::head(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    drop(client);
    let live = live_of(&serving, &a);
    eventually("it has ended", || async { live.active() == 0 }).await;
    let mean_us = live.mean_us().expect("it was measured");
    assert!(mean_us < 900_000.0, "{mean_us}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamic_weights_follow_failures_and_time() {
    let [a, b, _] = three().await;
    let drr = |backend: &mut Backend| backend.method = Method::Drr;
    let serving = serving(web(&[(&a, 1), (&b, 1)], drr));
    a.is(Mood::Failing);
    shares(serving.addr, 60).await;
    let failing = shares(serving.addr, 200).await;
    assert!((1..=40).contains(&failing[&'a']), "{failing:?}");
    // It is asked often enough to notice that it has recovered.
    a.is(Mood::Well);
    eventually("it is forgiven", || async {
        shares(serving.addr, 20).await;
        live_of(&serving, &a).failure_ratio() < 0.05
    })
    .await;
    a.is(Mood::Slow(Duration::from_millis(60)));
    shares(serving.addr, 60).await;
    let slow = shares(serving.addr, 200).await;
    assert!((1..=60).contains(&slow[&'a']), "{slow:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_keeps_its_server_and_only_those_of_a_gone_one_move() {
    let [a, b, c] = three().await;
    let by_user = |backend: &mut Backend| {
        backend.method = Method::Hash(HashKey::Header("x-user".into()));
    };
    let serving = serving(web(&[(&a, 1), (&b, 1), (&c, 1)], by_user));
    let mut client = Client::connect(serving.addr).await;
    let mut owners = BTreeMap::new();
    for user in 0..60 {
        let owner = client.get(&format!("X-User: {user}\r\n")).await.0;
        let again = Client::connect(serving.addr).await.get(&format!("X-User: {user}\r\n")).await.0;
        assert_eq!(owner, again, "another connection, perhaps another worker");
        owners.insert(user, owner);
    }
    assert!(['a', 'b', 'c'].iter().all(|name| owners.values().any(|owner| owner == name)));
    serving.publish(web(&[(&a, 1), (&c, 1)], by_user));
    for (user, before) in &owners {
        let now = client.get(&format!("X-User: {user}\r\n")).await.0;
        assert!(now == *before || *before == 'b', "{user}: {before} became {now}");
    }
    serving.publish(web(&[(&a, 1), (&b, 1), (&c, 1)], by_user));
    for (user, before) in &owners {
        assert_eq!(client.get(&format!("X-User: {user}\r\n")).await.0, *before);
    }
    // Without the line, all of them take turns.
    assert_eq!(shares(serving.addr, 30).await, [('a', 10), ('b', 10), ('c', 10)].into());
    // By the client's address, which is the same here.
    let by_ip = |backend: &mut Backend| backend.method = Method::Hash(HashKey::ClientIp);
    serving.publish(web(&[(&a, 1), (&b, 1), (&c, 1)], by_ip));
    assert_eq!(shares(serving.addr, 30).await.len(), 1);
}

/// A rule file with this table `loadBalancer`: its backend, and the problems in it.
#[track_caller]
fn of_file(balancer: &str) -> (Backend, String) {
    let text = format!(
        "[backends.shop.servers.a]\nurl = \"http://10.0.0.1\"\n[backends.shop.loadBalancer]\n{balancer}"
    );
    let document = Document {
        name: "rules.toml".into(),
        is_main: false,
        tree: Language::Toml.parse(&text).expect("TOML"),
        addresses: BTreeMap::new(),
    };
    let reading = herder::dialects::read_document(&document);
    let problems = reading.problems.iter().map(|p| format!("{}: {}", p.origin.service, p.message));
    (Backend::clone(&reading.fragment.backends[0].1), problems.collect::<Vec<_>>().join(" | "))
}

#[test]
fn files_say_it_in_the_words_of_labels() {
    let (backend, problems) = of_file(
        "method = \"Hash\"\nhashkey = \"request.host\"\nslowStart = \"30s\"\n\
         [backends.shop.loadBalancer.stickiness]\ncookieName = \"c\"\nsecure = true\nsameSite = \"none\"",
    );
    assert_eq!(problems, "");
    let expected = (Method::Hash(HashKey::Host), Duration::from_secs(30));
    assert_eq!((backend.method, backend.slow_start), expected);
    let sticky = backend.sticky.expect("a cookie");
    let scope = CookieScope { is_secure: true, is_http_only: true, same_site: SameSite::None };
    assert_eq!((&*sticky.cookie, sticky.scope), ("c", scope));
    for (balancer, problem) in [
        (
            "method = \"random\"",
            "rules.toml:4:10: backends.shop.loadBalancer.method \"random\" is not",
        ),
        ("hashKey = \"client.ip\"", "backends.shop.loadBalancer.hashKey does nothing where"),
        ("slowStart = \"x\"", "backends.shop.loadBalancer.slowStart \"x\" is not a time"),
        ("slowstrat = \"1s\"", "backends.shop.loadBalancer.slowstrat is not a key we know"),
        ("[backends.shop.loadBalancer.stickiness]\nsameSite = \"none\"", "needs stickiness.secure"),
        (
            "[backends.shop.loadBalancer.stickiness]\nsecurr = true",
            "stickiness.securr is not a key",
        ),
        ("stickiness = \"maybe\"", "loadBalancer.stickiness \"maybe\" is neither true nor false"),
        ("method = [\"wrr\"]", "backends.shop.loadBalancer.method is a list"),
    ] {
        let (backend, problems) = of_file(balancer);
        assert!(problems.contains(problem), "{balancer}: {problems}");
        assert!(!problems.contains(" | "), "{balancer}: {problems}");
        assert_eq!(backend.method, Method::Wrr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_says_what_was_asked_for() {
    let a = Named::start('a').await;
    for (scope, expected) in [
        (CookieScope::default(), "; Path=/; HttpOnly; SameSite=Lax"),
        (
            CookieScope { is_secure: true, is_http_only: false, same_site: SameSite::None },
            "; Path=/; Secure; SameSite=None",
        ),
    ] {
        let mut config = sticky(web(&[(&a, 1)], |_| {}));
        for backend in config.backends.values_mut() {
            let sticky = Arc::make_mut(backend).sticky.as_mut();
            Arc::make_mut(sticky.expect("a cookie")).scope = scope;
        }
        let serving = serving(config);
        let (_, head) = Client::connect(serving.addr).await.get("").await;
        let line = head.lines().find(|line| line.starts_with("Set-Cookie: herder="));
        let line = line.expect("a cookie");
        assert!(line.ends_with(expected), "{line}");
        assert!(!line.contains(&a.addr.port().to_string()), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_server_is_gone_gets_another_and_its_cookie() {
    let [a, b, _] = three().await;
    let serving = serving(sticky(web(&[(&a, 1), (&b, 1)], |_| {})));
    let mut client = Client::connect(serving.addr).await;
    let (first, head) = client.get("").await;
    let cookie = cookie_of(&head).expect("a cookie");
    let line = format!("Cookie: {cookie}\r\n");
    let (gone, left) = if first == 'a' { (&a, &b) } else { (&b, &a) };
    serving.publish(sticky(web(&[(left, 1)], |_| {})));
    let (second, head) = client.get(&line).await;
    let moved = cookie_of(&head).expect("a new cookie");
    assert!(second != first && moved != cookie, "{head}");
    // The one that was gone comes back, and with it whoever still has its cookie.
    serving.publish(sticky(web(&[(left, 1), (gone, 1)], |_| {})));
    assert_eq!(client.get(&line).await.0, first);
    let (stays, head) = client.get(&format!("Cookie: {moved}\r\n")).await;
    assert_eq!((stays, cookie_of(&head)), (second, None));
}

/// A cookie asks for a server; one that does not answer is not asked again for its sake.
#[tokio::test(flavor = "multi_thread")]
async fn whose_server_breaks_off_gets_another_at_once() {
    let [a, b, _] = three().await;
    let serving = serving(sticky(web(&[(&a, 1), (&b, 1)], |_| {})));
    let mut client = Client::connect(serving.addr).await;
    let (first, head) = client.get("").await;
    let line = format!("Cookie: {}\r\n", cookie_of(&head).expect("a cookie"));
    assert_eq!(client.get(&line).await.0, first);
    let ill = if first == 'a' { &a } else { &b };
    ill.is(Mood::Closing);
    let (second, head) = client.get(&line).await;
    assert!(second != first && head.starts_with("HTTP/1.1 200 "), "{second}: {head}");
    assert!(cookie_of(&head).is_some(), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weight_of_0_keeps_old_clients_and_takes_no_new_ones() {
    let [a, b, _] = three().await;
    let serving = serving(sticky(web(&[(&a, 1)], |_| {})));
    let mut client = Client::connect(serving.addr).await;
    let cookie = cookie_of(&client.get("").await.1).expect("a cookie");
    serving.publish(sticky(web(&[(&a, 0), (&b, 1)], |_| {})));
    for _ in 0..10 {
        let (name, head) = client.get(&format!("Cookie: {cookie}\r\n")).await;
        assert_eq!((name, cookie_of(&head)), ('a', None));
        assert_eq!(client.get("").await.0, 'b');
    }
}

/// It refused a moment ago, and comes last; but there is nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_finds_its_server_where_all_others_are_gone() {
    let [a, b, _] = three().await;
    let serving = serving(sticky(web(&[(&a, 1)], |_| {})));
    let mut client = Client::connect(serving.addr).await;
    let cookie = cookie_of(&client.get("").await.1).expect("a cookie");
    serving.publish(sticky(web(&[(&a, 0), (&b, 1)], |_| {})));
    let view = serving.state.view();
    let servers = view.table.routes()[0].backend.servers();
    let place = |weight| servers.iter().find(|server| server.weight == weight).expect("it");
    // Its check fails.
    let thresholds = Thresholds { rise: 1, fall: 1 };
    place(1).live.health.hold(true);
    place(1).live.health.checked(false, thresholds, 1, Duration::ZERO);
    for _ in 0..3 {
        place(0).live.refused(serving.state.now_ms());
        let (name, head) = client.get(&format!("Cookie: {cookie}\r\n")).await;
        assert_eq!((name, cookie_of(&head)), ('a', None), "{head}");
    }
}

/// Some proxies before us leave the cookies of HTTP/2 in lines of their own.
#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_is_found_in_whichever_line_it_stands() {
    let [a, b, c] = three().await;
    let serving = serving(sticky(web(&[(&a, 1), (&b, 1), (&c, 1)], |_| {})));
    let mut client = Client::connect(serving.addr).await;
    let (name, head) = client.get("").await;
    let cookie = cookie_of(&head).expect("a cookie");
    for _ in 0..6 {
        let (again, head) = client.get(&format!("Cookie: a=1\r\nCookie: {cookie}\r\n")).await;
        assert_eq!((again, cookie_of(&head)), (name, None), "{head}");
    }
}

/// What each method makes of it is tested where time is a number: `table/running.rs`.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_server_starts_slowly_beside_old_ones_and_at_once_alone() {
    const SLOW_START: Duration = Duration::from_secs(2);
    let [a, b, c] = three().await;
    let slowly = |backend: &mut Backend| backend.slow_start = SLOW_START;
    let serving = serving(web(&[(&a, 1)], slowly));
    assert_eq!(shares(serving.addr, 5).await, [('a', 5)].into());
    serving.publish(web(&[(&a, 1), (&b, 1)], slowly));
    // Each had a turn, so each has begun.
    shares(serving.addr, 10).await;
    let began = Instant::now();
    eventually("their starts are over", || async { began.elapsed() > SLOW_START * 5 / 4 }).await;
    assert_eq!(shares(serving.addr, 40).await, [('a', 20), ('b', 20)].into());
    serving.publish(web(&[(&a, 1), (&b, 1), (&c, 1)], slowly));
    eventually("the test was faster than the start", || async {
        live_of(&serving, &c).starts_anew();
        let began = Instant::now();
        let shares = shares(serving.addr, 60).await;
        let is_in_time = began.elapsed() < SLOW_START / 4;
        // A quarter of its share at most: 7 of 60 on average.
        assert!(!is_in_time || shares.get(&'c').is_none_or(|&share| share < 19), "{shares:?}");
        is_in_time
    })
    .await;
    eventually("it has its share", || async {
        shares(serving.addr, 30).await == [('a', 10), ('b', 10), ('c', 10)].into()
    })
    .await;
}

/// One client that asks until it is told that it is enough. Tells who answered how often.
///
/// A sticky one brings the first cookie it got, and must never see another server or another cookie.
fn keep_asking(
    proxy: SocketAddr,
    is_sticky: bool,
    (is_done, count): (Arc<AtomicBool>, Arc<AtomicU64>),
) -> JoinHandle<BTreeMap<char, u64>> {
    tokio::spawn(async move {
        let mut client = Client::connect(proxy).await;
        let (mut line, mut answers) = (String::new(), BTreeMap::new());
        while !is_done.load(Relaxed) {
            let (name, head) = client.get(&line).await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            *answers.entry(name).or_default() += 1;
            count.fetch_add(1, Relaxed);
            if is_sticky {
                assert_eq!(cookie_of(&head).is_some(), line.is_empty(), "{head}");
                if let Some(cookie) = cookie_of(&head) {
                    line = format!("Cookie: {cookie}\r\n");
                }
                assert_eq!(answers.len(), 1, "it came to another server");
            }
        }
        answers
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_changes_keep_load_times_cookies_and_connections() {
    const CLIENTS: u64 = 6;
    let [a, b, c] = three().await;
    a.is(Mood::Slow(Duration::from_millis(3)));
    let methods = [Method::Ewma, Method::Drr, Method::LeastConn, Method::P2c, Method::Wrr];
    let changed = |change: u32| {
        let method = methods[change as usize % methods.len()].clone();
        let weights = [(&a, 1 + change % 3), (&b, change % 2), (&c, 1)];
        // The third comes and goes.
        let servers = if change % 4 < 2 { &weights[..] } else { &weights[..2] };
        sticky(web(servers, |backend| {
            (backend.method, backend.slow_start) = (method, Duration::from_millis(50));
        }))
    };
    // Sticky clients begin where they will stay.
    let serving = serving(sticky(web(&[(&a, 1), (&b, 1)], |_| {})));
    let is_done = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let told = (Arc::clone(&is_done), Arc::clone(&count));
            keep_asking(serving.addr, number < 4, told)
        })
        .collect();
    eventually("all are at work", || async { count.load(Relaxed) > 50 }).await;
    for change in 0..1_000 {
        serving.publish(changed(change));
        if change % 10 == 0 {
            let (before, count) = (count.load(Relaxed), &count);
            eventually("they go on", || async move { count.load(Relaxed) > before + 2 }).await;
        }
    }
    is_done.store(true, Relaxed);
    let mut answers: BTreeMap<char, u64> = BTreeMap::new();
    for client in clients {
        for (name, count) in client.await.expect("nobody lost an answer or a server") {
            *answers.entry(name).or_default() += count;
        }
    }
    // With the last change all are there; nobody has kept what is known of them but the tables.
    serving.publish(changed(0));
    for (named, name) in [(&a, 'a'), (&b, 'b')] {
        let live = live_of(&serving, named);
        eventually("nothing is under way", || async { live.active() == 0 }).await;
        assert_eq!((live.requests(), live.failures()), (answers[&name], 0), "{name}");
        assert!(live.mean_us().is_some(), "{name}");
        let accepted = named.accepted.load(Relaxed);
        assert!(accepted <= CLIENTS, "{name}: {accepted} connections for {CLIENTS} clients");
    }
    assert!(live_of(&serving, &a).mean_us().expect("a time") > 2_000.0);
    assert!(answers[&'c'] > 0, "{answers:?}");
}
