//! Random streams of requests, cut at every byte: each arrives at the server with the meaning it had, and each answer
//! comes back whole.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::iter;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::harness::PATIENCE;
use crate::harness::messages::{Message, Reader};
use crate::harness::proxy::{Serving, settings};

/// A server that tells each request back, in a framing that its body decides.
async fn mirror() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut reader = Reader::new(stream);
                while let Some(request) = reader.next(true).await {
                    let is_head = request.first.starts_with("HEAD ");
                    let told = told(&request);
                    let answer = match request.body.len() % 3 {
                        _ if is_head => {
                            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", told.len())
                        }
                        0 => format!(
                            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{told}",
                            told.len()
                        ),
                        1 => {
                            let (one, two) = told.split_at(told.len() / 2);
                            format!(
                                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                                 {:x}\r\n{one}\r\n{:x};x=y\r\n{two}\r\n0\r\nT: 1\r\n\r\n",
                                one.len(),
                                two.len()
                            )
                        }
                        _ => format!(
                            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
                             HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{told}",
                            told.len()
                        ),
                    };
                    reader.stream.write_all(answer.as_bytes()).await.expect("sent");
                }
            });
        }
    });
    addr
}

/// What a server makes of a request: first line, host, one line of the client's, body.
fn told(request: &Message) -> String {
    let line = |name| request.line(name).unwrap_or("-");
    let body = String::from_utf8_lossy(&request.body);
    format!("{} {} {} [{body}]", request.first, line("host"), line("x-id"))
}

/// A request as bytes, and what the server shall make of it.
#[derive(Clone, Debug)]
struct Sent {
    bytes: Vec<u8>,
    told: String,
    is_head: bool,
}

fn request() -> impl Strategy<Value = Sent> {
    let method = prop::sample::select(vec!["GET", "HEAD", "POST", "PUT", "PATCH"]);
    let target = prop::sample::select(vec![
        "/",
        "/a/b?c=d&e",
        "/x//y",
        "/%2e%2ex/",
        "/a;b=c",
        "http://a.test/abs",
    ]);
    let id = "[a-z0-9]{1,6}";
    let chunks = prop::collection::vec("[a-z]{1,9}", 0..4);
    let framing = 0..3_u8;
    (method, target, id, chunks, framing).prop_map(|(method, target, id, chunks, framing)| {
        let body = chunks.concat();
        let mut text = format!("{method} {target} HTTP/1.1\r\nhost:a.test\r\nX-Id:  {id} \r\n");
        let body = match framing {
            0 => {
                text += "\r\n";
                String::new()
            }
            1 => {
                text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
                body
            }
            _ => {
                text += "Transfer-Encoding: chunked\r\n\r\n";
                for chunk in &chunks {
                    text += &format!("{:X};q=\"v\"\r\n{chunk}\r\n", chunk.len());
                }
                text += "0\r\nX-T: 1\r\n\r\n";
                body
            }
        };
        let path = target.strip_prefix("http://a.test").unwrap_or(target);
        let told = format!("{method} {path} HTTP/1.1 a.test {id} [{body}]");
        Sent { bytes: text.into_bytes(), told, is_head: method == "HEAD" }
    })
}

/// Sends a stream in two parts, and checks every answer.
async fn check(proxy: SocketAddr, requests: &[Sent], cut: usize) {
    let bytes: Vec<u8> = requests.iter().flat_map(|request| request.bytes.clone()).collect();
    let mut stream = TcpStream::connect(proxy).await.expect("connected");
    stream.set_nodelay(true).expect("set");
    stream.write_all(&bytes[..cut]).await.expect("sent");
    tokio::time::sleep(Duration::from_millis(2)).await;
    stream.write_all(&bytes[cut..]).await.expect("sent");
    let mut reader = Reader::new(stream);
    for request in requests {
        let answer = loop {
            let next = tokio::time::timeout(PATIENCE, reader.next(!request.is_head)).await;
            let answer = next.expect("in time").expect("an answer");
            if !answer.first.starts_with("HTTP/1.1 1") {
                break answer;
            }
        };
        assert_eq!(answer.first, "HTTP/1.1 200 OK", "cut at {cut}: {requests:?}");
        let expected = if request.is_head { "" } else { &request.told };
        assert_eq!(String::from_utf8_lossy(&answer.body), expected, "cut at {cut}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_cut_at_every_byte_arrive_as_they_were_meant() {
    let serving = Serving::start(settings(), &[("Host:a.test", &[mirror().await])]);
    let mut runner = TestRunner::default();
    for _ in 0..8 {
        let stream =
            prop::collection::vec(request(), 1..5).new_tree(&mut runner).expect("a stream");
        let requests = stream.current();
        let length: usize = requests.iter().map(|request| request.bytes.len()).sum();
        let all = (0..=length).map(|cut| check(serving.addr, &requests, cut));
        iter(all).buffer_unordered(64).collect::<Vec<()>>().await;
    }
}
