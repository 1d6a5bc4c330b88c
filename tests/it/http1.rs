//! What HTTP/1.1 asks of a proxy, over real sockets: what passes, what is changed on its way, and what answers survive.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use crate::harness::herder::Herder;
use crate::harness::proxy::{Serving, config, edited, serving, settings};
use crate::harness::raw::{OK, exchange, head, origin, read, saying, taken};
use crate::harness::{PATIENCE, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn trailers_of_answers_pass_and_those_of_requests_do_not() {
    let addr = origin(|_, mut stream| async move {
        let mut request = head(&mut stream).await;
        while !request.ends_with("2\r\nhi\r\n0\r\n\r\n") {
            request.push(char::from(stream.read_u8().await.expect("a byte")));
        }
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                      2\r\nok\r\n0\r\nX-Sum: 2\r\nContent-Length: 9\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.expect("sent");
    })
    .await;
    let request = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n\
                   2\r\nhi\r\n0\r\nX:A /evil HTTP/1.1\r\nX-User: root\r\n\r\n";
    let answer = exchange(serving(addr).addr, request.as_bytes()).await;
    // What frames a message is for its head.
    assert!(answer.ends_with("\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 2\r\n\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_http_1_0_gets_an_answer_it_can_read() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let serving = serving(saying(chunked).await);
    let answer = exchange(serving.addr, b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n").await;
    assert!(answer.ends_with("Connection: close\r\n\r\nok"), "{answer}");
    assert!(!answer.contains("chunked"), "{answer}");
    let kept = b"GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n";
    let serving = self::serving(saying(OK).await);
    let answer = exchange(serving.addr, kept).await;
    assert!(answer.contains("Connection: keep-alive\r\n"), "{answer}");
    // Our own answers end the connection, and say so.
    let unknown = b"GET / HTTP/1.0\r\nHost: unknown.test\r\nConnection: keep-alive\r\n\r\n";
    let answer = exchange(serving.addr, unknown).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(answer.contains("Connection: close\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_that_connection_names_go_no_further() {
    let (tell, told) = tokio::sync::oneshot::channel();
    let tell = std::sync::Mutex::new(Some(tell));
    let addr = origin(move |_, mut stream| {
        let tell = tell.lock().expect("not poisoned").take();
        async move {
            let mut request = head(&mut stream).await;
            request += &head(&mut stream).await;
            tell.expect("one connection").send(request).expect("heard");
            let answer = "HTTP/1.1 200 OK\r\nConnection: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
                          2\r\nok\r\n0\r\nX-Sum: 2\r\nX-Other: 2\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.expect("sent");
        }
    })
    .await;
    let ask = "POST / HTTP/1.1\r\nHost: a.test\r\nConnection: X-Sum, close\r\nTransfer-Encoding: chunked\r\n\r\n\
               2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n";
    let answer = exchange(serving(addr).addr, ask.as_bytes()).await;
    assert!(answer.ends_with("\r\n\r\n2\r\nok\r\n0\r\n\r\n"), "{answer}");
    let request = told.await.expect("a request");
    assert!(request.ends_with("\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), "{request}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_another_protocol_says_which() {
    let wants = b"HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n";
    let serving = serving(saying(wants).await);
    let answer = exchange(serving.addr, b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert!(answer.contains("\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"), "{answer}");
}

/// A server whose answers have three million bytes.
async fn large() -> SocketAddr {
    origin(|_, mut stream| async move {
        let mut answer = b"HTTP/1.1 413 No\r\nContent-Length: 3000000\r\n\r\n".to_vec();
        answer.resize(answer.len() + 3_000_000, b'y');
        while head(&mut stream).await.ends_with("\r\n\r\n") {
            let _ = stream.write_all(&answer).await;
        }
    })
    .await
}

/// Reads to the end, and tells how long the body was.
async fn body_length(client: &mut TcpStream) -> usize {
    let answer = head(client).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let mut body = Vec::new();
    timeout(PATIENCE, client.read_to_end(&mut body)).await.expect("it ends").expect("no reset");
    body.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_survives_what_follows_its_request() {
    let serving = serving(large().await);
    for more in ["\r\n", "GET /next HTTP/1.1\r\nHost: a.test\r\n\r\n"] {
        let mut client = TcpStream::connect(serving.addr).await.expect("connected");
        let ask = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
        client.write_all(ask).await.expect("sent");
        sleep(Duration::from_millis(300)).await;
        client.write_all(more.as_bytes()).await.expect("sent");
        sleep(Duration::from_millis(300)).await;
        assert_eq!(body_length(&mut client).await, 3_000_000, "{more:?}");
    }
}

/// Even a small one, where the client takes it in small pieces.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_survives_a_line_behind_its_request() {
    let may_answer = Arc::new(tokio::sync::Notify::new());
    let told = Arc::clone(&may_answer);
    let addr = origin(move |_, mut stream| {
        let told = Arc::clone(&told);
        async move {
            head(&mut stream).await;
            told.notified().await;
            let answer = format!("HTTP/1.1 413 No\r\nContent-Length: 13000\r\n\r\n{:13000}", "");
            stream.write_all(answer.as_bytes()).await.expect("sent");
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    let serving = serving(addr.await);
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(2_048).expect("set");
    let mut client = socket.connect(serving.addr).await.expect("connected");
    let ask =
        b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    client.write_all(ask).await.expect("sent");
    sleep(Duration::from_millis(50)).await;
    client.write_all(b"\r\n").await.expect("sent");
    sleep(Duration::from_millis(50)).await;
    may_answer.notify_one();
    sleep(Duration::from_millis(500)).await;
    assert_eq!(body_length(&mut client).await, 13_000);
}

/// Its client leaves while the server takes nothing: that is not the server's fault.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_not_to_blame_for_an_upload_whose_client_left() {
    let addr = origin(|_, mut stream| async move {
        head(&mut stream).await;
        std::future::pending().await
    });
    let mut settings = settings();
    settings.limits.body_timeout = Duration::from_millis(1_500);
    let serving = Serving::start(settings, &[("Host:a.test", &[addr.await])]);
    let mut client = TcpStream::connect(serving.addr).await.expect("connected");
    let ask = b"PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000000\r\n\r\n";
    client.write_all(ask).await.expect("sent");
    taken(&mut client).await;
    client.set_zero_linger().expect("a reset at its end");
    drop(client);
    let live = &serving.state.live;
    eventually("it has ended", || async { live.totals.open_connections() == 0 }).await;
    assert!(live.failures.last(1).is_empty(), "{:?}", live.failures.last(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_answer_survives_a_client_that_goes_on_sending() {
    let serving = serving(large().await);
    let mut client = TcpStream::connect(serving.addr).await.expect("connected");
    let ask = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10000000\r\n\r\n";
    client.write_all(ask).await.expect("sent");
    for _ in 0..50 {
        client.write_all(&[b'x'; 1_000]).await.expect("it is read");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(body_length(&mut client).await, 3_000_000);
}

/// A client that reads nothing of interim answers, and two servers: no answer stands in the middle of another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_gets_no_answer_in_the_middle_of_another() {
    let hints = || {
        let links = (0..50).map(|number| format!("Link: </{number}{}>\r\n", "x".repeat(1_000)));
        format!("HTTP/1.1 103 Early Hints\r\n{}\r\n", links.collect::<String>())
    };
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let server = origin(move |_, mut stream| {
        let count = Arc::clone(&count);
        async move {
            head(&mut stream).await;
            // It fills all that stands between here and the client.
            let large = "HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n";
            stream.write_all(large.as_bytes()).await.expect("sent");
            stream.write_all(&vec![b'y'; 30_000_000]).await.expect("sent");
            head(&mut stream).await;
            count.fetch_add(1, Relaxed);
            for _ in 0..30 {
                if stream.write_all(hints().as_bytes()).await.is_err() {
                    return;
                }
            }
            std::future::pending().await
        }
    })
    .await;
    let other = saying(OK).await;
    let mut settings = settings();
    settings.limits.response_timeout = Duration::from_millis(700);
    let serving = Serving::start(settings, &[]);
    serving.publish(edited(config(&[("Host:a.test", &[server, other])]), |_, backend| {
        // The other one's turn comes late.
        for (_, of_backend) in backend.servers.iter_mut() {
            of_backend.weight = if of_backend.addr == server { 1_000 } else { 1 };
        }
    }));
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("set");
    let mut client = socket.connect(serving.addr).await.expect("connected");
    let ask = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n".repeat(2);
    client.write_all(ask.as_bytes()).await.expect("sent");
    let (mut text, mut piece) = (Vec::new(), vec![0; 16_384]);
    while asked.load(Relaxed) == 0 {
        let read = timeout(PATIENCE, client.read(&mut piece)).await.expect("it comes");
        text.extend_from_slice(&piece[..read.expect("it lives")]);
    }
    sleep(Duration::from_millis(2_500)).await;
    let _ = timeout(PATIENCE, client.read_to_end(&mut text)).await.expect("it ends");
    let text = String::from_utf8_lossy(&text);
    let of = |status: &str| text.matches(&format!("HTTP/1.1 {status}")).count();
    assert!(of("103") > 0);
    assert_eq!((of("200"), of("")), (1, 1 + of("103")), "no other answer");
    assert!(!text.ends_with("\r\n\r\n"), "one was cut in its middle");
}

/// The same of our own answers, of which it has asked for more than the kernel holds.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_gets_no_answer_in_the_middle_of_our_own() {
    let mut settings = settings();
    settings.limits.body_timeout = Duration::from_millis(300);
    let serving = Serving::start(settings, &[]);
    let one = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let length = exchange(serving.addr, one.as_bytes()).await.len();
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("set");
    let mut client = socket.connect(serving.addr).await.expect("connected");
    let many = one.repeat(10_000);
    // Until nobody reads any more, or the connection ends.
    let mut sent = 0;
    while let Ok(Ok(n)) =
        timeout(Duration::from_secs(2), client.write(&many.as_bytes()[sent..])).await
    {
        sent = (sent + n) % many.len();
    }
    let (mut text, mut piece) = (Vec::new(), vec![0; 16_384]);
    while let Ok(read @ 1..) = timeout(PATIENCE, client.read(&mut piece)).await.expect("it ends") {
        text.extend_from_slice(&piece[..read]);
    }
    assert!(text.len() > length, "{}", text.len());
    for answer in text.chunks(length) {
        let whole = String::from_utf8_lossy(answer);
        assert_eq!(whole.matches("HTTP/1.1 404 ").count(), 1, "{whole}");
        assert!(whole.starts_with("HTTP/1.1 404 "), "{whole}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_has_no_body_and_the_connection_goes_on() {
    let addr = origin(|_, mut stream| async move {
        loop {
            let request = head(&mut stream).await;
            let body = match request.split(' ').next() {
                Some("HEAD") => "",
                Some("GET") => "ok",
                _ => return,
            };
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.expect("sent");
        }
    })
    .await;
    let serving = serving(addr);
    let requests = b"HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let answers = exchange(serving.addr, requests).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{answers}");
    assert_eq!(answers.matches("Content-Length: 2\r\n").count(), 2, "{answers}");
    assert!(answers.ends_with("\r\n\r\nok"), "{answers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_first_is_told_to_go_on_by_the_server() {
    let addr = origin(|_, mut stream| async move {
        let request = head(&mut stream).await;
        assert!(request.contains("\r\nExpect: 100-continue\r\n"), "{request}");
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.expect("sent");
        let mut body = [0; 5];
        stream.read_exact(&mut body).await.expect("a body");
        stream.write_all(OK).await.expect("sent");
    })
    .await;
    let serving = serving(addr);
    let mut stream = TcpStream::connect(serving.addr).await.expect("connected");
    let request =
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    assert_eq!(head(&mut stream).await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.expect("sent");
    assert!(read(&mut stream).await.ends_with("\r\n\r\nok"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_before_the_body_reaches_the_client() {
    let addr = saying(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n").await;
    let serving = serving(addr);
    let mut stream = TcpStream::connect(serving.addr).await.expect("connected");
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000000\r\n\r\nsome")
        .await
        .expect("sent");
    let answer = read(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // The rest of the body must not be taken for a request.
    assert!(answer.contains("Connection: close\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_the_request_at_the_server() {
    let ended = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&ended);
    let addr = origin(move |_, mut stream| {
        let counted = Arc::clone(&counted);
        async move {
            head(&mut stream).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
            counted.fetch_add(1, Relaxed);
        }
    })
    .await;
    let serving = serving(addr);
    // More than is read while it waits.
    let much = [b"GET /next HTTP/1.1\r\nX: ", &[b'a'; 100_000][..]].concat();
    for (before, more) in [(0, &b""[..]), (1, b"GET /next HTT"), (2, &much)] {
        let mut client = TcpStream::connect(serving.addr).await.expect("connected");
        client.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.expect("sent");
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.write_all(more).await.expect("sent");
        drop(client);
        eventually("the server's connection ends", || async { ended.load(Relaxed) > before }).await;
    }
    eventually("nothing is open", || async { serving.state.live.totals.open_connections() == 0 })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protocol_is_changed_behind_the_body_of_the_request() {
    const SWITCHING: &[u8] =
        b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    let addr = origin(|_, mut stream| async move {
        let asked = head(&mut stream).await;
        if asked.contains("/hasty ") {
            return stream.write_all(SWITCHING).await.expect("sent");
        }
        assert!(
            asked.contains("\r\nConnection: close\r\nConnection: upgrade\r\nUpgrade: tcp\r\n"),
            "{asked}"
        );
        let mut body = [0; 4];
        stream.read_exact(&mut body).await.expect("a body");
        assert_eq!(&body, b"body");
        stream.write_all(SWITCHING).await.expect("sent");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.expect("the rest");
        stream.write_all(&rest).await.expect("sent");
    })
    .await;
    let serving = serving(addr);
    let ask = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\n\
             Upgrade: h2c, tcp\r\nContent-Length: 4\r\n\r\n"
        )
    };
    // In one piece, and in pieces that end where they like.
    for cuts in [&[][..], &[0], &[2], &[4], &[6], &[1, 2, 3, 4, 5, 6, 7, 8]] {
        let mut client = TcpStream::connect(serving.addr).await.expect("connected");
        client.write_all(ask("/").as_bytes()).await.expect("sent");
        let (all, mut at) = (&b"bodyearly"[..], 0);
        for &cut in cuts.iter().chain([&all.len()]) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            client.write_all(&all[at..cut]).await.expect("sent");
            at = cut;
        }
        assert!(head(&mut client).await.starts_with("HTTP/1.1 101 "));
        client.write_all(b" and late").await.expect("sent");
        client.shutdown().await.expect("ended");
        let mut echo = String::new();
        client.read_to_string(&mut echo).await.expect("an echo");
        assert_eq!(echo, "early and late", "{cuts:?}");
    }
    let mut hasty = TcpStream::connect(serving.addr).await.expect("connected");
    hasty.write_all((ask("/hasty") + "bo").as_bytes()).await.expect("sent");
    let answer = head(&mut hasty).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

/// A HEAD that cannot be read is a HEAD all the same (RFC 9110, section 9.3.2).
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_head_has_no_body() {
    let serving = serving(([127, 0, 0, 1], 9).into());
    for rest in
        [" / HTTP/1.1\r\n\r\n", " / HTTP/3.0\r\nHost: a.test\r\n\r\n", " /\x01 HTTP/1.1\r\n\r\n"]
    {
        let text = exchange(serving.addr, format!("HEAD{rest}").as_bytes()).await;
        assert!(text.ends_with("\r\n\r\n") && text.starts_with("HTTP/1.1 "), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_holds_no_table() {
    let addr = origin(|_, mut stream| async move {
        let switching: &[u8] =
            b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        loop {
            let asked = head(&mut stream).await;
            if !asked.ends_with("\r\n\r\n") {
                return;
            }
            let answer = if asked.contains("Upgrade: ") { switching } else { OK };
            stream.write_all(answer).await.expect("sent");
        }
    })
    .await;
    let serving = serving(addr);
    let before = Arc::downgrade(&serving.state.view().table);
    let mut client = TcpStream::connect(serving.addr).await.expect("connected");
    let ask =
        b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.write_all(ask).await.expect("sent");
    assert!(head(&mut client).await.starts_with("HTTP/1.1 101 "));
    serving.publish(config(&[("Host:a.test", &[addr]), ("Host:b.test", &[addr])]));
    // Each worker looks at the table in force when it has a request.
    eventually("nobody holds the table before", || async {
        exchange(serving.addr, b"GET / HTTP/1.1\r\nHost: b.test\r\nConnection: close\r\n\r\n")
            .await;
        before.upgrade().is_none()
    })
    .await;
    client.write_all(b"still there").await.expect("it lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn before_anything_is_known_a_client_is_told_to_come_again() {
    let nobody = "--rancher.metadata.url=http://127.0.0.1:1";
    let herder = Herder::start(&["run", "--docker=false", "--rancher", nobody]);
    let get = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let answer = exchange(herder.http, get).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\r\nRetry-After: "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_upgrade_is_an_ordinary_answer() {
    let serving = serving(saying(OK).await);
    let request =
        "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let answer = exchange(serving.addr, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unasked_upgrade_is_a_bad_answer() {
    let switching = b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello";
    let serving = serving(saying(switching).await);
    let answer = exchange(serving.addr, b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 502 ") && !answer.contains("hello"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_seen_to_break_off() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhexx",
    ] {
        let addr = origin(move |_, mut stream| async move {
            head(&mut stream).await;
            stream.write_all(answer).await.expect("sent");
        })
        .await;
        let serving = serving(addr);
        let seen = exchange(serving.addr, b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        let is_open = seen.starts_with("HTTP/1.1 200 ") && !seen.ends_with("0\r\n\r\n");
        assert!(is_open || seen.starts_with("HTTP/1.1 502 "), "{seen}");
    }
}
