//! A client's socket. The reactor learns of it only when it has to be waited for.
//!
//! Whoever connects for one request has often sent it by the time that the connection is accepted, and takes the answer at
//! once: telling the reactor of such a socket, hearing from it and taking it back would cost two system calls and a wakeup.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketFlags, acceptfrom_with, recv, send,
    sendmsg,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead as _, AsyncWrite as _, Interest, ReadBuf};
use tokio::net::TcpStream;

/// When the kernel asks a silent peer whether it is still there: an answer, or a joined upgrade, may be silent for long.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// What every connection to a server gets. A socket that does not take it works without.
pub(super) fn tune<'s>(socket: impl Into<SockRef<'s>>) {
    let socket = socket.into();
    // Without it small pieces wait for the other side's acknowledgement.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
}

/// What the connections from clients inherit from their listening socket: the same, but that the kernel asks nobody yet. Its
/// timer would cost short connections more than the rest of it, see [`Socket::probe`].
pub(super) fn tune_listener<'s>(socket: impl Into<SockRef<'s>>) {
    let socket = socket.into();
    tune(&*socket);
    let _ = socket.set_keepalive(false);
}

/// Has a connection end with a reset, so that its port is free at once: for connections on which nothing is on its way. One that
/// does not take it ends without.
pub(super) fn reset_at_end<'s>(socket: impl Into<SockRef<'s>>) {
    let _ = socket.into().set_linger(Some(Duration::ZERO));
}

/// A client's socket.
pub(super) struct Socket {
    state: State,
    is_probed: bool,
}

enum State {
    /// Nobody has waited for it yet.
    Fresh { stream: std::net::TcpStream, has_read: bool },
    /// The reactor wakes whoever waits for it.
    Watched(TcpStream),
    /// The reactor could not take it.
    Lost,
}

/// Takes the next connection, if there is one.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] where nobody waits; what the system has run out of otherwise.
pub(super) fn accept(listener: &TcpListener) -> io::Result<(Socket, SocketAddr)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (fd, addr) = acceptfrom_with(listener, flags)?;
    let addr = addr.map(SocketAddr::try_from).transpose()?;
    let addr = addr.ok_or_else(|| io::Error::other("the system does not say who connects"))?;
    let state = State::Fresh { stream: fd.into(), has_read: false };
    Ok((Socket { state, is_probed: false }, addr))
}

impl Socket {
    /// The socket, with the reactor behind it.
    ///
    /// # Errors
    /// Where the reactor cannot take it: the connection is lost.
    pub(super) fn watched(&mut self) -> io::Result<&mut TcpStream> {
        self.state = match std::mem::replace(&mut self.state, State::Lost) {
            State::Fresh { stream, .. } => State::Watched(TcpStream::from_std(stream)?),
            state => state,
        };
        match &mut self.state {
            State::Watched(stream) => Ok(stream),
            State::Fresh { .. } | State::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Reads what has come. The first time it looks before it waits.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Watched(stream) => return Pin::new(stream).poll_read(cx, buffer),
            State::Fresh { stream, has_read } if !*has_read => {
                *has_read = true;
                match recv(stream, buffer.initialize_unfilled(), RecvFlags::empty()) {
                    Ok((read, _)) => {
                        buffer.advance(read);
                        return Poll::Ready(Ok(()));
                    }
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(error) => return Poll::Ready(Err(error.into())),
                }
            }
            State::Fresh { .. } | State::Lost => {}
        }
        Pin::new(self.watched()?).poll_read(cx, buffer)
    }

    /// Writes what can be written at once.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.state {
            State::Watched(stream) => return poll_write(stream, cx, bytes),
            State::Fresh { stream, .. } => match send(stream, bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => return Poll::Ready(Ok(sent)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            },
            State::Lost => {}
        }
        poll_write(self.watched()?, cx, bytes)
    }

    /// The same from several places.
    pub(super) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.state {
            State::Watched(stream) => {
                return Pin::new(stream).poll_write_vectored(cx, pieces);
            }
            State::Fresh { stream, .. } => {
                let mut nothing_else = SendAncillaryBuffer::default();
                match sendmsg(stream, pieces, &mut nothing_else, SendFlags::NOSIGNAL) {
                    Ok(sent) => return Poll::Ready(Ok(sent)),
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(error) => return Poll::Ready(Err(error.into())),
                }
            }
            State::Lost => {}
        }
        Pin::new(self.watched()?).poll_write_vectored(cx, pieces)
    }

    /// Has the kernel ask the client, now and then, whether it is still there: a wait has become a long one.
    pub(super) fn probe(&mut self) {
        if !self.is_probed
            && let Ok(fd) = self.fd()
        {
            // A socket that does not take it works without.
            let _ = SockRef::from(&fd).set_keepalive(true);
            self.is_probed = true;
        }
    }

    /// Whether the kernel has bytes of it that nobody has read.
    pub(super) fn has_more(&self) -> bool {
        let peek = |fd| recv(fd, &mut [0; 1], RecvFlags::PEEK);
        self.fd().is_ok_and(|fd| matches!(peek(fd), Ok((1.., _))))
    }

    /// Tells the client that nothing more comes.
    pub(super) fn shut_down(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(self.fd()?, Shutdown::Write)?)
    }

    /// Has the connection end with a reset.
    pub(super) fn reset_at_end(&self) {
        if let Ok(fd) = self.fd() {
            reset_at_end(&fd);
        }
    }

    fn fd(&self) -> io::Result<std::os::fd::BorrowedFd<'_>> {
        match &self.state {
            State::Fresh { stream, .. } => Ok(stream.as_fd()),
            State::Watched(stream) => Ok(stream.as_fd()),
            State::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// Writes at once where that is possible, which it nearly always is: asking first whether it is costs more. It asks the kernel
/// itself: the C library's `send` prepares for threads that are cancelled, which nobody does here.
pub(super) fn poll_write(
    stream: &mut TcpStream,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    let send = || Ok(send(&*stream, bytes, SendFlags::NOSIGNAL)?);
    match stream.try_io(Interest::WRITABLE, send) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Pin::new(stream).poll_write(cx, bytes)
        }
        written => Poll::Ready(written),
    }
}
