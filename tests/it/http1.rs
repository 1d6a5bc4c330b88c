//! What HTTP/1.1 asks of a proxy, over real sockets: what passes, what waits, what is sent again and what is not.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use crate::harness::docker::Certificates;
use crate::harness::herder::Herder;
use crate::harness::proxy::{Serving, config, edited, https, settings};
use crate::harness::raw::{Origin, exchange, head, read};
use crate::harness::{PATIENCE, eventually};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A server that does this with every connection, the first one having number 0.
async fn origin<F>(serve: impl Fn(usize, TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut number = 0;
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(number, stream));
            number += 1;
        }
    });
    addr
}

/// A server that reads one head on each connection, says this, and waits for the end of the connection.
async fn saying(answer: &'static [u8]) -> SocketAddr {
    origin(move |_, mut stream| async move {
        head(&mut stream).await;
        stream.write_all(answer).await.expect("sent");
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await
}

fn serving(server: SocketAddr) -> Serving {
    Serving::start(settings(), &[("Host:a.test", &[server])])
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_pass_in_both_directions() {
    let addr = origin(|_, mut stream| async move {
        let mut request = head(&mut stream).await;
        while !request.ends_with("\r\n\r\n") || !request.contains("0\r\nX-Sum: 1\r\n") {
            request.push(char::from(stream.read_u8().await.expect("a byte")));
        }
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                      2\r\nok\r\n0\r\nX-Sum: 2\r\nContent-Length: 9\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.expect("sent");
    })
    .await;
    let request = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n\
                   2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n";
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
async fn a_body_waits_for_whoever_reads_it() {
    // Neither side of either direction reads: what is on its way stays within the buffers of kernel and proxy.
    let silent = origin(|_, stream| async move {
        sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let serving = serving(silent);
    let mut client = TcpStream::connect(serving.addr).await.expect("connected");
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000000\r\n\r\n")
        .await
        .expect("sent");
    assert!(taken(&mut client).await < 64 << 20);

    let flood = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&flood);
    let addr = origin(move |_, mut stream| {
        let counted = Arc::clone(&counted);
        async move {
            head(&mut stream).await;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
            stream.write_all(answer).await.expect("sent");
            counted.store(taken(&mut stream).await.max(1), Relaxed);
        }
    })
    .await;
    let serving = self::serving(addr);
    let mut client = TcpStream::connect(serving.addr).await.expect("connected");
    client.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.expect("sent");
    eventually("the server comes to a halt", || async { flood.load(Relaxed) > 0 }).await;
    assert!(flood.load(Relaxed) < 64 << 20);
}

/// How much the other side takes until it takes no more for half a second.
async fn taken(stream: &mut TcpStream) -> usize {
    let piece = vec![b'x'; 1 << 16];
    let mut taken = 0;
    while let Ok(Ok(n)) = timeout(Duration::from_millis(500), stream.write(&piece)).await {
        taken += n;
        assert!(taken < 512 << 20, "nobody reads, and yet it is taken");
    }
    taken
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
    for (before, more) in [(0, &b""[..]), (1, b"GET /next HTT")] {
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
        let answer = read(&mut client).await;
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
async fn a_protocol_is_changed_behind_the_body_of_the_request() {
    const SWITCHING: &[u8] =
        b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    let addr = origin(|_, mut stream| async move {
        let asked = head(&mut stream).await;
        if asked.contains("/hasty ") {
            return stream.write_all(SWITCHING).await.expect("sent");
        }
        assert!(asked.contains("\r\nConnection: upgrade\r\nUpgrade: tcp\r\n"), "{asked}");
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

/// Some servers leave the body of a GET unread, and take it for the next request.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_may_stay_unread_reaches_no_other_client() {
    let addr = origin(|_, mut stream| async move {
        loop {
            let asked = head(&mut stream).await;
            let Some(path) = asked.split(' ').nth(1) else { return };
            let body = format!("{path:.9}");
            let hints = if path == "/hints" { "HTTP/1.1 103 Early Hints\r\n\r\n" } else { "" };
            let answer =
                format!("{hints}HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.expect("sent");
        }
    })
    .await;
    let serving = serving(addr);
    let evil = "GET /evil HTTP/1.1\r\nHost: a.test\r\nX-Rest: ";
    let length = evil.len();
    for lines in [
        format!("GET /body HTTP/1.1\r\nContent-Length: {length}"),
        format!("HEAD /body HTTP/1.1\r\nContent-Length: {length}"),
        format!("DELETE /body HTTP/1.1\r\nContent-Length: {length}"),
        format!("POST /body HTTP/1.1\r\nContent-Length: {length}\r\nExpect: 100-continue"),
        // A hint is not the word that is waited for.
        format!("POST /hints HTTP/1.1\r\nContent-Length: {length}\r\nExpect: 100-continue"),
    ] {
        let attack = format!("{lines}\r\nHost: a.test\r\nConnection: close\r\n\r\n{evil}");
        let seen = exchange(serving.addr, attack.as_bytes()).await;
        assert!(seen.contains("HTTP/1.1 200 "), "{seen}");
        for _ in 0..4 {
            let get = b"GET /victim HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
            let answer = exchange(serving.addr, get).await;
            assert!(answer.ends_with("\r\n\r\n/victim"), "{lines}: {answer}");
        }
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

#[tokio::test(flavor = "multi_thread")]
async fn further_connections_wait_for_a_place() {
    let mut settings = settings();
    settings.limits.connections_max = 2;
    let serving = Serving::start(settings, &[("Host:a.test", &[saying(OK).await])]);
    let first = TcpStream::connect(serving.addr).await.expect("connected");
    let _second = TcpStream::connect(serving.addr).await.expect("connected");
    eventually("both are open", || async { serving.state.live.totals.open_connections() == 2 })
        .await;
    let mut third = TcpStream::connect(serving.addr).await.expect("the kernel's queue takes it");
    third
        .write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        .await
        .expect("sent");
    let early = timeout(Duration::from_millis(300), third.readable()).await;
    assert!(early.is_err(), "there is no place yet");
    drop(first);
    assert!(read(&mut third).await.starts_with("HTTP/1.1 200 "));
}

/// Whoever connects and says nothing has a place until somebody else wants it.
#[tokio::test(flavor = "multi_thread")]
async fn the_silent_make_room_where_all_places_are_taken() {
    let mut settings = settings();
    settings.limits.connections_max = 20;
    let serving = Serving::start(settings, &[("Host:a.test", &[saying(OK).await])]);
    let mut crowd = Vec::new();
    for _ in 0..30 {
        crowd.push(TcpStream::connect(serving.addr).await.expect("the kernel's queue takes it"));
    }
    let mut busy = crowd.remove(0);
    let half =
        b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\nConnection: close\r\n\r\no";
    busy.write_all(half).await.expect("sent");
    let answer =
        exchange(serving.addr, b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    assert!(answer.await.starts_with("HTTP/1.1 200 "), "before the silent have had their time");
    busy.write_all(b"k").await.expect("whoever is in a request stays");
    assert!(read(&mut busy).await.starts_with("HTTP/1.1 200 "));
}

/// A byte now and then is no silence, and keeps nobody else out for ever.
#[tokio::test(flavor = "multi_thread")]
async fn the_slowest_make_room_where_all_places_are_taken() {
    let mut settings = settings();
    settings.limits.connections_max = 4;
    let patient = origin(|_, mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let (quick, patient) = (saying(OK).await, patient.await);
    let routes: [(&str, &[SocketAddr]); 2] =
        [("Host:a.test", &[quick]), ("Host:patient.test", &[patient])];
    let serving = Serving::start(settings, &routes);
    let drip = |addr: SocketAddr, host: &'static str| async move {
        let mut stream = TcpStream::connect(addr).await.expect("connected");
        let ask = format!("POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.expect("sent");
        while stream.write_all(b"1\r\na\r\n").await.is_ok() {
            sleep(Duration::from_millis(200)).await;
        }
    };
    for host in ["patient.test", "a.test"] {
        let dripping: Vec<_> = (0..4).map(|_| tokio::spawn(drip(serving.addr, host))).collect();
        let open = || serving.state.live.totals.open_connections();
        eventually("all places are taken", || async { open() == 4 }).await;
        let get = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
        let answer = exchange(serving.addr, get).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
        dripping.into_iter().for_each(|task| task.abort());
        eventually("they have left", || async { open() == 0 }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_cut_off_and_a_slow_sender_is_told() {
    let mut settings = settings();
    settings.limits.body_timeout = Duration::from_millis(300);
    let addr = origin(|_, mut stream| async move {
        head(&mut stream).await;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
        let _ = stream.write_all(answer).await;
        taken(&mut stream).await;
    })
    .await;
    let serving = Serving::start(settings.clone(), &[("Host:a.test", &[addr])]);
    let mut reader = TcpStream::connect(serving.addr).await.expect("connected");
    reader.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.expect("sent");
    eventually("it is cut off", || async { serving.state.live.totals.open_connections() == 0 })
        .await;
    let silent = origin(|_, mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let serving = Serving::start(settings, &[("Host:a.test", &[silent])]);
    let request = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nhalf";
    let answer = exchange(serving.addr, request).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

/// The time for an answer's head is one for all of it; what drips would hold its client for hours.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_drips_is_no_answer() {
    let addr = origin(|_, mut stream| async move {
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX-Drip: ").await;
        while stream.write_all(b"a").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let mut settings = settings();
    settings.limits.response_timeout = Duration::from_millis(500);
    let serving = Serving::start(settings, &[("Host:a.test", &[addr])]);
    let answer = exchange(serving.addr, b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    let failed = serving.state.live.failures.last(1);
    assert!(failed[0].why.contains("did not come whole in time"), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_head_is_told_and_thousands_of_them_stop_nobody() {
    let mut settings = settings();
    settings.limits.head_timeout = Duration::from_millis(1_500);
    let serving = Serving::start(settings, &[("Host:a.test", &[saying(OK).await])]);
    let mut slow = Vec::new();
    for _ in 0..1_000 {
        let mut stream = TcpStream::connect(serving.addr).await.expect("connected");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a.te").await.expect("sent");
        slow.push(stream);
    }
    let answer = exchange(serving.addr, b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let told = read(slow.last_mut().expect("one")).await;
    assert!(told.starts_with("HTTP/1.1 408 "), "{told}");
}

/// The system has no file left for another connection: those that are open go on, and when some have left, others
/// come in. The admin side is not starved either.
#[tokio::test(flavor = "multi_thread")]
async fn too_few_files_end_nothing() {
    let herder = Herder::start_with_files(100, &["demo"]);
    let host = "web-test.proxy-test.local";
    eventually("the demo serves", || async { herder.get(host, "/").await.status == 200 }).await;
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(TcpStream::connect(herder.http).await.expect("the kernel's queue takes it"));
    }
    assert!(herder.log().contains("the system grants few open files"), "{}", herder.log());
    assert_eq!(herder.admin("/ping").await.status, 200, "the crowd does not take the last files");
    eventually("who asks is served beside the crowd", || async {
        herder.get(host, "/").await.status == 200
    })
    .await;
    drop(crowd);
    eventually("it serves again", || async { herder.get(host, "/").await.status == 200 }).await;
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
