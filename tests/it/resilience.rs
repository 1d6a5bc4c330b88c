//! What stands between a request and a server that fails: kept bodies, pages in the place of errors, tries, waits.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use herder::config::{
    Auth, BackendWishes, Buffering, CircuitBreaker, Config, ErrorPage, FrontendWishes, MaxConn,
    TimeoutsWish, UsersAuth,
};
use herder::live::Counts;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::harness::eventually;
use crate::harness::herder::Herder;
use crate::harness::proxy::{Serving, config, edited, settings};
use crate::harness::raw::{Act, Scripted, answer, exchange, head, read};

fn serve(servers: &[SocketAddr], wishes: &BackendWishes) -> Serving {
    let routes: [(&str, &[SocketAddr]); 1] = [("Host:web.local", servers)];
    let serving = Serving::start(settings(), &[]);
    serving.publish(edited(config(&routes), |_, backend| {
        backend.wishes = Some(Box::new(wishes.clone()));
    }));
    serving
}

fn buffering(buffering: Buffering) -> BackendWishes {
    BackendWishes { buffering: Some(buffering), ..BackendWishes::default() }
}

fn post(body: &str) -> String {
    format!(
        "POST /x HTTP/1.1\r\nHost: web.local\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The connection of a request whose body is being kept: Herder has asked for it, and has not got all of it.
async fn half_kept(serving: &Serving) -> TcpStream {
    let mut stream = TcpStream::connect(serving.addr).await.expect("connected");
    let ask = post("").replace("Content-Length: 0", "Expect: 100-continue\r\nContent-Length: 5");
    stream.write_all(ask.as_bytes()).await.expect("sent");
    assert_eq!(head(&mut stream).await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hel").await.expect("sent");
    stream
}

const GET: &[u8] = b"GET /x HTTP/1.1\r\nHost: web.local\r\nConnection: close\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_request_arrives_whole_from_memory_and_from_a_file() {
    let server = Scripted::start(|_, _, body| answer(200, "", &body.len().to_string())).await;
    for memory in [0, 10, 300_000] {
        let wishes =
            buffering(Buffering { mem_request_body_bytes: memory, ..Buffering::default() });
        let serving = serve(&[server.addr], &wishes);
        let body = "words ".repeat(40_000);
        let text = exchange(serving.addr, post(&body).as_bytes()).await;
        assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("240000"), "{text}");
        let chunks = "POST / HTTP/1.1\r\nHost: web.local\r\nTransfer-Encoding: chunked\r\n\r\n\
                      5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET /next HTTP/1.1\r\nHost: web.local\r\n\r\n";
        let text = exchange(serving.addr, chunks.as_bytes()).await;
        assert_eq!(text.matches("HTTP/1.1 200 ").count(), 2, "{text}");
        let requests = server.requests();
        let (head, body) = &requests[requests.len() - 2];
        assert_eq!(body, b"hello world");
        assert!(head.contains("\r\nContent-Length: 11\r\n"), "{head}");
        assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
        assert!(requests[requests.len() - 1].0.starts_with("GET /next "));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_request_stays_whole_where_nothing_is_kept_any_more() {
    let server = Scripted::start(|_, _, body| answer(200, "", &body.len().to_string())).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let nobody = free.local_addr().expect("an address");
    drop(free);
    // The change has to come between two tries of one request.
    for _ in 0..20 {
        let serving = serve(&[nobody], &buffering(Buffering::default()));
        let asking = tokio::spawn(exchange_owned(
            serving.addr,
            b"POST / HTTP/1.1\r\nHost: web.local\r\nContent-Length: 5\r\n\r\nhello\
             GET /next HTTP/1.1\r\nHost: web.local\r\nConnection: close\r\n\r\n",
        ));
        tokio::time::sleep(Duration::from_millis(40)).await;
        serving.publish(config(&[("Host:web.local", &[server.addr])]));
        asking.await.expect("an answer");
        if server.requests().len() >= 4 {
            break;
        }
    }
    let requests = server.requests();
    let posts: Vec<_> = requests.iter().filter(|(head, _)| head.starts_with("POST ")).collect();
    assert!(!posts.is_empty(), "it was never sent again");
    assert!(posts.iter().all(|(_, body)| body == b"hello"), "{posts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_long_never_reaches_a_server() {
    let server = Scripted::start(|_, _, _| answer(200, "", "ok")).await;
    let limit = Buffering { max_request_body_bytes: 10, ..Buffering::default() };
    let serving = serve(&[server.addr], &buffering(limit));
    let text = exchange(serving.addr, post("12345678901").as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    let chunked = "POST / HTTP/1.1\r\nHost: web.local\r\nTransfer-Encoding: chunked\r\n\r\n\
                   b\r\n12345678901\r\n0\r\n\r\n";
    let text = exchange(serving.addr, chunked.as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    assert_eq!(server.requests().len(), 0);
    let text = exchange(serving.addr, post("1234567890").as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
}

/// The head and the whole body come in one piece, and the body cannot be kept: the page still knows what was asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_cannot_be_kept_takes_its_head_along_nowhere() {
    let server = Scripted::start(|_, _, _| answer(200, "", "ok")).await;
    let pages = Scripted::start(|_, _, _| answer(200, "", "sorry")).await;
    let dir = tempfile::tempdir().expect("a directory");
    let (rules, log) = (dir.path().join("rules.toml"), dir.path().join("access.log"));
    let text = format!(
        "[backends.b.buffering]\nmemRequestBodyBytes = 1\nmaxRequestBodyBytes = 100\n\
         [backends.b.servers.s]\nurl = \"http://{}\"\n[backends.pages.servers.s]\nurl = \"http://{}\"\n\
         [frontends.f]\nbackend = \"b\"\n[frontends.f.routes.r]\nrule = \"Host:web.local\"\n\
         [frontends.f.errors.any]\nstatus = [\"500\"]\nbackend = \"pages\"\nquery = \"/page\"\n",
        server.addr, pages.addr
    );
    std::fs::write(&rules, text).expect("written");
    let args = [
        format!("--file.filename={}", rules.display()),
        format!("--accessLog.filePath={}", log.display()),
    ];
    // Where bodies are kept that are too large for the memory there is no place.
    let herder =
        Herder::start_with("TMPDIR", dir.path().join("gone"), &["run", &args[0], &args[1]]);
    eventually("it serves", || async { herder.get("web.local", "/").await.status == 200 }).await;
    // That is said before anybody finds out.
    eventually("the page tells", || async {
        let told = herder.admin("/api/problems").await.body;
        told.contains("no file in")
            && told.contains("--tmpfs /tmp")
            && told.matches("TMPDIR").count() == 1
    })
    .await;
    // Who has pages alone is in use, too.
    for (path, word) in [
        ("/api/health", "\"file/pages\""),
        ("/metrics", "traefik_backend_server_up{backend=\"pages\""),
    ] {
        let told = herder.admin(path).await.body;
        assert!(told.contains(word), "{path}: {told}");
    }
    assert!(!herder.admin("/").await.body.contains("no frontend leads here"));
    let chunked = |body: &str| {
        let head = "POST /asked HTTP/1.1\r\nHost: web.local\r\nTransfer-Encoding: chunked\r\n\r\n";
        format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
    };
    let text = exchange(herder.http, chunked("hello").as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 500 ") && text.ends_with("sorry"), "{text}");
    let text = exchange(herder.http, chunked(&"x".repeat(101)).as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    let lines = || std::fs::read_to_string(&log).unwrap_or_default();
    for status in ["500", "413"] {
        let line = format!("\"POST /asked HTTP/1.1\" {status} ");
        eventually(&format!("{line} is logged"), || async { lines().contains(&line) }).await;
    }
    assert!(!herder.log().contains("panicked"), "{}", herder.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_body_goes_to_a_server_that_is_there_by_then() {
    let gone = Scripted::start(|_, _, _| answer(200, "", "gone")).await;
    let new = Scripted::start(|_, _, body| answer(200, "", &String::from_utf8_lossy(body))).await;
    let serving = serve(&[gone.addr], &buffering(Buffering::default()));
    let mut stream = half_kept(&serving).await;
    serving.publish(config(&[("Host:web.local", &[new.addr])]));
    stream.write_all(b"lo").await.expect("sent");
    let text = read(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("hello"), "{text}");
    assert_eq!(gone.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_in_a_kept_body_is_as_long_as_its_backend_says() {
    let server = Scripted::start(|_, _, _| answer(200, "", "ok")).await;
    let timeouts = TimeoutsWish { body: "200ms".to_owned(), ..TimeoutsWish::default() };
    let wishes = BackendWishes { timeouts: Some(timeouts), ..buffering(Buffering::default()) };
    let serving = serve(&[server.addr], &wishes);
    let half = "POST / HTTP/1.1\r\nHost: web.local\r\nContent-Length: 9\r\n\r\nhalf";
    let text = timeout(Duration::from_secs(20), exchange(serving.addr, half.as_bytes())).await;
    let text = text.expect("it is told before the usual minute is over");
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_a_word_gets_it_from_us() {
    let server = Scripted::start(|_, _, body| answer(200, "", &body.len().to_string())).await;
    let serving = serve(&[server.addr], &buffering(Buffering::default()));
    let mut stream = TcpStream::connect(serving.addr).await.expect("connected");
    let ask =
        "POST / HTTP/1.1\r\nHost: web.local\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.expect("written");
    assert_eq!(head(&mut stream).await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.expect("written");
    let text = read(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("\r\n\r\n5"), "{text}");
    assert!(!server.requests()[0].0.contains("Expect"), "{:?}", server.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expression_says_what_is_sent_again() {
    let server = Scripted::start(|number, _, body| match number {
        0 => answer(503, "", "not yet"),
        1 => Act::Close(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()),
        2 => Act::Close(Vec::new()),
        _ => answer(200, "", &String::from_utf8_lossy(body)),
    })
    .await;
    let retry_expression =
        "(IsNetworkError() || ResponseCode() == 503) && Attempts() <= 5".to_owned();
    let wishes = buffering(Buffering { retry_expression, ..Buffering::default() });
    let serving = serve(&[server.addr], &wishes);
    let text = exchange(serving.addr, post("hello").as_bytes()).await;
    // The second answer ended in its head, after which a POST is not sent again: no network error, but a bad answer.
    assert!(text.starts_with("HTTP/1.1 502 "), "{text}");
    let text = exchange(serving.addr, post("hello").as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("hello"), "{text}");
    assert_eq!(server.requests().len(), 4);
    assert!(server.requests().iter().all(|(_, body)| body == b"hello"));
    // The first time counts.
    let failing = Scripted::start(|_, _, _| answer(503, "", "never")).await;
    let retry_expression = "ResponseCode() == 503 && Attempts() <= 2".to_owned();
    let wishes = buffering(Buffering { retry_expression, ..Buffering::default() });
    let serving = serve(&[failing.addr], &wishes);
    let text = exchange(serving.addr, post("hello").as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
    assert_eq!(failing.requests().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_answer_comes_whole_or_not_at_all() {
    let server = Scripted::start(|_, head, _| match head.split(' ').nth(1) {
        Some("/short") => answer(200, "", &"x".repeat(1_000)),
        Some("/long") => answer(200, "", &"x".repeat(1_001)),
        Some("/cut") => Act::Close(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345".to_vec()),
        Some("/pieces") => {
            let pieces = "1\r\nx\r\n".repeat(1_000);
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            Act::Send(format!("{head}{pieces}0\r\n\r\n").into_bytes())
        }
        _ => Act::Close(b"HTTP/1.1 200 OK\r\n\r\nto the end".to_vec()),
    })
    .await;
    let wishes = buffering(Buffering {
        max_response_body_bytes: 1_000,
        mem_response_body_bytes: 100,
        ..Buffering::default()
    });
    let serving = serve(&[server.addr], &wishes);
    let get = async |path: &str| {
        let ask = format!("GET {path} HTTP/1.1\r\nHost: web.local\r\nConnection: close\r\n\r\n");
        exchange(serving.addr, ask.as_bytes()).await
    };
    let text = get("/short").await;
    assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with(&"x".repeat(1_000)), "{text}");
    for path in ["/long", "/cut"] {
        let text = get(path).await;
        assert!(text.starts_with("HTTP/1.1 502 "), "{path}: {text}");
    }
    let text = get("/end").await;
    assert!(text.ends_with("\r\n\r\na\r\nto the end\r\n0\r\n\r\n"), "{text}");
    // What frames the body is no part of it.
    let text = get("/pieces").await;
    assert!(
        text.starts_with("HTTP/1.1 200 ") && text.matches("1\r\nx\r\n").count() == 1_000,
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_stands_in_for_errors_of_servers_and_our_own() {
    let server = Scripted::start(|_, head, _| match head.split(' ').nth(1) {
        Some("/bad") => answer(500, "X-Server: 1\r\n", "trace of the stack"),
        Some("/worst") => answer(599, "X-Server: 1\r\n", "trace of the stack"),
        Some("/gone") => Act::Close(Vec::new()),
        _ => answer(200, "", "fine"),
    })
    .await;
    let pages = Scripted::start(|_, head, _| {
        answer(200, "X-Page: 1\r\n", head.split(' ').nth(1).unwrap_or_default())
    })
    .await;
    let routes: [(&str, &[SocketAddr]); 3] = [
        ("Host:web.local", &[server.addr]),
        ("Host:empty.local", &[]),
        ("Host:pages.local", &[pages.addr]),
    ];
    let page = ErrorPage {
        status: vec!["500-599".to_owned()],
        backend: "backend-2".to_owned(),
        query: "/{status}.html?of=herder".to_owned(),
    };
    let errors = [("all".to_owned(), page)].into();
    let wishes = FrontendWishes { errors, ..FrontendWishes::default() };
    let serving = Serving::start(settings(), &[]);
    serving.publish(edited(config(&routes), |frontend, _| {
        frontend.wishes = Some(Box::new(wishes.clone()));
    }));
    let ask = async |host: &str, path: &str, more: &str| {
        let ask = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\n{more}");
        exchange(serving.addr, ask.as_bytes()).await
    };
    let body = "Content-Type: a/b\r\nContent-Length: 5\r\n\r\nhello";
    for (host, path, status) in [
        ("web.local", "/bad", 500),
        ("web.local", "/worst", 599),
        ("web.local", "/gone", 502),
        ("empty.local", "/", 503),
    ] {
        let text = ask(host, path, body).await;
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {text}");
        assert!(text.contains("X-Page: 1\r\n") && !text.contains("X-Server"), "{text}");
        assert!(text.ends_with(&format!("/{status}.html?of=herder")), "{text}");
    }
    // The page hides nothing from who counts what the server does.
    let view = serving.state.view();
    let mut servers = view.table.routes().iter().flat_map(|route| route.backend.servers());
    let live = &servers.find(|of_route| of_route.addr == server.addr).expect("one").live;
    assert_eq!((live.requests(), live.failures()), (3, 3));
    let (head, body) = pages.requests()[0].clone();
    assert!(head.starts_with("GET /500.html?of=herder HTTP/1.1\r\nHost: web.local\r\n"), "{head}");
    assert!(!head.contains("Content-") && body.is_empty(), "{head}");
    // What is fine stays, and the connection goes on after a page.
    let two = "POST /bad HTTP/1.1\r\nHost: web.local\r\nContent-Length: 2\r\n\r\nabGET /ok HTTP/1.1\r\nHost: web.local\r\n\r\n";
    let text = exchange(serving.addr, two.as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 500 ") && text.ends_with("fine"), "{text}");
    // Without the page the status stays.
    let mut broken = config(&routes);
    broken = edited(broken, |frontend, _| frontend.wishes = Some(Box::new(wishes.clone())));
    let backend = broken.backends.values_mut().last().expect("three backends");
    std::sync::Arc::make_mut(backend).servers.clear();
    serving.publish(broken);
    let text = ask("web.local", "/bad", "Content-Length: 0\r\n\r\n").await;
    assert!(
        text.starts_with("HTTP/1.1 500 ") && text.ends_with("Internal Server Error\n"),
        "{text}"
    );
}

/// A page for every error, at `backend-1`, and users where that is wanted.
fn paged(routes: &[(&str, &[SocketAddr])], status: &str, users: Option<&str>) -> Config {
    let page = ErrorPage {
        status: vec![status.to_owned()],
        backend: "backend-1".to_owned(),
        query: "/page".to_owned(),
    };
    let users = users.map(|user| UsersAuth { users: vec![user.to_owned()], ..Default::default() });
    let auth = users.map(|basic| Auth { basic: Some(basic), ..Auth::default() });
    let wishes =
        FrontendWishes { errors: [("all".to_owned(), page)].into(), auth, ..Default::default() };
    edited(config(routes), |frontend, _| {
        if frontend.backend.name.ends_with('0') {
            frontend.wishes = Some(Box::new(wishes.clone()));
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_empty_or_stands_for_no_body_breaks_no_connection() {
    let server = Scripted::start(|_, head, _| match head.split(' ').nth(1) {
        Some("/304") => Act::Send(b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n".to_vec()),
        Some("/204") => Act::Send(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        Some("/500") => answer(500, "", "trace"),
        _ => answer(201, "", "fine"),
    })
    .await;
    let pages = Scripted::start(|number, _, _| match number {
        0 => Act::Send(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        _ => Act::Send(b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec()),
    })
    .await;
    let routes: [(&str, &[SocketAddr]); 2] =
        [("Host:web.local", &[server.addr]), ("Host:pages.local", &[pages.addr])];
    let serving = Serving::start(settings(), &[]);
    serving.publish(paged(&routes, "202-599", None));
    let asks = ["/500", "/304", "/204", "/500", "/fine"]
        .map(|path| format!("GET {path} HTTP/1.1\r\nHost: web.local\r\n\r\n"));
    let text = exchange(serving.addr, asks.concat().as_bytes()).await;
    let statuses: Vec<&str> =
        text.split("HTTP/1.1 ").skip(1).filter_map(|part| part.get(..3)).collect();
    assert_eq!(statuses, ["500", "304", "204", "500", "201"], "{text}");
    assert!(text.contains("\r\n\r\nInternal Server Error\nHTTP/1.1 304 "), "{text}");
    assert!(text.contains("\r\n\r\nInternal Server Error\nHTTP/1.1 201 "), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_has_gone_is_not_asked_of_the_frontends_own_server() {
    let server = Scripted::start(|_, _, _| {
        // The answer takes its time; this server has threads enough.
        std::thread::park_timeout(Duration::from_millis(300));
        answer(500, "", "trace")
    })
    .await;
    let pages = Scripted::start(|_, _, _| answer(200, "", "page")).await;
    let routes: [(&str, &[SocketAddr]); 2] =
        [("Host:web.local", &[server.addr]), ("Host:pages.local", &[pages.addr])];
    let serving = Serving::start(settings(), &[]);
    serving.publish(paged(&routes, "500", None));
    let asking = tokio::spawn(exchange_owned(serving.addr, GET));
    eventually("the server is asked", || async { !server.requests().is_empty() }).await;
    serving.publish(config(&routes));
    let text = asking.await.expect("an answer");
    assert!(
        text.starts_with("HTTP/1.1 500 ") && text.ends_with("Internal Server Error\n"),
        "{text}"
    );
    assert_eq!((server.requests().len(), pages.requests().len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_step_answers_is_no_error_of_a_server() {
    let server = Scripted::start(|_, _, _| answer(200, "", "ok")).await;
    let routes: [(&str, &[SocketAddr]); 2] =
        [("Host:web.local", &[server.addr]), ("Host:pages.local", &[server.addr])];
    let serving = Serving::start(settings(), &[]);
    serving.publish(paged(&routes, "400-599", Some("me:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=")));
    let text = exchange(serving.addr, GET).await;
    assert!(text.starts_with("HTTP/1.1 401 ") && text.contains("WWW-Authenticate: "), "{text}");
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_changes_hands_meanwhile_does_not_lead_around_its_new_guards() {
    let server = Scripted::start(|_, _, _| answer(200, "", "secret")).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let nobody = free.local_addr().expect("an address");
    drop(free);
    for _ in 0..5 {
        let serving = Serving::start(settings(), &[("Host:web.local", &[nobody])]);
        let asking = tokio::spawn(exchange_owned(serving.addr, GET));
        tokio::time::sleep(Duration::from_millis(40)).await;
        // The frontend of another name has the host now, and asks for a password.
        let routes: [(&str, &[SocketAddr]); 2] =
            [("Host:other.local", &[nobody]), ("Host:web.local", &[server.addr])];
        let users = UsersAuth {
            users: vec!["me:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=".to_owned()],
            ..Default::default()
        };
        let auth = Some(Auth { basic: Some(users), ..Auth::default() });
        serving.publish(edited(config(&routes), |frontend, _| {
            frontend.wishes =
                Some(Box::new(FrontendWishes { auth: auth.clone(), ..Default::default() }));
        }));
        let text = asking.await.expect("an answer");
        assert!(text.starts_with("HTTP/1.1 401 "), "{text}");
    }
    assert_eq!(server.requests().len(), 0);
}

/// Its backend gets a bound meanwhile, which it counts against as all others do.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_request_does_not_pass_by_the_bound_that_its_backend_gets_meanwhile() {
    let server = Scripted::start(|_, _, _| Act::Hang).await;
    let serving = serve(&[server.addr], &buffering(Buffering::default()));
    let mut stream = half_kept(&serving).await;
    let max_conn = Some(MaxConn { amount: 1, extractor_func: "request.host".to_owned() });
    serving.publish(edited(config(&[("Host:web.local", &[server.addr])]), |_, backend| {
        let max_conn = max_conn.clone();
        backend.wishes = Some(Box::new(BackendWishes { max_conn, ..BackendWishes::default() }));
    }));
    let _other = tokio::spawn(exchange_owned(serving.addr, GET));
    eventually("the place is taken", || async { server.requests().len() == 1 }).await;
    stream.write_all(b"lo").await.expect("sent");
    let text = read(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 429 "), "{text}");
    assert_eq!(server.requests().len(), 1);
}

/// The client can hold its body back for as long as it likes.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_request_does_not_pass_by_guards_that_its_frontend_gets_meanwhile() {
    let server = Scripted::start(|_, _, _| answer(200, "", "secret")).await;
    let serving = serve(&[server.addr], &buffering(Buffering::default()));
    let mut stream = half_kept(&serving).await;
    let users = UsersAuth {
        users: vec!["me:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=".to_owned()],
        ..Default::default()
    };
    let auth = Some(Auth { basic: Some(users), ..Auth::default() });
    serving.publish(edited(config(&[("Host:web.local", &[server.addr])]), |frontend, _| {
        frontend.wishes =
            Some(Box::new(FrontendWishes { auth: auth.clone(), ..Default::default() }));
    }));
    stream.write_all(b"lo").await.expect("sent");
    let text = read(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 401 "), "{text}");
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_alone_opens_no_breaker_and_ejects_no_server() {
    // It answers at once, whatever else the client sends; or closes in the middle of a request.
    let early = Scripted::start(|_, _, _| answer(200, "", "ok")).await;
    let rude = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let rude_addr = rude.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = rude.accept().await {
            let _ = head(&mut stream).await;
        }
    });
    let serving = Serving::start(settings(), &[]);
    let routes: [(&str, &[SocketAddr]); 2] =
        [("Host:web.local", &[early.addr]), ("Host:rude.local", &[rude_addr, rude_addr])];
    serving.publish(edited(config(&routes), |_, backend| {
        let expression = "NetworkErrorRatio() > 0.1".to_owned();
        let circuit_breaker = Some(CircuitBreaker { expression });
        backend.wishes = Some(Box::new(BackendWishes { circuit_breaker, ..Default::default() }));
    }));
    for _ in 0..6 {
        let mut stream = TcpStream::connect(serving.addr).await.expect("connected");
        let ask = "POST / HTTP/1.1\r\nHost: web.local\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(ask.as_bytes()).await.expect("written");
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 200 "));
        stream.write_all(b"ZZ\r\n").await.expect("written");
        read(&mut stream).await;
        let half = "POST / HTTP/1.1\r\nHost: rude.local\r\nContent-Length: 100\r\n\r\nabc";
        let text = exchange(serving.addr, half.as_bytes()).await;
        assert!(text.starts_with("HTTP/1.1 502 "), "{text}");
    }
    let text = exchange(serving.addr, GET).await;
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    assert_eq!(serving.state.live.journal.count(), 0, "nobody is ejected");
}

/// What is no HTTP is no answer.
#[tokio::test(flavor = "multi_thread")]
async fn who_answers_nonsense_is_ejected() {
    let ill = Scripted::start(|_, _, _| Act::Close(b"nonsense\r\n\r\n".to_vec())).await;
    let well = Scripted::start(|_, _, _| answer(200, "", "ok")).await;
    let serving = serve(&[ill.addr, well.addr], &BackendWishes::default());
    for _ in 0..10 {
        exchange(serving.addr, post("").as_bytes()).await;
    }
    assert_eq!(serving.state.live.journal.count(), 1, "it is ejected");
}

/// Any large answer has to wait for its client for a moment: that does not make its server give up.
#[tokio::test(flavor = "multi_thread")]
async fn who_breaks_off_large_answers_is_ejected() {
    let begun = b"HTTP/1.1 200 OK\r\nContent-Length: 64000000\r\n\r\n";
    let half = [&begun[..], &vec![b'x'; 8_000_000]].concat();
    let ill = Scripted::start(move |_, _, _| Act::Close(half.clone())).await;
    let well = Scripted::start(|_, _, _| answer(200, "", "ok")).await;
    let serving = serve(&[ill.addr, well.addr], &BackendWishes::default());
    for _ in 0..10 {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(1 << 16).expect("set");
        let mut client = socket.connect(serving.addr).await.expect("connected");
        client.write_all(GET).await.expect("written");
        let (mut piece, mut taken) = (vec![0; 1 << 16], 0);
        while let n @ 1.. = client.read(&mut piece).await.expect("no reset") {
            taken += n;
        }
        assert!(taken < 9_000_000, "it broke off");
    }
    assert_eq!(serving.state.live.journal.count(), 1, "it is ejected");
}

/// Five failures in a row eject a server, one in two does not: neither where the others are WebSockets.
#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_begins_is_an_answer() {
    let act = |_, head: &str, _: &[u8]| match head.contains("/ws ") {
        true => Act::Send(
            b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".to_vec(),
        ),
        false => Act::Close(Vec::new()),
    };
    let (one, two) = (Scripted::start(act).await, Scripted::start(act).await);
    let serving = serve(&[one.addr, two.addr], &BackendWishes::default());
    for _ in 0..12 {
        for _ in 0..2 {
            let text = exchange(serving.addr, post("").as_bytes()).await;
            assert!(text.starts_with("HTTP/1.1 502 "), "{text}");
        }
        for _ in 0..2 {
            let mut stream = TcpStream::connect(serving.addr).await.expect("connected");
            let ask = b"GET /ws HTTP/1.1\r\nHost: web.local\r\nConnection: upgrade\r\n\
                Upgrade: websocket\r\n\r\n";
            stream.write_all(ask).await.expect("written");
            assert!(head(&mut stream).await.starts_with("HTTP/1.1 101 "));
        }
    }
    assert_eq!(serving.state.live.journal.count(), 0, "nobody is ejected");
}

/// It changes the protocol at once, though the client has announced a body; or gives up on a client that does not read.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_leave_requests_or_answers_half_done_are_not_their_servers_fault() {
    let server = async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let addr = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let asked = head(&mut stream).await;
                    if asked.contains("/ws ") {
                        let changed =
                            b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
                        let _ = stream.write_all(changed).await;
                        head(&mut stream).await;
                    } else if asked.contains("/large ") {
                        let begun = b"HTTP/1.1 200 OK\r\nContent-Length: 64000000\r\n\r\n";
                        let _ = stream.write_all(begun).await;
                        let body = vec![b'x'; 64_000_000];
                        let _ =
                            timeout(Duration::from_millis(1_500), stream.write_all(&body)).await;
                    } else {
                        let _ = stream
                            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                            .await;
                    }
                });
            }
        });
        addr
    };
    let expression = "NetworkErrorRatio() > 0.1".to_owned();
    let circuit_breaker = Some(CircuitBreaker { expression });
    let wishes = BackendWishes { circuit_breaker, ..BackendWishes::default() };
    let serving = serve(&[server().await, server().await], &wishes);
    for _ in 0..12 {
        let half =
            b"GET /ws HTTP/1.1\r\nHost: web.local\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
            Content-Length: 5\r\n\r\n";
        let text = exchange(serving.addr, half).await;
        assert!(text.starts_with("HTTP/1.1 502 "), "{text}");
    }
    // One half of them stalls, the other one takes it piece by piece.
    let slow = (0..12).map(|number| {
        let serving = &serving;
        async move {
            let mut stream = TcpStream::connect(serving.addr).await.expect("connected");
            let ask = b"GET /large HTTP/1.1\r\nHost: web.local\r\n\r\n";
            stream.write_all(ask).await.expect("written");
            let (mut piece, mut taken) = (vec![0; 1 << 16], 0);
            // What is measured is time.
            for _ in 0..40 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                if number % 2 == 0 {
                    taken += stream.read(&mut piece).await.expect("some of it");
                }
            }
            assert!(taken + read(&mut stream).await.len() < 64_000_000);
        }
    });
    futures_util::future::join_all(slow).await;
    let text = exchange(serving.addr, GET).await;
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    assert_eq!(serving.state.live.journal.count(), 0, "nobody is ejected");
}

/// The server answers before it has read the body, and waits for it as we do.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stalls_after_the_answer_began_is_not_its_servers_fault() {
    let early = async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let addr = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    head(&mut stream).await;
                    let begun = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
                    stream.write_all(begun).await.expect("written");
                    head(&mut stream).await;
                });
            }
        });
        addr
    };
    let timeouts = TimeoutsWish { body: "100ms".to_owned(), ..TimeoutsWish::default() };
    let wishes = BackendWishes { timeouts: Some(timeouts), ..BackendWishes::default() };
    let serving = serve(&[early().await, early().await], &wishes);
    for _ in 0..12 {
        let half = "POST / HTTP/1.1\r\nHost: web.local\r\nContent-Length: 100\r\n\r\nabc";
        let text = exchange(serving.addr, half.as_bytes()).await;
        assert!(text.starts_with("HTTP/1.1 200 ") && !text.ends_with("0\r\n\r\n"), "{text}");
    }
    assert_eq!(serving.state.live.journal.count(), 0, "nobody is ejected");
}

/// One of two servers takes nothing: the other one is asked as often as the expression says.
#[tokio::test(flavor = "multi_thread")]
async fn an_expression_asks_those_that_are_there_again() {
    let busy = Scripted::start(|number, _, _| match number {
        ..3 => answer(503, "", "busy"),
        _ => answer(200, "", "ok"),
    })
    .await;
    let serving = Serving::start(settings(), &[]);
    let publish = |expression: &str| {
        let buffering = Buffering { retry_expression: expression.to_owned(), ..Default::default() };
        let wishes = self::buffering(buffering);
        let servers: &[SocketAddr] = &[busy.addr, ([127, 0, 0, 1], 9).into()];
        serving.publish(edited(config(&[("Host:web.local", servers)]), |_, backend| {
            backend.wishes = Some(Box::new(wishes.clone()));
            for (_, server) in backend.servers.iter_mut() {
                server.weight = u32::from(server.addr == busy.addr);
            }
        }));
    };
    publish("ResponseCode() == 503 && Attempts() < 6");
    let text = exchange(serving.addr, GET).await;
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    assert_eq!(busy.requests().len(), 4);
}

/// What the retries of a backend are too many for is not thrown away: its servers say why, and when to come back.
#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_sent_again_any_more_the_servers_answer_is_the_answer() {
    let busy = Scripted::start(|_, _, _| answer(503, "Retry-After: 7\r\n", "busy")).await;
    let retry_expression = "ResponseCode() == 503 && Attempts() < 90".to_owned();
    let wishes = buffering(Buffering { retry_expression, ..Buffering::default() });
    let serving = serve(&[busy.addr], &wishes);
    let ask = || async {
        let text = exchange(serving.addr, GET).await;
        assert!(text.starts_with("HTTP/1.1 503 ") && text.ends_with("busy"), "{text}");
        assert!(text.contains("\r\nRetry-After: 7\r\n"), "{text}");
    };
    let began = Instant::now();
    ask().await;
    assert_eq!(busy.requests().len(), 10, "tries of one request");
    for _ in 1..30 {
        ask().await;
    }
    // As often as the expression would have it, these were 2,700; at ten tries each, 300.
    let windows = 1 + usize::try_from(began.elapsed().as_secs() / 10).expect("no year");
    let sent = busy.requests().len();
    assert!((30 + 100..=30 + windows * (100 + 30 / 5)).contains(&sent), "{sent}");
}

/// Two tries: the one that was refused is none of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_costs_no_try_of_an_expression() {
    let busy = Scripted::start(|_, _, _| answer(503, "", "busy")).await;
    let well = Scripted::start(|_, _, _| answer(200, "", "ok")).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let nobody = free.local_addr().expect("an address");
    drop(free);
    let retry_expression = "ResponseCode() == 503 && Attempts() < 2".to_owned();
    let buffering = Some(Buffering { retry_expression, ..Buffering::default() });
    let timeouts = Some(TimeoutsWish { attempts: 2, ..TimeoutsWish::default() });
    let wishes = BackendWishes { buffering, timeouts, ..BackendWishes::default() };
    for _ in 0..3 {
        // Turn by turn, in this order.
        let serving = serve(&[nobody, busy.addr, well.addr], &wishes);
        let text = exchange(serving.addr, GET).await;
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    }
}

/// Clients that hold up their requests, or do not take their answers, say nothing of how fast the servers are.
#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_open_no_breaker_that_looks_at_times() {
    let large = "x".repeat(20_000_000);
    let server = Scripted::start(move |_, head, _| match head.starts_with("GET /large ") {
        true => answer(200, "", &large),
        false => answer(200, "", "ok"),
    })
    .await;
    let expression = "LatencyAtQuantileMS(50.0) > 400".to_owned();
    let timeouts = TimeoutsWish { body: "600ms".to_owned(), ..TimeoutsWish::default() };
    let wishes = BackendWishes {
        circuit_breaker: Some(CircuitBreaker { expression }),
        timeouts: Some(timeouts),
        ..BackendWishes::default()
    };
    let serving = serve(&[server.addr], &wishes);
    let half = b"POST / HTTP/1.1\r\nHost: web.local\r\nContent-Length: 1\r\n\r\n";
    for _ in 0..2 {
        let text = exchange(serving.addr, half).await;
        assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    }
    let mut slow = TcpStream::connect(serving.addr).await.expect("connected");
    let ask = b"GET /large HTTP/1.1\r\nHost: web.local\r\nConnection: close\r\n\r\n";
    slow.write_all(ask).await.expect("written");
    // What is measured is time.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(read(&mut slow).await.matches('x').count(), 20_000_000);
    for _ in 0..3 {
        let text = exchange(serving.addr, GET).await;
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    }
}

/// A server whose address nobody answers at: what becomes of a client that leaves meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_a_connection_is_made_is_let_go() {
    // Its queue is full: what comes then is not answered.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let full = full.expect("a socket");
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bound");
    full.listen(0).expect("listens");
    let addr = full.local_addr().expect("an address").as_socket().expect("of IP");
    let _first = TcpStream::connect(addr).await.expect("connected");
    let timeouts = TimeoutsWish { connect: "60s".to_owned(), ..TimeoutsWish::default() };
    let wishes = BackendWishes { timeouts: Some(timeouts), ..BackendWishes::default() };
    let serving = serve(&[addr], &wishes);
    let view = serving.state.view();
    let route = view.table.routes().first().map(std::sync::Arc::clone).expect("a route");
    let server = &route.backend.servers()[0].live;
    let active = || server.active();
    let mut stream = TcpStream::connect(serving.addr).await.expect("connected");
    stream.write_all(GET).await.expect("written");
    eventually("it is under way", || async { active() == 1 }).await;
    drop(stream);
    eventually("it is let go", || async { active() == 0 }).await;
    // Its patience says nothing of the server.
    let mut times = Counts::default();
    server.add_latencies_to(&mut times);
    assert_eq!(times.total(), 0);
}

async fn exchange_owned(addr: SocketAddr, bytes: &'static [u8]) -> String {
    exchange(addr, bytes).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_has_waits_and_tries_of_its_own() {
    let silent = Scripted::start(|_, _, _| Act::Hang).await;
    let quick = Scripted::start(|_, _, _| answer(200, "", "ok")).await;
    let timeouts = TimeoutsWish { response: "200ms".to_owned(), ..TimeoutsWish::default() };
    let wishes = BackendWishes { timeouts: Some(timeouts), ..BackendWishes::default() };
    // A GET goes to the next one; alone it is answered after one wait.
    let both = serve(&[silent.addr, quick.addr], &wishes);
    for _ in 0..4 {
        let text = exchange(both.addr, GET).await;
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    }
    let alone = serve(&[silent.addr], &wishes);
    let before = silent.requests().len();
    let text = exchange(alone.addr, GET).await;
    assert!(text.starts_with("HTTP/1.1 504 "), "{text}");
    assert_eq!(silent.requests().len(), before + 1);
    // A POST is never sent twice.
    let text = exchange(both.addr, post("x").as_bytes()).await;
    let again = exchange(both.addr, post("x").as_bytes()).await;
    let answers = [&text, &again].map(|text| text.starts_with("HTTP/1.1 200 "));
    assert_eq!(answers.iter().filter(|ok| **ok).count(), 1, "{text} {again}");
    // One try only.
    let once = TimeoutsWish { attempts: 1, ..TimeoutsWish::default() };
    let wishes = BackendWishes { timeouts: Some(once), ..BackendWishes::default() };
    let closing = Scripted::start(|_, _, _| Act::Close(Vec::new())).await;
    let serving = serve(&[closing.addr, closing.addr], &wishes);
    let text = exchange(serving.addr, GET).await;
    assert!(text.starts_with("HTTP/1.1 502 "), "{text}");
    assert_eq!(closing.requests().len(), 1);
}

/// A wait ends about when it should: a server that answers well after it is not heard, one that answers before is.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_neither_early_nor_late() {
    for (pause_ms, expected) in [(200, "HTTP/1.1 200 "), (900, "HTTP/1.1 504 ")] {
        let slow = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let addr = slow.local_addr().expect("an address");
        let timeouts = TimeoutsWish { response: "500ms".to_owned(), ..TimeoutsWish::default() };
        let wishes = BackendWishes { timeouts: Some(timeouts), ..BackendWishes::default() };
        let serving = serve(&[addr], &wishes);
        let server = tokio::spawn(async move {
            let (mut stream, _) = slow.accept().await.expect("a connection");
            head(&mut stream).await;
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            // It may be gone.
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        });
        let text = exchange(serving.addr, GET).await;
        assert!(text.starts_with(expected), "after {pause_ms} ms: {text}");
        server.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_cannot_storm() {
    let servers = Scripted::start(|_, _, _| Act::Close(Vec::new())).await;
    let other = Scripted::start(|_, _, _| Act::Close(Vec::new())).await;
    let serving = serve(&[servers.addr, other.addr], &BackendWishes::default());
    let began = Instant::now();
    for _ in 0..300 {
        let text = exchange(serving.addr, GET).await;
        assert!(text.starts_with("HTTP/1.1 502 "), "{text}");
    }
    let sent = servers.requests().len() + other.requests().len();
    // 300 of the clients, and in each window 100 that are always allowed, and one for each five.
    let windows = 1 + usize::try_from(began.elapsed().as_secs() / 10).expect("no year");
    assert!((300..=300 + windows * (100 + 300 / 5)).contains(&sent), "{sent}");
}
