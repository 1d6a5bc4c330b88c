//! Message boundaries, byte by byte, on raw sockets: refused, or forwarded clean, never smuggled.

use crate::harness::proxy::{Serving, settings};
use crate::harness::raw::{Origin, exchange};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Sends bytes, then looks at the first status line (empty: closed without one), and at what the server saw.
async fn sent(bytes: &str) -> (String, String) {
    let origin = Origin::start(OK, false).await;
    let serving = Serving::start(settings(), &[("Host:a.test", &[origin.addr])]);
    let answer = exchange(serving.addr, bytes.as_bytes()).await;
    (answer.lines().next().unwrap_or_default().to_owned(), origin.text())
}

/// Refused with 4xx or 501, or closed; the server saw nothing.
async fn refused(bytes: &str) {
    let (status, seen) = sent(bytes).await;
    let is_refusal = status.is_empty() || status.contains(" 4") || status.contains(" 501 ");
    assert!(is_refusal, "{bytes:?}: {status}");
    assert_eq!(seen, "", "{bytes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_readers_could_read_in_two_ways_is_refused() {
    for head in [
        "Host: a.test\r\nContent-Length: 5\r\nContent-Length: 6",
        "Host: a.test\r\nContent-Length: +5",
        "Host: a.test\r\nContent-Length: 5, 6",
        "Host: a.test\r\nContent-Length: 0x5",
        "Host: a.test\r\nContent-Length: -1",
        "Host: a.test\r\nTransfer-Encoding: identity",
        "Host: a.test\r\nTransfer-Encoding: chunked, identity",
        "Host: a.test\r\nTransfer-Encoding : chunked",
        "Host: a.test\r\nContent-Length : 5",
        "Host: a.test\r\nA: b\r\n c: folded",
        "Host: a.test\r\nA: b\0c",
        "Host: a.test\r\nA: b\rc",
        "Host: a.test\r\nA b: c",
        "Host: a.test\r\nnocolon",
        "Host: a.test\r\nHost: b.test",
        "Host: a.test, b.test",
        "Host: a.test/x",
        "Host: me@a.test",
        "X: no host at all",
        "Host: a.test\r\nTransfer_Encoding: chunked",
        "Host: a.test\r\nContent_Length: 5",
    ] {
        refused(&format!("POST / HTTP/1.1\r\n{head}\r\n\r\nhello")).await;
    }
    for line in
        ["GET http://user@a.test/ HTTP/1.1", "CONNECT a.test:443 HTTP/1.1", "GET a.test HTTP/1.1"]
    {
        refused(&format!("{line}\r\nHost: a.test\r\n\r\n")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_beside_chunks_never_reaches_the_server() {
    for head in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
    ] {
        let (_, seen) = sent(&format!(
            "POST / HTTP/1.1\r\nHost: a.test\r\n{head}\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"
        ))
        .await;
        let heads = seen.matches(" HTTP/1.1\r\n").count();
        assert!(!seen.contains("content-length: 5"), "{seen}");
        // What follows the last chunk is a request of its own, or nothing: never part of this one's body.
        assert!(heads <= 2 && !seen.contains("0\r\n\r\nGET /smuggled"), "{seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_chunks_are_not_passed_on_as_an_end() {
    for body in [
        "xyz\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nx\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
    ] {
        let request =
            format!("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let (_, seen) = sent(&request).await;
        assert!(!seen.ends_with("\r\n0\r\n\r\n"), "{body:?} reached the server whole: {seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_target_goes_before_the_host_line() {
    let (status, seen) = sent("GET http://a.test/x HTTP/1.1\r\nHost: other.test\r\n\r\n").await;
    assert!(status.contains(" 200 "), "{status}");
    assert!(seen.starts_with("GET /x HTTP/1.1\r\n") && seen.contains("host: a.test\r\n"), "{seen}");
    assert!(!seen.contains("other.test"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bare_line_feeds_are_forwarded_clean_or_refused() {
    let (status, seen) = sent("GET / HTTP/1.1\nHost: a.test\nA: b\n\n").await;
    let is_clean = seen.is_empty() || !seen.replace("\r\n", "").contains('\n');
    assert!(is_clean, "{status} {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_have_a_bound() {
    refused(&format!("GET / HTTP/1.1\r\nHost: a.test\r\nA: {}\r\n\r\n", "x".repeat(200_000))).await;
    refused(&format!("GET / HTTP/1.1\r\nHost: a.test\r\n{}\r\n", "A: b\r\n".repeat(500))).await;
    refused(&format!("GET /{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "x".repeat(200_000))).await;
    refused(&format!("{} / HTTP/1.1\r\nHost: a.test\r\n\r\n", "A".repeat(1_000))).await;
}
