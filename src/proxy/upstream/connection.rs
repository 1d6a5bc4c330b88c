//! A connection to a server, in clear or over TLS.

use std::future::{Future as _, poll_fn};
use std::hash::{Hash, Hasher};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::unconstrained;
use tokio_rustls::client::TlsStream;

use crate::config::Scheme;
use crate::proxy::socket::{poll_write, reset_at_end};

/// Where a connection leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::proxy) struct Place {
    pub(in crate::proxy) addr: SocketAddr,
    pub(in crate::proxy) scheme: Scheme,
    /// The name that a certificate must be for, where it is spoken to over https by name.
    pub(in crate::proxy) host: Option<Arc<str>>,
}

impl Hash for Place {
    /// By the address alone, in one piece: names and schemes rarely share one.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let port = u64::from(self.addr.port());
        match self.addr.ip() {
            IpAddr::V4(ip) => state.write_u64(u64::from(ip.to_bits()) << 16 | port),
            IpAddr::V6(ip) => {
                state.write_u128(ip.to_bits());
                state.write_u64(port);
            }
        }
    }
}

/// A connection to a server.
pub(in crate::proxy) enum Upstream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// With these bytes servers take leave of a connection that has idled for too long: no answer that went astray.
const FAREWELLS: [&[u8]; 2] = [b"HTTP/1.0 408", b"HTTP/1.1 408"];

/// What there is on a connection that waits for its next request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sound {
    Silence,
    /// Something that nobody asked for.
    Noise,
    /// The connection has ended.
    End,
}

impl Upstream {
    /// See [`reset_at_end`].
    pub(super) fn reset_at_end(&self) {
        reset_at_end(match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        });
    }

    /// Whether something has come that nobody asked for. `asks_kernel`: what it knows and has not told us yet counts too, which
    /// takes a system call.
    pub(super) fn listen(&mut self, asks_kernel: bool) -> Sound {
        let mut beginning = [0; FAREWELLS[0].len()];
        let is_tls = matches!(self, Self::Tls(_));
        let stream = match self {
            Self::Plain(stream) => match stream.try_read(&mut beginning) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => &*stream,
                Ok(read) => return Sound::of(&beginning[..read]),
                Err(_) => return Sound::End,
            },
            Self::Tls(stream) => {
                // Whatever this task has done before: it is looked at.
                let mut buffer = ReadBuf::new(&mut beginning);
                let look = poll_fn(|cx| Pin::new(&mut **stream).poll_read(cx, &mut buffer));
                let mut cx = Context::from_waker(Waker::noop());
                if pin!(unconstrained(look)).poll(&mut cx).is_ready() {
                    return Sound::of(buffer.filled());
                }
                stream.get_ref().0
            }
        };
        if !asks_kernel {
            return Sound::Silence;
        }
        match recv(stream, &mut beginning, RecvFlags::PEEK) {
            Err(Errno::AGAIN) => Sound::Silence,
            // What it says is not known before it is read: most likely that it takes leave.
            Ok(_) if is_tls => Sound::End,
            Ok((read, _)) => Sound::of(&beginning[..read]),
            Err(_) => Sound::End,
        }
    }
}

impl AsyncRead for Upstream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Upstream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => poll_write(stream, cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    /// Sends what TLS still holds back.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // Writes of a socket are not held back.
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl Sound {
    /// What these first bytes are; none are the end.
    fn of(bytes: &[u8]) -> Self {
        match bytes.is_empty() || FAREWELLS.contains(&bytes) {
            true => Self::End,
            false => Self::Noise,
        }
    }
}
