//! Bytes as they are, in both directions.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// The shortest answer with a body.
pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Sends bytes, and reads until the other side closes or pauses for half a second after an answer began.
pub(crate) async fn exchange(addr: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).await.expect("connected");
    // The other side may refuse before it has read everything.
    let _ = stream.write_all(bytes).await;
    read(&mut stream).await
}

/// Reads until the other side closes or pauses.
pub(crate) async fn read(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    let mut patience = Duration::from_secs(20);
    while let Ok(Ok(n)) = timeout(patience, stream.read(&mut buffer)).await {
        if n == 0 {
            break;
        }
        text.extend_from_slice(&buffer[..n]);
        patience = Duration::from_millis(500);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Reads one head, byte by byte; what there is of it where the connection ends.
pub(crate) async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// A server that does this with every connection, the first one having number 0.
pub(crate) async fn origin<F>(serve: impl Fn(usize, TcpStream) -> F + Send + 'static) -> SocketAddr
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
pub(crate) async fn saying(answer: &'static [u8]) -> SocketAddr {
    origin(move |_, mut stream| async move {
        head(&mut stream).await;
        stream.write_all(answer).await.expect("sent");
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await
}

/// How much the other side takes until it takes no more for half a second.
pub(crate) async fn taken(stream: &mut TcpStream) -> usize {
    let piece = vec![b'x'; 1 << 16];
    let mut taken = 0;
    while let Ok(Ok(n)) = timeout(Duration::from_millis(500), stream.write(&piece)).await {
        taken += n;
        assert!(taken < 512 << 20, "nobody reads, and yet it is taken");
    }
    taken
}

/// A server that answers every connection's every read with the same bytes, and keeps what it read.
pub(crate) struct Origin {
    pub(crate) addr: SocketAddr,
    pub(crate) seen: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
}

impl Origin {
    /// `closes`: whether it closes after an answer, without saying so.
    pub(crate) async fn start(answer: &'static [u8], closes: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let addr = listener.local_addr().expect("an address");
        let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let all = std::sync::Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let seen = std::sync::Arc::clone(&all);
                tokio::spawn(async move {
                    let mut buffer = vec![0; 65_536];
                    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                        seen.lock().expect("not poisoned").extend_from_slice(&buffer[..n]);
                        if stream.write_all(answer).await.is_err() || closes {
                            return;
                        }
                    }
                });
            }
        });
        Self { addr, seen }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().expect("not poisoned")).into_owned()
    }
}

/// A server that answers each request with what a function makes of it: of its number, from 0 on, its head and its body.
pub(crate) struct Scripted {
    pub(crate) addr: SocketAddr,
    pub(crate) seen: Seen,
}

/// The requests that came, each with its head and its body.
type Seen = std::sync::Arc<std::sync::Mutex<Vec<(String, Vec<u8>)>>>;

/// What such a server does.
pub(crate) enum Act {
    /// It sends these bytes.
    Send(Vec<u8>),
    /// It sends these bytes and closes.
    Close(Vec<u8>),
    /// It says nothing.
    Hang,
}

/// An answer of this status with a body.
pub(crate) fn answer(status: u16, lines: &str, body: &str) -> Act {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Reason\r\nContent-Length: {length}\r\n{lines}\r\n{body}");
    Act::Send(head.into_bytes())
}

impl Scripted {
    pub(crate) async fn start(
        act: impl Fn(usize, &str, &[u8]) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let addr = listener.local_addr().expect("an address");
        let seen = Seen::default();
        let (all, act) = (std::sync::Arc::clone(&seen), std::sync::Arc::new(act));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (seen, act) = (std::sync::Arc::clone(&all), std::sync::Arc::clone(&act));
                tokio::spawn(async move {
                    loop {
                        let head = head(&mut stream).await;
                        if !head.ends_with("\r\n\r\n") {
                            return;
                        }
                        let lower = head.to_ascii_lowercase();
                        let length = lower.split("content-length: ").nth(1);
                        let length =
                            length.and_then(|rest| rest.split("\r\n").next()?.parse().ok());
                        let mut body = vec![0; length.unwrap_or(0)];
                        if stream.read_exact(&mut body).await.is_err() {
                            return;
                        }
                        let number = {
                            let mut seen = seen.lock().expect("not poisoned");
                            seen.push((head.clone(), body.clone()));
                            seen.len() - 1
                        };
                        match act(number, &head, &body) {
                            Act::Send(bytes) => {
                                if stream.write_all(&bytes).await.is_err() {
                                    return;
                                }
                            }
                            Act::Close(bytes) => {
                                let _ = stream.write_all(&bytes).await;
                                return;
                            }
                            Act::Hang => std::future::pending().await,
                        }
                    }
                });
            }
        });
        Self { addr, seen }
    }

    /// The requests so far: head and body.
    pub(crate) fn requests(&self) -> Vec<(String, Vec<u8>)> {
        self.seen.lock().expect("not poisoned").clone()
    }
}
