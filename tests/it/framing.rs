//! Message boundaries on raw sockets: refused, or forwarded clean, never smuggled; and what a server says reaches only
//! whom it was meant for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use futures_util::stream::iter;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::harness::messages::Reader;
use crate::harness::proxy::{Serving, settings};
use crate::harness::raw::{exchange, read};

/// A server that says what it was asked, and keeps, by the line `X-Case`, what came with it.
struct Recorder {
    addr: SocketAddr,
    seen: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
}

impl Recorder {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let addr = listener.local_addr().expect("an address");
        let seen = Arc::new(Mutex::new(BTreeMap::<String, Vec<String>>::new()));
        let all = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let all = Arc::clone(&all);
                tokio::spawn(async move {
                    let mut reader = Reader::new(stream);
                    while let Some(request) = reader.next(true).await {
                        let body = String::from_utf8_lossy(&request.body);
                        let told = format!("{} [{body}]", request.first);
                        let case = request.line("x-case").unwrap_or("none").to_owned();
                        // Whatever the proxy sends tells who sent it.
                        assert_eq!(request.line("x-forwarded-for"), Some("127.0.0.1"), "{told}");
                        all.lock()
                            .expect("not poisoned")
                            .entry(case)
                            .or_default()
                            .push(told.clone());
                        let length = told.len();
                        let answer =
                            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{told}");
                        let is_head = request.first.starts_with("HEAD ");
                        let answer = if is_head { answer.trim_end_matches(&told) } else { &answer };
                        if reader.stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { addr, seen }
    }

    /// What came of a case.
    fn of(&self, case: usize) -> Vec<String> {
        let seen = self.seen.lock().expect("not poisoned");
        seen.get(&case.to_string()).cloned().unwrap_or_default()
    }
}

/// Sends each of the requests on a connection of its own, with a second one behind it that nobody may see when the
/// first was refused.
async fn all_refused(status: &str, cases: Vec<Vec<u8>>) {
    let recorder = Recorder::start().await;
    let serving = Serving::start(settings(), &[("Host:a.test", &[recorder.addr])]);
    assert!(!cases.is_empty());
    let check = |(case, bytes): (usize, Vec<u8>)| {
        let (recorder, proxy) = (&recorder, serving.addr);
        async move {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
            let bytes = [&*bytes, b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"].concat();
            let answer = exchange(proxy, &bytes).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?}: {answer}");
            // One answer, then the end: what follows cannot be trusted to be a request.
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{shown:?}: {answer}");
            assert!(answer.contains("\r\nConnection: close\r\n"), "{shown:?}: {answer}");
            assert_eq!(recorder.of(case), Vec::<String>::new(), "{shown:?}");
        }
    };
    iter(cases.into_iter().enumerate().map(check)).buffer_unordered(16).collect::<Vec<()>>().await;
    let smuggled = recorder.seen.lock().expect("not poisoned").clone();
    assert!(smuggled.is_empty(), "{smuggled:?}");
}

/// Requests with these lines after a good first one and a good host.
fn with_lines(lines: &[&str]) -> Vec<Vec<u8>> {
    let request = |line: &&str| format!("POST / HTTP/1.1\r\nHost: a.test\r\n{line}\r\n\r\nhello");
    lines.iter().map(|line| request(line).into_bytes()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_is_one_plain_number() {
    all_refused(
        "400",
        with_lines(&[
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5\r\ncontent-length:",
            "Content-Length: 5, 5",
            "Content-Length: 5,6",
            "Content-Length: ,5",
            "Content-Length:",
            "Content-Length: +5",
            "Content-Length: -5",
            "Content-Length: 0x5",
            "Content-Length: 5e0",
            "Content-Length: 5.0",
            "Content-Length: 5;a=b",
            "Content-Length: 5 5",
            "Content-Length: \"5\"",
            "Content-Length: five",
            "Content-Length: 18446744073709551621",
            "Content-Length: 9223372036854775808",
            "Content-Length: 00000000000000000000000000005",
            "Content_Length: 5",
            "Transfer_Encoding: chunked",
            "TransferEncoding: chunked",
            "Transfer-Encoding1: chunked",
            "Content--Length: 3",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "Transfer-Encoding: chunked\r\nContent_Length: 5",
        ]),
    )
    .await;
    all_refused(
        "400",
        vec![b"POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coding_is_chunked_or_nothing() {
    all_refused(
        "501",
        with_lines(&[
            "Transfer-Encoding: identity",
            "Transfer-Encoding: gzip",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked, gzip",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked;q=1",
            "Transfer-Encoding: 'chunked'",
            "Transfer-Encoding: \"chunked\"",
            "Transfer-Encoding: ,chunked",
            "Transfer-Encoding: chunked,",
            "Transfer-Encoding:",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\ntransfer-encoding: identity",
            "Transfer-Encoding: identity\r\nContent-Length: 5",
        ]),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_a_name_a_colon_and_a_value() {
    let mut cases = with_lines(&[
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        "Content-Length : 5",
        " Content-Length: 5",
        "\tA: b",
        "A: b\r\n c",
        "A: b\r\n\tc",
        "A: b\r\n \r\nC: d",
        "A: b\nC: d",
        "A: b\rC: d",
        "A: b\r",
        "A\0: b",
        "A: \0",
        "A: b\x01",
        "A: b\x7f",
        "A\x7f: b",
        "A b: c",
        ": c",
        ":",
        "nocolon",
        "(A): b",
        "A@b: c",
        "A[b]: c",
        "{A}: b",
        "\"A\": b",
        "A/b: c",
        "A,b: c",
        "A;b: c",
        "A\u{e4}: b",
        "\u{feff}A: b",
    ]);
    cases.push(b"POST / HTTP/1.1\r\nHost: a.test\r\nA\xff: b\r\n\r\n".to_vec());
    cases.push(b"GET / HTTP/1.1\nHost: a.test\n\n".to_vec());
    cases.push(b"GET / HTTP/1.1\r\nHost: a.test\n\r\n".to_vec());
    cases.push(b"GET / HTTP/1.1\r\nHost: a.test\r\n\n".to_vec());
    all_refused("400", cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_line_has_three_words() {
    let good = |line: &str| format!("{line}\r\nHost: a.test\r\n\r\n").into_bytes();
    let lines = [
        " GET / HTTP/1.1",
        "\tGET / HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET\t/\tHTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.1\t",
        "GET /\x0cHTTP/1.1",
        "GET /",
        "GET",
        "GET / http/1.1",
        "GET / HTTP/1",
        "GET / HTTP/1.",
        "GET / HTTP/11",
        "GET / HTTP/1.10",
        "GET / HTTP/01.1",
        "GET / FTP/1.1",
        "GET / HTTP/1.1 HTTP/1.1",
        "G\0T / HTTP/1.1",
        "G(T / HTTP/1.1",
        "\"GET\" / HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /a\0b HTTP/1.1",
        "GET /a\x7f HTTP/1.1",
        "GET /a#b HTTP/1.1",
        "GET /\u{e4} HTTP/1.1",
        "GET a.test HTTP/1.1",
        "GET .a.test HTTP/1.1",
        "GET * HTTP/1.1",
        "GET ? HTTP/1.1",
        "GET http:///x HTTP/1.1",
        "GET http:/x HTTP/1.1",
        "GET http://me@a.test/ HTTP/1.1",
        "GET http://a.test:x/ HTTP/1.1",
        "GET https://a.test/ HTTP/1.1",
        "GET ftp://a.test/ HTTP/1.1",
        "\u{feff}GET / HTTP/1.1",
        "\r\n\r\nGET / HTTP/1.1",
    ];
    let mut cases: Vec<_> = lines.map(good).into();
    cases.push(b"\x16\x03\x01\x02\x00\x01\x00".to_vec());
    cases.push(vec![0; 40]);
    cases.push(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n".to_vec());
    all_refused("400", cases).await;
    let versions = ["GET / HTTP/0.9", "GET / HTTP/2.0", "GET / HTTP/9.9", "PRI * HTTP/2.0"];
    all_refused("505", versions.map(good).into()).await;
    let methods =
        ["CONNECT a.test:443 HTTP/1.1".to_owned(), format!("{} / HTTP/1.1", "A".repeat(100))];
    all_refused("501", methods.iter().map(|line| good(line)).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_one_host() {
    let with_host = |line: &str| format!("GET / HTTP/1.1\r\n{line}\r\n\r\n").into_bytes();
    let lines = [
        "X: y",
        "Host: a.test\r\nHost: a.test",
        "Host: a.test\r\nhost: b.test",
        "Host: a.test, b.test",
        "Host: a.test b.test",
        "Host: me@a.test",
        "Host: a.test/x",
        "Host: a.test?x",
        "Host: a.test#x",
        "Host: a.test\\x",
        "Host: \"a.test\"",
        "Host: <a.test>",
        "Host: a.test:",
        "Host: a.test:http",
        "Host: a.test:-1",
        "Host: a.test:+80",
        "Host: a.test:99999",
        "Host: a.test:80:80",
        "Host: :80",
        "Host: [::1",
        "Host: [a.test]",
        "Host: \u{e4}.test",
        "Host : a.test",
    ];
    // A port may be left empty (RFC 3986, section 3.2.3).
    let bad = lines.iter().filter(|line| !line.ends_with("a.test:"));
    all_refused("400", bad.map(|line| with_host(line)).collect()).await;
    all_refused("400", vec![b"GET http://a.test/ HTTP/1.1\r\n\r\n".to_vec()]).await;
    all_refused("400", vec![b"GET http://a.test/ HTTP/1.1\r\nHost: a b\r\n\r\n".to_vec()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_chunk_ends_the_request() {
    let chunked = |body: &str| {
        format!("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
            .into_bytes()
    };
    let bodies = [
        "\r\nhello\r\n0\r\n\r\n",
        "xyz\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5\t\r\nhello\r\n0\r\n\r\n",
        "5\x0b\r\nhello\r\n0\r\n\r\n",
        "5,\r\nhello\r\n0\r\n\r\n",
        "5;\r\nhello\r\n0\r\n\r\n",
        "5; \r\nhello\r\n0\r\n\r\n",
        "5;a\0\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "fffffffffffffffff\r\n",
        "ffffffffffffffff\r\nhello",
        "8000000000000000\r\nhello",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        "0\n\r\n",
        "0\r\n\n",
        "0\r\nA\r\n\r\n",
        "0\r\nA : b\r\n\r\n",
        "0\r\n A: b\r\n\r\n",
        "0\r\nA: b\n\r\n",
        "0\r\nA: b\r\n c\r\n\r\n",
        "0\r\nA: \0\r\n\r\n",
        "0\r\n: b\r\n\r\n",
    ];
    all_refused("400", bodies.map(chunked).into()).await;
    let long = format!("5;{}\r\n", "a".repeat(5_000));
    all_refused(
        "400",
        vec![chunked(&long), chunked(&format!("0\r\n{}", "A: b\r\n".repeat(9_000)))],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_is_expected_than_a_word_to_go_on() {
    let lines = ["Expect: 200-ok", "Expect: y 100-continue", "Expect: 100-continue\r\nExpect: x"];
    let head = |line: &str| {
        format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n{line}\r\n\r\n")
    };
    all_refused("417", lines.map(|line| head(line).into_bytes()).into()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_have_a_bound() {
    let bombs = [
        format!("GET / HTTP/1.1\r\nHost: a.test\r\nA: {}\r\n\r\n", "x".repeat(200_000)),
        format!("GET / HTTP/1.1\r\nHost: a.test\r\n{}\r\n", "A: b\r\n".repeat(500)),
        format!("GET /{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "x".repeat(200_000)),
        format!("GET / HTTP/1.1\r\nHost: a.test\r\n{}: b\r\n\r\n", "A".repeat(200_000)),
    ];
    all_refused("431", bombs.map(String::into_bytes).into()).await;
    let named = format!("Connection: {}", "a,".repeat(200));
    all_refused("400", with_lines(&[&named])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_means_one_thing_is_forwarded_as_that() {
    let recorder = Recorder::start().await;
    let serving = Serving::start(settings(), &[("Host:a.test", &[recorder.addr])]);
    let post = |lines: &str, body: &str| {
        format!("POST / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n\r\n{body}")
    };
    let get = |line: &str, lines: &str| format!("{line}\r\nHost: a.test\r\n{lines}\r\n");
    let long = format!("/{}", "x".repeat(8_000));
    let cases: Vec<(String, String)> = vec![
        (get("GET / HTTP/1.1", ""), "GET / HTTP/1.1 []".into()),
        (format!("\r\n{}", get("GET / HTTP/1.1", "")), "GET / HTTP/1.1 []".into()),
        (get("GET / HTTP/1.0", ""), "GET / HTTP/1.1 []".into()),
        (get("GET / HTTP/1.2", ""), "GET / HTTP/1.1 []".into()),
        (get("get / HTTP/1.1", ""), "get / HTTP/1.1 []".into()),
        (get("BREW /pot HTTP/1.1", ""), "BREW /pot HTTP/1.1 []".into()),
        (get("OPTIONS * HTTP/1.1", ""), "OPTIONS * HTTP/1.1 []".into()),
        (get("OPTIONS http://a.test HTTP/1.1", ""), "OPTIONS * HTTP/1.1 []".into()),
        (get("GET http://a.test/x?y HTTP/1.1", ""), "GET /x?y HTTP/1.1 []".into()),
        (get("GET HTTP://A.test:80?y HTTP/1.1", ""), "GET /?y HTTP/1.1 []".into()),
        (get("GET //b.test/../x;y HTTP/1.1", ""), "GET /x;y HTTP/1.1 []".into()),
        (get("GET /%0d%0a%00%zz%2 HTTP/1.1", ""), "GET /%0d%0a%00%zz%2 HTTP/1.1 []".into()),
        (get("GET /\"<>\\^`{|} HTTP/1.1", ""), "GET /\"<>\\^`{|} HTTP/1.1 []".into()),
        (get(&format!("GET {long} HTTP/1.1"), ""), format!("GET {long} HTTP/1.1 []")),
        (get("GET / HTTP/1.1", "A: b:c:d\r\nA: \u{e4}\r\nB:\r\n"), "GET / HTTP/1.1 []".into()),
        (
            get("GET / HTTP/1.1", &format!("A: {}\r\n", "x".repeat(16_000))),
            "GET / HTTP/1.1 []".into(),
        ),
        (post("Content-Length: 5", "hello"), "POST / HTTP/1.1 [hello]".into()),
        (post("content-length:\t005 ", "hello"), "POST / HTTP/1.1 [hello]".into()),
        (post("Content-Length: 0", ""), "POST / HTTP/1.1 []".into()),
        (post("A: b", ""), "POST / HTTP/1.1 []".into()),
        (
            post("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"),
            "POST / HTTP/1.1 [hello]".into(),
        ),
        (
            post("transfer-encoding:  CHUNKED ", "a\r\n0123456789\r\n00\r\n\r\n"),
            "POST / HTTP/1.1 [0123456789]".into(),
        ),
        (
            post("Transfer-Encoding: chunked", "5;a=\"b;c\"\r\nhello\r\n0;d\r\nT: 1\r\n\r\n"),
            "POST / HTTP/1.1 [hello]".into(),
        ),
        (get("GET / HTTP/1.1", "Content-Length: 5\r\n") + "hello", "GET / HTTP/1.1 [hello]".into()),
        (
            post("Connection: Content-Length\r\nContent-Length: 5", "hello"),
            "POST / HTTP/1.1 [hello]".into(),
        ),
        (
            post("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
            "POST / HTTP/1.1 []".into(),
        ),
        (
            get("GET / HTTP/1.1", "Connection: X-Forwarded-For, X-Real-Ip, Host\r\n"),
            "GET / HTTP/1.1 []".into(),
        ),
        (
            get("GET / HTTP/1.1", "X-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\n"),
            "GET / HTTP/1.1 []".into(),
        ),
        (
            get(
                "GET / HTTP/1.1",
                "Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n",
            ),
            "GET / HTTP/1.1 []".into(),
        ),
    ];
    for (case, (request, expected)) in cases.iter().enumerate() {
        // Each with a line that tells it, and another request behind it.
        let request =
            request.replacen("Host: a.test\r\n", &format!("Host: a.test\r\nX-Case: {case}\r\n"), 1);
        let is_old = request.contains("HTTP/1.0");
        let behind = "GET /behind HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
        let answers = exchange(serving.addr, (request.clone() + behind).as_bytes()).await;
        assert_eq!(recorder.of(case), [expected.as_str()], "{request}");
        let count = answers.matches("HTTP/1.1 200 OK\r\n").count();
        assert_eq!(count, if is_old { 1 } else { 2 }, "{request}: {answers}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_requests_in_one_piece_are_answered_in_turn() {
    let recorder = Recorder::start().await;
    let serving = Serving::start(settings(), &[("Host:a.test", &[recorder.addr])]);
    let request = |n: usize| format!("GET /{n} HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let all: String = (0..100).map(request).collect();
    let answers = exchange(serving.addr, all.as_bytes()).await;
    let order: Vec<_> = answers.split("GET /").skip(1).collect();
    assert_eq!(order.len(), 100);
    for (n, answer) in order.iter().enumerate() {
        assert!(answer.starts_with(&format!("{n} ")), "{n}: {answer}");
    }
    // After one that closes, nothing more is served.
    let all = request(1).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n") + &request(2);
    let answers = exchange(serving.addr, all.as_bytes()).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 1, "{answers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_request_never_arrives_as_a_whole_one() {
    let recorder = Recorder::start().await;
    let serving = Serving::start(settings(), &[("Host:a.test", &[recorder.addr])]);
    for request in [
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\n",
    ] {
        let mut stream = TcpStream::connect(serving.addr).await.expect("connected");
        stream.write_all(request.as_bytes()).await.expect("sent");
        stream.shutdown().await.expect("half closed");
        let answer = read(&mut stream).await;
        assert!(!answer.contains(" 200 "), "{request}: {answer}");
    }
    assert!(recorder.seen.lock().expect("not poisoned").is_empty());
}

/// What a client gets of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Gets {
    /// This body, whole.
    Whole(&'static str),
    /// A 502 of ours, and nothing of it.
    Refusal,
    /// Something that it can see to be cut off.
    Cut,
}
use Gets::{Cut, Refusal, Whole};

/// Answers as a server may send them, whether the server closes after them, and what the client gets.
const ANSWERS: &[(&str, bool, Gets)] = &[
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false, Whole("ok")),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", false, Whole("ok")),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", false, Whole("ok")),
    ("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", false, Whole("ok")),
    ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", true, Whole("ok")),
    ("HTTP/1.0 200 OK\r\n\r\nok", true, Whole("ok")),
    ("HTTP/1.1 200 OK\r\n\r\nok", true, Whole("ok")),
    ("HTTP/1.1 200 OK\nContent-Length: 2\n\nok", false, Whole("ok")),
    ("HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok", false, Whole("ok")),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\n\r\n",
        false,
        Whole("ok"),
    ),
    (
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        false,
        Whole("ok"),
    ),
    (
        "HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        false,
        Whole("ok"),
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
        false,
        Whole("ok"),
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2  \r\nok\r\n0  \r\n\r\n",
        false,
        Whole("ok"),
    ),
    ("HTTP/1.1 204 No\r\nContent-Length: 6\r\n\r\npoison", false, Whole("")),
    ("HTTP/1.1 304 No\r\nContent-Length: 6\r\n\r\npoison", false, Whole("")),
    (
        "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n6\r\npoison\r\n0\r\n\r\n",
        false,
        Whole(""),
    ),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", false, Refusal),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", false, Refusal),
    ("HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok", false, Refusal),
    ("HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\nok", false, Refusal),
    ("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok", false, Refusal),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        false,
        Refusal,
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        false,
        Refusal,
    ),
    ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", false, Refusal),
    ("HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", false, Refusal),
    ("HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok", false, Refusal),
    ("HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok", false, Refusal),
    ("HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok", false, Refusal),
    ("HTTP/1.1 -20 OK\r\nContent-Length: 2\r\n\r\nok", false, Refusal),
    ("HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false, Refusal),
    ("http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false, Refusal),
    ("ICY 200 OK\r\nContent-Length: 2\r\n\r\nok", false, Refusal),
    ("<html>ok</html>", true, Refusal),
    ("HTTP/1.1 200 OK\r\nA: b\r\n c: d\r\nContent-Length: 2\r\n\r\nok", false, Refusal),
    ("HTTP/1.1 200 OK\r\nnocolon\r\nContent-Length: 2\r\n\r\nok", false, Refusal),
    ("HTTP/1.1 200 OK\r\nA: b\0\r\nContent-Length: 2\r\n\r\nok", false, Refusal),
    ("HTTP/1.1 200 OK\r\nContent-Le", true, Refusal),
    ("HTTP/1.1 100 Continue\r\n\r\n", true, Refusal),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nok\r\n0\r\n\r\n", false, Refusal),
    ("", true, Refusal),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", true, Cut),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok", true, Cut),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", true, Cut),
];

const CANARY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ncanary";

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_reaches_its_client_alone_and_whole_or_not_at_all() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut reader = Reader::new(stream);
                while let Some(request) = reader.next(true).await {
                    let number = request.line("x-case").and_then(|case| case.parse().ok());
                    let case: Option<&(&str, bool, Gets)> =
                        number.and_then(|n: usize| ANSWERS.get(n));
                    let (answer, closes) = case.map_or((CANARY, false), |case| (case.0, case.1));
                    if reader.stream.write_all(answer.as_bytes()).await.is_err() || closes {
                        return;
                    }
                }
            });
        }
    });
    let mut settings = settings();
    settings.workers = 1;
    let serving = Serving::start(settings, &[("Host:a.test", &[addr])]);
    for (case, &(answer, _, gets)) in ANSWERS.iter().enumerate() {
        let mut stream = TcpStream::connect(serving.addr).await.expect("connected");
        let request = format!("GET / HTTP/1.1\r\nHost: a.test\r\nX-Case: {case}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut reader = Reader::new(stream);
        let seen = loop {
            let has_body = !answer.starts_with("HTTP/1.1 304");
            match reader.next(has_body).await {
                Some(interim) if interim.first.starts_with("HTTP/1.1 1") => {}
                seen => break seen,
            }
        };
        let body = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match gets {
            Whole(expected) => {
                let seen = seen.unwrap_or_else(|| panic!("{answer:?}: cut"));
                assert!(!seen.first.starts_with("HTTP/1.1 5"), "{answer:?}: {}", seen.first);
                assert_eq!(body(&seen.body), expected, "{answer:?}");
            }
            Refusal => {
                let seen = seen.unwrap_or_else(|| panic!("{answer:?}: cut"));
                assert_eq!(seen.first, "HTTP/1.1 502 Bad Gateway", "{answer:?}");
            }
            Cut => assert!(seen.is_none(), "{answer:?}: {seen:?}"),
        }
        if gets != Cut {
            assert_eq!(body(&reader.bytes), "", "{answer:?}: something follows");
        }
        // Nothing of it is left for others.
        for _ in 0..3 {
            let canary = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
            let seen = exchange(serving.addr, canary).await;
            assert!(
                seen.ends_with("\r\n\r\ncanary") && !seen.contains("poison"),
                "{answer:?}: {seen}"
            );
        }
    }
}
