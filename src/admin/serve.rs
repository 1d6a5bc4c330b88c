//! The admin side's own listener: few connections, short heads, no hurry.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tracing::warn;

use axum::Router;

use super::crowd::Crowd;
use super::guard::Guard;
use super::{App, rates, router};
use crate::control::State;
use crate::middleware::Handler;
use crate::model::subscriber;
use crate::settings::Listen;

/// Connections open at once. For further ones whoever has the most gives one up.
const CONNECTIONS_MAX: usize = 512;

/// Those of one address: who holds connections open leaves room for those that look whether Herder is well.
const CONNECTIONS_OF_ONE_MAX: usize = 128;

/// For a request head, from the moment when one may come: an idle connection's life, too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// For what was sent to be taken. Whoever does not read its answer holds all of it in memory, and one that fell asleep a place.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// A request head, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How long to leave the listener alone when the system has no file left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the port could not be taken.
#[derive(Debug, thiserror::Error)]
#[error("the admin side cannot listen on {listen}; choose another port with --admin, or off")]
pub struct BindError {
    listen: Listen,
    #[source]
    source: io::Error,
}

/// Bound, not yet serving.
pub struct Bound {
    listener: std::net::TcpListener,
    addr: SocketAddr,
}

/// Takes the port.
///
/// # Errors
/// When somebody else has it, or it may not be taken.
pub fn bind(listen: Listen) -> Result<Bound, BindError> {
    let wrong = |source| BindError { listen, source };
    let listener = listen.take(std::net::TcpListener::bind).map_err(wrong)?;
    listener.set_nonblocking(true).map_err(wrong)?;
    let addr = listener.local_addr().map_err(wrong)?;
    Ok(Bound { listener, addr })
}

impl Bound {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `shutdown` resolves. Streams that are open then are closed. Where there is a step that asks for a name,
    /// nobody gets past it but to `/ping`.
    pub async fn serve(
        self,
        state: Arc<State>,
        guard: Option<Arc<dyn Handler>>,
        shutdown: impl Future<Output = ()> + Send,
    ) {
        let listener = match TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(error) => {
                warn!(%error, "the admin side cannot listen");
                return;
            }
        };
        let guard = guard.map(|step| Guard::new(step, Arc::clone(&state)));
        let app = App::new(state);
        let is_local = self.addr.ip().to_canonical().is_loopback();
        let sampler = tokio::spawn(rates::sample(app.clone()));
        tokio::select! {
            () = accept(&listener, router(app, guard, is_local), SEND_TIMEOUT) => {}
            () = shutdown => {}
        }
        sampler.abort();
    }
}

async fn accept(listener: &TcpListener, router: Router, send_timeout: Duration) {
    let service = TowerToHyperService::new(router);
    let crowd = Crowd::new(CONNECTIONS_MAX, CONNECTIONS_OF_ONE_MAX);
    loop {
        let (stream, client, mut seat) = match listener.accept().await {
            Ok((stream, peer)) => {
                let client = subscriber(peer.ip());
                let Some(seat) = crowd.seat(client) else { continue };
                (stream, client, seat)
            }
            Err(error) => {
                warn!(%error, "the admin side cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Where an option cannot be set the connection still works.
        let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(send_timeout));
        let (service, peer) = (service.clone(), Peer(client));
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(peer);
            service.call(request)
        });
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(HEAD_BYTES_MAX)
                .serve_connection(TokioIo::new(stream), service);
            // How a connection ends is its client's business.
            tokio::select! {
                _ = connection => {}
                _ = &mut seat.given_up => {}
            }
        });
    }
}

/// Where a request came from.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// Who asks where nobody can tell: one client for all.
pub(super) const UNKNOWN: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Mutex;

    use axum::body::{Body, Bytes};
    use axum::routing::get;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn who_does_not_read_its_answer_gives_its_place_up() {
        let (here, gone) = oneshot::channel::<()>();
        let here = Arc::new(Mutex::new(Some(here)));
        let endless = get(move || {
            let here = here.lock().expect("whole").take();
            let pieces = futures_util::stream::unfold(here, |here| async move {
                Some((Ok::<_, Infallible>(Bytes::from_static(&[0; 65_536])), here))
            });
            async { Body::from_stream(pieces) }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let addr = listener.local_addr().expect("an address");
        let router = Router::new().route("/", endless);
        tokio::spawn(async move {
            accept(&listener, router, Duration::from_millis(300)).await;
        });
        let mut client = TcpStream::connect(addr).await.expect("connected");
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
        let gone = timeout(Duration::from_secs(30), gone).await.expect("it is given up");
        assert!(gone.is_err(), "the answer was dropped");
        drop(client);
    }
}
