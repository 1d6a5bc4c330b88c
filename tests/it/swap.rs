//! Tables swapped under load: what is open stays open, and nothing is lost or misrouted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::harness::eventually;
use crate::harness::proxy::{Serving, config, settings};
use crate::harness::raw::{Origin, exchange, head, saying};

const A: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";
const B: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb";

/// What the clients do until they are told that it is enough.
#[derive(Clone, Default)]
struct Load {
    done: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
}

impl Load {
    /// One connection, never opened anew, that asks for this host again and again.
    fn keep_asking(&self, proxy: SocketAddr, name: &'static str) -> JoinHandle<()> {
        let load = self.clone();
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(proxy).await.expect("connected");
            let request = format!("GET / HTTP/1.1\r\nHost: {name}.test\r\n\r\n");
            while !load.done.load(Relaxed) {
                stream.write_all(request.as_bytes()).await.expect("the connection is open");
                let answer = head(&mut stream).await;
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
                let body = stream.read_u8().await.expect("a body");
                assert_eq!(char::from(body).to_string(), name);
                load.count.fetch_add(1, Relaxed);
            }
        })
    }

    /// One WebSocket that says something and waits for its echo, again and again.
    fn keep_talking(&self, proxy: SocketAddr) -> JoinHandle<()> {
        let load = self.clone();
        tokio::spawn(async move {
            let stream = TcpStream::connect(proxy).await.expect("connected");
            let request = "ws://ws.test/".into_client_request().expect("a request");
            let handshake = tokio_tungstenite::client_async(request, stream).await;
            let (mut socket, _) = handshake.expect("a handshake");
            for turn in 0_u64.. {
                if load.done.load(Relaxed) {
                    return;
                }
                let text = Message::text(turn.to_string());
                socket.send(text.clone()).await.expect("the WebSocket is open");
                let echo = socket.next().await.expect("the WebSocket is open").expect("whole");
                assert_eq!(echo, text);
                load.count.fetch_add(1, Relaxed);
            }
        })
    }
}

/// A server that echoes what comes over WebSockets.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let socket = tokio_tungstenite::accept_async(stream).await.expect("a handshake");
                let (mut out, mut messages) = socket.split();
                while let Some(Ok(message)) = messages.next().await {
                    if out.send(message).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    addr
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_swaps_lose_misroute_and_close_nothing() {
    let (a, b) = (Origin::start(A, false).await, Origin::start(B, false).await);
    let (more, ws) = (Origin::start(A, false).await, echo().await);
    let routes = |swap: u32| {
        let servers = [a.addr, more.addr];
        let servers = if swap.is_multiple_of(2) { &servers[..] } else { &servers[..1] };
        // Even while its route is gone, a WebSocket stays.
        let ws_rule = if swap.is_multiple_of(7) { "Host:none.test" } else { "Host:ws.test" };
        let extra = format!("Host:extra-{swap}.test");
        config(&[
            ("Host:a.test", servers),
            ("Host:b.test", &[b.addr]),
            (ws_rule, &[ws]),
            (&extra, &[a.addr]),
        ])
    };
    let serving = Serving::start(settings(), &[]);
    serving.publish(routes(1));
    let load = Load::default();
    let asking = ["a", "b", "a", "b"].map(|name| load.keep_asking(serving.addr, name));
    let talking = [(); 4].map(|()| load.keep_talking(serving.addr));
    let totals = &serving.state.live.totals;
    eventually("all are open", || async { totals.open_connections() == 8 }).await;
    eventually("all are at work", || async { load.count.load(Relaxed) > 50 }).await;
    for swap in 0..1_000 {
        serving.publish(routes(swap));
        // As many swaps as there are requests, one after another.
        if swap % 10 == 0 {
            let before = load.count.load(Relaxed);
            let count = &load.count;
            eventually("they go on", || async move { count.load(Relaxed) > before }).await;
        }
    }
    assert_eq!(totals.open_connections(), 8, "nobody had to connect anew");
    load.done.store(true, Relaxed);
    for client in asking.into_iter().chain(talking) {
        client.await.expect("nothing was lost, misrouted or closed");
    }
    assert!(load.count.load(Relaxed) > 100);
}

/// A server that answers so, and cuts every connection off after a few answers, in the middle of a request now and then.
async fn dying() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut number = 0_u32;
        while let Ok((mut stream, _)) = listener.accept().await {
            number += 1;
            let (lives, resets) = (number % 5, number.is_multiple_of(2));
            tokio::spawn(async move {
                for _ in 0..lives {
                    if head(&mut stream).await.is_empty() || stream.write_all(A).await.is_err() {
                        return;
                    }
                }
                // The next request, where there is one, gets no answer.
                if resets {
                    head(&mut stream).await;
                }
            });
        }
    });
    addr
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_that_can_be_saved_is_lost_to_dying_servers() {
    let (steady, one, two) = (Origin::start(A, false).await, dying().await, dying().await);
    let routes = |swap: u32| {
        let servers = [steady.addr, one, two];
        let servers = if swap.is_multiple_of(2) { &servers[..] } else { &servers[..2] };
        config(&[("Host:a.test", servers)])
    };
    let serving = Serving::start(settings(), &[]);
    serving.publish(routes(0));
    let load = Load::default();
    let clients = [(); 16].map(|()| load.keep_asking(serving.addr, "a"));
    for swap in 0..1_000 {
        serving.publish(routes(swap));
        if swap % 10 == 0 {
            let (before, count) = (load.count.load(Relaxed), &load.count);
            eventually("they go on", || async move { count.load(Relaxed) > before + 10 }).await;
        }
    }
    load.done.store(true, Relaxed);
    for client in clients {
        client.await.expect("every request was answered");
    }
}

/// Whole tables, and the state of servers that have left them, would last as long as the longest answer.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_lasts_holds_no_table() {
    let stream = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegun").await;
    let other = Origin::start(A, false).await;
    let routes = [("Host:s.test", &[stream][..]), ("Host:a.test", &[other.addr])];
    let serving = Serving::start(settings(), &routes);
    let before = Arc::downgrade(&serving.state.view().table);
    let mut client = TcpStream::connect(serving.addr).await.expect("connected");
    client.write_all(b"GET / HTTP/1.1\r\nHost: s.test\r\n\r\n").await.expect("sent");
    assert!(head(&mut client).await.starts_with("HTTP/1.1 200 "));
    serving.publish(config(&routes));
    // A worker lets go of a table when its next request comes.
    eventually("nobody holds it", || async {
        exchange(serving.addr, b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
            .await;
        before.upgrade().is_none()
    })
    .await;
    let mut begun = [0; 5];
    client.read_exact(&mut begun).await.expect("it goes on");
    assert_eq!(&begun, b"begun");
}
