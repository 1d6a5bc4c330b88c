//! Connections to servers, over real sockets: which are used again, which end, and what is sent a second time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::harness::docker::Certificates;
use crate::harness::eventually;
use crate::harness::herder::Herder;
use crate::harness::proxy::{Serving, config, https, serving, settings};
use crate::harness::raw::{OK, Origin, exchange, head, origin, read, saying};

/// A server that answers the first request of each connection and dies in the second. Counts requests.
async fn dying(count: &Arc<AtomicUsize>) -> SocketAddr {
    let count = Arc::clone(count);
    origin(move |_, mut stream| {
        let count = Arc::clone(&count);
        async move {
            for turn in 0..2 {
                let request = head(&mut stream).await;
                if request.is_empty() {
                    return;
                }
                if request.starts_with("POST") {
                    stream.read_u8().await.expect("a body");
                }
                count.fetch_add(1, Relaxed);
                if turn == 0 {
                    stream.write_all(OK).await.expect("sent");
                }
            }
        }
    })
    .await
}

/// One answer with a length, and nothing after it: a connection is fresh for a second only.
async fn next_answer(stream: &mut TcpStream) -> String {
    let head = head(stream).await;
    let length = head.split("Content-Length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let length = length.expect(&head).parse().expect("a length");
    stream.read_exact(&mut vec![0; length]).await.expect("a body");
    head
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_repeated_is_sent_once() {
    let count = Arc::new(AtomicUsize::new(0));
    let mut settings = settings();
    settings.workers = 1;
    let serving = Serving::start(settings, &[("Host:a.test", &[dying(&count).await])]);
    let mut client = TcpStream::connect(serving.addr).await.expect("connected");
    let post = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\nx";
    let get = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    for (request, status, requests) in
        [(&post[..], "200", 1), (post, "502", 2), (get, "200", 3), (get, "200", 5)]
    {
        client.write_all(request).await.expect("sent");
        let answer = next_answer(&mut client).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert_eq!(count.load(Relaxed), requests);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeatable_request_goes_on_to_another_server_when_one_dies() {
    let dead = origin(|_, mut stream| async move {
        head(&mut stream).await;
    })
    .await;
    let servers = [dead, Origin::start(OK, false).await.addr];
    let serving = Serving::start(settings(), &[("Host:a.test", &servers)]);
    for _ in 0..4 {
        let answer = exchange(serving.addr, b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_farewell_on_a_kept_connection_is_no_answer() {
    const FAREWELL: &[u8] =
        b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    // Each connection carries one request, and takes leave in the place of the next answer.
    let leaving = origin(|_, mut stream| async move {
        let line = head(&mut stream).await;
        let is_slow = line.starts_with("GET /slow ");
        stream.write_all(if is_slow { FAREWELL } else { OK }).await.expect("sent");
        head(&mut stream).await;
        let _ = stream.write_all(FAREWELL).await;
    });
    let serving = Serving::start(settings(), &[("Host:a.test", &[leaving.await])]);
    let mut client = TcpStream::connect(serving.addr).await.expect("connected");
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", 200),
        ("PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n", 200),
        // What must not be sent twice is not.
        ("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n", 408),
        ("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", 200),
        // On a connection of its own it is an answer.
        ("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n", 408),
    ] {
        client.write_all(request.as_bytes()).await.expect("sent");
        let answer = next_answer(&mut client).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_on_its_way_is_not_sent_to_another_server() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    // It takes the head and some of the body, and dies.
    let dying = origin(move |_, mut stream| {
        let counted = Arc::clone(&counted);
        async move {
            if head(&mut stream).await.starts_with("PUT") {
                stream.read_exact(&mut [0; 4]).await.expect("the first half");
                counted.fetch_add(1, Relaxed);
            }
        }
    });
    let servers = [dying.await, nobody()];
    let serving = Serving::start(settings(), &[("Host:a.test", &servers)]);
    for turn in 1..=4 {
        let mut client = TcpStream::connect(serving.addr).await.expect("connected");
        let start = b"PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 8\r\n\r\nhalf";
        client.write_all(start).await.expect("sent");
        eventually("it has arrived", || async { count.load(Relaxed) == turn }).await;
        // The other half may find the connection closed.
        let _ = client.write_all(b"rest").await;
        let answer = read(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert_eq!(count.load(Relaxed), turn);
    }
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address")
}

/// Some servers leave bodies unread, and take them for the next request. Those that hear that nothing follows do not look for one.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_may_stay_unread_reaches_no_other_client() {
    for is_honest in [false, true] {
        let stolen = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&stolen);
        let addr = origin(move |_, mut stream| {
            let stolen = Arc::clone(&counted);
            async move {
                loop {
                    let asked = head(&mut stream).await;
                    let Some(path) = asked.split(' ').nth(1) else { return };
                    stolen.fetch_add(usize::from(path == "/evil"), Relaxed);
                    let body = format!("{path:.9}");
                    let hints =
                        if path == "/hints" { "HTTP/1.1 103 Early Hints\r\n\r\n" } else { "" };
                    let length = body.len();
                    let answer =
                        format!("{hints}HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
                    let sent = stream.write_all(answer.as_bytes()).await;
                    let mut options =
                        asked.lines().filter_map(|line| line.strip_prefix("Connection: "));
                    let is_last = options.any(|options| options.split(", ").any(|o| o == "close"));
                    if sent.is_err() || (is_honest && is_last) {
                        return;
                    }
                }
            }
        })
        .await;
        let serving = serving(addr);
        let evil = "GET /evil HTTP/1.1\r\nHost: a.test\r\nX-Rest: ";
        let length = format!("Content-Length: {}", evil.len());
        let chunked = format!("{:x}\r\n{evil}\r\n0\r\n\r\n", evil.len());
        for (first, lines, body) in [
            ("GET /body", &*length, evil),
            ("HEAD /body", &length, evil),
            ("DELETE /body", &length, evil),
            ("OPTIONS /body", &length, evil),
            ("POST /body", &format!("{length}\r\nExpect: 100-continue"), evil),
            // A hint is not the word that is waited for.
            ("POST /hints", &format!("{length}\r\nExpect: 100-continue"), evil),
            // They read no HTTP any more, though they agreed to nothing.
            ("POST /body", &format!("{length}\r\nConnection: upgrade\r\nUpgrade: foo"), evil),
            ("GET /body", "TE: trailers\r\nTransfer-Encoding: chunked", &chunked),
            // Only where the application asks for chunks.
            ("POST /body", "Transfer-Encoding: chunked", &chunked),
        ] {
            let mut client = TcpStream::connect(serving.addr).await.expect("connected");
            let attack = format!("{first} HTTP/1.1\r\n{lines}\r\nHost: a.test\r\n\r\n");
            client.write_all(attack.as_bytes()).await.expect("sent");
            client.write_all(body.as_bytes()).await.expect("sent");
            let seen = head(&mut client).await;
            assert!(seen.contains("HTTP/1.1 "), "{seen}");
            for _ in 0..4 {
                let get = b"GET /victim HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
                let answer = exchange(serving.addr, get).await;
                assert!(answer.ends_with("\r\n\r\n/victim"), "{lines}: {answer}");
            }
        }
        assert_eq!(is_honest, stolen.load(Relaxed) == 0, "{stolen:?}");
    }
}

/// Each that we closed would hold a port for a minute: one client could leave none.
#[tokio::test(flavor = "multi_thread")]
async fn a_servers_connection_that_is_not_trusted_ends_with_a_reset() {
    let (resets, others) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = (Arc::clone(&resets), Arc::clone(&others));
    let addr = origin(move |_, mut stream| {
        let (resets, others) = counted.clone();
        async move {
            head(&mut stream).await;
            stream.read_exact(&mut [0]).await.expect("the body");
            stream.write_all(OK).await.expect("sent");
            match stream.read(&mut [0]).await {
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                    resets.fetch_add(1, Relaxed);
                }
                _ => _ = others.fetch_add(1, Relaxed),
            }
        }
    })
    .await;
    let serving = serving(addr);
    let mut client = TcpStream::connect(serving.addr).await.expect("connected");
    for _ in 0..5 {
        let get = b"GET / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\nx";
        client.write_all(get).await.expect("sent");
        assert!(head(&mut client).await.starts_with("HTTP/1.1 200 "));
        client.read_exact(&mut [0; 2]).await.expect("a body");
    }
    eventually("all are reset", || async { resets.load(Relaxed) == 5 }).await;
    assert_eq!(others.load(Relaxed), 0);
}

/// A server may have few places, and a connection that nobody uses takes one.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_too_old_gives_its_place_to_a_new_one() {
    let open = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&open);
    let addr = origin(move |_, mut stream| {
        let counted = Arc::clone(&counted);
        async move {
            counted.fetch_add(1, Relaxed);
            while head(&mut stream).await.ends_with("\r\n\r\n") {
                stream.write_all(OK).await.expect("sent");
            }
            counted.fetch_sub(1, Relaxed);
        }
    })
    .await;
    let serving = serving(addr);
    let mut client = TcpStream::connect(serving.addr).await.expect("connected");
    for _ in 0..3 {
        let post = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n";
        client.write_all(post).await.expect("sent");
        assert!(head(&mut client).await.starts_with("HTTP/1.1 200 "));
        client.read_exact(&mut [0; 2]).await.expect("a body");
        sleep(Duration::from_millis(1_200)).await;
    }
    eventually("one is open", || async { open.load(Relaxed) == 1 }).await;
}

/// A server that says it is of HTTP/1.0 may take chunks for its next request.
#[tokio::test(flavor = "multi_thread")]
async fn chunks_end_the_connection_of_an_old_server() {
    let (asked, mut told) = tokio::sync::mpsc::channel(9);
    let addr = origin(move |number, mut stream| {
        let asked = asked.clone();
        async move {
            loop {
                let method = head(&mut stream).await.split(' ').next().map(str::to_owned);
                match method.as_deref() {
                    Some("GET" | "POST") => asked.send(number).await.expect("heard"),
                    // Chunks, which it does not know.
                    Some("2\r\nhi\r\n0\r\n\r\n") => continue,
                    _ => return,
                }
                let answer =
                    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok";
                stream.write_all(answer).await.expect("sent");
            }
        }
    });
    let serving = serving(addr.await);
    let mut client = TcpStream::connect(serving.addr).await.expect("connected");
    let post = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n\
                2\r\nhi\r\n0\r\n\r\n";
    let get = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    for (ask, connection) in [(get, 0), (post, 0), (get, 1)] {
        client.write_all(ask.as_bytes()).await.expect("sent");
        assert_eq!(told.recv().await, Some(connection), "{ask}");
        assert!(head(&mut client).await.starts_with("HTTP/1.1 200 "));
        client.read_exact(&mut [0; 2]).await.expect("its body");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_says_unasked_reaches_nobody() {
    let poison = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    let serving = serving(saying(poison).await);
    let mut client = TcpStream::connect(serving.addr).await.expect("connected");
    for _ in 0..5 {
        client.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.expect("sent");
        let answer = read(&mut client).await;
        assert!(answer.ends_with("\r\n\r\nok") && !answer.contains("poison"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_follows_where_none_may_be_is_not_the_next_answer() {
    for (asked, without_body) in [("HEAD", "200 OK"), ("GET", "304 Not Modified")] {
        let server = origin(move |_, mut stream| async move {
            while head(&mut stream).await.starts_with(asked) {
                let answer = format!("HTTP/1.1 {without_body}\r\nContent-Length: 42\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.expect("sent");
                sleep(Duration::from_millis(20)).await;
                let poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
                let _ = stream.write_all(poison).await;
            }
            let _ = stream.write_all(OK).await;
        });
        let serving = serving(server.await);
        let mut client = TcpStream::connect(serving.addr).await.expect("connected");
        for pause_ms in [0, 0, 10, 50, 300] {
            let request = format!("{asked} / HTTP/1.1\r\nHost: a.test\r\n\r\n");
            client.write_all(request.as_bytes()).await.expect("sent");
            let answer = head(&mut client).await;
            assert!(answer.contains(without_body) && !answer.contains("poison"), "{answer}");
            sleep(Duration::from_millis(pause_ms)).await;
            client.write_all(b"PUT / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.expect("sent");
            let answer = head(&mut client).await;
            let mut body = [0; 2];
            client.read_exact(&mut body).await.expect("a body");
            assert_eq!(&body, b"ok", "{asked}, after {pause_ms} ms: {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_head_takes_few_connections_to_a_server() {
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, seen) = (Arc::clone(&open), Arc::clone(&most));
    let server = origin(move |_, mut stream| {
        let open = Arc::clone(&counted);
        seen.fetch_max(open.fetch_add(1, Relaxed) + 1, Relaxed);
        async move {
            while head(&mut stream).await.starts_with("HEAD ") {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n";
                stream.write_all(answer).await.expect("sent");
            }
            open.fetch_sub(1, Relaxed);
        }
    });
    let serving = serving(server.await);
    let mut client = TcpStream::connect(serving.addr).await.expect("connected");
    for _ in 0..200 {
        client.write_all(b"HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.expect("sent");
        assert!(head(&mut client).await.starts_with("HTTP/1.1 200 "));
    }
    // Those that were closed end a moment later here.
    let most = most.load(Relaxed);
    assert!(most <= 20, "{most}");
    eventually("four are left", || async { open.load(Relaxed) <= 4 }).await;
}

/// A server that speaks TLS with these certificates.
async fn tls_origin(certificates: &Certificates) -> SocketAddr {
    let acceptor = certificates.server();
    origin(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            // A client that does not trust us ends it here.
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut seen = Vec::new();
            while let Ok(byte @ 0..) = stream.read_u8().await {
                seen.push(byte);
                if seen.ends_with(b"\r\n\r\n") {
                    stream.write_all(OK).await.expect("sent");
                }
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_an_authority_of_the_system_vouches_for_is_served() {
    let (ours, others) = (Certificates::make(), Certificates::make());
    let addr = tls_origin(&ours).await;
    let dir = tempfile::tempdir().expect("a folder");
    let rules = dir.path().join("rules.toml");
    let text = format!(
        "[backends.b.servers.s]\nurl = \"https://{addr}\"\n[frontends.f]\nbackend = \"b\"\n\
         [frontends.f.routes.r]\nrule = \"Host:a.test\"\n"
    );
    std::fs::write(&rules, text).expect("written");
    let file = format!("--file.filename={}", rules.display());
    for (authority, status) in [(&ours, 200), (&others, 502)] {
        let herder = Herder::start_with("SSL_CERT_FILE", authority.file("ca.pem"), &["run", &file]);
        // Until it has read the file, it does not know whether there is such a host.
        let known = || async { herder.get("a.test", "/").await.status != 503 };
        eventually("the rule is there", known).await;
        assert_eq!(herder.get("a.test", "/").await.status, status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_spoken_to_over_tls_and_their_certificates_checked() {
    let addr = tls_origin(&Certificates::make()).await;
    for (is_unchecked, status) in [(true, "200"), (false, "502")] {
        let mut settings = settings();
        settings.insecure_skip_verify = is_unchecked;
        let serving = Serving::start(settings, &[]);
        serving.publish(https(config(&[("Host:a.test", &[addr])])));
        let mut client = TcpStream::connect(serving.addr).await.expect("connected");
        for _ in 0..3 {
            client.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.expect("sent");
            let answer = read(&mut client).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        }
    }
}
