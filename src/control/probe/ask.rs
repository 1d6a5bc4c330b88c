//! One check: a connection of its own, a request, the head of the answer, and the end.
//!
//! Redirects are answers like others: who sends clients elsewhere is well where its status is wanted. The connection ends
//! with a reset (as HAProxy ends its own), so that thousands of checks do not keep thousands of ports waiting.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use memchr::memmem;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::{Check, Question, Request, Scheme};
use crate::model::has_no_means;

/// More than this of a head is not read.
const HEAD_MAX: usize = 16 * 1024;

/// Whom a check asks, and what.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) addr: SocketAddr,
    pub(super) scheme: Scheme,
    /// Its name, where it was called by one: its certificate must be for it.
    pub(super) name: Option<Arc<str>>,
    pub(super) check: Arc<Check>,
}

/// What a check found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Finding {
    /// It is well: the status it answered with, where it was asked for one.
    Passed(Option<u16>),
    /// It is not, and why.
    Failed(String),
    /// It could not be asked, and that is our fault rather than its own: no port, no file, no memory was left.
    Unasked(String),
}

/// How far a check has come.
const CONNECTING: u8 = 0;
const SHAKING_HANDS: u8 = 1;
const WAITING: u8 = 2;

/// Asks. It ends in time, whatever the server does.
pub(super) async fn ask(asked: &Asked, tls: &Arc<ClientConfig>) -> Finding {
    let stage = AtomicU8::new(CONNECTING);
    let time = asked.check.timeout;
    if let Ok(finding) = timeout(time, whole(asked, tls, &stage)).await {
        return finding;
    }
    let time = in_words(time);
    Finding::Failed(match stage.load(Relaxed) {
        CONNECTING => format!("no connection within {time}"),
        SHAKING_HANDS => format!("no end of the TLS handshake within {time}"),
        _ => format!("{}: no answer within {time}", asked.check.name()),
    })
}

/// `5s`, `500ms`.
fn in_words(time: Duration) -> String {
    match time.subsec_millis() {
        0 => format!("{} s", time.as_secs()),
        _ => format!("{} ms", time.as_millis()),
    }
}

async fn whole(asked: &Asked, tls: &Arc<ClientConfig>, stage: &AtomicU8) -> Finding {
    let stream = match TcpStream::connect(asked.addr).await {
        Ok(stream) => stream,
        Err(error) if has_no_means(&error) => return Finding::Unasked(error.to_string()),
        Err(error) => return Finding::Failed(io_words(&error)),
    };
    // Not being able to is no reason not to ask.
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    let Question::Http(request) = &asked.check.question else {
        return Finding::Passed(None);
    };
    if asked.scheme == Scheme::Http {
        stage.store(WAITING, Relaxed);
        return exchange(asked, request, stream).await;
    }
    stage.store(SHAKING_HANDS, Relaxed);
    let name = match &asked.name {
        None => ServerName::IpAddress(asked.addr.ip().into()),
        Some(name) => match ServerName::try_from(&**name) {
            Ok(name) => name.to_owned(),
            Err(error) => return Finding::Failed(format!("TLS: {name}: {error}")),
        },
    };
    match TlsConnector::from(Arc::clone(tls)).connect(name, stream).await {
        Ok(stream) => {
            stage.store(WAITING, Relaxed);
            Box::pin(exchange(asked, request, stream)).await
        }
        Err(error) => Finding::Failed(format!("TLS: {}", io_words(&error))),
    }
}

async fn exchange(
    asked: &Asked,
    request: &Request,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
) -> Finding {
    let own_host = match &asked.name {
        None => asked.addr.to_string(),
        Some(name) => format!("{name}:{}", asked.addr.port()),
    };
    let failed = |why: &str| Finding::Failed(format!("{}: {why}", asked.check.name()));
    if let Err(error) = stream.write_all(request.write(&own_host).as_bytes()).await {
        return failed(&io_words(&error));
    }
    if let Err(error) = stream.flush().await {
        return failed(&io_words(&error));
    }
    let mut head = Vec::with_capacity(512);
    loop {
        match stream.read_buf(&mut head).await {
            Ok(0) => return failed("it closed the connection without a whole answer"),
            Ok(_) => {}
            Err(error) => return failed(&io_words(&error)),
        }
        match answer(&head) {
            Answer::Status(status) if request.wants(status) => {
                return Finding::Passed(Some(status));
            }
            Answer::Status(status) => {
                return failed(&format!("{status}, wanted {}", request.wanted()));
            }
            Answer::Nonsense => return failed("what it answered is not HTTP/1"),
            Answer::More if head.len() > HEAD_MAX => {
                return failed("the head of its answer is over 16 KiB");
            }
            Answer::More => {}
        }
    }
}

/// What has been read of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Answer {
    /// Not the whole head yet.
    More,
    /// The whole head, with this status.
    Status(u16),
    /// Something else.
    Nonsense,
}

/// Looks at the beginning of an answer. Interim answers (RFC 9110, section 15.2) are passed over.
fn answer(mut bytes: &[u8]) -> Answer {
    loop {
        let start = b"HTTP/1.";
        let seen = bytes.len().min(start.len());
        if bytes[..seen] != start[..seen] {
            return Answer::Nonsense;
        }
        let ends = [
            memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4),
            memmem::find(bytes, b"\n\n").map(|at| at + 2),
        ];
        let Some(end) = ends.into_iter().flatten().min() else { return Answer::More };
        let [minor, b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', after, ..] =
            &bytes[start.len()..end]
        else {
            return Answer::Nonsense;
        };
        if !minor.is_ascii_digit() || !b" \r\n".contains(after) {
            return Answer::Nonsense;
        }
        let status = [a, b, c].iter().fold(0, |sum, digit| sum * 10 + u16::from(**digit - b'0'));
        match status {
            100 | 102..=199 => bytes = &bytes[end..],
            _ => return Answer::Status(status),
        }
    }
}

/// An error in the words of events.
fn io_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "it reset the connection".to_owned(),
        io::ErrorKind::BrokenPipe => "it closed the connection".to_owned(),
        io::ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_an_answer_is_enough_and_nothing_less() {
        for (bytes, expected) in [
            ("", Answer::More),
            ("HTT", Answer::More),
            ("HTTP/1.1 200 OK\r\nA: b\r\n", Answer::More),
            ("HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody", Answer::Status(200)),
            ("HTTP/1.0 503\r\n\r\n", Answer::Status(503)),
            ("HTTP/1.1 302 Found\n\n", Answer::Status(302)),
            ("HTTP/1.1 103 Early\r\nLink: x\r\n\r\n", Answer::More),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", Answer::Status(204)),
            ("HTTP/1.1 101 Switching\r\n\r\n", Answer::Status(101)),
            ("SSH-2.0", Answer::Nonsense),
            ("HTTP/1.1 20 OK\r\n\r\n", Answer::Nonsense),
            ("HTTP/1.1 2000 OK\r\n\r\n", Answer::Nonsense),
            ("HTTP/1.\r\n\r\n", Answer::Nonsense),
            ("HTTP/2 200\r\n\r\n", Answer::Nonsense),
        ] {
            assert_eq!(answer(bytes.as_bytes()), expected, "{bytes:?}");
        }
    }
}
