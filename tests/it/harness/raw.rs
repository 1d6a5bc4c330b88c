//! Bytes as they are, in both directions.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

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
pub(crate) async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
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
