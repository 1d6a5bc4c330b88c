//! The data plane over real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use herder::demo::web_test::WebTest;
use herder::live::StatusClass;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::harness::proxy::{Serving, config, settings, sticky};
use crate::harness::raw::{OK, Origin, exchange, head};
use crate::harness::{PATIENCE, eventually};

/// A test service of this name.
fn web_test(name: &str) -> SocketAddr {
    let web = WebTest::bind("127.0.0.1:0".parse().expect("an address"), name).expect("bound");
    let addr = web.local_addr();
    tokio::spawn(web.run(std::future::pending()));
    addr
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address")
}

async fn get(addr: SocketAddr, host: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    exchange(addr, request.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_found_without_case_port_and_trailing_dot() {
    let serving = Serving::start(settings(), &[("Host:web.local", &[web_test("one")])]);
    for host in ["web.local", "WEB.Local", "web.local:8080", "web.local.", "web.local.:80"] {
        let answer = get(serving.addr, host).await;
        assert!(answer.contains("Real-Server: one"), "{host}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_is_404_and_known_without_a_server_is_503() {
    let serving = Serving::start(settings(), &[("Host:empty.local", &[])]);
    let unknown = get(serving.addr, "other.local").await;
    assert!(unknown.starts_with("HTTP/1.1 404 "), "{unknown}");
    assert!(unknown.ends_with("\r\n\r\n404 page not found\n"), "{unknown}");
    let empty = get(serving.addr, "empty.local").await;
    assert!(empty.starts_with("HTTP/1.1 503 "), "{empty}");
    assert!(empty.contains("Retry-After: "), "{empty}");
    let totals = &serving.state.live.totals;
    assert_eq!(totals.answers(StatusClass::ClientError), 1);
    assert_eq!(totals.answers(StatusClass::ServerError), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_is_passed_over() {
    let servers = [nobody(), web_test("two")];
    let serving = Serving::start(settings(), &[("Host:web.local", &servers)]);
    for _ in 0..6 {
        let answer = get(serving.addr, "web.local").await;
        assert!(answer.contains("Real-Server: two"), "{answer}");
    }
    let serving = Serving::start(settings(), &[("Host:gone.local", &[nobody()])]);
    let answer = get(serving.addr, "gone.local").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_is_504() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let silent = listener.local_addr().expect("an address");
    let mut settings = settings();
    settings.limits.response_timeout = Duration::from_millis(200);
    let serving = Serving::start(settings, &[("Host:slow.local", &[silent])]);
    let answer = get(serving.addr, "slow.local").await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_told_about_the_client_who_cannot_lie() {
    let origin = Origin::start(OK, false).await;
    let serving =
        Serving::start(settings(), &[("Host:web.local;PathPrefixStrip:/api", &[origin.addr])]);
    let request = "GET /api/users?a=1 HTTP/1.1\r\nHost: web.local:81\r\nX-Forwarded-For: 1.1.1.1\r\n\
                   X-Real-Ip: 1.1.1.1\r\nProxy: http://1.1.1.1\r\n\
                   Connection: close, X-Secret\r\nX-Secret: 1\r\n\r\n";
    let answer = exchange(serving.addr, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let seen = origin.text();
    assert!(seen.starts_with("GET /users?a=1 HTTP/1.1\r\n"), "{seen}");
    for line in [
        "Host: web.local:81",
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Host: web.local:81",
        "X-Forwarded-Port: 81",
        "X-Forwarded-Proto: http",
        "X-Real-Ip: 127.0.0.1",
        "X-Forwarded-Prefix: /api",
    ] {
        assert!(seen.contains(&format!("{line}\r\n")), "{line} is not in\n{seen}");
    }
    assert!(!seen.contains("1.1.1.1") && !seen.contains("X-Secret"), "{seen}");
}

/// What the door refuses is not made behind it either.
#[tokio::test(flavor = "multi_thread")]
async fn no_step_makes_dots_that_servers_read_in_different_ways() {
    let origin = Origin::start(OK, false).await;
    let rule = "Host:web.local;PathPrefixStrip:/foo;AddPrefix:/app";
    let serving = Serving::start(settings(), &[(rule, &[origin.addr])]);
    for target in ["/foo..%2fadmin", "/foo..;/admin", "/foo..%5cadmin"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: web.local\r\n\r\n");
        let answer = exchange(serving.addr, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{target}: {answer}");
    }
    assert_eq!(origin.text(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn terms_of_all_sorts_choose_and_change_requests() {
    let (one, two) = (Origin::start(OK, false).await, Origin::start(OK, false).await);
    let routes = [
        ("Host:a.t;Method:POST;Headers:X-Kind,blue;Query:v={n:[0-9]+};ReplacePath:/new", one.addr),
        ("Host:a.t;Path:/users/{id}", two.addr),
        ("Host:b.t;PathPrefixStripRegex:/{tenant}/api;AddPrefix:/v2", two.addr),
    ];
    let routes: Vec<_> =
        routes.iter().map(|(rule, addr)| (*rule, std::slice::from_ref(addr))).collect();
    let serving = Serving::start(settings(), &routes);
    let ask = |line: &'static str, rest: &'static str| {
        let request = format!("{line} HTTP/1.1\r\n{rest}Connection: close\r\n\r\n");
        async move { exchange(serving.addr, request.as_bytes()).await }
    };
    let host = "Host: a.t\r\nX-Kind: red\r\nX-Kind: blue\r\nX_Replaced_Path: /own\r\nX-Replaced-Path: /own\r\nContent-Length: 0\r\n";
    assert!(ask("POST /x%20y?v=12", host).await.starts_with("HTTP/1.1 200 "));
    let seen = one.text();
    assert!(seen.starts_with("POST /new?v=12 HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("\r\nX-Replaced-Path: /x%20y\r\n") && !seen.contains("/own"), "{seen}");
    for line in ["GET /x?v=12", "POST /x?v=a", "POST /x"] {
        assert!(ask(line, host).await.starts_with("HTTP/1.1 404 "), "{line}");
    }
    let answer = ask("GET /users/7/?a=b", host).await;
    assert!(answer.starts_with("HTTP/1.1 301 Moved Permanently\r\n"), "{answer}");
    assert!(answer.contains("\r\nLocation: /users/7?a=b\r\n"), "{answer}");
    assert!(ask("GET /users/7", host).await.starts_with("HTTP/1.1 200 "));
    assert!(ask("GET /blue/ap%69/c%20d", "Host: b.t\r\n").await.starts_with("HTTP/1.1 200 "));
    let seen = two.text();
    assert!(seen.contains("GET /v2/c%20d HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("\r\nX-Forwarded-Prefix: /blue/api\r\n"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_alive_connection_that_died_costs_no_request() {
    let origin = Origin::start(OK, true).await;
    let serving = Serving::start(settings(), &[("Host:web.local", &[origin.addr])]);
    for _ in 0..50 {
        let answer = get(serving.addr, "web.local").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_passes_in_both_directions() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).await.expect("a head");
            head.push(byte[0]);
        }
        let mut body = vec![0; 3_000_000];
        stream.read_exact(&mut body).await.expect("a body");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await.expect("sent");
        stream.write_all(&body).await.expect("sent");
    });
    let serving = Serving::start(settings(), &[("Host:web.local", &[addr])]);
    let body: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let request = client.post(format!("http://{}/", serving.addr)).header("host", "web.local");
    let answer = request.body(body.clone()).send().await.expect("an answer");
    assert_eq!(answer.bytes().await.expect("a body"), body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_passes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut socket = tokio_tungstenite::accept_async(stream).await.expect("a handshake");
            while let Some(Ok(message)) = socket.next().await {
                if socket.send(message).await.is_err() {
                    break;
                }
            }
        }
    });
    let serving = Serving::start(settings(), &[("Host:ws.local", &[addr])]);
    let stream = TcpStream::connect(serving.addr).await.expect("connected");
    let request = "ws://ws.local/".into_client_request().expect("a request");
    let (mut socket, _) =
        tokio_tungstenite::client_async(request, stream).await.expect("a handshake");
    for text in ["one", "two"] {
        socket.send(Message::text(text)).await.expect("sent");
        let echo = socket.next().await.expect("an echo").expect("whole");
        assert_eq!(echo, Message::text(text));
    }
}

/// Both ends of a connection to `ws.local` that has changed its protocol: the client's, and that of the server at this listener.
async fn tunnel(serving: &Serving, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let mut client = TcpStream::connect(serving.addr).await.expect("connected");
    let ask =
        "GET / HTTP/1.1\r\nHost: ws.local\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.write_all(ask.as_bytes()).await.expect("sent");
    let (mut server, _) = listener.accept().await.expect("asked");
    head(&mut server).await;
    let switched =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    server.write_all(switched.as_bytes()).await.expect("sent");
    assert!(head(&mut client).await.starts_with("HTTP/1.1 101 "));
    (client, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_whose_server_has_ended_ends_when_its_client_is_silent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("an address");
    let mut settings = settings();
    settings.limits.body_timeout = Duration::from_millis(400);
    let serving = Serving::start(settings, &[("Host:ws.local", &[addr])]);
    let (mut client, mut server) = tunnel(&serving, &listener).await;
    // Both are there: silence is no end.
    tokio::time::sleep(Duration::from_millis(900)).await;
    server.write_all(b"one").await.expect("sent");
    let mut three = [0; 3];
    client.read_exact(&mut three).await.expect("it lives");
    // The client has ended: the server may take its time.
    client.shutdown().await.expect("ended");
    tokio::time::sleep(Duration::from_millis(900)).await;
    server.write_all(b"two").await.expect("sent");
    client.read_exact(&mut three).await.expect("it lives");
    drop((client, server));
    // The other way round nobody is served any more.
    let (mut client, mut server) = tunnel(&serving, &listener).await;
    server.shutdown().await.expect("ended");
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.expect("it is told");
    let mut seen = Vec::new();
    let end = timeout(PATIENCE, server.read_to_end(&mut seen)).await;
    assert!(end.is_ok(), "the server's connection ends without the client's word");
    // A client that has ended, and is gone: the server is told, though it says nothing.
    let (mut client, mut server) = tunnel(&serving, &listener).await;
    client.shutdown().await.expect("ended");
    assert_eq!(server.read(&mut [0]).await.expect("told"), 0);
    client.set_zero_linger().expect("a reset at its end");
    drop(client);
    let open = || serving.state.live.totals.open_connections();
    eventually("the tunnel has ended", || async { open() == 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_where_nobody_takes_what_is_said_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("an address");
    let mut settings = settings();
    // Ten times as long may nobody take anything.
    settings.limits.body_timeout = Duration::from_millis(200);
    let serving = Serving::start(settings, &[("Host:ws.local", &[addr])]);
    let open = || serving.state.live.totals.open_connections();
    for is_server_deaf in [true, false] {
        let (client, server) = tunnel(&serving, &listener).await;
        let (mut speaker, deaf) = if is_server_deaf { (client, server) } else { (server, client) };
        let piece = vec![b'x'; 1 << 16];
        while let Ok(said) = timeout(Duration::from_millis(300), speaker.write(&piece)).await {
            said.expect("it is taken for now");
        }
        assert_eq!(open(), 1);
        drop(speaker);
        eventually("the tunnel has ended", || async { open() == 0 }).await;
        drop(deaf);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_brings_a_client_back() {
    let servers = [web_test("one"), web_test("two"), web_test("three")];
    let serving = Serving::start(settings(), &[]);
    serving.publish(sticky(config(&[("Host:web.local", &servers)])));
    let first = get(serving.addr, "web.local").await;
    let name = |answer: &str| {
        let line = answer.lines().find(|line| line.starts_with("Real-Server: "));
        line.expect("a name").to_owned()
    };
    let cookie =
        first.lines().find_map(|line| line.strip_prefix("Set-Cookie: ")).expect("a cookie");
    let cookie = cookie.split(';').next().expect("a pair");
    for _ in 0..6 {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: web.local\r\nCookie: a=b; {cookie}\r\nConnection: close\r\n\r\n"
        );
        let answer = exchange(serving.addr, request.as_bytes()).await;
        assert_eq!(name(&answer), name(&first));
        assert!(!answer.contains("Set-Cookie: herder"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_finishes_what_is_under_way() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("an address");
    let serving = Serving::start(settings(), &[("Host:web.local", &[addr])]);
    let proxy = serving.addr;
    let request = tokio::spawn(async move { get(proxy, "web.local").await });
    let (mut stream, _) = listener.accept().await.expect("the request arrives");
    // One that idles is closed at once, and must not hold the drain up; one that stopped in the middle of a head neither.
    let _idle = TcpStream::connect(proxy).await.expect("connected");
    let mut half = TcpStream::connect(proxy).await.expect("connected");
    half.write_all(b"GET / HTTP/1.1\r\nHost: web.local\r\n").await.expect("sent");
    let drain = tokio::spawn(serving.running.drain(Duration::from_secs(20)));
    crate::harness::eventually("the port is closed", || async {
        TcpStream::connect(proxy).await.is_err()
    })
    .await;
    stream.write_all(OK).await.expect("sent");
    let answer = request.await.expect("no panic");
    assert!(answer.ends_with("ok"), "{answer}");
    drop(stream);
    // The drain might take twenty seconds.
    let told = tokio::time::timeout(Duration::from_secs(10), head(&mut half)).await;
    let told = told.expect("well before the end of the drain");
    assert!(told.starts_with("HTTP/1.1 408 "), "{told}");
    assert_eq!(drain.await.expect("no panic"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_is_not_held_up_by_whom_no_server_answers() {
    let serving = Serving::start(settings(), &[]);
    let mut client = TcpStream::connect(serving.addr).await.expect("connected");
    let (began, has_begun) = tokio::sync::oneshot::channel();
    let asking = tokio::spawn(async move {
        let mut began = Some(began);
        loop {
            client.write_all(b"GET / HTTP/1.1\r\nHost: nobody\r\n\r\n").await.expect("sent");
            let told = head(&mut client).await;
            assert!(told.starts_with("HTTP/1.1 404 "), "{told}");
            client.read_exact(&mut [0; 19]).await.expect("its words");
            began.take().map(|began| began.send(()));
            if told.contains("\r\nConnection: close\r\n") {
                return client.read(&mut [0]).await.expect("its end");
            }
        }
    });
    has_begun.await.expect("it asks");
    let drain = serving.running.drain(Duration::from_secs(60));
    let cut = tokio::time::timeout(Duration::from_secs(20), drain).await;
    assert_eq!(cut.expect("well before the deadline"), 0);
    assert_eq!(asking.await.expect("no panic"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_at_its_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("an address");
    let serving = Serving::start(settings(), &[("Host:web.local", &[addr])]);
    let proxy = serving.addr;
    let request = tokio::spawn(async move { get(proxy, "web.local").await });
    let _silent = listener.accept().await.expect("the request arrives");
    assert_eq!(serving.running.drain(Duration::from_millis(100)).await, 1);
    let answer = request.await.expect("no panic");
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interim_answer_is_none_at_the_deadline_of_a_drain() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("an address");
    let serving = Serving::start(settings(), &[("Host:web.local", &[addr])]);
    let proxy = serving.addr;
    let request =
        b"POST / HTTP/1.1\r\nHost: web.local\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let mut client = tokio::net::TcpStream::connect(proxy).await.expect("connected");
    client.write_all(request).await.expect("sent");
    let (mut server, _) = listener.accept().await.expect("the request arrives");
    head(&mut server).await;
    server.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.expect("sent");
    assert_eq!(head(&mut client).await, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(serving.running.drain(Duration::from_millis(100)).await, 1);
    assert!(head(&mut client).await.starts_with("HTTP/1.1 503 "), "and then the answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named() {
    let serving = Serving::start(settings(), &[]);
    let mut taken = settings();
    taken.entrypoints[0].listen = serving.addr.to_string().parse().expect("an address");
    let error = herder::proxy::Proxy::bind(&taken).err().expect("it is taken").to_string();
    assert!(error.contains(&serving.addr.to_string()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_and_idle_connections_are_ended() {
    let mut settings = settings();
    settings.limits.head_timeout = Duration::from_millis(200);
    settings.limits.idle_timeout = Duration::from_millis(600);
    let serving = Serving::start(settings, &[]);
    for bytes in [&b"GET / HTTP/1.1\r\nHost: a"[..], b""] {
        let mut stream = TcpStream::connect(serving.addr).await.expect("connected");
        stream.write_all(bytes).await.expect("sent");
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest));
        let ended = read.await;
        assert!(ended.is_ok(), "{bytes:?}: the connection stays open");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_has_served_idles_as_long_as_any() {
    let mut settings = settings();
    settings.limits.head_timeout = Duration::from_secs(5);
    settings.limits.idle_timeout = Duration::from_secs(3);
    let serving = Serving::start(settings, &[]);
    let mut client = TcpStream::connect(serving.addr).await.expect("connected");
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    // With a head in one piece and in two, while it has its room for exchanges and after it was given back.
    for (cut, idle_ms) in [(request.len(), 1_000), (9, 0), (9, 1_000)] {
        let (first, second) = request.split_at(cut);
        client.write_all(first).await.expect("sent");
        tokio::time::sleep(Duration::from_secs(1)).await;
        client.write_all(second).await.expect("sent");
        assert!(head(&mut client).await.starts_with("HTTP/1.1 404 "));
        client.read_exact(&mut [0; 19]).await.expect("its words");
        tokio::time::sleep(Duration::from_millis(idle_ms)).await;
    }
    let mut byte = [0];
    let end = tokio::time::timeout(Duration::from_secs(20), client.read(&mut byte));
    assert_eq!(end.await.expect("it is ended in time").expect("an end"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_many_requests_at_once_lets_others_have_their_turn() {
    const MANY: u64 = 6_000;
    let mut settings = settings();
    settings.workers = 1;
    let serving = Serving::start(settings, &[]);
    let request = b"GET / HTTP/1.1\r\nHost: nobody\r\n\r\n";
    let mut many = TcpStream::connect(serving.addr).await.expect("connected");
    let mut other = TcpStream::connect(serving.addr).await.expect("connected");
    let (mut answers, mut requests) = many.split();
    let flood = async {
        requests.write_all(&request.repeat(MANY as usize)).await.expect("sent");
        requests.shutdown().await.expect("its end");
    };
    let (began, has_begun) = tokio::sync::oneshot::channel();
    let drain = async {
        answers.read_exact(&mut [0]).await.expect("an answer");
        began.send(()).expect("somebody waits for it");
        tokio::io::copy(&mut answers, &mut tokio::io::sink()).await
    };
    let asked = async {
        has_begun.await.expect("it is at work");
        other.write_all(request).await.expect("sent");
        assert!(head(&mut other).await.starts_with("HTTP/1.1 404 "));
        serving.state.live.totals.requests()
    };
    let ((), drained, before) = tokio::join!(flood, drain, asked);
    drained.expect("its answers");
    assert!(before < MANY, "all of them were answered first");
}
