//! Listening sockets: one for each worker on the same port, so that the kernel spreads the connections.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use super::socket::tune_listener;
use crate::settings::Listen;

/// Connections that wait to be accepted, for each worker. The kernel's own limit (somaxconn) may be lower.
const BACKLOG: i32 = 4_096;

/// Why the port could not be taken.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {listen}{reason}")]
pub struct BindError {
    listen: Listen,
    /// What it means and what to do, where that is known, after a colon.
    reason: &'static str,
    #[source]
    source: io::Error,
}

/// One socket for each worker.
pub(super) fn listen(listen: Listen, workers: usize) -> Result<Vec<TcpListener>, BindError> {
    let fail = |source: io::Error| BindError { listen, reason: explain(&source), source };
    // SO_REUSEPORT would let us in beside another process of the same user, and share its requests. A socket
    // without it tells whether somebody is there already.
    let probe =
        |addr: SocketAddr| Ok(SocketAddr::new(addr.ip(), local_port(&socket(addr, false)?)?));
    let addr = listen.take(probe).map_err(fail)?;
    let sockets = (0..workers.max(1)).map(|_| socket(addr, true).map(TcpListener::from));
    sockets.collect::<Result<_, _>>().map_err(fail)
}

/// Where requests come in: what was asked for, with the port that was given.
pub(super) fn local_addr(
    listen: Listen,
    listeners: &[TcpListener],
) -> Result<SocketAddr, BindError> {
    let first = listeners.first().expect("listen() makes one socket at least");
    first.local_addr().map_err(|source| BindError { listen, reason: explain(&source), source })
}

fn socket(addr: SocketAddr, is_shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(is_shared)?;
    socket.set_nonblocking(true)?;
    if addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    // Connections inherit it.
    tune_listener(&socket);
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn local_port(socket: &Socket) -> io::Result<u16> {
    let addr = socket.local_addr()?.as_socket();
    addr.map(|addr| addr.port()).ok_or_else(|| io::Error::other("the socket has no port"))
}

fn explain(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            ": somebody listens there already; choose another address, with --http or where it was said"
        }
        io::ErrorKind::PermissionDenied => {
            ": ports below 1024 need a privilege; choose another one, with --http or where it was said"
        }
        io::ErrorKind::AddrNotAvailable => ": this machine does not have that address",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn nobody_listens_beside_one_who_has_the_port_over_ipv6() {
        let other = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP));
        let other = other.and_then(|other| {
            other.set_only_v6(true)?;
            other.bind(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0).into())?;
            other.listen(1)?;
            Ok(other)
        });
        let Ok(other) = other else {
            eprintln!("skipped: there is no IPv6 here");
            return;
        };
        let port = local_port(&other).expect("a port");
        let error = listen(Listen { ip: None, port }, 1).expect_err("somebody has it");
        assert!(error.to_string().contains("somebody listens there already"), "{error}");
        assert!(error.source().is_some());
    }
}
