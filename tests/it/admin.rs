//! The admin side and its API over real sockets, beside the demo.

use std::net::SocketAddr;
use std::time::Duration;

use herder::demo::metadata::{Answers, Server};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::harness::herder::Herder;
use crate::harness::raw::{exchange, head, read};
use crate::harness::{PATIENCE, eventually};

async fn demo() -> Herder {
    let herder = Herder::start(&["demo"]);
    eventually("the demo is ready", || async {
        herder.admin("/ping").await.status == 200
            && herder.admin("/api").await.body.contains("web-test-1")
    })
    .await;
    herder
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_has_the_shape_of_traefik_1_7() {
    let herder = demo().await;
    let all = herder.admin("/api").await.json();
    assert_eq!(all, herder.admin("/api/providers").await.json());
    let name = "frontend-Host-web-test-proxy-test-local";
    let frontend = herder.admin(&format!("/api/providers/rancher/frontends/{name}")).await.json();
    assert_eq!(
        frontend,
        json!({
            "entryPoints": ["http"], "backend": "backend-web-test-proxy-test", "passHostHeader": true,
            "priority": 0, "basicAuth": null,
            "routes": {format!("route-{name}"): {"rule": "Host:web-test.proxy-test.local"}},
        })
    );
    let backend = "/api/providers/rancher/backends/backend-web-test-proxy-test";
    let backend = herder.admin(backend).await.json();
    assert_eq!(backend["loadBalancer"], json!({"method": "wrr"}));
    let server = &backend["servers"]["proxy-test-web-test-1"];
    assert_eq!(server["weight"], 1);
    assert!(server["url"].as_str().is_some_and(|url| url.starts_with("http://127.0.0.2:")));
    for unknown in
        ["/api/providers/docker", "/api/providers/rancher/x", "/api/providers/rancher/backends/x"]
    {
        assert_eq!(herder.admin(unknown).await.status, 404, "{unknown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_carry_their_policy_and_take_reads_only() {
    let herder = demo().await;
    for path in [
        "/",
        "/fragment?q=web",
        "/explain/nobody",
        "/route?url=x/y",
        "/assets/app.js",
        "/metrics",
        "/health",
    ] {
        let answer = herder.admin(path).await;
        let policy = answer.headers["content-security-policy"].to_str().expect("text");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
    }
    for path in [
        "/",
        "/fragment",
        "/fragment/now",
        "/explain/nobody",
        "/route",
        "/dashboard",
        "/assets/app.css",
        "/assets/app.js",
        "/favicon.ico",
        "/api",
        "/api/providers/rancher",
        "/api/version",
        "/api/problems",
        "/api/explain",
        "/api/events",
        "/api/errors",
        "/health",
        "/ping",
        "/metrics",
    ] {
        for method in ["POST", "PUT", "DELETE"] {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            let answer = exchange(herder.admin, request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 405 "), "{method} {path}: {answer}");
            assert!(answer.to_lowercase().contains("allow: get"), "{method} {path}: {answer}");
        }
    }
    for (path, kind) in [("/none", "text/plain"), ("/api/none", "application/json")] {
        let answer = herder.admin(path).await;
        assert_eq!(answer.status, 404, "{path}");
        let found = answer.headers["content-type"].to_str().expect("text");
        assert!(found.starts_with(kind), "{path}: {found}");
    }
    let metrics = herder.admin("/metrics").await.body;
    assert!(metrics.contains("herder_provider_stale{provider=\"rancher\"} 0"), "{metrics}");
    assert_eq!(herder.admin("/health").await.json()["total_count"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_filter_and_hostile_names() {
    let herder = demo().await;
    let page = |path: &'static str| async { herder.admin(path).await.body };
    assert!(page("/?q=web-test").await.contains("Host:web-test.proxy-test.local"));
    assert!(!page("/?q=nothing-like-it").await.contains("Host:web-test.proxy-test.local"));
    for path in [
        "/?q=%3Cscript%3Ealert(1)%3C/script%3E",
        "/explain/%3Cscript%3Ealert(1)",
        "/route?url=%22%3E%3Cscript%3E",
    ] {
        let body = page(path).await;
        assert!(!body.contains("<script>"), "{path}: {body}");
    }
    let test = herder.admin("/api/explain?url=http://web-tset.proxy-test.local/x").await.json();
    assert_eq!(test["frontend"], serde_json::Value::Null);
    assert_eq!(test["losers"].as_array().map(Vec::len), Some(1), "{test}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_of_views_and_rates() {
    let herder = demo().await;
    let stream = TcpStream::connect(herder.admin).await.expect("connected");
    let mut stream = BufReader::new(stream);
    stream.write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    let mut seen = String::new();
    while !(seen.contains("event: view") && seen.contains("event: stats")) {
        let read = tokio::time::timeout(crate::harness::PATIENCE, stream.read_line(&mut seen));
        assert!(read.await.expect("in time").expect("readable") > 0, "{seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn event_streams_have_a_bound_and_a_place_that_is_left_is_free() {
    let herder = demo().await;
    let open_from = async |ip: [u8; 4]| {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((ip, 0).into()).expect("bound");
        let mut stream = socket.connect(herder.admin).await.expect("connected");
        stream
            .write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
            .expect("sent");
        let head = head(&mut stream).await;
        (stream, head)
    };
    let open = || open_from([127, 0, 0, 1]);
    let mut streams = Vec::new();
    for place in 0..64 {
        let (stream, head) = open().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{place}: {head}");
        streams.push(stream);
    }
    let (mut late, head) = open().await;
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("retry-after: "), "{head}");
    assert!(read(&mut late).await.contains("too many event streams"));
    // Whoever has none gets one, and the oldest stream ends.
    let (_other, head) = open_from([127, 0, 0, 2]).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let ended = read(&mut streams[0]).await;
    assert!(ended.ends_with("0\r\n\r\n"), "{ended}");
    drop(streams.pop());
    eventually("a place is free", || async { open().await.1.starts_with("HTTP/1.1 200 ") }).await;
}

/// Four addresses take all places there are, and never read what they asked for: others are answered all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_slow_readers_keeps_nobody_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let rules = dir.path().join("rules.toml");
    std::fs::write(&rules, "").expect("written");
    let herder = Herder::start(&["run", &format!("--file.filename={}", rules.display())]);
    eventually("it is ready", || async { herder.admin("/ping").await.status == 200 }).await;
    let connect = async |ip: [u8; 4]| {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(2_048).expect("a small buffer");
        socket.bind(SocketAddr::from((ip, 0))).expect("an address of this machine");
        socket.connect(herder.admin).await.expect("connected")
    };
    let many = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    let mut held = Vec::new();
    for place in 0..512 {
        let mut stream = connect([127, 0, 0, 2 + (place / 128) as u8]).await;
        let _ = timeout(Duration::from_millis(5), stream.write_all(many.as_bytes())).await;
        held.push(stream);
    }
    for _ in 0..20 {
        let mut other = connect([127, 0, 0, 99]).await;
        other.write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
        let answer = timeout(PATIENCE, head(&mut other)).await.expect("in time");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        held.push(other);
    }
}

/// Who takes a URL, and whether that is good news: an error of a step's own is none, a redirect is.
#[tokio::test(flavor = "multi_thread")]
async fn the_route_test_says_whether_the_client_gets_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let rules = dir.path().join("rules.toml");
    let text = r#"
        [backends.b.servers.one]
        url = "http://127.0.0.1:1"
        [backends.none]
        [frontends.open]
        backend = "b"
        routes.r.rule = "Host:open.local"
        [frontends.closed]
        backend = "b"
        whiteList.sourceRange = ["nonsense"]
        routes.r.rule = "Host:closed.local"
        [frontends.moved]
        backend = "b"
        redirect = {regex = "^http://moved.local/(.*)", replacement = "http://open.local/$1"}
        routes.r.rule = "Host:moved.local"
        [frontends.empty]
        backend = "none"
        routes.r.rule = "Host:empty.local"
    "#;
    std::fs::write(&rules, text).expect("written");
    let herder = Herder::start(&["run", &format!("--file.filename={}", rules.display())]);
    eventually("it is read", || async { herder.admin("/").await.body.contains("4 frontends ·") })
        .await;
    for (host, verdict) in [
        ("open.local", "good"),
        ("moved.local", "good"),
        ("closed.local", "bad"),
        ("empty.local", "bad"),
        ("nobody.local", "bad"),
    ] {
        let page = herder.admin(&format!("/route?url=http://{host}/")).await.body;
        assert!(page.contains(&format!("class=\"verdict {verdict}\"")), "{host}: {page}");
    }
}

/// The secrets of labels stay where they are, however a label is meant, mistyped or not served yet.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_a_label_is_shown() {
    let labels = json!({
        "traefik.enable": "true", "traefik.port": "80",
        "traefik.frontend.auth.basic": "admin:geheim",
        "traefik.frontend.auth.basic.users": "admin:geheim",
        "traefik.frontend.auth.basic.usres": "admin:geheim",
        "traefik.frontend.auth.forward.address": "http://me:geheim@auth/",
        "traefik.frontend.headers.customRequestHeaders": "Authorization:geheim",
        "traefik.api.key": "geheim", "password": "geheim", "traefik.geheim": "",
    });
    let service = json!([{"name": "web", "stack_name": "shop", "kind": "service", "state": "active",
        "labels": labels, "containers": [{"name": "web-1", "primary_ip": "10.0.0.1", "state": "running",
        "health_state": "healthy", "labels": labels}]}]);
    let answers =
        Answers { default: json!({"services": service, "stacks": []}), ..Answers::default() };
    let metadata = Server::bind("127.0.0.1:0".parse().expect("an address"), answers);
    let metadata = metadata.expect("bound");
    let url = format!("--rancher.metadata.url=http://{}", metadata.local_addr());
    tokio::spawn(metadata.run(std::future::pending()));
    let herder = Herder::start(&["run", "--rancher", &url, "--log.level=debug"]);
    eventually("it is known", || async { herder.admin("/").await.body.contains("web") }).await;
    for path in [
        "/",
        "/fragment",
        "/explain/web",
        "/explain/web-1",
        "/route?url=web.shop/",
        "/api",
        "/api/problems",
        "/api/explain",
        "/api/explain/web",
        "/metrics",
    ] {
        let body = herder.admin(path).await.body;
        // The name of a label is its own, and may be told.
        assert!(!body.replace("traefik.geheim", "").contains("geheim"), "{path}: {body}");
    }
    assert!(!herder.log().replace("traefik.geheim", "").contains("geheim"), "{}", herder.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_changes_is_one_piece_of_news_a_second() {
    let tree = |count: usize| {
        let name = format!("s{count}");
        let services =
            json!([{"name": name, "kind": "service", "labels": {"traefik.enable": "true"}}]);
        Answers { default: json!({"services": services, "stacks": []}), ..Answers::default() }
    };
    let metadata =
        Server::bind("127.0.0.1:0".parse().expect("an address"), tree(0)).expect("bound");
    let (url, handle) =
        (format!("--rancher.metadata.url=http://{}", metadata.local_addr()), metadata.handle());
    tokio::spawn(metadata.run(std::future::pending()));
    let herder = Herder::start(&["run", "--rancher", &url]);
    eventually("it is ready", || async { herder.admin("/ping").await.status == 200 }).await;
    let mut stream = BufReader::new(TcpStream::connect(herder.admin).await.expect("connected"));
    stream.write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    let changes = tokio::spawn(async move {
        for count in 1..100 {
            handle.set(tree(count));
            tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        }
    });
    // Between two views stands a second's statistics, however many changes there were.
    let (mut views, mut stats, mut line) = (0, 0, String::new());
    while stats < 5 {
        line.clear();
        let read = tokio::time::timeout(crate::harness::PATIENCE, stream.read_line(&mut line));
        assert!(read.await.expect("in time").expect("readable") > 0, "the stream ended");
        views += usize::from(line.contains("event: view"));
        stats += usize::from(line.contains("event: stats"));
        assert!(views <= stats + 2, "{views} views in {stats} seconds");
    }
    changes.await.expect("no panic");
    assert!(views >= 2, "only {views}");
}

/// Whoever holds connections open with half a request leaves room for others, and loses them.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_request_holds_the_admin_side_up_for_nobody() {
    let dir = tempfile::tempdir().expect("a directory");
    let rules = dir.path().join("rules.toml");
    std::fs::write(&rules, "").expect("written");
    let herder = Herder::start(&["run", &format!("--file.filename={}", rules.display())]);
    eventually("it is ready", || async { herder.admin("/ping").await.status == 200 }).await;
    let from = async |ip: [u8; 4]| {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((ip, 0))).expect("an address of this machine");
        let mut stream = socket.connect(herder.admin).await.expect("connected");
        let _ = stream.write_all(b"GET /ping HTTP/1.1\r\nHost: a\r\n").await;
        stream
    };
    let mut held = Vec::new();
    for _ in 0..128 {
        held.push(from([127, 0, 0, 2]).await);
    }
    let mut refused = from([127, 0, 0, 2]).await;
    assert_eq!(refused.read(&mut [0]).await.unwrap_or_default(), 0, "one has no more than these");
    let mut other = from([127, 0, 0, 3]).await;
    other.write_all(b"\r\n").await.expect("sent");
    assert!(head(&mut other).await.starts_with("HTTP/1.1 200 "));
    for mut stream in held {
        let mut text = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut text)).await;
        assert!(ended.is_ok(), "{}", String::from_utf8_lossy(&text));
    }
    // And has as many again.
    eventually("there is room again", || async {
        let mut again = from([127, 0, 0, 2]).await;
        let _ = again.write_all(b"\r\n").await;
        head(&mut again).await.starts_with("HTTP/1.1 200 ")
    })
    .await;
}

/// What takes long to work out is worked out for one after another, and nobody else waits meanwhile: `/ping` is answered at once, and
/// another client's turn comes next.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_for_everything_again_and_again_waits_behind_himself() {
    let dir = tempfile::tempdir().expect("a directory");
    let rules = dir.path().join("rules.toml");
    let service = |n: u32| {
        format!(
            "[backends.b{n}.servers.s]\nurl = \"http://127.0.0.1:{}\"\n[frontends.f{n}]\nbackend = \"b{n}\"\n\
             [frontends.f{n}.routes.r]\nrule = \"Host:h{n}.test\"\n",
            9_000 + n
        )
    };
    std::fs::write(&rules, (0..2_000).map(service).collect::<String>()).expect("written");
    let herder = Herder::start(&["run", &format!("--file.filename={}", rules.display())]);
    eventually("it is ready", || async { herder.admin("/ping").await.status == 200 }).await;
    let addr = herder.admin;
    let ask = async move |ip: [u8; 4], path: &str| {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((ip, 0))).expect("an address of this machine");
        let mut stream = socket.connect(addr).await.expect("connected");
        let ask = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let (busy, mut told) = tokio::sync::mpsc::channel(1);
    let flood: Vec<_> = (0..100)
        .map(|_| {
            let busy = busy.clone();
            tokio::spawn(async move {
                loop {
                    let answer = ask([127, 0, 0, 2], "/api").await;
                    if answer.starts_with("HTTP/1.1 503 ") {
                        let _ = busy.try_send(answer);
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            })
        })
        .collect();
    for _ in 0..10 {
        let answer = timeout(Duration::from_secs(1), ask([127, 0, 0, 2], "/ping")).await;
        assert!(answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 ")));
        let answer = timeout(Duration::from_secs(5), ask([127, 0, 0, 3], "/api")).await;
        assert!(answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 ")));
    }
    let refused = timeout(PATIENCE, told.recv()).await.expect("in time").expect("an answer");
    assert!(refused.contains("retry-after: 1\r\n"), "{refused}");
    flood.into_iter().for_each(|task| task.abort());
}

/// A stranger's page may have its own name lead to this machine. Where the admin side listens on this machine alone, it is not answered.
#[tokio::test(flavor = "multi_thread")]
async fn on_this_machine_alone_no_other_name_is_answered() {
    let herder = demo().await;
    let ask = async |line: &str, path: &str| {
        let ask = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{line}\r\n");
        exchange(herder.admin, ask.as_bytes()).await
    };
    for path in ["/", "/api", "/api/events", "/metrics", "/none", "/assets/app.js"] {
        let answer = ask("Host: evil.test:8000\r\n", path).await;
        assert!(answer.starts_with("HTTP/1.1 421 ") && answer.contains("localhost"), "{answer}");
    }
    assert!(ask("Host: localhost\r\n", "http://evil.test/api").await.starts_with("HTTP/1.1 421 "));
    assert!(ask("Host: évil.test\r\n", "/api").await.starts_with("HTTP/1.1 421 "));
    assert!(ask("Host: evil.test\r\n", "/ping").await.starts_with("HTTP/1.1 200 "));
    for host in ["localhost", "herder.localhost:8000", "127.0.0.1", "[::1]:8000"] {
        let answer = ask(&format!("Host: {host}\r\n"), "/api/version").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
    }
    let old = exchange(herder.admin, b"GET /api/version HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.") && old.contains(" 200 OK\r\n"), "{old}");
}
