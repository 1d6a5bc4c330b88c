//! A simple reader of messages, of another make than the one under test.

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// One message: its first line, its lines by lower-case name, its body.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) first: String,
    pub(crate) lines: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// The value of the first line of this name.
    pub(crate) fn line(&self, name: &str) -> Option<&str> {
        self.lines.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Takes messages off a connection.
pub(crate) struct Reader {
    pub(crate) stream: TcpStream,
    /// What was read and belongs to no message yet.
    pub(crate) bytes: Vec<u8>,
}

impl Reader {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, bytes: Vec::new() }
    }

    /// More bytes; false where there are none.
    async fn more(&mut self) -> bool {
        self.stream.read_buf(&mut self.bytes).await.is_ok_and(|n| n > 0)
    }

    /// So many bytes.
    async fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.bytes.len() < count {
            if !self.more().await {
                return None;
            }
        }
        let rest = self.bytes.split_off(count);
        Some(std::mem::replace(&mut self.bytes, rest))
    }

    /// What stands before the next CR LF.
    async fn text(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.bytes.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.take(at).await?;
                self.take(2).await?;
                return String::from_utf8(line).ok();
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The next message; `has_body` says whether one with a length has that body.
    pub(crate) async fn next(&mut self, has_body: bool) -> Option<Message> {
        let mut message = Message { first: self.text().await?, ..Message::default() };
        loop {
            let line = self.text().await?;
            let Some((name, value)) = line.split_once(':') else { break };
            message.lines.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = message.line("content-length").and_then(|length| length.parse().ok());
        if message.line("transfer-encoding") == Some("chunked") {
            loop {
                let size = usize::from_str_radix(&self.text().await?, 16).ok()?;
                if size == 0 {
                    while !self.text().await?.is_empty() {}
                    break;
                }
                message.body.extend(self.take(size).await?);
                self.take(2).await?;
            }
        } else if let Some(length) = length.filter(|_| has_body) {
            message.body = self.take(length).await?;
        }
        Some(message)
    }
}
